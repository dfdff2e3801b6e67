"""Any strategy of this project over any columns, as the operator of a recipe that chooses under a
budget.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from coreset.core.batch import Batch
from coreset.core.budget import Budget, budget_size
from coreset.core.pool import Pool
from coreset.core.signals import Signals
from coreset.core.strategy import Strategy
from coreset.curation.operators.base import Decision, Selector
from coreset.curation.operators.threshold import undefined_reasons
from coreset.curation.operators.two_rounds import in_rounds
from coreset.registry import load, names, resolve_parts
from coreset.two_rounds import TwoRounds, has_rounds, rounds_of


@dataclass(frozen=True)
class Select(Selector):
    """Keep what `strategy` chooses: `budget` rows (a count), or a share of all rows read; all that
    are left, when those are fewer or budget is None.

    columns: which column stands for a signal of the strategy, {signal: column}; a signal not named
    there is the column of its own name. cost: a column, such as tokens; the budget is then a sum of
    it (or a share of its sum over the rows left), which is never overrun: rows are taken in the
    order of the strategy, which must be greedy, up to the first that does not fit; a submodular one
    weighs gain against cost itself (`within`). partitions: choose in two rounds, first in each of
    so many partitions (by a hash of the ids), then in the union of their choices: no machine ever
    holds more than one partition and the union, of `partitions` times the budget. Of strategies
    with `TwoRounds`; the guarantee by name and the measured certificate stand in the manifest, as
    `rounds`. Rows in which a column is undefined are no candidates and are dropped, and so are
    those that a strategy takes only to fill the budget up (info `filled`). pinned: ids that are
    taken first, in this order; the strategy chooses the rest beside them, and all of them count in
    the budget, those dropped before too. Gives `rank` (0 = chosen first, -1 = not chosen) and
    `gain`, what it was chosen by, where the strategy has a finite number for it.
    """

    gives = frozenset({"rank", "gain", "gain_status"})

    strategy: Strategy
    budget: int | float | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    cost: str | None = None
    seed: int = 0
    partitions: int | None = None
    pinned: Sequence[str] = ()

    def __post_init__(self) -> None:
        resolve_parts(self)
        if self.partitions is not None:
            self._check_rounds()
            if self.pinned:
                raise ValueError("pinned: two rounds pin no rows; leave out partitions")
        if self.cost is not None and not self.strategy.greedy:
            raise ValueError(
                f"cost: {type(self.strategy).__name__} is not greedy: its answer for a smaller"
                " budget is not the beginning of a larger one's"
            )
        unknown = set(self.columns) - self.strategy.needs - self.strategy.needs_selected
        if unknown:
            wanted = ", ".join(sorted(self.strategy.needs)) or "none"
            raise ValueError(
                f"columns: {type(self.strategy).__name__} reads no signal {sorted(unknown)}; it"
                f" reads {wanted}"
            )

    @property
    def needs(self) -> frozenset[str]:
        """Return the columns that stand for the strategy's signals, and the cost."""
        return frozenset(self.columns.get(s, s) for s in self.strategy.needs) | (
            {self.cost} if self.cost else set()
        )

    def check(self, total: int) -> None:
        """Raise ValueError or TypeError for a budget that is no count up to `total` and no
        share.
        """
        if self.budget is not None and self.cost is None:
            k = budget_size(self.budget, total)
            if len(self.pinned) > k:
                raise ValueError(f"budget: {k} rows, but {len(self.pinned)} are pinned")

    def decide(self, rows: Batch, total: int) -> Decision:
        """Return the decision about all rows left."""
        n = rows.rows
        reason = self.undefined(rows)
        places = {k: i for i, k in enumerate(rows["id"].tolist())} if self.pinned else {}
        pinned = np.array([places[k] for k in self.pinned if k in places], np.int64)
        reason[pinned] = ""
        candidates = np.setdiff1d(np.flatnonzero(reason == ""), pinned)
        k, limit = self._count(rows, candidates, total, pinned)
        rank, gain = np.full(n, -1, np.int64), np.full(n, np.nan)
        if k and self.partitions is not None:
            table = rows.table.take(pa.array(candidates)).append_column(
                "_row", pa.array(candidates)
            )
            chosen_rows, _ = in_rounds(
                self, table.append_column("_partition", pa.array(np.zeros(len(candidates)))), k
            )
            at = chosen_rows["_row"].to_numpy()
            rank[at], gain[at] = chosen_rows["rank"].to_numpy(), chosen_rows["gain"].to_numpy()
        elif k:
            signals = self.signals(rows)
            beside = pinned if not self.strategy.needs_selected - self.strategy.needs else ()
            pool = Pool(n, beside, candidates=candidates, ids=rows["id"])  # type: ignore[arg-type]
            weighs = getattr(self.strategy, "within", None)
            if self.cost is not None and weighs is not None:
                chosen = weighs(pool, signals, rows[self.cost], limit)
                k = len(chosen)
            else:
                chosen = self.strategy(pool, signals, k, np.random.default_rng(self.seed))
                chosen = chosen.prefix(k - chosen.info.get("filled", 0))
                k = len(chosen)
            if self.cost is not None and weighs is None:
                costs = {self.cost: rows[self.cost][chosen.indices]}
                k = len(Budget({self.cost: limit}).walk(costs)[0])
                chosen = chosen.prefix(k)
            rank[chosen.indices] = np.arange(k)
            if chosen.scores is not None:
                gain[chosen.indices] = chosen.scores
        if len(pinned):
            rank[rank >= 0] += len(pinned)
            rank[pinned] = np.arange(len(pinned))
        return self.decision(reason, rank, gain, k + len(pinned))

    def undefined(self, rows: Batch) -> NDArray[np.object_]:
        """Return why each row (n,) is no candidate, "" where it is one."""
        reason = np.full(rows.rows, "", object)
        for column in sorted(self.needs) if rows.rows else ():
            values = rows[column]
            nothing = pa.types.is_null(rows.arrow(column).type)
            if nothing or values.dtype.kind == "f":
                undefined = nothing | ~np.isfinite(
                    values.reshape(rows.rows, -1).astype(np.float64)
                ).all(axis=1)
                undefined &= reason == ""
                reason[undefined] = undefined_reasons(rows, column)[undefined]
            elif values.dtype == object:
                missing = np.array([v is None for v in values.tolist()], bool) & (reason == "")
                reason[missing] = undefined_reasons(rows, column)[missing]
        return reason

    def signals(self, rows: Batch, names: frozenset[str] | None = None) -> Signals:
        """Return the columns as the strategy's signals, or those of some names."""
        needs = self.strategy.needs if names is None else names
        return Signals(rows.rows, **{s: rows[self.columns.get(s, s)] for s in needs})

    @staticmethod
    def decision(
        reason: NDArray[np.object_], rank: NDArray[np.int64], gain: NDArray[np.float64], k: int
    ) -> Decision:
        """Return the decision about rows, of which those with a rank are among the `k` chosen;
        reason: why the others were no candidates.
        """
        reason[(reason == "") & (rank < 0)] = f"not among the {k} chosen"
        gain[~np.isfinite(gain)] = np.nan  # the first of k-center lies infinitely far from nothing
        status = np.where(np.isnan(gain), "undefined", "ok").astype(object)
        return Decision(
            rank >= 0, reason, columns={"rank": rank, "gain": gain, "gain_status": status}
        )

    def rounds(self) -> TwoRounds:
        """Return the two-round form of the strategy."""
        return rounds_of(self.strategy)

    def count(self, candidates: int, total: int) -> int:
        """Return how many of the candidates are chosen, for a budget of rows."""
        return (
            candidates if self.budget is None else min(budget_size(self.budget, total), candidates)
        )

    def _check_rounds(self) -> None:
        """Raise ValueError unless the strategy, with its parameters and a budget of rows, has a
        two-round form.
        """
        if (
            isinstance(self.partitions, bool)
            or not isinstance(self.partitions, int)
            or self.partitions < 1
        ):
            raise ValueError(
                f"partitions: expected a number of partitions, at least 1, got {self.partitions!r}"
            )
        if self.cost is not None:
            raise ValueError(
                "partitions: two rounds know budgets of rows only; leave out cost or partitions"
            )
        try:
            self.rounds()
        except ValueError as error:
            raise ValueError(
                f"partitions: {error}; strategies that can: {', '.join(_in_two_rounds())}"
            ) from None

    def _count(
        self,
        rows: Batch,
        candidates: NDArray[np.int64],
        total: int,
        pinned: NDArray[np.int64],
    ) -> tuple[int, float]:
        """Return how many rows to ask the strategy for, and the cost they may have together."""
        if self.budget is None:
            return len(candidates), np.inf
        if self.cost is None:
            left = budget_size(self.budget, total) - len(self.pinned)
            return min(max(left, 0), len(candidates)), np.inf
        costs = rows[self.cost][candidates].astype(np.float64)
        if (costs < 0).any():
            raise ValueError(f"{self.cost}: expected costs of at least 0, got {costs.min():g}")
        spent = float(np.nansum(rows[self.cost][pinned].astype(np.float64)))
        whole = costs.sum() + spent
        limit = self.budget * whole if isinstance(self.budget, float) else self.budget
        budget_size(self.budget, max(int(costs.sum()), int(limit)), f"budget in {self.cost}")
        limit = max(limit - spent, 0)
        return Budget({self.cost: limit}).most({self.cost: costs}), float(limit)


def _in_two_rounds() -> list[str]:
    """Return the names of the strategies that can choose in two rounds."""
    classes = {name: load(name) for name in names()}
    return [name for name, kind in classes.items() if isinstance(kind, type) and has_rounds(kind)]
