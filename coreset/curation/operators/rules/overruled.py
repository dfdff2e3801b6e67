"""The first filter of a run that people have overruled: rows they dropped go before anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from coreset.core.batch import Batch
from coreset.core.overrules import Overrules
from coreset.curation.operators.base import Decision, Filter, flatten
from coreset.curation.operators.select import Select


@dataclass(frozen=True)
class Overruled(Filter):
    """Drop the rows whose id is in `ids`, each with its reason.

    >>> from coreset.core.batch import as_batch
    >>> Overruled(["b"], ["drop by ana"]).decide(as_batch({"id": ["a", "b"]})).reason.tolist()
    ['', 'drop by ana']
    """

    ids: Sequence[str]
    reasons: Sequence[str]
    needs = frozenset[str]()

    def decide(self, batch: Batch) -> Decision:
        """Return the decision about every row."""
        reasons = dict(zip(self.ids, self.reasons, strict=True))
        reason = np.array([reasons.get(str(k), "") for k in batch["id"].tolist()], object)
        return Decision(reason == "", reason)


def overruled(operators: Sequence[Any], overrules: Overrules | None) -> list[Any]:
    """Return a recipe that drops, and in its selections pins, what people have decided.

    Rows that are kept by decree are brought back when the decisions are written, see `curate`.
    """
    flat = flatten(operators)
    if overrules is None:
        return flat
    gone, pinned = overrules.of("drop"), overrules.of("pin")
    first = [Overruled(gone, [overrules[k].said for k in gone])] if gone else []
    return first + [
        replace(o, pinned=pinned) if pinned and isinstance(o, Select) else o for o in flat
    ]
