"""Form diversity: instructions that are worded alike are one template, and each template has a
quota.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from coreset.core.batch import Batch, objects
from coreset.curation.operators.base import Decision, Selector
from coreset.curation.operators.threshold import undefined_reasons
from coreset.numerics.neighbors.leader_clustering import leaders
from coreset.numerics.neighbors.semantic import unit_rows
from coreset.numerics.random import keyed_uniform


@dataclass(frozen=True)
class TemplateQuota(Selector):
    """Keep at most `most` rows of each template: gives `template`, the id of the first row of it.

    column: embeddings of the instructions (n, D). In the order of ids a row joins the first
    template whose first row has a cosine of at least `similarity`, else it begins one. order:
    column by which rows of a template are taken, highest first; None: at random, keyed by id. Rows
    without an embedding or order are dropped.
    """

    gives = frozenset({"template"})

    column: str = "embedding"
    most: int = 10
    similarity: float = 0.85
    order: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.most < 1 or not -1 <= self.similarity <= 1:
            raise ValueError(
                f"most, similarity: expected at least 1 and a cosine, got {self.most},"
                f" {self.similarity}"
            )

    @property
    def needs(self) -> frozenset[str]:
        """Return the id, the embedding and the order."""
        return frozenset({"id", self.column, *([self.order] if self.order else [])})

    def decide(self, rows: Batch, total: int) -> Decision:
        """Return the decision about all rows left."""
        n = rows.rows
        reason, template = np.full(n, "", object), objects([None] * n)
        vectors = unit_rows(rows[self.column])
        undefined = np.isnan(vectors).any(axis=1)
        reason[undefined] = undefined_reasons(rows, self.column)[undefined]
        value = (
            rows[self.order].astype(np.float64)
            if self.order
            else keyed_uniform(self.seed, rows["id"])
        )
        if self.order:
            blank = np.isnan(value) & ~undefined
            reason[blank] = undefined_reasons(rows, self.order)[blank]
        live = np.flatnonzero(reason == "")
        if len(live):
            own = leaders(np.ascontiguousarray(vectors[live]), self.similarity)
            template[live] = rows["id"][live[own]]
            walk = np.lexsort((-value[live], own))
            _, first, counts = np.unique(own[walk], return_index=True, return_counts=True)
            place = np.arange(len(walk)) - np.repeat(first, counts)
            reason[live[walk[place >= self.most]]] = f"more than {self.most} rows of its template"
        return Decision(reason == "", reason, columns={"template": template})
