"""Exact repeats: a domain gives an exact number of rows, whatever its rows are called.

The mixtures of Chen et al., 2024 (InternVL 2.5, arXiv:2412.05271) by counts instead of draws: of n
rows and count rows wanted, each row is written count // n times and the rest once more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from coreset.core.batch import Batch
from coreset.core.ranges import check_range
from coreset.curation.operators.base import Decision, Selector
from coreset.numerics.random import keyed_uniform


def exact_repeats(keys: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Return how often each of n rows is written, (n,), `count` in all, no two more than one apart.

    keys (n,): the rows of the lowest keys are written once more, ties to the lowest row. Raises
    ValueError for a count below 0 and for a count of no rows.

    >>> exact_repeats(np.array([0.5, 0.1, 0.9]), 5).tolist()
    [2, 2, 1]
    """
    if count < 0 or (count and not len(keys)):
        raise ValueError(f"count: {count} rows cannot be written of {len(keys)}")
    whole, rest = divmod(count, max(1, len(keys)))
    times = np.full(len(keys), whole, np.int64)
    times[np.argsort(keys, kind="stable")[:rest]] += 1
    return times


@dataclass(frozen=True)
class RepeatExact(Selector):
    """Keep and repeat rows to an exact count a domain: gives `repeat`, how often a row is written.

    by: the column that names the domain. factors: {domain: r}, r in [0, 4], for floor(r n + 1/2) of
    the n rows that are left; counts: {domain: rows}; a domain in neither has the factor `other`,
    None = an error. Which rows are written once more is drawn by their ids: those of a smaller
    count are among those of a larger. Against `RepeatFactor`, which draws row by row and meets a
    count on average, this waits for all rows. Raises ValueError for a factor outside [0, 4], a
    count below 0, a domain in both or a count of a domain without rows, and KeyError for a domain
    without a factor.
    """

    gives = frozenset({"repeat"})

    factors: Mapping[str, float] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    by: str = "source"
    other: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        given = [*self.factors.items(), *([] if self.other is None else [("other", self.other)])]
        for domain, r in given:
            check_range(f"a factor for '{domain}' in [0, 4]", factors=r)
        for domain, rows in self.counts.items():
            if isinstance(rows, bool) or not isinstance(rows, int) or rows < 0:
                raise ValueError(
                    f"counts: expected rows of at least 0 for '{domain}', got {rows!r}"
                )
        both = sorted(set(map(str, self.factors)) & set(map(str, self.counts)))
        if both:
            raise ValueError(f"factors, counts: '{both[0]}' is in both; expected one of them")

    @property
    def needs(self) -> frozenset[str]:
        """Return the id and the domain."""
        return frozenset({"id", self.by})

    def decide(self, rows: Batch, total: int) -> Decision:
        """Return the decision about all rows left."""
        values = rows[self.by].tolist()
        known = np.array([v is not None for v in values], bool)
        domains = np.array([str(v) for v in values], object)
        keys = keyed_uniform(self.seed, rows["id"])
        members = {d: np.flatnonzero(known & (domains == d)) for d in sorted(set(domains[known]))}
        for domain, count in self.counts.items():
            if count and str(domain) not in members:
                raise ValueError(
                    f"counts: {count} rows of {self.by} '{domain}' wanted, but it has none"
                )
        times = np.zeros(rows.rows, np.int64)
        for domain, at in members.items():
            times[at] = exact_repeats(keys[at], self._count(domain, len(at)))
        reason = np.where(times > 0, "", "not drawn for its domain").astype(object)
        reason[~known] = f"{self.by} undefined"
        return Decision(times > 0, reason, columns={"repeat": times})

    def _count(self, domain: str, rows: int) -> int:
        """Return how many rows a domain of that size gives."""
        if domain in self.counts:
            return self.counts[domain]
        factor = self.factors.get(domain, self.other)
        if factor is None:
            given = ", ".join(map(str, [*self.factors, *self.counts]))
            raise KeyError(f"factors: none for {self.by} '{domain}'; given: {given}")
        return int(np.floor(factor * rows + 0.5))
