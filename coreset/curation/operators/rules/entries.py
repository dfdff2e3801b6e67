"""Keep texts in which something of a vocabulary occurs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from coreset.core.batch import Batch, objects
from coreset.curation.operators.base import Decision, Filter


@dataclass(frozen=True)
class HasEntry(Filter):
    """Keep rows with an entry; reads the columns of `coreset.scorers.text.entries.Entries`. With
    the words of `imagenet_words` it is DataComp's text-based filter.

    >>> from coreset.core.batch import as_batch
    >>> rows = as_batch(
    ...     {
    ...         "entries": objects([[3], [], None]),
    ...         "entries_status": objects(["ok", "no_entry", "missing_field"]),
    ...     }
    ... )
    >>> HasEntry().decide(rows).reason.tolist()
    ['', 'no entry', 'missing field']
    """

    needs = frozenset({"entries", "entries_status"})

    def decide(self, batch: Batch) -> Decision:
        """Return the decision."""
        reason = objects(
            ["" if s == "ok" else s.replace("_", " ") for s in batch["entries_status"].tolist()]
        )
        return Decision(np.asarray(reason == ""), reason)
