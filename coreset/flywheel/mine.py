"""Candidates for the weak slices, out of the unlabeled pool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from coreset import registry
from coreset.core.pool import Pool
from coreset.core.signals import Signals
from coreset.flywheel.leaks import find_leaks
from coreset.flywheel.slices import Members, Slice
from coreset.flywheel.stage import Artifact, Turn
from coreset.numerics.neighbors.nearest import knn


@dataclass(frozen=True)
class Mine:
    """Rank the pool for every weak slice, after taking out what leaks from the frozen examples.

    A row's score for a slice is the share of its `neighbors` nearest development examples that lie
    in the slice; where the pool's own metadata tell, they decide (1 or 0). Rows of at least `least`
    are candidates, the best `most` of each slice, at most `per_group` of one group. strategy: a
    registered strategy that reads the column `query` (such as `flqmi`, `gcmi`) ranks them instead:
    its queries are the slice's development examples that the model gets wrong. look_alikes: share
    of a class slice's candidates taken as hard negatives: nearest to examples that the model takes
    for that class and that are of another. near: see `coreset.flywheel.leaks`; every flag is in
    the table `leaks`, whatever its outcome.
    """

    neighbors: int = 10
    least: float = 0.3
    most: int = 2000
    per_group: int | None = None
    strategy: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    look_alikes: float = 0.0
    near: float = 0.25

    def run(self, turn: Turn) -> Artifact:
        """Return the candidates by slice, the funnel and the leaks."""
        data = turn.data
        pool = data.at("pool")
        free = pool[~np.isin(data.ids[pool], turn.version.ids)]
        leaks = find_leaks(data, free, self.near, turn.allowed)
        flagged = [i for i, ok in zip(leaks["id"], leaks["allowed"], strict=True) if not ok]
        clean = free[~np.isin(data.ids[free], flagged)]
        turn.overruled.wanted(data, set(turn.version.ids.tolist()), clean)
        out_of_it = np.isin(data.ids[clean], sorted(turn.overruled.dropped))
        clean = clean[~out_of_it]
        weak = {w["name"]: w for w in turn.facts("diagnose")["weak"]}
        slices = [s for s in turn.slices if s["name"] in weak]
        out: dict[str, list[Any]] = {"id": [], "slice": [], "score": [], "why": []}
        counts = {}
        if len(clean):
            for one, rows, scores, why in self._ranked(turn, clean, slices):
                counts[one["name"]] = len(rows)
                out["id"] += data.ids[rows].tolist()
                out["slice"] += [one["name"]] * len(rows)
                out["score"] += scores.tolist()
                out["why"] += why
        facts = {
            "pool": len(pool),
            "free": len(free),
            "leaks": len(flagged),
            "allowed": len(leaks["id"]) - len(flagged),
            "clean": len(clean),
            "overruled": int(out_of_it.sum()),
            "candidates": counts,
        }
        return Artifact(
            facts, {"candidates": out, "leaks": leaks, "clean": {"id": data.ids[clean]}}
        )

    def _ranked(self, turn: Turn, clean: NDArray[np.int64], slices: Sequence[Slice]) -> Any:
        """Yield slice, candidates (best first), scores and words why, for every weak slice."""
        data, trainings = turn.data, turn.trainings
        at = trainings.of_role("dev")
        dev = trainings.rows[at]
        members = Members(data, turn.slices, dev)
        errors = trainings.errors(turn.version, turn.seeds)[:, at].mean(axis=0)
        columns = {n: c[at] for n, c in trainings.columns(turn.version, turn.seeds[0]).items()}
        predicted = turn.measure.predicted(columns)
        x = torch.from_numpy(np.ascontiguousarray(data.features[dev]))
        queries = torch.from_numpy(np.ascontiguousarray(data.features[clean]))
        index = knn(x, min(self.neighbors, len(dev)), queries)[1].numpy()
        told = self._told(turn, dev)
        for one in slices:
            inside = members.of(one)
            scores = inside[index].mean(axis=1)
            why = np.full(len(clean), f"near the slice {one['name']}", object)
            if one["kind"] == "metadata":
                values = data.metadata[one["column"]][clean]
                scores = np.where(values == "", scores, values == one["value"])
                why[values == one["value"]] = f"metadata {one['name']}"
            scores = np.maximum(scores, np.isin(data.ids[clean], told.get(one["name"], ())))
            if self.strategy is not None:
                wrong = inside & (errors > np.median(errors[inside]))
                asked = dev[wrong if wrong.any() else inside]
                scores = self._by_strategy(turn, clean, asked, scores)
            order = np.lexsort((clean, -scores))
            order = order[scores[order] >= self.least]
            order = self._capped(order, turn, clean)[: self.most]
            if self.look_alikes and one["kind"] == "class" and predicted is not None:
                false = (predicted == one["labels"][0]) & (members.labels != one["labels"][0])
                extra = false[index].mean(axis=1)
                many = int(self.look_alikes * len(order))
                best = np.lexsort((clean, -extra))
                best = best[(extra[best] > 0) & ~np.isin(best, order)][:many]
                why[best] = f"look-alike of a false positive of {one['name']}"
                scores = scores.copy()
                scores[best] = extra[best]
                order = np.concatenate([order[: len(order) - len(best)], best])
            yield one, clean[order], scores[order], why[order].tolist()

    def _told(self, turn: Turn, dev: NDArray[np.int64]) -> dict[str, list[str]]:
        """Return the ids that users corrected to a class, by the slice of that class."""
        rows = turn.table("observe", "observations")
        told: dict[str, list[str]] = {}
        for name, correction in zip(rows["id"], rows["correction"], strict=True):
            if correction:
                told.setdefault(f"class={correction}", []).append(str(name))
        return told

    def _by_strategy(
        self,
        turn: Turn,
        clean: NDArray[np.int64],
        asked: NDArray[np.int64],
        scores: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Return scores in (0, 1] by the order in which a query strategy takes the candidates that
        come near the slice at all; the others keep 0.
        """
        near = np.flatnonzero(scores > 0)
        out = np.zeros(len(clean))
        if not len(near):
            return out
        rows = np.concatenate([clean[near], asked])
        query = np.arange(len(rows)) >= len(near)
        columns = Signals(len(rows), features=turn.data.features[rows], query=query)
        pool = Pool(len(rows), candidates=np.arange(len(near)))
        many = min(self.most, len(near))
        part = registry.strategy(str(self.strategy), self.options)
        chosen = part(pool, columns, many, turn.rng("mine")).indices
        out[near[chosen]] = 1 - np.arange(many) / (many + 1)
        return np.where(out > 0, np.maximum(out, self.least), 0.0)

    def _capped(
        self, order: NDArray[np.int64], turn: Turn, clean: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        if self.per_group is None:
            return order
        groups = turn.data.groups
        assert groups is not None
        taken: dict[str, int] = {}
        kept = []
        for i in order.tolist():
            group = str(groups[clean[i]])
            if not group or taken.get(group, 0) < self.per_group:
                taken[group] = taken.get(group, 0) + 1
                kept.append(i)
        return np.array(kept, np.int64)
