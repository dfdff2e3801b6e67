"""PPAL's difficulty-calibrated uncertainty (DCUS): binary entropies summed over the boxes, weighted
by how hard their class is.

Yang, Huang & Crowley, "Plug and Play Active Learning for Object Detection", CVPR 2024, section 3.2
(arXiv:2211.11612). Its second half, medoids under CCMS, is `select(..., "kmedoids",
scores=dcus(...), distance=BoxSets.of(...), expand=4)`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from coreset.vision.aggregate import ImageScores, aggregate
from coreset.vision.boxes import Detections
from coreset.vision.score import box_scores


def class_quality(
    labels: ArrayLike, probs: ArrayLike, ious: ArrayLike, categories: Sequence[int], xi: float = 0.6
) -> dict[int, float]:
    """Return the training quality of each category: the mean of p^xi IoU^(1 - xi) over the
    predictions matched to its objects.

    labels, probs, ious (M,): category, its predicted probability and the overlap of each matched
    prediction. A category without any has quality 0, the hardest. PPAL keeps a moving average of
    this while training; here it is the mean over the predictions given.

    >>> class_quality([1, 1], [1.0, 0.0], [1.0, 0.5], [1, 2])
    {1: 0.5, 2: 0.0}
    """
    c, p, iou = np.asarray(labels), np.asarray(probs, np.float64), np.asarray(ious, np.float64)
    if not (c.shape == p.shape == iou.shape) or c.ndim != 1:
        raise ValueError(
            f"labels, probs, ious: expected three lists of one length, got {c.shape}, {p.shape},"
            f" {iou.shape}"
        )
    if not ((p >= 0) & (p <= 1) & (iou >= 0) & (iou <= 1)).all():
        raise ValueError("probs, ious: expected numbers in [0, 1]")
    quality = p**xi * iou ** (1 - xi)
    return {int(k): float(quality[c == k].mean()) if (c == k).any() else 0.0 for k in categories}


def difficulty_weights(
    quality: Mapping[int, float], alpha: float = 0.3, beta: float = 0.2
) -> dict[int, float]:
    """Return 1 + alpha beta ln(gamma (1 - quality) + 1) per category, gamma = e^(1 / alpha) - 1:
    from 1 (quality 1) to 1 + beta (quality 0).

    >>> difficulty_weights({1: 1.0, 2: 0.0})
    {1: 1.0, 2: 1.2}
    """
    bad = [k for k, q in quality.items() if not 0 <= q <= 1]
    if bad:
        raise ValueError(
            f"quality: expected numbers in [0, 1], category {bad[0]} has {quality[bad[0]]}"
        )
    gamma = np.expm1(1 / alpha)
    return {k: float(1 + alpha * beta * np.log(gamma * (1 - q) + 1)) for k, q in quality.items()}


def dcus(
    detections: Detections,
    quality: Mapping[int, float],
    *,
    empty: str,
    score_threshold: float = 0.05,
    min_size: float = 16.0,
    max_aspect: float | None = 5.0,
    **weighting: Any,
) -> ImageScores:
    """Return the difficulty-calibrated uncertainty of each image; thresholds and `weighting`
    (alpha, beta) default to the authors' values.

    quality: category -> training quality in [0, 1]. The authors' code counts an image without boxes
    as 0, which is `empty="last"`.

    >>> detections = Detections(np.array([7]), [0], [[0, 0, 20, 20]], [0.5], [1])
    >>> dcus(detections, {1: 0.0}, empty="last").values.round(6).tolist()  # 1.2 ln 2
    [0.831777]
    """
    return aggregate(
        detections,
        box_scores(detections, "binary_entropy"),
        "weighted_sum",
        score_threshold=score_threshold,
        min_size=min_size,
        empty=empty,
        class_weights=difficulty_weights(quality, **weighting),
        max_aspect=max_aspect,
    )
