"""Labels that are probably wrong, by confident learning.

Northcutt, Jiang & Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 2021
(arXiv:1911.00068): a row is confidently of class j when its out-of-fold probability of j reaches
the mean that rows labeled j have; a row that is confidently of another class than its label counts
as an error.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def confident_errors(
    probs: NDArray[np.float64], labels: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Return the rows whose label is probably wrong, the likeliest first; their scores; the class
    each is likelier of.

    probs (n, C): out of fold. labels (n,): all known. The score is the probability of the label
    (self-confidence). Of the rows confidently of another class, as many are returned as the
    calibrated joint counts off its diagonal (the paper's "prune by noise rate", over all classes at
    once).

    >>> probs = np.array([[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.1, 0.9], [0.95, 0.05]])
    >>> rows, scores, classes = confident_errors(probs, np.array([0, 0, 1, 1, 1]))
    >>> rows.tolist(), scores.round(2).tolist(), classes.tolist()
    ([4], [0.05], [0])
    """
    n, classes = probs.shape
    if labels.shape != (n,) or n == 0 or labels.min() < 0 or labels.max() >= classes:
        raise ValueError(
            f"labels: expected ({n},) class numbers below {classes}, got {labels.shape}"
        )
    counts = np.bincount(labels, minlength=classes).astype(np.float64)
    thresholds = np.full(classes, np.inf)
    for j in range(classes):
        if counts[j]:
            thresholds[j] = probs[labels == j, j].mean()
    over = probs >= thresholds
    confident = np.where(over, probs, -1.0)
    best = confident.argmax(axis=1)
    sure = over.any(axis=1)
    joint = np.zeros((classes, classes))
    np.add.at(joint, (labels[sure], best[sure]), 1.0)
    row_sums = joint.sum(axis=1, keepdims=True)
    joint = np.where(
        row_sums > 0, joint / np.maximum(row_sums, 1) * counts[:, None], np.diag(counts)
    )
    expected = round(float(joint.sum() - np.trace(joint)))
    own = probs[np.arange(n), labels]
    others = probs.copy()
    others[np.arange(n), labels] = -1.0
    rows = np.flatnonzero(sure & (best != labels) & (own < others.max(axis=1)))
    rows = rows[np.argsort(own[rows], kind="stable")][:expected]
    return rows.astype(np.int64), own[rows], others[rows].argmax(axis=1).astype(np.int64)
