"""Repeat factors: a domain is seen r times an epoch, a part of it for r below 1.

As InternVL mixes its data (Chen et al., 2024, arXiv:2412.05271): r in (0, 4]. Its fine-tuning
script takes the first part of a file for r below 1 and whole numbers only above; here every row is
drawn by its id, and 2.3 means two copies and a third in 30 % of the rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from coreset.core.batch import Batch
from coreset.core.ranges import check_range
from coreset.curation.operators.base import Decision, Filter
from coreset.numerics.random import keyed_uniform


@dataclass(frozen=True)
class RepeatFactor(Filter):
    """Keep and repeat rows by the factor of their domain: gives `repeat`, how often the row is
    written.

    by: the column that names the domain. factors: {domain: r}; a domain not named has `other`, None
    = an error. Raises ValueError for a factor outside [0, 4] and KeyError for a domain without one.
    """

    gives = frozenset({"repeat"})

    factors: Mapping[str, float]
    by: str = "source"
    other: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for domain, r in [
            *self.factors.items(),
            *([("other", self.other)] if self.other is not None else []),
        ]:
            check_range(f"a factor for '{domain}' in [0, 4]", factors=r)

    @property
    def needs(self) -> frozenset[str]:
        """Return the id and the domain."""
        return frozenset({"id", self.by})

    def decide(self, batch: Batch) -> Decision:
        """Return the decision."""
        domains = batch[self.by].tolist()
        factor = np.array([self._factor(d) for d in domains], np.float64)
        known = ~np.isnan(factor)
        whole = np.where(known, np.floor(factor), 0)
        extra = keyed_uniform(self.seed, batch["id"]) < np.where(known, factor - whole, 0)
        times = (whole + extra).astype(np.int64)
        reason = np.where(times > 0, "", "not drawn for its domain").astype(object)
        reason[~known] = f"{self.by} undefined"
        return Decision(times > 0, reason, columns={"repeat": times})

    def _factor(self, domain: str | None) -> float:
        if domain is None:
            return np.nan
        factor = self.factors.get(str(domain), self.other)
        if factor is None:
            raise KeyError(
                f"factors: none for {self.by} '{domain}'; given:"
                f" {', '.join(map(str, self.factors))}"
            )
        return float(factor)
