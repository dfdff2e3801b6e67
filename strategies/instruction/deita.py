"""Deita: the rows with the best product of complexity and quality, none of them too like one taken before.

Liu, Zeng, He, Jiang & He, "What Makes Good Data for Alignment? A Comprehensive Study of Automatic Data Selection in Instruction Tuning", ICLR 2024, Algorithm 1
(arXiv:2312.15685). The released filter compares rows of one batch with rows it rejects, so that its answer hangs on the batch size; this is its answer for a batch of one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from coreset import Pool, Selection, Signals, Strategy
from coreset.numerics.leaders import leaders
from coreset.numerics.semantic import unit_rows
from coreset.numerics.tensors import as_tensor, rows
from coreset.types import Indices
from strategies.combine.parts import column_at
from strategies.instruction.common import by_id

VARIANTS = ("similarity", "distance")


def far_apart(features: object, order: Indices, k: int, cut: float) -> Indices:
    """Return places in `order` of the first `k` rows, fewer if there are no more, each with a cosine below `cut` to all before it that are returned.

    features (N, D); order (n,): the rows, first come first kept. A row of zeros has no direction and is near to none. Looks at about as many rows as it must.

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


@dataclass(frozen=True)
class Deita(Strategy):
    """Take candidates by complexity x quality, highest first, and pass over those too like one taken before.

    `complexity` and `quality` (N,): scores of at least 0; of a conversation, put the sum of the products of its turns into one and ones into the other. `features` (N, D):
    embeddings. variant: `similarity` takes a candidate whose cosine to each taken before is at most `threshold` (the authors' code), `distance` one whose cosine distance
    to each exceeds it (the algorithm to the letter, a far stricter filter). Where too few are far enough apart the others follow by score; info `filled` says how many.
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
            raise ValueError(f"threshold: expected a cosine {self.variant} in [{low}, {high}), got {self.threshold}")

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Return the filtered order, then what fills it up."""
        at, score = by_id(pool), np.ones(len(pool.candidates))
        for name in ("complexity", "quality"):
            values = column_at(signals, name, at).astype(np.float64)
            if (values < 0).any():
                raise ValueError(f"{name}: expected scores of at least 0, which are multiplied, got {values.min():g}")
            score *= values
        order = np.argsort(-score, kind="stable")
        cut = float(np.nextafter(self.threshold, 2)) if self.variant == "similarity" else 1 - self.threshold
        features = as_tensor(signals.column("features"))
        kept = order[far_apart(features, at[order], k, cut)]
        rest = order[~np.isin(order, kept)][: k - len(kept)]
        picks = np.concatenate([kept, rest])
        return Selection(at[picks], scores=score[picks], info={"variant": self.variant, "filled": len(rest)})
