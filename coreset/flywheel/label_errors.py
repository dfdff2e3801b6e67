"""Labels that are probably wrong, by confident learning.

Northcutt, Jiang & Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 2021
(arXiv:1911.00068): a row is confidently of class j when its out-of-fold probability of j reaches
the mean that rows labeled j have; a row that is confidently of another class than its label counts
as an error.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def thresholds_of(probs: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the mean probability (C,) of each class over the rows labeled so, infinite without one.

    probs (n, C): out of fold. labels (n,): all known.
    """
    n, classes = probs.shape
    if labels.shape != (n,) or n == 0 or labels.min() < 0 or labels.max() >= classes:
        raise ValueError(
            f"labels: expected ({n},) class numbers below {classes}, got {labels.shape}"
        )
    return np.array(
        [probs[labels == j, j].mean() if (labels == j).any() else np.inf for j in range(classes)]
    )


def looks_wrong(
    probs: NDArray[np.float64], labels: NDArray[np.int64], thresholds: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Return which rows (n,) are confidently of another class than their label, and likelier so.

    >>> probs = np.array([[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.1, 0.9], [0.95, 0.05]])
    >>> labels = np.array([0, 0, 1, 1, 1])
    >>> looks_wrong(probs, labels, thresholds_of(probs, labels)).nonzero()[0].tolist()
    [4]
    """
    over = probs >= thresholds
    best = np.where(over, probs, -1.0).argmax(axis=1)
    at = np.arange(len(labels))
    others = probs.copy()
    others[at, labels] = -1.0
    wrong = over.any(axis=1) & (best != labels) & (probs[at, labels] < others.max(axis=1))
    return np.asarray(wrong, np.bool_)
