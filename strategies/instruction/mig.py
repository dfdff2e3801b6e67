"""MIG: rows that put most information on a graph of labels, each adding less where much is.

Chen, Li, Hu, Ma, Wang & Chen, "MIG: Automatic Data Selection for Instruction Tuning by Maximizing
Information Gain in Semantic Space", Findings of ACL 2025 (arXiv:2504.13835). The information of a
row is its quality, shared by its tags; it spreads to tags that are like them; a tag that holds x
has (x + 1e-6)^0.8.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from heapq import heapify, heapreplace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from coreset import Pool, Selection, Signals, Strategy
from coreset.strategies.combine.parts import numbers_at
from coreset.strategies.instruction.common import by_id, tags_at

Float = NDArray[np.float64]


def label_graph(
    vectors: NDArray[np.floating], threshold: float = 0.9, spread: float = 1.0
) -> csr_matrix:
    """Return how information spreads between labels (L, L), a column per label that receives.

    vectors (L, D): an embedding per label. Weights are cosines of at least `threshold`, 0 below,
    those between two labels times `spread`; a label without a direction keeps what it has.

    >>> label_graph(np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])).toarray().tolist()
    [[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]
    """
    x = np.asarray(vectors, np.float64)
    length = np.linalg.norm(x, axis=1, keepdims=True)
    x = np.divide(x, length, out=np.zeros_like(x), where=length > 0)
    parts = []
    for start in range(0, len(x), 1024):
        cosine = x[start : start + 1024] @ x.T
        cosine = np.where(cosine >= threshold, cosine, 0.0) * spread
        at = np.arange(len(cosine))
        cosine[at, start + at] = 1.0
        parts.append(csr_matrix(cosine))
    weight = parts[0] if len(parts) == 1 else _stacked(parts)
    total = np.asarray(weight.sum(axis=0)).ravel()
    return csr_matrix(weight.multiply(1 / total))


def _stacked(parts: Sequence[csr_matrix]) -> csr_matrix:
    from scipy.sparse import vstack

    return csr_matrix(vstack(parts))


def information(
    tags: Sequence[Collection[str]], quality: Float, labels: Sequence[str]
) -> csr_matrix:
    """Return the information (n, L) of rows: quality over the number of tags, at each tag.

    >>> information([["a", "b"], []], np.array([3.0, 1.0]), ["a", "b"]).toarray().tolist()
    [[1.5, 1.5], [0.0, 0.0]]
    """
    at = {label: j for j, label in enumerate(labels)}
    start = np.concatenate([[0], np.cumsum([len(own) for own in tags])]).astype(np.int64)
    column = [j for own in tags for j in sorted(at[t] for t in own)]
    size = np.diff(start)
    value = np.repeat(quality / np.maximum(size, 1), size)
    return csr_matrix((value, np.array(column, np.int64), start), shape=(len(tags), len(labels)))


def greedy_information(
    info: csr_matrix, k: int, power: float = 0.8, offset: float = 1e-6
) -> tuple[list[int], Float]:
    """Return the `k` rows taken, in order, and the gain of each: its information times slopes.

    info (n, L), at least 0. The slope at x is power (x + offset)^(power - 1); what is taken is
    added to the labels. Ties go to the first row. Slopes only fall, so an old gain bounds a new
    one, and few are computed again.

    >>> greedy_information(csr_matrix(np.array([[2.0, 0.0], [1.9, 0.0], [0.0, 0.2]])), 2)[0]
    [0, 2]
    """
    held = np.zeros(info.shape[1])

    def gain(i: int) -> float:
        own = slice(info.indptr[i], info.indptr[i + 1])
        slope = power * (held[info.indices[own]] + offset) ** (power - 1)
        return float((info.data[own] * slope).sum())

    bounds = [(-gain(i), i) for i in range(info.shape[0])]
    heapify(bounds)
    picks: list[int] = []
    gains: list[float] = []
    while len(picks) < k:
        i = bounds[0][1]
        now = gain(i)
        if -now > bounds[0][0]:
            heapreplace(bounds, (-now, i))
            continue
        picks.append(i)
        gains.append(now)
        own = slice(info.indptr[i], info.indptr[i + 1])
        held[info.indices[own]] += info.data[own]
        heapreplace(bounds, (np.inf, i))
    return picks, np.array(gains)


@dataclass(frozen=True)
class Mig(Strategy):
    """Take, again and again, the candidate that adds most information to tags and those like them.

    `tags` (N,): a list of texts per example, each counted once; `quality` (N,): a score of at
    least 0. encoder: the sentence encoder of the tags (an asset such as `minilm`, a folder or a
    name), by which tags of a cosine of at least `threshold` share information, `spread` times as
    much as with themselves; None: a tag is like itself alone. power, offset: of the information
    (x + offset)^power of a tag that holds x. Candidates without tags or quality come last, by id;
    info `filled` says how many were needed. Ties go to the lowest id. Examples already selected
    play no part. Scores: the gains.

    >>> from coreset import select
    >>> select("mig", 2, tags=[["a"], ["a"], ["b"]], quality=[3.0, 2.9, 1.0]).indices
    array([0, 2])
    """

    encoder: str | None = None
    threshold: float = 0.9
    spread: float = 1.0
    power: float = 0.8
    offset: float = 1e-6

    needs = frozenset({"tags", "quality"})

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1 or not 0 <= self.spread < np.inf:
            raise ValueError(
                "threshold, spread: expected a cosine in (0, 1] and a number of at least 0, "
                f"got {self.threshold} and {self.spread}"
            )
        if not 0 < self.power < 1 or not 0 < self.offset < np.inf:
            raise ValueError(
                f"power, offset: expected a number in (0, 1) and one above 0, got {self.power},"
                f" {self.offset}"
            )

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Return the greedy order."""
        at = by_id(pool)
        tags = tags_at(signals, at)
        quality = numbers_at(signals, "quality", at)
        if (quality < 0).any():
            raise ValueError(f"quality: expected scores of at least 0, got {quality.min():g}")
        labels = sorted(frozenset().union(*tags))
        info = information(tags, quality, labels)
        if self.encoder is not None and labels:
            from coreset.scorers.text.embedding import encode_texts

            graph = label_graph(encode_texts(labels, self.encoder), self.threshold, self.spread)
            info = csr_matrix(info @ graph)
            info.sort_indices()
        picks, gains = greedy_information(info, k, self.power, self.offset)
        return Selection(
            at[picks], scores=gains, info={"labels": len(labels), "filled": int((gains <= 0).sum())}
        )
