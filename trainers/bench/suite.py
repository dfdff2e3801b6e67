"""What a suite is: strategies, budgets, replicates and the protocol,
checked before anything runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from coreset.core.strategy import Strategy, listed
from coreset.registry import strategy

FULL = "full"  # the row that trains on the whole pool
FREE = frozenset({"features", "labels", "validation"})  # known before any model is trained
ACTIVE, PRUNE = "active", "prune"


@dataclass(frozen=True)
class Row:
    """One row of the table: a strategy and what chooses its first batch.

    name: in the table; main: the strategy; start: what chooses the first batch, None for the first
    batch at random that all rows of a replicate share. seed, pool: every row sees the same ones.
    """

    name: str
    main: Strategy
    start: Strategy | None
    config: Mapping[str, Any]

    @property
    def reads_labels(self) -> bool:
        """Whether choices read labels of candidates: in active mode a reference that nobody has."""
        return bool({"labels", "validation"} & set(self.main.needs))


@dataclass(frozen=True)
class Protocol:
    """How every row of a suite is measured.

    budgets: labels in all, ascending; queries: choices per budget (1: one large query, 10: ten
    small ones); replicates: each with another pool, start, validation and test set; pool, test,
    validation: how many examples (shares of the data below 1); seed: of everything. imbalance:
    largest over smallest class of the pool (1: as it comes); noise: share of the pool's labels
    replaced by another class; duplicates: share of the pool replaced by near-duplicates; outside:
    share of the classes, others in each replicate, that nobody asked for: their images stay in the
    pool, cost a label when chosen, and teach nothing. mode: `active`, labels are bought budget after
    budget; `prune`, all labels are known, each budget is one choice of the whole pool by what a
    training on it tells.
    """

    budgets: Sequence[int]
    queries: int = 1
    replicates: int = 30
    pool: float = 10000
    test: float = 10000
    validation: float = 2000
    seed: int = 0
    imbalance: float = 1.0
    noise: float = 0.0
    duplicates: float = 0.0
    outside: float = 0.0
    metric: str = "accuracy"
    mode: str = ACTIVE

    def __post_init__(self) -> None:
        budgets = list(self.budgets)
        if (
            not budgets
            or budgets[0] < 1
            or any(b <= a for a, b in zip(budgets, budgets[1:], strict=False))
        ):
            raise ValueError(f"budgets: expected ascending numbers of labels, got {budgets}")
        for name in ("queries", "replicates"):
            if isinstance(getattr(self, name), bool) or int(getattr(self, name)) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)!r}")
        for name in ("pool", "test"):
            if not getattr(self, name) > 0:
                raise ValueError(
                    f"{name}: expected a number of examples, got {getattr(self, name)}"
                )
        shares = (self.noise, self.duplicates, self.outside)
        if not self.imbalance >= 1 or not all(0 <= share < 1 for share in shares):
            raise ValueError(
                "expected imbalance of at least 1, noise, duplicates and outside in [0, 1), got"
                f" {self.imbalance}, {self.noise}, {self.duplicates} and {self.outside}"
            )
        if self.noise and self.outside:
            raise ValueError("noise, outside: expected one of them, a wrong label is of a class")
        if self.mode not in (ACTIVE, PRUNE):
            raise ValueError(f"mode: expected {ACTIVE} or {PRUNE}, got {self.mode!r}")
        if self.mode == PRUNE and (self.queries != 1 or self.outside):
            raise ValueError(
                "queries, outside: of active mode; in prune mode each budget is one choice among"
                " examples whose label is known"
            )

    def totals(self) -> list[tuple[int, bool]]:
        """Return the labels in all after each query, and whether the learner is tested there.

        >>> Protocol([10, 20], queries=2).totals()
        [(10, True), (15, False), (20, True)]
        """
        out, before = [(self.budgets[0], True)], self.budgets[0]
        for budget in self.budgets[1:]:
            steps = min(self.queries, budget - before)
            for step in range(1, steps + 1):
                out.append((before + (budget - before) * step // steps, step == steps))
            before = budget
        return out


@dataclass(frozen=True)
class Suite:
    """Rows under one protocol. rows: see `rows_of`; full: whether the whole pool is a row."""

    name: str
    rows: Sequence[Row]
    protocol: Protocol
    full: bool = True
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Names of all rows, the reference on the whole pool last."""
        return [row.name for row in self.rows] + [FULL] * self.full


def rows_of(
    strategies: Sequence[Any],
    available: frozenset[str],
    always: Sequence[Any] = (),
    mode: str = ACTIVE,
) -> list[Row]:
    """Return the rows of names or mappings {name, strategy, start}; those of `always` come first
    and once.

    available: signals the learner gives. In active mode a strategy that reads something, and only
    what is known before training, chooses its own first batch unless `start` names another, as does
    one with a `cold_start`; in prune mode no batch is the first. Raises ValueError for a strategy
    that reads what nothing here gives, a start in prune mode, or two rows of one name.
    """
    rows: list[Row] = []
    for entry in [*always, *strategies]:
        row = _row(entry, available, mode)
        same = [old for old in rows if old.name == row.name]
        if same and same[0].config == row.config:
            continue
        if same:
            raise ValueError(f"strategies: two different rows are called {row.name!r}")
        rows.append(row)
    return rows


def _row(entry: Any, available: frozenset[str], mode: str) -> Row:
    if isinstance(entry, str):
        entry = {"name": entry}
    if not isinstance(entry, Mapping) or not ({"name", "strategy"} & set(entry)):
        raise ValueError(f"strategies: expected names or {{name, strategy, start}}, got {entry!r}")
    unknown = set(entry) - {"name", "strategy", "start"}
    if unknown:
        raise ValueError(f"strategies: expected name, strategy and start, got {listed(unknown)}")
    what = entry.get("strategy", entry.get("name"))
    main = strategy(what)
    missing = (main.needs | main.needs_selected) - available - FREE
    if missing:
        raise ValueError(
            f"strategies: {what} reads {listed(missing)}, which this learner does not give; it"
            f" gives {listed(available)}"
        )
    start = entry.get("start")
    if mode == PRUNE:
        if start is not None:
            raise ValueError(f"strategies: start={start} is of active mode, {what} has all labels")
        return Row(str(entry.get("name") or what), main, None, {"strategy": what})
    cold = main if main.needs and not main.needs - FREE else main.cold_start
    first = strategy(start) if start is not None else cold
    if first is not None and first.needs - FREE:
        raise ValueError(
            f"strategies: start={start} reads {listed(first.needs - FREE)}, which no model gives"
            " yet"
        )
    name = str(entry.get("name") or (f"{what}" if start is None else f"{what} after {start}"))
    return Row(name, main, first, {"strategy": what, "start": start})
