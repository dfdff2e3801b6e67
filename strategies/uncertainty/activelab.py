"""ActiveLab: which example to label next, or to label again, when several annotators disagree.

Goh & Mueller, "ActiveLab: Active Learning with Re-Labeling by Multiple Annotators", ICLR 2023
workshop on Trustworthy ML (arXiv:2301.11856).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coreset import Pool, Signals
from coreset.numerics.tensors import rows
from coreset.score_based import ScoreBased
from coreset.strategies.uncertainty.crowd import crowdlab, tempered


def active_lab(labels: NDArray[np.int64], probs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ActiveLab's quality of each of n examples, (n,) in [0, 1]: the lowest is labeled next.

    labels (n, M): what each annotator gave, -1 = nothing; probs (n, K). The weighted mean of the
    quality of the consensus (of examples without labels: the highest probability) and of 1 / K,
    weights: those of the classifier and of all who labeled it, and the mean annotator's.

    >>> p = np.array([[0.9, 0.1], [0.6, 0.4]])
    >>> active_lab(np.array([[-1, -1], [-1, -1]]), p).round(3).tolist()
    [0.7, 0.55]
    """
    labeled = (labels >= 0).any(axis=1)
    model, weights, temperature = 1.0, np.ones(labels.shape[1]), 1.0
    quality = np.empty(len(labels))
    if labeled.any():
        crowd = crowdlab(labels[labeled], probs[labeled])
        model, weights, temperature = crowd.model, crowd.annotators, crowd.temperature
        quality[labeled] = crowd.quality
    quality[~labeled] = tempered(probs[~labeled], temperature).max(axis=1, initial=0.0)
    weight = model + np.where(labels >= 0, weights, 0).sum(axis=1)
    return np.asarray(
        (quality * weight + weights.mean() / probs.shape[1]) / (weight + weights.mean())
    )


@dataclass(frozen=True)
class ActiveLab(ScoreBased):
    """Take the candidates whose consensus label is least sure: new ones, or labeled ones once more.

    Needs `annotator_labels` (N, M) whole numbers, a column an annotator, -1 where one gave no
    label, and `probs` (N, C) of examples their model did not train on. Candidates may have labels;
    those of what is selected, which are asked for no more, count for what annotators and classifier
    are worth. Scores: 1 - ActiveLab's quality.

    >>> from coreset import select
    >>> given = np.array([[0, 0], [0, 1], [1, 1], [-1, 0]])
    >>> p = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.9, 0.1]])
    >>> select("activelab", 1, annotator_labels=given, probs=p).indices
    array([1])
    """

    needs = frozenset({"annotator_labels", "probs"})
    needs_selected = frozenset({"annotator_labels", "probs"})

    def score(self, pool: Pool, signals: Signals) -> NDArray[np.float64]:
        """Return 1 - quality per candidate. Raises ValueError for labels that are no classes."""
        at = np.concatenate([pool.candidates, pool.selected])
        at = at[np.argsort(pool.ids[at])]  # sums in the order of ids, however rows are arranged
        column = signals.column("annotator_labels")
        given = rows(column, at).cpu().numpy()
        probs = rows(signals.column("probs"), at).double().cpu().numpy()
        if given.ndim != 2 or given.dtype.kind not in "iu":
            raise ValueError(
                "annotator_labels: expected whole numbers of shape (N, M), -1 = no label, got "
                f"{column.dtype} of shape {tuple(column.shape)}"
            )
        if given.min() < -1 or given.max() >= probs.shape[1]:
            raise ValueError(
                f"annotator_labels: expected classes 0..{probs.shape[1] - 1}, as probs has, or -1, "
                f"got {given.min()}..{given.max()}"
            )
        if probs.shape[1] < 2:
            raise ValueError(f"probs: a consensus needs at least two classes, got {probs.shape}")
        quality = np.empty(pool.size)
        quality[at] = active_lab(given.astype(np.int64), probs)
        return 1 - quality[pool.candidates]
