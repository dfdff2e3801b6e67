"""Keep a band of one column: the plainest rule, and the pattern for others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coreset.core.batch import Batch
from coreset.curation.operators.base import Decision, Filter


@dataclass(frozen=True)
class Threshold(Filter):
    """Keep rows whose column lies in [low, high]; a bound that is None does not exist. strict: the
    bounds themselves are outside.

    A row whose value is undefined is dropped with its status as the reason.

    >>> import pyarrow as pa
    >>> rule = Threshold("words", low=2)
    >>> rule.decide(Batch(pa.table({"words": [1.0, 2.0, None]}))).reason.tolist()
    ['words below 2', '', 'words undefined']
    """

    column: str
    low: float | None = None
    high: float | None = None
    strict: bool = False

    def __post_init__(self) -> None:
        if self.low is None and self.high is None:
            raise ValueError(f"threshold on '{self.column}': expected low, high or both")
        for name, bound in (("low", self.low), ("high", self.high)):
            number = isinstance(bound, int | float | np.integer | np.floating)
            number = number and not isinstance(bound, bool) and bound == bound
            if bound is not None and not number:
                raise ValueError(
                    f"threshold on '{self.column}': {name}: expected a number, got {bound!r}"
                )
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(
                f"threshold on '{self.column}': low {self.low:g} lies above high {self.high:g}"
            )

    @property
    def needs(self) -> frozenset[str]:
        """Return the one column that is read."""
        return frozenset({self.column})

    def decide(self, batch: Batch) -> Decision:
        """Return the decision: undefined, below, above, or kept."""
        values = np.asarray(batch[self.column])
        if values.ndim != 1 or values.dtype.kind not in "biuf":
            raise TypeError(
                f"{self.column}: expected one number per row, got {values.dtype} with shape"
                f" {values.shape}"
            )
        values = values.astype(np.float64)
        reason = np.full(len(values), "", object)
        at, less, more = (
            ("at or ", np.less_equal, np.greater_equal)
            if self.strict
            else ("", np.less, np.greater)
        )
        if self.low is not None:
            reason[less(values, self.low)] = f"{self.column} {at}below {self.low:g}"
        if self.high is not None:
            reason[more(values, self.high)] = f"{self.column} {at}above {self.high:g}"
        undefined = np.isnan(values)
        reason[undefined] = undefined_reasons(batch, self.column)[undefined]
        return Decision(reason == "", reason)


def undefined_reasons(batch: Batch, column: str) -> NDArray[np.object_]:
    """Return "<column> undefined (<status>)" for every row, (n,) object; without the bracket where
    there is no status.
    """
    words = np.full(batch.rows, f"{column} undefined", object)
    status = batch.get(f"{column}_status")
    if status is not None:
        for i, s in enumerate(status.tolist()):
            if s and s != "ok":
                words[i] = f"{column} undefined ({s})"
    return words
