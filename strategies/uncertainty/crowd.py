"""Labels of several annotators and one classifier: consensus, its quality, what each is worth.

CROWDLAB: Goh, Tkachenko & Mueller, "CROWDLAB: Supervised learning to infer consensus labels and
quality scores for data with multiple annotators", 2022 (arXiv:2210.06812).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAST = 1e-6  # weights and the error of the baseline are kept from falling to zero
TINY = 1e-30  # probabilities below this are taken for it before a logarithm
TEMPERATURES = (0.1, 0.2, 0.5, 0.8, 1.0, 2.0, 3.0, 5.0, 8.0)


@dataclass(frozen=True, eq=False)
class Crowd:
    """Consensus of n labeled examples: labels (n,), quality (n,) in [0, 1], and weights.

    model: weight of the classifier; annotators (M,): theirs; temperature: of the classifier.
    """

    consensus: NDArray[np.int64]
    quality: NDArray[np.float64]
    model: float
    annotators: NDArray[np.float64]
    temperature: float


def tempered(probs: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """Return softmax(ln(probs) / temperature), (n, K), probabilities kept from zero first.

    >>> tempered(np.array([[0.2, 0.8]]), 0.5).round(6).tolist()
    [[0.058824, 0.941176]]
    """
    z = np.log(np.clip(probs, TINY, None)) / temperature
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


def label_counts(labels: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """Return how many annotators gave each class, (n, K); labels (n, M), -1 = none given."""
    return np.stack([(labels == c).sum(axis=1) for c in range(classes)], axis=1)


def fitted_temperature(counts: NDArray[np.int64], probs: NDArray[np.float64]) -> float:
    """Return the temperature that brings `probs` (n, K) nearest, in cross-entropy, to label shares.

    counts (n, K), at least one a row. Searched as in the released code: nine values from 0.1 to 8,
    then steps of a quarter of the way to the neighbors of the best.
    """
    shares = counts / counts.sum(axis=1, keepdims=True)

    def best(values: list[float]) -> int:
        losses = [-(shares * np.log(tempered(probs, t).clip(TINY))).sum() for t in values]
        return int(np.argmin(losses))

    coarse = list(TEMPERATURES)
    at = best(coarse)
    fine: list[float] = []
    if at > 0:
        fine += np.linspace(coarse[at - 1], coarse[at], 4, endpoint=False).tolist()
    if at < len(coarse) - 1:
        fine += np.linspace(coarse[at], coarse[at + 1], 5).tolist()
    return float(fine[best(fine)])


def majority(
    labels: NDArray[np.int64], counts: NDArray[np.int64], probs: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Return the class most annotators gave, (n,).

    Ties go to the class the classifier holds likelier, then to the one given least often in all,
    then to that of the annotators who agree most with the untied majorities, then to the lowest.

    >>> y = np.array([[0, 1], [1, 1]])
    >>> majority(y, label_counts(y, 2), np.array([[0.6, 0.4], [0.5, 0.5]])).tolist()
    [0, 1]
    """
    open_ = counts == counts.max(axis=1, keepdims=True)
    clear = open_.sum(axis=1) == 1

    def narrow(values: NDArray[np.float64]) -> None:
        """Keep of each row's open classes those of the highest value."""
        best = np.where(open_, values, -np.inf).max(axis=1, keepdims=True)
        np.logical_and(open_, values == best, out=open_)

    first = counts.argmax(axis=1)
    narrow(probs)
    narrow(np.broadcast_to(-counts.sum(axis=0).astype(np.float64), counts.shape))
    given = labels[clear] >= 0
    agree = (labels[clear] == first[clear, None]) & given
    times = given.sum(axis=0)
    known = times > 0
    rate = agree.sum(axis=0) / np.maximum(times, 1)
    rate[~known] = rate[known].mean() if known.any() else 1.0
    mine = np.stack([((labels == c) * rate).sum(axis=1) for c in range(counts.shape[1])], axis=1)
    narrow(mine / np.maximum(counts, 1))
    return np.asarray(open_.argmax(axis=1))


