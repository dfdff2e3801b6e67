"""A sample spread over strata: domain x length x difficulty x tag, so that long and short prompts,
easy and hard ones, all stay.

Temperature as in multilingual pre-training (Conneau & Lample, NeurIPS 2019, arXiv:1901.07291): a
stratum of n rows has a share in proportion to n^(1/T); T = 1 keeps the proportions, T = infinity
gives every stratum the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from coreset.core.batch import Batch
from coreset.core.budget import budget_size
from coreset.curation.operators.base import Decision, Selector
from coreset.curation.operators.threshold import undefined_reasons
from coreset.numerics.quota import largest_remainder
from coreset.numerics.random import keyed_uniform


def temperature_shares(counts: NDArray[np.int64], temperature: float) -> NDArray[np.float64]:
    """Return n^(1/T) of the counts, scaled to sum to one.

    >>> temperature_shares(np.array([100, 1]), 2.0).round(3).tolist()
    [0.909, 0.091]
    """
    weight = counts.astype(np.float64) ** (1 / temperature)
    shares: NDArray[np.float64] = weight / weight.sum()
    return shares


@dataclass(frozen=True)
class StratifiedSample(Selector):
    """Draw `budget` rows with a quota per stratum: gives `stratum` ("en|2|0"), `rank` inside it.

    by: columns that make a stratum; a column of numbers is cut at `bins` {column: [edges]}, an edge
    belongs to the upper bin. temperature: see above; inf = equal shares. weights: {value of the
    first column: weight} multiplies its strata. weigh: a column whose mean over a stratum
    multiplies its share (of the mean gradient norm and temperature inf: TIVE's task budgets, Liu et
    al., 2024, arXiv:2403.09559). most: {stratum: rows} at most; without a budget these are the
    budgets. order: column by which rows of a stratum are taken, highest first; None: at random,
    keyed by id. A stratum that has too few rows gives its rest to the others in proportion. Rows in
    which a column is undefined are dropped.
    """

    gives = frozenset({"stratum", "rank"})

    by: Sequence[str]
    budget: int | float | None = None
    bins: Mapping[str, Sequence[float]] = field(default_factory=dict)
    temperature: float = 1.0
    weights: Mapping[str, float] = field(default_factory=dict)
    order: str | None = None
    seed: int = 0
    weigh: str | None = None
    most: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.by, str) or not self.by:
            raise ValueError(f"by: expected a list of columns, got {self.by!r}")
        if not self.temperature > 0:
            raise ValueError(f"temperature: expected a number above 0, got {self.temperature}")
        for name, rows in self.most.items():
            if isinstance(rows, bool) or not isinstance(rows, int) or rows < 0:
                raise ValueError(f"most: expected a count of at least 0 for '{name}', got {rows!r}")
        for column, edges in self.bins.items():
            if column not in self.by or list(edges) != sorted(set(edges)):
                raise ValueError(
                    f"bins: expected rising edges for columns of {list(self.by)}, got {list(edges)}"
                    f" for '{column}'"
                )

    @property
    def needs(self) -> frozenset[str]:
        """Return the id, the strata's columns, the order and the weight."""
        return frozenset({"id", *self.by, *(c for c in (self.order, self.weigh) if c)})

    def decide(self, rows: Batch, total: int) -> Decision:
        """Return the decision about all rows left."""
        reason, stratum = self.strata(rows)
        value = self.values(rows)
        live = np.flatnonzero(reason == "")
        rank = np.full(rows.rows, -1, np.int64)
        names, label = np.unique(stratum[live].astype(str), return_inverse=True)
        counts = np.bincount(label, minlength=len(names)).astype(np.int64)
        walk = live[np.lexsort((-value[live], label))]
        rank[walk] = np.arange(len(walk)) - np.repeat(np.cumsum(counts) - counts, counts)
        means = np.ones(len(names))
        if self.weigh:
            means = np.array(
                [
                    np.sort(rows[self.weigh][live[label == s]]).mean(dtype=np.float64)
                    for s in range(len(names))
                ]
            )
        quota = self.quota(names.tolist(), counts, total, means)
        return self.decision(
            reason, stratum, rank, dict(zip(names.tolist(), quota.tolist(), strict=True))
        )

    def strata(self, rows: Batch) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
        """Return why each row (n,) belongs to no stratum, "" where it does, and its stratum."""
        reason, parts = np.full(rows.rows, "", object), []
        for column in self.by:
            words, undefined = self._levels(rows, column)
            reason[undefined & (reason == "")] = undefined_reasons(rows, column)[
                undefined & (reason == "")
            ]
            parts.append(words)
        stratum = np.array(["|".join(p) for p in zip(*parts, strict=True)], object)
        for column in (c for c in (self.order, self.weigh) if c):
            undefined = np.isnan(rows[column].astype(np.float64)) & (reason == "")
            reason[undefined] = undefined_reasons(rows, column)[undefined]
        return reason, stratum

    def values(self, rows: Batch) -> NDArray[np.float64]:
        """Return the number (n,) by which rows of a stratum are taken, highest first."""
        if self.order:
            return rows[self.order].astype(np.float64)
        return keyed_uniform(self.seed, rows["id"])

    @staticmethod
    def decision(
        reason: NDArray[np.object_],
        stratum: NDArray[np.object_],
        rank: NDArray[np.int64],
        quota: Mapping[str, int],
    ) -> Decision:
        """Return the decision about rows of these ranks in their strata,
        -1 where they have none.
        """
        keep = np.array(
            [r >= 0 and r < quota[s] for r, s in zip(rank.tolist(), stratum, strict=True)], bool
        )
        reason[(reason == "") & ~keep] = "its stratum is full"
        stratum[rank < 0] = None
        return Decision(keep, reason, columns={"stratum": stratum, "rank": rank})

    def quota(
        self, names: list[str], counts: NDArray[np.int64], total: int, means: NDArray[np.float64]
    ) -> NDArray[np.int64]:
        """Return how many of each stratum are kept. means: of `weigh`, or ones."""
        if not len(counts):
            return counts
        weights = [self.weights.get(n.split("|", 1)[0], 1.0) for n in names]
        shares = temperature_shares(counts, self.temperature) * np.array(weights) * means
        most = np.minimum(
            counts, [self.most.get(n, c) for n, c in zip(names, counts.tolist(), strict=True)]
        )
        caps = np.where(shares > 0, most, 0)
        k = (
            int(caps.sum())
            if self.budget is None
            else min(budget_size(self.budget, total), int(caps.sum()))
        )
        return largest_remainder(shares, k, caps) if k else np.zeros_like(counts)

    def _levels(self, rows: Batch, column: str) -> tuple[list[str], NDArray[np.bool_]]:
        values = rows[column]
        if values.dtype.kind in "fiu":
            undefined = np.isnan(values.astype(np.float64))
            if column in self.bins:
                return [
                    str(i)
                    for i in np.searchsorted(np.asarray(self.bins[column]), values, side="right")
                ], undefined
            return [f"{v:g}" for v in values.tolist()], undefined
        if column in self.bins:
            raise TypeError(f"bins: '{column}' is no column of numbers")
        return [str(v) for v in values.tolist()], np.array(
            [v is None for v in values.tolist()], bool
        )
