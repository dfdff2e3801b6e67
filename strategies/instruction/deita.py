"""Deita: the rows with the best product of complexity and quality, none of them too like one taken
before.

Liu, Zeng, He, Jiang & He, "What Makes Good Data for Alignment? A Comprehensive Study of Automatic
Data Selection in Instruction Tuning", ICLR 2024, Algorithm 1 (arXiv:2312.15685). The released
filter compares rows of one batch with rows it rejects, so that its answer hangs on the batch size;
this is its answer for a batch of one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coreset import Pool, Selection, Signals, Strategy
from coreset.core.pool import Indices
from coreset.numerics.neighbors.leader_clustering import leaders
from coreset.numerics.neighbors.semantic import unit_rows
from coreset.numerics.tensors import as_tensor, rows
from coreset.strategies.combine.parts import column_at
from coreset.strategies.instruction.common import by_id

Float = NDArray[np.float64]
VARIANTS = ("similarity", "distance")


def far_apart(features: object, order: Indices, k: int, cut: float) -> Indices:
    """Return places in `order` of the first `k` rows, fewer if there are no more, each with a
    cosine below `cut` to all before it that are returned.

    features (N, D); order (n,): the rows, first come first kept. A row of zeros has no direction
    and is near to none. Looks at about as many rows as it must.

    >>> far_apart(np.array([[1.0, 0.0], [2.0, 0.1], [0.0, 1.0]]), np.arange(3), 3, 0.9)
    array([0, 2])
    """
    size = 0
    kept = np.empty(0, np.int64)
    while len(kept) < k and size < len(order):
        size = min(len(order), max(2 * k, 2 * size))
        x = unit_rows(rows(features, order[:size]).double().cpu().numpy())
        kept = np.flatnonzero(leaders(x, cut) == np.arange(size))
    return kept[:k]


def turn_scores(signals: Signals, name: str, at: Indices) -> list[Float] | Float:
    """Return a column of scores at positions: (n,), or an array per conversation, one score per
    turn.

    Raises ValueError for scores that are negative or not finite, and for what is no list of
    numbers.
    """
    values = column_at(signals, name, at)
    lists = values.dtype == object
    out: list[Float] = []
    for row, value in zip(
        at.tolist() if lists else (), values.tolist() if lists else (), strict=True
    ):
        try:
            own = np.atleast_1d(np.asarray(value, np.float64))
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{name}: expected a score or a list of them, got {value!r} at position {row}"
            ) from error
        if own.ndim != 1 or not len(own) or not np.isfinite(own).all():
            raise ValueError(
                f"{name}: expected finite scores, one per turn, got {value!r} at position {row}"
            )
        out.append(own)
    flat = np.concatenate(out) if lists else values.astype(np.float64)
    if (flat < 0).any():
        raise ValueError(
            f"{name}: expected scores of at least 0, which are multiplied, got {flat.min():g}"
        )
    return out if lists else flat


def products(complexity: list[Float] | Float, quality: list[Float] | Float, at: Indices) -> Float:
    """Return the score of each row (n,): complexity x quality, summed over the turns. at:
    positions, for the message.

    Raises ValueError where a conversation has other numbers of scores in the two.

    >>> products([np.array([1.0, 2.0])], [np.array([3.0, 4.0])], np.array([0])).tolist()
    [11.0]
    """
    if isinstance(complexity, np.ndarray) and isinstance(quality, np.ndarray):
        return complexity * quality
    out = np.empty(len(at))
    for i, (c, q) in enumerate(zip(complexity, quality, strict=True)):
        if np.size(c) != np.size(q):
            raise ValueError(
                f"complexity, quality: expected one score per turn in both, got {np.size(c)} and"
                f" {np.size(q)} at position {int(at[i])}"
            )
        out[i] = (np.atleast_1d(c) * np.atleast_1d(q)).sum()
    return out


@dataclass(frozen=True)
class Deita(Strategy):
    """Take candidates by complexity x quality, highest first, and pass over those too like one
    taken before.

    `complexity` and `quality` (N,): scores of at least 0, or lists of them, one per turn of a
    conversation (`coreset.scorers.language.evol.Evol` writes them): its score is the sum of the
    products of its turns. `features` (N, D): embeddings. variant: `similarity` takes a candidate
    whose cosine to each taken before is at most `threshold` (the authors' code), `distance` one
    whose cosine distance to each exceeds it (the algorithm to the letter, a far stricter filter).
    Where too few are far enough apart the others follow by score; info `filled` says how many.
    Examples already selected play no part. Scores: the products.

    >>> from coreset import select
    >>> x = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]])
    >>> select("deita", 2, complexity=[3.0, 2.0, 1.0], quality=[2.0, 2.0, 2.0], features=x).indices
    array([0, 2])
    """

    variant: str = "similarity"
    threshold: float = 0.9

    needs = frozenset({"complexity", "quality", "features"})

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise ValueError(f"variant: expected {' or '.join(VARIANTS)}, got {self.variant!r}")
        low, high = (-1, 1) if self.variant == "similarity" else (0, 2)
        if not low <= self.threshold < high:
            raise ValueError(
                f"threshold: expected a cosine {self.variant} in [{low}, {high}), got"
                f" {self.threshold}"
            )

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Return the filtered order, then what fills it up."""
        at = by_id(pool)
        complexity, quality = (turn_scores(signals, n, at) for n in ("complexity", "quality"))
        score = products(complexity, quality, at)
        order = np.argsort(-score, kind="stable")
        cut = (
            float(np.nextafter(self.threshold, 2))
            if self.variant == "similarity"
            else 1 - self.threshold
        )
        features = as_tensor(signals.column("features"))
        kept = order[far_apart(features, at[order], k, cut)]
        rest = order[~np.isin(order, kept)][: k - len(kept)]
        picks = np.concatenate([kept, rest])
        return Selection(
            at[picks], scores=score[picks], info={"variant": self.variant, "filled": len(rest)}
        )
