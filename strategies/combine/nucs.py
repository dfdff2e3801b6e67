"""NUCS: more of the budget to difficult classes, and a window of difficulty inside each.

Class j of N_j candidates and mean difficulty S_j gets b_j in proportion to S_j N_j, at most N_j.
Sorted by difficulty, its examples from the share e - b_j / N_j to the share e are taken; the
endpoint e is the same for all classes.

Zhang, Xing, He, Yang, Ma, Tan & Yan, "Non-Uniform Class-Wise Coreset Selection for Vision Model
Fine-tuning", 2025 (arXiv:2504.13234). The paper looks for e by ridge regressions on features; here
it is an option.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from coreset import Pool, Selection, Signals, Strategy
from coreset.core.ranges import check_range
from coreset.numerics.quota import largest_remainder
from coreset.score_based import ScoreBased
from coreset.strategies.combine.parts import Combined, base_scores, column_at, interleave
from coreset.strategies.gradient.el2n import El2n


def winsorized_mean(values: NDArray[np.float64], share: float) -> float:
    """Return the mean of `values` (n,) after the floor(share n) lowest take the value of the next
    higher, and as many highest that of the next lower.

    >>> winsorized_mean(np.array([0.0, 1.0, 2.0, 99.0]), 0.25)
    1.5
    """
    cut = int(share * len(values) + 1e-9)
    order = np.sort(values)
    return float(np.clip(values, order[cut], order[len(order) - 1 - cut]).mean())


def class_budgets(
    difficulty: NDArray[np.float64], sizes: NDArray[np.int64], k: int
) -> NDArray[np.int64]:
    """Split `k` over classes of `difficulty` (C,), at least 0, and `sizes` (C,), in proportion to
    their product; classes of difficulty 0 get what the others cannot hold, in proportion to size.

    >>> class_budgets(np.array([0.1, 0.3]), np.array([10, 10]), 8)
    array([2, 6])
    >>> class_budgets(np.array([0.0, 0.3]), np.array([10, 4]), 8)
    array([4, 4])
    """
    hard = difficulty > 0
    if not hard.any():
        return largest_remainder(sizes, k, caps=sizes)
    most = min(k, int(sizes[hard].sum()))
    share = np.maximum(difficulty / difficulty.max(), 1e-300)  # what is above 0 stays above 0
    out = largest_remainder(np.where(hard, share * sizes, 0), most, caps=sizes)
    return (
        out + largest_remainder(np.where(hard, 0, sizes), k - most, caps=sizes) if k > most else out
    )


def window(values: NDArray[np.float64], budget: int, endpoint: float) -> NDArray[np.int64]:
    """Return `budget` rows of `values` (n,), hardest first, that end at the share `endpoint` of the
    n in ascending order, or at the `budget` easiest where those reach further.

    >>> window(np.array([0.5, 0.1, 0.9, 0.3]), 2, 0.75)
    array([0, 3])
    """
    order = np.argsort(values, kind="stable")
    end = max(budget, int(endpoint * len(values) + 1e-9))
    return order[end - budget : end][::-1].astype(np.int64)


@dataclass(frozen=True)
class Nucs(Combined):
    """Give classes budgets by their difficulty, and take a window of difficulty in each.

    base: the difficulty, highest = hardest; when a score is negative all are shifted so that the
    lowest is 0. endpoint: where the windows end, as a share of each class from easy (0) to hard
    (1). winsor: share of a class's scores at either end that are drawn in before their mean is
    taken, less than one half (0: the plain mean). The order interleaves the classes. info: `quota`
    and `difficulty` by class.

    >>> from coreset import select
    >>> p = np.array([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.3, 0.7], [0.5, 0.5], [0.7, 0.3]])
    >>> chosen = select("nucs", 3, probs=p, labels=np.array([0, 0, 1, 1, 1, 1]))
    >>> chosen.indices.tolist(), chosen.info["quota"]
    ([5, 4, 2], {'0': 0, '1': 3})
    """

    base: ScoreBased = field(default_factory=El2n)
    endpoint: float = 1.0
    winsor: float = 0.0

    own = frozenset({"labels"})

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("a share in [0, 1]", endpoint=self.endpoint)
        check_range("a share in [0, 0.5)", winsor=self.winsor)

    @property
    def parts(self) -> tuple[Strategy, ...]:
        """Return the base."""
        return (self.base,)

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Return the windows of all classes as one."""
        scores = base_scores(self.base, pool, signals)
        labels = column_at(signals, "labels", pool.candidates)
        names, group, sizes = np.unique(labels, return_inverse=True, return_counts=True)
        members = np.split(np.argsort(group, kind="stable"), np.cumsum(sizes)[:-1])
        lifted = scores - min(scores.min(), 0.0)
        difficulty = np.array([winsorized_mean(lifted[m], self.winsor) for m in members])
        quota = class_budgets(difficulty, sizes.astype(np.int64), k)
        answers = []
        for m, q in zip(members, quota.tolist(), strict=True):
            if q:
                taken = m[window(lifted[m], q, self.endpoint)]
                answers.append(Selection(pool.candidates[taken], scores=scores[taken]))
        return interleave(
            answers,
            quota={str(c): int(q) for c, q in zip(names, quota, strict=True)},
            difficulty={str(c): float(s) for c, s in zip(names, difficulty, strict=True)},
        )
