"""Quotas: any strategy inside each class or group, with exact shares of the budget by the method of
largest remainders.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset import Pool, Selection, Signals, Strategy
from coreset.core.pool import Indices
from coreset.numerics.quota import largest_remainder
from coreset.row_order import RowOrder, RowOrdered, order_of
from coreset.strategies.combine.parts import Combined, column_at, interleave, narrow
from coreset.strategies.uncertainty.margin import Margin


def divide(rows: Indices, group: NDArray[Any], names: NDArray[Any]) -> list[Indices]:
    """Return the rows (N,) of each name in their order; names: unique, ascending. Rows of other
    groups (N,) are left out.

    >>> divide(np.array([5, 3, 9]), np.array(["b", "a", "b"]), np.array(["a", "b", "c"]))
    [array([3]), array([5, 9]), array([], dtype=int64)]
    """
    at = np.searchsorted(names, group)
    known = at < len(names)
    known[known] = names[at[known]] == group[known]
    rows, at = rows[known], at[known]
    counts = np.bincount(at, minlength=len(names))
    return np.split(rows[np.argsort(at, kind="stable")], np.cumsum(counts)[:-1])


@dataclass(frozen=True)
class ClassQuota(Combined, RowOrdered):
    """Run the base in every group by itself, with the group's share of the budget: it sees the
    candidates of the group and what is selected of it. The order interleaves the groups.

    column: the group of each example (N,), whole numbers or names: `labels` (-1 = a class of its
    own), predicted classes, video ids. balance: `proportional` to the candidates per group, or
    `equal`; what a small group cannot take goes to the others. cap: at most that many per group,
    counting what is already selected (None: no limit). Raises ValueError when the caps leave less
    than the budget. info: `quota` by group, and `groups`, what the base says of each.

    >>> from coreset import select
    >>> p = np.array([[0.9, 0.1], [0.8, 0.2], [0.5, 0.5], [0.6, 0.4]])
    >>> select("class_quota", 2, probs=p, labels=np.array([0, 0, 1, 1])).indices
    array([1, 2])
    """

    base: Strategy = field(default_factory=Margin)
    column: str = "labels"
    balance: str = "proportional"
    cap: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.balance not in ("proportional", "equal"):
            raise ValueError(f"balance: expected proportional or equal, got {self.balance!r}")
        if self.cap is not None and self.cap < 1:
            raise ValueError(f"cap: expected at least 1 per group, got {self.cap}")

    @property
    def parts(self) -> tuple[Strategy, ...]:
        """Return the base."""
        return (self.base,)

    @property
    def needs(self) -> frozenset[str]:
        """Return what the base needs, and the groups."""
        return self.base.needs | {self.column}

    @property
    def needs_selected(self) -> frozenset[str]:  # type: ignore[override]
        """Return what the base needs; with a cap, or a base that reads what is taken, its groups."""
        inner = self.base.needs_selected
        return inner | ({self.column} if inner or self.cap is not None else set())

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Return the answers of all groups as one."""
        groups = column_at(signals, self.column, pool.candidates)
        names, counts = np.unique(groups, return_counts=True)
        selected = [pool.selected] * len(names)
        if self.column in self.needs_selected:
            before = column_at(signals, self.column, pool.selected)
            selected = divide(pool.selected, before, names)
        quota = self.quota(counts, k, np.array([len(rows) for rows in selected]))
        members = divide(pool.candidates, groups, names)
        answers = [
            self.base(narrow(pool, m, s), signals, int(q), rng)
            for m, s, q in zip(members, selected, quota, strict=True)
            if q > 0
        ]
        by_group = {str(n): int(q) for n, q in zip(names, quota, strict=True)}
        asked = [name for name, share in by_group.items() if share]
        info: dict[str, Any] = {"quota": by_group}
        by_base = {name: dict(a.info) for name, a in zip(asked, answers, strict=True) if a.info}
        return interleave(answers, **info, **({"groups": by_base} if by_base else {}))

    def quota(
        self, counts: NDArray[np.int64], k: int, taken: NDArray[np.int64] | int = 0
    ) -> NDArray[np.int64]:
        """Return how many of each group are taken. counts: candidates; taken: selected before."""
        room = counts
        if self.cap is not None:
            room = np.minimum(counts, np.maximum(self.cap - taken, 0))
            if room.sum() < k:
                raise ValueError(
                    f"cap: {self.cap} per {self.column} leaves {int(room.sum())} candidates, fewer"
                    f" than the {k} asked for"
                )
        shares = counts if self.balance == "proportional" else np.ones(len(counts))
        return largest_remainder(np.where(room > 0, shares, 0), k, caps=room)

    def row_order(self) -> RowOrder:
        """Return the order of the base in every group. Raises ValueError when it is no score of
        rows alone.
        """
        inner = order_of(self.base)
        if inner.score is None:
            raise ValueError(
                f"base={type(self.base).__name__} is no score (at random per class: stratified)"
            )
        return RowOrder(inner.score, self.column, self.quota)
