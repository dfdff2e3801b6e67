"""How uncertain the detector is of each box: higher = more worth a label.

    entropy           -sum p ln p over the class distribution (nats); needs `probs`
    margin            1 - (p1 - p2); needs `probs`
    least_confidence  1 - p1; from `probs`, or from the score where that is all there is
    binary_entropy    -s ln s - (1 - s) ln(1 - s) of the score s (nats): the one that top-1 results
                      allow, as in PPAL
    objectness        1 - objectness; needs the column `objectness`
    any other name    that column of the detections as it is: localization, consistency, a loss

Definitions: Settles, "Active Learning Literature Survey", 2009; for boxes, Yang et al., CVPR 2024
(arXiv:2211.11612).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from coreset.vision.boxes import Detections, Float

KINDS = ("entropy", "margin", "least_confidence", "binary_entropy", "objectness")


def _entr(p: NDArray[np.floating]) -> Float:
    """Return -p ln p in float64, 0 at 0."""
    from scipy.special import entr

    return np.asarray(entr(np.asarray(p, np.float64)))


def box_scores(detections: Detections, kind: str) -> Float:
    """Return one value per box, (B,) float64. Raises ValueError naming the file when what `kind`
    needs is not there, and KeyError for an unknown kind.

    >>> detections = Detections(np.array([1]), [0, 0], np.zeros((2, 4)), [0.5, 1.0], [3, 3])
    >>> box_scores(detections, "binary_entropy").round(6).tolist()
    [0.693147, 0.0]
    """
    if kind in ("entropy", "margin") and detections.probs is None:
        raise ValueError(
            f"{detections.source}: {kind} needs the class distribution of every box (`probs`),"
            " which is not there; binary_entropy needs the score alone"
        )
    if kind == "binary_entropy":
        return _entr(detections.scores) + _entr(1 - detections.scores)
    if kind == "least_confidence":
        return 1 - (
            detections.scores
            if detections.probs is None
            else detections.probs.max(axis=1).astype(np.float64)
        )
    if detections.probs is not None and kind == "entropy":
        return np.asarray(_entr(detections.probs).sum(axis=1))
    if detections.probs is not None and kind == "margin":
        if detections.probs.shape[1] < 2:
            raise ValueError(
                f"{detections.source}: probs: a margin needs at least two classes, got shape"
                f" {detections.probs.shape}"
            )
        two = np.partition(detections.probs, -2, axis=1)[:, -2:].astype(np.float64)
        return np.asarray(1 - (two[:, 1] - two[:, 0]))
    if kind not in detections.columns:
        have = ", ".join([*KINDS, *detections.columns])
        raise KeyError(f"{detections.source}: no score or column '{kind}'; there are: {have}")
    values = detections.columns[kind].astype(np.float64)
    return 1 - values if kind == "objectness" else values
