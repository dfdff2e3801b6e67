"""A rule that does not hold for some domains, such as academic data sets that were checked when
they were made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from coreset.core.batch import Batch, objects
from coreset.curation.operators.base import Decision, Filter
from coreset.registry import resolve_parts


@dataclass(frozen=True)
class Exempt(Filter):
    """Do what `rule` does, but keep every row whose column `by` is one of `values`.

    >>> from coreset.core.batch import as_batch
    >>> from coreset.curation.operators.threshold import Threshold
    >>> rows = as_batch({"words": [1.0, 1.0], "source": ["web", "vqa"]})
    >>> Exempt(Threshold("words", low=2), ["vqa"]).decide(rows).reason.tolist()
    ['words below 2', '']
    """

    rule: Filter
    values: Sequence[str] = ()
    by: str = "source"

    def __post_init__(self) -> None:
        resolve_parts(self)
        given: Any = self.values
        if isinstance(given, str):
            raise ValueError(f"values: expected a list, got {given!r}")
        if not isinstance(self.rule, Filter):
            raise ValueError(f"rule: expected a filter, got {type(self.rule).__name__}")

    @property
    def needs(self) -> frozenset[str]:
        """Return what the rule needs, and the domain."""
        return self.rule.needs | {self.by}

    @property
    def gives(self) -> frozenset[str]:  # type: ignore[override]
        """Return what the rule gives."""
        return self.rule.gives

    def decide(self, batch: Batch) -> Decision:
        """Return the filter's decision, with the exempt rows kept."""
        decision, wanted = self.rule.decide(batch), {str(v) for v in self.values}
        free = np.array([d is not None and str(d) in wanted for d in batch[self.by].tolist()], bool)
        duplicate_of = (
            None
            if decision.duplicate_of is None
            else objects(
                [None if f else t for f, t in zip(free, decision.duplicate_of, strict=True)]
            )
        )
        return Decision(
            decision.keep | free,
            np.where(free, "", decision.reason).astype(object),
            duplicate_of,
            decision.columns,
        )
