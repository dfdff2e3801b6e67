"""REFINE: several strategies shorten the pool step by step, one chooses from what is left.

Huseljic, Herde, Rauch, Hahn & Sick, "Cleaning the Pool: Progressive Filtering of Unlabeled Pools in
Deep Active Learning", CVPR 2026 (arXiv:2511.22344).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from coreset import Pool, Selection, Signals, Strategy
from coreset.core.ranges import check_range
from coreset.numerics.random import keyed_order, salt
from coreset.strategies.baseline.random import Random
from coreset.strategies.combine.parts import Combined, narrow
from coreset.strategies.coverage.maxherding import MaxHerding
from coreset.strategies.coverage.typiclust import TypiClust
from coreset.strategies.coverage.uherding import UHerding
from coreset.strategies.gradient.alfamix import AlfaMix
from coreset.strategies.gradient.badge import Badge
from coreset.strategies.gradient.bait import Bait
from coreset.strategies.gradient.dropquery import DropQuery
from coreset.strategies.uncertainty.margin import Margin


def published_members() -> tuple[Strategy, ...]:
    """Return the nine members of the released code, in its order."""
    return (
        Random(),
        Margin(),
        Badge(),
        Bait(),
        TypiClust(),
        AlfaMix(),
        DropQuery(),
        MaxHerding(),
        UHerding(),
    )


def drawn(
    rng: np.random.Generator, pool: Pool, rows: NDArray[np.int64], size: int
) -> NDArray[np.int64]:
    """Return `size` of `rows` (all where there are fewer) at random, ascending, keyed by id."""
    if size >= len(rows):
        return rows
    return np.sort(rows[keyed_order(rng, pool.ids[rows])[:size]])


def child(rng: np.random.Generator) -> np.random.Generator:
    """Return a generator that one choice may draw from as much as it likes."""
    return np.random.default_rng(salt(rng))


@dataclass(frozen=True)
class Progressive(Combined):
    """Let each member choose batches from random parts of the pool; their union is the next pool.

    members: strategies, each of which chooses batches // len(members) batches of k a step, at least
    one. final: chooses the batch from the last pool. depth: steps; 0 leaves the pool whole. subset:
    candidates in a random part in the first step, afterwards floor(alpha x pool), at least k in
    any. most: candidates that stay after a step at most, drawn at random, at least k. Members
    choose with what is selected in view, not each other. Weights and scores are the final's; info:
    `pools`, the candidates after each step. Time: depth x batches choices of k.

    >>> from coreset import select
    >>> from coreset.strategies.uncertainty.entropy import Entropy
    >>> p = np.array([[0.5, 0.3, 0.2], [0.45, 0.45, 0.1], [0.98, 0.01, 0.01]])
    >>> options = {"members": [Margin(), Entropy()], "final": Margin()}
    >>> chosen = select("progressive", 1, probs=p, options=options)
    >>> chosen.indices.tolist(), chosen.info["pools"][0]
    ([1], 2)
    """

    members: Sequence[Strategy] = field(default_factory=published_members)
    final: Strategy = field(default_factory=UHerding)
    depth: int = 5
    batches: int = 100
    alpha: float = 0.4
    subset: int = 5000
    most: int = 10000

    random = True

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "members", tuple(self.members))
        strange = [type(s).__name__ for s in self.parts if not isinstance(s, Strategy)]
        if strange:
            raise TypeError(
                f"members, final: expected strategies, got {strange}; from Hydra, instantiate with"
                " _convert_='all'"
            )
        if not self.members:
            raise ValueError("members: expected at least one strategy")
        for name, least in (("depth", 0), ("batches", 1), ("subset", 1), ("most", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{name}: expected a whole number from {least} on, got {value!r}")
        check_range("a share in (0, 1]", alpha=self.alpha)

    @property
    def parts(self) -> tuple[Strategy, ...]:
        """Return the members and the final."""
        return (*self.members, self.final)

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Shorten the pool `depth` times, then choose."""
        left, size, pools = pool.candidates, self.subset, []
        for _ in range(self.depth):
            if len(left) <= k:  # every choice would be all of them
                pools.append(len(left))
                continue
            kept = np.zeros(pool.size, bool)
            for member in self.members:
                for _ in range(max(1, self.batches // len(self.members))):
                    part = narrow(pool, drawn(rng, pool, left, max(k, size)))
                    kept[member(part, signals, k, child(rng)).indices] = True
            left = drawn(rng, pool, np.flatnonzero(kept), max(k, self.most))
            size = int(self.alpha * len(left) + 1e-9)
            pools.append(len(left))
        answer = self.final(narrow(pool, left), signals, k, child(rng))
        info = {"pools": pools}
        return Selection(answer.indices, answer.weights, answer.scores, answer.reasons, info=info)
