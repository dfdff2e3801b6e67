"""RDS+: the queries take turns, each takes the row of the pool that is nearest to it.

Ivison, Zhang, Brahman, Koh & Dasigi, "Large-Scale Data Selection for Instruction Tuning", 2025
(arXiv:2503.01807). Its embedding, the position-weighted mean of a language model's last hidden
states, is `coreset.scorers.language.embedding.HiddenEmbedding`;
`coreset.curation.operators.query_similarity.QuerySimilarity` writes the cosines.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coreset import Pool, Selection, Signals, Strategy
from coreset.numerics.tensors import rows, top_k
from coreset.strategies.instruction.common import by_id

VARIANTS = ("released", "untaken")


def round_robin(
    similarity: NDArray[np.float64], k: int, variant: str = "released"
) -> NDArray[np.int64]:
    """Return the `k` rows taken, in order. similarity (n, Q): of each row with each query; ties go
    to the first row.

    `released`: in round r every query names its r-th nearest row, which is taken unless it is
    already. `untaken`: in every round each query takes the nearest row that is not taken yet. In
    both the queries speak in their order.

    >>> s = np.array([[0.9, 0.8], [0.5, 0.1], [0.1, 0.2]])
    >>> round_robin(s, 2).tolist(), round_robin(s, 2, "untaken").tolist()
    ([0, 1], [0, 2])
    """
    queries = similarity.shape[1]
    # (k, Q): the first has k rows alone
    named = np.stack([top_k(similarity[:, q], k) for q in range(queries)], axis=1)
    if variant == "released":
        distinct, first = np.unique(named, return_index=True)
        return distinct[np.argsort(first)][:k]
    taken, at, picks = (
        np.zeros(len(similarity), bool),
        np.zeros(queries, np.int64),
        np.empty(k, np.int64),
    )
    for i in range(k):
        q = i % queries
        while taken[row := named[at[q], q]]:
            at[q] += 1
        picks[i], taken[row] = row, True
    return picks


@dataclass(frozen=True)
class Rds(Strategy):
    """Take, round after round, the candidate nearest to each query in turn.

    `query_similarity` (N, Q): the cosine of each example with each query; for several tasks a
    column per task, the largest cosine with any of its queries. variant: when a query's next
    candidate was taken by another one its turn is over (`released`, the authors' code) or it goes
    on to the next that is left (`untaken`). Ties go to the lowest id. Scores: the largest
    similarity to any query. Examples already selected play no part.

    >>> from coreset import select
    >>> select("rds", 2, query_similarity=np.array([[0.9, 0.8], [0.5, 0.1], [0.1, 0.2]])).indices
    array([0, 1])
    """

    variant: str = "released"

    needs = frozenset({"query_similarity"})

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise ValueError(f"variant: expected {' or '.join(VARIANTS)}, got {self.variant!r}")

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Return the rows in the order taken."""
        column = signals.column("query_similarity")
        if len(column.shape) != 2 or not column.shape[1]:
            raise ValueError(
                "query_similarity: expected shape (N, Q), a number per example and query, got"
                f" {tuple(column.shape)}"
            )
        at = by_id(pool)
        similarity = rows(column, at).double().cpu().numpy()
        picks = round_robin(similarity, k, self.variant)
        return Selection(
            at[picks], scores=similarity[picks].max(axis=1), info={"variant": self.variant}
        )
