"""A decision from several limits at once: all that fail are named."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coreset.core.batch import Batch
from coreset.curation.operators.base import Decision, Filter


class Limit(NamedTuple):
    """One column with the phrase for a row below `low` or above `high`;
    the bound itself is kept.
    """

    column: str
    phrase: str
    low: float | None = None
    high: float | None = None


class Limits(Filter):
    """A rule that is a list of limits. A row is dropped with the phrases of all limits it fails,
    joined by "; ".

    status_column: where it is not "ok", a value may be undefined: such a row is dropped with the
    status as the reason.
    """

    status_column: ClassVar[str]

    @abstractmethod
    def limits(self) -> Iterator[Limit]:
        """Yield the limits; a bound that is None is switched off."""

    @property
    def needs(self) -> frozenset[str]:
        """Return the columns of the limits and the status."""
        return frozenset({*(limit.column for limit in self.limits()), self.status_column})

    def decide(self, batch: Batch) -> Decision:
        """Return the decision."""
        return decision(batch, list(self.limits()), self.status_column)


def decision(batch: Batch, limits: list[Limit], status_column: str) -> Decision:
    """Return the decision of limits on a batch.

    >>> from coreset.core.batch import as_batch
    >>> rows = as_batch({"words": [3.0, 90.0, np.nan], "status": ["ok", "ok", "empty_text"]})
    >>> decision(rows, [Limit("words", "too short", low=50)], "status").reason.tolist()
    ['too short', '', 'status: empty_text']
    """
    reason = np.full(batch.rows, "", object)
    undefined: NDArray[np.bool_] = np.zeros(batch.rows, bool)
    for limit in limits:
        values = batch[limit.column].astype(np.float64)
        undefined |= np.isnan(values)
        fails = np.zeros(batch.rows, bool)
        if limit.low is not None:
            fails |= values < limit.low
        if limit.high is not None:
            fails |= values > limit.high
        reason[fails] = [f"{r}; {limit.phrase}" if r else limit.phrase for r in reason[fails]]
    if undefined.any():
        what = status_column.removesuffix("_status")
        words = [
            f"{what}: {s}" if s != "ok" else f"{what} undefined"
            for s in batch[status_column][undefined]
        ]
        reason[undefined] = words
    return Decision(reason == "", reason)
