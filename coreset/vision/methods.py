"""Strategies that only make sense for images with objects in them: random among the foreground, any
strategy over crops, and a policy for images without.

Random with a share of foreground is the baseline that dense active learning has to beat: Lueth et
al., "nnActive", TMLR 2025; the share is a parameter.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np

from coreset import registry
from coreset.core.pool import Indices, Pool
from coreset.core.ranges import check_range
from coreset.core.selection import Selection
from coreset.core.signals import Signals
from coreset.core.strategy import Strategy
from coreset.numerics.classes import interleave
from coreset.numerics.random import keyed_order
from coreset.vision.aggregate import empty_policy
from coreset.vision.boxes import Detections


def narrow(pool: Pool, candidates: Indices, selected: Indices | None = None) -> Pool:
    """Return `pool` with other candidates (sorted positions, trusted) and, where given, other
    positions taken; O(1).
    """
    other = copy.copy(pool)
    object.__setattr__(other, "candidates", candidates)
    if selected is not None:
        object.__setattr__(other, "selected", selected)
    return other


@dataclass(frozen=True)
class RandomForeground(Strategy):
    """Random, but `share` of the choice has something in it: candidates whose column `foreground`
    (N,) is above 0, as far as there are any.

    >>> from coreset import select
    >>> sorted(select(RandomForeground(1.0), 2, foreground=[0.0, 3.0, 0.0, 1.0]).indices.tolist())
    [1, 3]
    """

    share: float = 2 / 3

    needs = frozenset({"foreground"})
    greedy = False
    random = True

    def __post_init__(self) -> None:
        check_range("a number in [0, 1]", share=self.share)

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Return both parts, mixed."""
        column = np.asarray(signals.at("foreground", pool.candidates))
        if column.ndim != 1:
            raise ValueError(
                f"foreground: expected shape (N,), one number per image, got {column.ndim}"
                " dimensions"
            )
        ids = pool.ids[pool.candidates]
        first, second = (
            keyed_order(rng, ids),
            keyed_order(rng, ids),
        )  # one order for both would leave the rest short of foreground
        sure = first[column[first] > 0][: int(self.share * k + 0.5)]
        rest = second[~np.isin(second, sure)][: k - len(sure)]
        mixed = np.concatenate([sure, rest])[interleave([len(sure), len(rest)])]
        return Selection(pool.candidates[mixed], info={"foreground": len(sure)})


@dataclass(frozen=True, eq=False)
class OverCrops(Strategy):
    """Run `base` over boxes instead of images, and take images in the order in which a first box of
    theirs is chosen.

    detections: aligned with the pool (`Detections.align`); the base reads its `features` and
    `probs`. Crops of selected images count as selected. Images without a box come last, at random.
    scores: those of the box that brought the image.
    """

    base: Strategy
    detections: Detections

    needs = frozenset[str]()
    greedy = False
    random = True

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Ask for more and more boxes until they lie in `k` images."""
        detections = self.detections
        if not np.array_equal(detections.ids, pool.ids):
            raise ValueError(
                f"{detections.source}: its {len(detections.ids)} images are not the pool's"
                f" {pool.size} in their order; call align(pool) first"
            )
        free = np.flatnonzero(np.isin(detections.image, pool.candidates))
        images = detections.image[free]
        wanted = min(k, len(np.unique(images)))
        crops = Pool(
            max(1, len(detections)), np.flatnonzero(np.isin(detections.image, pool.selected)), free
        )
        columns = {
            name: v
            for name in ("features", "probs")
            if (v := getattr(detections, name)) is not None
        }
        picks, scores, seed, ask = (
            np.empty(0, np.int64),
            None,
            int(rng.integers(2**63)),
            min(wanted, len(free)),
        )
        while wanted:
            answer = self.base(
                crops, Signals(len(detections), **columns), ask, np.random.default_rng(seed)
            )
            chosen, first = np.unique(detections.image[answer.indices], return_index=True)
            if len(chosen) >= wanted or ask == len(free):
                first = np.sort(first)[:wanted]
                picks, scores = (
                    detections.image[answer.indices][first],
                    None if answer.scores is None else answer.scores[first],
                )
                break
            ask = min(len(free), 2 * ask)
        bare = np.setdiff1d(pool.candidates, images)
        filler = (
            registry.strategy("random")(narrow(pool, bare), signals, k - wanted, rng).indices
            if k > wanted
            else np.empty(0, np.int64)
        )
        return Selection(
            np.concatenate([picks, filler]),
            scores=None if len(filler) else scores,
            info={"crops": ask, "without_crops": len(filler)},
        )


@dataclass(frozen=True, eq=False)
class WithEmpty(Strategy):
    """Run `base`, and deal with images in which nothing was found (column `empty` (N,) above 0) by
    a policy of `ImageScores`.

    exclude: they are no candidates; quota:0.05: that share of the choice is drawn at random among
    them, more where there are too few others; last and first leave it to the scores.

    >>> from coreset import registry, select
    >>> top = registry.strategy("top_k", {"signal": "u"})
    >>> select(WithEmpty(top, "exclude"), 2, u=[9.0, 1.0, 3.0], empty=[1.0, 0.0, 0.0]).indices
    array([2, 1])
    """

    base: Strategy
    policy: str

    greedy = False
    random = True

    def __post_init__(self) -> None:
        empty_policy(self.policy)
        object.__setattr__(self, "needs_selected", self.base.needs_selected)

    @property
    def needs(self) -> frozenset[str]:
        """Return what the base needs, and `empty`."""
        return self.base.needs | {"empty"}

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Return both parts, mixed. Raises ValueError when `exclude` leaves too few."""
        name, share = empty_policy(self.policy)
        if name in ("last", "first"):
            return self.base.select(pool, signals, k, rng)
        empty = np.asarray(signals.at("empty", pool.candidates)) > 0
        bare, rest = pool.candidates[empty], pool.candidates[~empty]
        if name == "exclude" and len(rest) < k:
            raise ValueError(
                f"{k} images asked for, but something was found in only {len(rest)} of"
                f" {len(empty)}: policy exclude leaves no more"
            )
        n = 0 if name == "exclude" else max(min(len(bare), int(share * k + 0.5)), k - len(rest))
        parts = [
            strategy(narrow(pool, members), signals, count, rng)
            for strategy, members, count in (
                (self.base, rest, k - n),
                (registry.strategy("random"), bare, n),
            )
            if count
        ]
        order = interleave([len(a) for a in parts])
        scores = None
        if parts[0].scores is not None and n < k:
            scores = np.concatenate([parts[0].scores, np.full(n, np.nan)])[order]
        return Selection(
            np.concatenate([a.indices for a in parts])[order], scores=scores, info={"empty": n}
        )
