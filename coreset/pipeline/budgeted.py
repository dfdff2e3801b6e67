"""Any strategy of this project over any columns, as the budgeted operator of a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from coreset.batch import Batch
from coreset.budget import budget_size
from coreset.pipeline.operators import Select, Verdict
from coreset.pipeline.threshold import undefined_reasons
from coreset.types import Pool, Signals, Strategy


@dataclass(frozen=True)
class Budgeted(Select):
    """Keep what `strategy` chooses: `budget` rows (a count), or a share of all rows read; all that are left, when those are fewer or budget is None.

    columns: which column stands for a signal of the strategy, {signal: column}; a signal not named there is the column of its own name.
    Rows in which a column is undefined are no candidates and are dropped. Gives `rank` (0 = chosen first) and `gain` (what it was chosen by).
    """

    gives = frozenset({"rank", "gain"})

    strategy: Strategy
    budget: int | float | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        unknown = set(self.columns) - self.strategy.needs - self.strategy.needs_selected
        if unknown:
            wanted = ", ".join(sorted(self.strategy.needs)) or "none"
            raise ValueError(
                f"columns: {type(self.strategy).__name__} reads no signal {sorted(unknown)}; it reads {wanted}"
            )

    @property
    def needs(self) -> frozenset[str]:
        """Return the columns that stand for the strategy's signals."""
        return frozenset(self.columns.get(s, s) for s in self.strategy.needs)

    def check(self, total: int) -> None:
        """Raise ValueError or TypeError for a budget that is no count up to `total` and no share."""
        if self.budget is not None:
            budget_size(self.budget, total)

    def decide(self, rows: Batch, total: int) -> Verdict:
        """Return the verdict about all rows left."""
        n = rows.rows
        reason = np.full(n, "", object)
        for column in sorted(self.needs):
            values = rows[column]
            if values.dtype.kind == "f":
                undefined = ~np.isfinite(values.reshape(n, -1)).all(axis=1)
                reason[undefined & (reason == "")] = undefined_reasons(rows, column)[undefined & (reason == "")]
        candidates = np.flatnonzero(reason == "")
        k = len(candidates) if self.budget is None else min(budget_size(self.budget, total), len(candidates))
        rank, gain = np.full(n, -1, np.int64), np.full(n, np.nan)
        if k:
            signals = Signals(n, **{s: rows[self.columns.get(s, s)] for s in self.strategy.needs})
            pool = Pool(n, candidates=candidates, ids=rows["id"])
            chosen = self.strategy(pool, signals, k, np.random.default_rng(self.seed))
            rank[chosen.indices] = np.arange(k)
            if chosen.scores is not None:
                gain[chosen.indices] = chosen.scores
        reason[(reason == "") & (rank < 0)] = f"not among the {k} chosen"
        return Verdict(rank >= 0, reason, columns={"rank": rank, "gain": gain})
