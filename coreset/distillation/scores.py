"""Two numbers that ask whether a distilled set is good or its evaluation was kind: the label-robust
and the augmentation-robust score.

Li et al., "DD-Ranking: Rethinking the Evaluation of Dataset Distillation", 2025 (arXiv:2505.13300).
Accuracies are fractions: with per cent, as its public code passes them, the exponentials leave [0,
1].
"""

from __future__ import annotations

import math

from coreset.core.ranges import check_range


def _score(a: float) -> float:
    """Return (e^a - e^-1) / (e - e^-1): 0 at a = -1, 1 at a = 1."""
    return (math.exp(a) - math.exp(-1)) / (math.e - math.exp(-1))


def _check(weight: float, **accuracies: float) -> None:
    for name, value in accuracies.items():
        if not (math.isnan(value) or 0 <= value <= 1):
            raise ValueError(
                f"{name}: expected an accuracy as a fraction in [0, 1], got {value} (per cent?)"
            )
    check_range("a number in [0, 1]", weight=weight)


def label_robust(
    full_hard: float, made_hard: float, made_any: float, random_any: float, weight: float = 0.5
) -> float:
    """Return the label-robust score in [0, 1]: gain over random with any labels, less the loss to
    the full data with hard labels; NaN where one is unknown.

    full_hard: all data, hard labels. made_hard, made_any: the distilled set with hard labels, and
    with those it is evaluated with. random_any: random images with the same labels. weight: of the
    gain. Raises ValueError for accuracies outside [0, 1].

    >>> round(label_robust(0.9, 0.6, 0.7, 0.6), 4), round(label_robust(0.9, 0.9, 0.5, 0.5), 4)
    (0.2285, 0.2689)
    """
    _check(
        weight, full_hard=full_hard, made_hard=made_hard, made_any=made_any, random_any=random_any
    )
    return _score(weight * (made_any - random_any) - (1 - weight) * (full_hard - made_hard))


def augmentation_robust(
    made_augmented: float,
    random_augmented: float,
    made_plain: float,
    random_plain: float,
    weight: float = 0.5,
) -> float:
    """Return the augmentation-robust score in [0, 1]: gain over random with augmentation and
    without; NaN where one is unknown.

    weight: of the gain with augmentation. Raises ValueError for accuracies outside [0, 1].

    >>> round(augmentation_robust(0.7, 0.5, 0.7, 0.5), 4)
    0.3631
    """
    _check(
        weight, made_augmented=made_augmented, random_augmented=random_augmented,
        made_plain=made_plain,
        random_plain=random_plain,
    )  # fmt: skip
    return _score(
        weight * (made_augmented - random_augmented) + (1 - weight) * (made_plain - random_plain)
    )
