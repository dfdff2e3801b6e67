"""Exclusion: any strategy, without the examples on a list (known bad, used for validation, refused
by the annotators).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from coreset import Pool, Selection, Signals, Strategy
from coreset.core.pool import as_indices
from coreset.strategies.combine.parts import Combined, column_at, narrow
from coreset.strategies.uncertainty.margin import Margin


@dataclass(frozen=True)
class Exclude(Combined):
    """Take what the base takes when the excluded examples are no candidates.

    column: a boolean column (N,), True = excluded. ids: outside names; those not in this dataset
    are passed over, so that one list serves many. positions: in the whole dataset. The three add
    up. Raises ValueError when fewer candidates remain than asked for.

    >>> from coreset import select
    >>> p = np.array([[0.9, 0.1], [0.5, 0.5], [0.6, 0.4]])
    >>> select("exclude", 1, probs=p, options={"positions": [1]}).indices
    array([2])
    """

    base: Strategy = field(default_factory=Margin)
    column: str | None = None
    ids: Sequence[int | str] = ()
    positions: Sequence[int] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("ids", "positions"):
            value = getattr(self, name)
            if isinstance(value, str) or not isinstance(value, Iterable):
                raise TypeError(f"{name}: expected a list, got {value!r}")
            object.__setattr__(self, name, tuple(value))

    @property
    def parts(self) -> tuple[Strategy, ...]:
        """Return the base."""
        return (self.base,)

    @property
    def needs(self) -> frozenset[str]:
        """Return what the base needs, and the column."""
        return self.base.needs | (frozenset() if self.column is None else {self.column})

    @property
    def greedy(self) -> bool:  # type: ignore[override]
        """Return whether the base's prefix is the answer for a smaller budget."""
        return self.base.greedy

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Run the base on the candidates that are left."""
        out = np.isin(pool.candidates, as_indices(self.positions, pool.size, "positions"))
        if self.ids:
            out |= np.isin(pool.ids[pool.candidates].astype(str), np.array(self.ids).astype(str))
        if self.column is not None:
            flags = column_at(signals, self.column, pool.candidates)
            if flags.dtype != bool:
                raise ValueError(
                    f"{self.column}: expected a boolean column, True = excluded, got {flags.dtype}"
                )
            out |= flags
        left = pool.candidates[~out]
        if len(left) < k:
            raise ValueError(
                f"{int(out.sum())} of {len(out)} candidates are excluded, which leaves {len(left)},"
                f" fewer than the {k} asked for"
            )
        answer = self.base(narrow(pool, left), signals, k, rng)
        return Selection(
            answer.indices,
            answer.weights,
            answer.scores,
            answer.reasons,
            info={"excluded": int(out.sum())},
        )
