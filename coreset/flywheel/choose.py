"""The batch to label: quotas for the weak slices, a fixed random share, and the control's rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset import registry
from coreset.core.budget import Budget
from coreset.core.pool import Pool
from coreset.core.signals import Signals
from coreset.flywheel.overruled import SLICE
from coreset.flywheel.stage import Artifact, Turn
from coreset.numerics.quota import largest_remainder
from coreset.numerics.random import keyed_order


@dataclass(frozen=True)
class Choose:
    """Spend the turn's budget: `relabel` of it is kept for second labels, `random` of the rest goes
    to rows drawn from the whole pool, what remains to the weak slices in proportion to the errors
    that they have above the rest.

    Within a slice `strategy` (a registered one, with `options`) takes rows out of the best
    `oversample` times its quota of candidates; it may read their scores as the signal `mined`
    (`top_k` with `signal: mined` takes them in that order). Costs are never overrun; what a slice
    cannot use goes to the others, and a shortfall is reported. Without a weak slice the batch is an audit of
    `random` of the budget, drawn from the whole pool. The control arm is drawn here too: random
    rows of the whole clean pool for the same cost. Rows that people have pinned are bought first,
    within the budget; those they keep come on top of it.
    """

    strategy: str = "uherding"
    options: Mapping[str, Any] = field(default_factory=dict)
    random: float = 0.1
    relabel: float = 0.25
    oversample: float = 3.0

    def __post_init__(self) -> None:
        for name in ("random", "relabel"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}: expected a share in [0, 1), got {getattr(self, name)}")
        if self.oversample < 1:
            raise ValueError(f"oversample: expected at least 1, got {self.oversample}")

    def run(self, turn: Turn) -> Artifact:
        """Return the batch (id, slice, reason, score),
        the control's rows and what was asked for.
        """
        data = turn.data
        reserve = self.relabel * turn.budget
        pinned, kept = (_wanted(turn, ids) for ids in (turn.overruled.pinned, turn.overruled.kept))
        extra = float(data.costs[kept].sum())  # type: ignore[index]
        first = float(data.costs[pinned].sum())  # type: ignore[index]
        spend = turn.budget - reserve - first
        if spend < 0:
            raise ValueError(
                f"overrules: the pinned rows cost {first:g}, the turn may spend"
                f" {turn.budget - reserve:g} on the batch"
            )
        clean = data.where(turn.table("mine", "clean")["id"])
        weak = turn.facts("diagnose")["weak"]
        mined = turn.table("mine", "candidates")
        slices = mined["slice"].astype(str)
        taken = [*pinned.tolist(), *kept.tolist()]
        lines: list[tuple[str, str, str, float]] = [
            (str(data.ids[r]), SLICE, turn.overruled.said[str(data.ids[r])], 0.0) for r in taken
        ]
        quotas: dict[str, dict[str, float]] = {}
        if weak and len(mined["id"]):
            places = data.where(mined["id"])
            weights = [max(w["excess"], 1e-9) * w["rows"] for w in weak]
            money = (1 - self.random) * spend
            for w, share in zip(weak, _split(weights, money), strict=True):
                own = slices == w["name"]
                rows, scores, why = places[own], mined["score"][own], mined["why"][own]
                keep = ~np.isin(rows, taken)
                rows, scores, why = rows[keep], scores[keep], why[keep]
                chosen = self._pick(turn, rows, scores, share, w["name"]) if len(rows) else []
                for i in chosen:
                    taken.append(int(rows[i]))
                    lines.append((str(data.ids[rows[i]]), w["name"], str(why[i]), float(scores[i])))
                quotas[w["name"]] = {
                    "asked": share,
                    "cost": float(data.costs[rows[chosen]].sum()) if chosen else 0.0,  # type: ignore[index]
                    "rows": len(chosen),
                }
        order = clean[keyed_order(turn.rng("choose", 1), data.ids[clean])]
        audit = _afford(turn, order[~np.isin(order, taken)], self.random * spend)
        lines += [(str(data.ids[r]), "", "random share", 0.0) for r in audit]
        control = _afford(
            turn, clean[keyed_order(turn.rng("choose", 2), data.ids[clean])], turn.budget + extra
        )
        bought = sum(q["cost"] for q in quotas.values()) + float(data.costs[audit].sum())  # type: ignore[index, operator]
        facts = {
            "budget": turn.budget,
            "reserve": reserve,
            "cost": bought + first + extra,
            "rows": len(lines),
            "overruled": len(pinned) + len(kept),
            "random": len(audit),
            "quotas": quotas,
            "shortfall": max(0.0, spend - bought) if weak else 0.0,
            "strategy": self.strategy,
        }
        names = ("id", "slice", "reason", "score")
        batch = (
            dict(zip(names, zip(*lines, strict=True), strict=True))
            if lines
            else {n: () for n in names}
        )
        return Artifact(facts, {"batch": batch, "control": {"id": data.ids[control]}})

    def _pick(
        self,
        turn: Turn,
        rows: NDArray[np.int64],
        scores: NDArray[np.float64],
        money: float,
        name: str,
    ) -> list[int]:
        """Return places in `rows` (best first) that a slice's money pays for, by the strategy."""
        costs = turn.data.costs
        assert costs is not None
        own = costs[rows]
        budget = Budget({"costs": money + 1e-9})
        most = budget.most({"costs": own})
        if not most:
            return []
        short = np.arange(min(len(rows), int(np.ceil(self.oversample * most))))
        part = registry.strategy(self.strategy, self.options)
        columns: dict[str, Any] = {
            "features": turn.data.features[rows[short]],
            "mined": np.asarray(scores, np.float64)[short],
        }
        reads = (part.needs | part.needs_selected) - set(columns)
        if reads:
            columns |= turn.trainings.signals(
                turn.version, turn.seeds[0], rows[short], sorted(reads)
            )
        ids = turn.data.ids[rows[short]]
        k = len(short) if (own != own[0]).any() else min(most, len(short))
        answer = part(
            Pool(len(short), ids=ids),
            Signals(len(short), **columns),
            k,
            turn.rng("choose", len(name)),
        )
        kept, _ = budget.walk({"costs": own[answer.indices]}, "fill")
        chosen: list[int] = answer.indices[kept].tolist()
        return chosen


def _wanted(turn: Turn, ids: Sequence[str]) -> NDArray[np.int64]:
    """Return the positions of ids that the version in force does not hold, in order."""
    inside = set(turn.version.ids.tolist())
    new = [k for k in ids if k not in inside]
    return turn.data.where(new) if new else np.empty(0, np.int64)


def _split(weights: list[float], money: float) -> list[float]:
    """Return whole shares of the money in proportion to weights; the remainder to the largest."""
    whole = int(money)
    return [float(v) for v in largest_remainder(weights, whole)] if whole else [0.0] * len(weights)


def _afford(turn: Turn, rows: NDArray[np.int64], money: float) -> NDArray[np.int64]:
    """Return the rows, in their order, that the money pays for."""
    costs = turn.data.costs
    assert costs is not None
    kept, _ = Budget({"costs": money + 1e-9}).walk({"costs": costs[rows]}, "fill")
    return rows[kept]