def crowdlab(labels: NDArray[np.int64], probs: NDArray[np.float64]) -> Crowd:
    """Return the consensus of annotators and classifier on n examples with at least one label each.

    labels (n, M) classes, -1 = none given; probs (n, K), K >= 2, of examples the classifier did not
    train on. The consensus label is the likeliest under the weighted mean of the classifier's
    probabilities (calibrated) and the annotators' labels, its quality that probability. An
    annotator weighs 1 - (disagreement with others) / (error of the commonest class), the classifier
    1 - (disagreement with the majority) / (the same), times the root of the mean number of labels.
    Where nobody labeled what another did, labels are the consensus, and all weigh 1. Raises
    ValueError for an example without labels and for a class outside 0..K-1.
    """
    n, classes = probs.shape
    if classes < 2:
        raise ValueError(f"probs: a consensus needs at least two classes, got shape ({n}, 1)")
    if labels.ndim != 2 or len(labels) != n or labels.min() < -1 or labels.max() >= classes:
        raise ValueError(
            f"labels: expected shape ({n}, M) of classes 0..{classes - 1} or -1, got "
            f"{labels.shape} of {labels.min()}..{labels.max()}"
        )
    given = labels >= 0
    times = given.sum(axis=1)
    if not times.all():
        raise ValueError(f"labels: {int((times == 0).sum())} of {n} examples have no label")
    counts = label_counts(labels, classes)
    if (times == 1).all():
        only = counts.argmax(axis=1)
        return Crowd(only, probs[np.arange(n), only], 1.0, np.ones(labels.shape[1]), 1.0)
    temperature = fitted_temperature(counts, probs)
    p = tempered(probs, temperature)
    vote = majority(labels, counts, p)
    posterior, _, _ = _posterior(labels, counts, p, vote)
    best = posterior.argmax(axis=1)
    tied = (posterior == posterior.max(axis=1, keepdims=True)).sum(axis=1) > 1
    consensus = np.where(tied, vote, best)
    posterior, model, annotators = _posterior(labels, counts, p, consensus)
    return Crowd(consensus, posterior[np.arange(n), consensus], model, annotators, temperature)


def _posterior(
    labels: NDArray[np.int64],
    counts: NDArray[np.int64],
    probs: NDArray[np.float64],
    consensus: NDArray[np.int64],
) -> tuple[NDArray[np.float64], float, NDArray[np.float64]]:
    """Return the weighted mean (n, K), the classifier's weight and the annotators' (M,)."""
    n, classes = probs.shape
    given = labels >= 0
    times = given.sum(axis=1)
    several = times > 1
    likely = float((counts[np.arange(n), consensus] / times)[several].mean())
    unlikely = (1 - likely) / (classes - 1)
    commonest = np.bincount(consensus[several], minlength=classes).argmax()
    baseline = max(LEAST, float((consensus[several] != commonest).mean()))
    same = np.take_along_axis(counts, np.maximum(labels, 0), axis=1) - 1  # others who gave it too
    others = np.where(given, times[:, None] - 1, 0).sum(axis=0)
    met = others > 0
    agreement = np.where(given, same, 0).sum(axis=0) / np.maximum(others, 1)
    agreement[~met] = agreement[met].mean()
    weights = np.maximum(LEAST, 1 - (1 - agreement) / baseline)
    error = float((probs.argmax(axis=1) != consensus)[several].mean())
    model = max(LEAST, 1 - error / baseline) * float(np.sqrt(times.mean()))
    total = np.where(given, weights, 0).sum(axis=1)
    out = probs * model + (total * unlikely)[:, None]
    for c in range(classes):
        out[:, c] += (np.where(labels == c, weights, 0)).sum(axis=1) * (likely - unlikely)
    return out / (model + total)[:, None], model, weights
