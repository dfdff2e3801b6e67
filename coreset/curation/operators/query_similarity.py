"""How near each row is to the rows of a query set: what RDS+ selects by (Ivison et al., 2025,
arXiv:2503.01807).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from coreset.core.batch import as_batch, objects
from coreset.core.compute import Compute, compute_of
from coreset.core.pool import Array
from coreset.core.strategy import Scorer
from coreset.curation.io.reference_texts import Source, frozen, hashes_of, texts_of
from coreset.registry import resolve_parts


@lru_cache(4)
def _queries(
    encoder: Scorer, source: Source, column: str, task: str | None, _: tuple[tuple[str, str], ...]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the embeddings of the queries and the number of the column each counts for."""
    queries = texts_of(source, column)
    columns = encoder(
        as_batch(
            {"id": [name for name, _ in queries], column: objects([value for _, value in queries])}
        )
    )
    vectors = np.asarray(columns[f"{column}_embedding"])
    undefined = np.flatnonzero(np.isnan(vectors).any(axis=1))
    if len(undefined):
        raise ValueError(
            f"{source if isinstance(source, str) else 'queries'}: {len(undefined)} queries have no"
            f" embedding, first '{queries[undefined[0]][0]}'"
        )
    if task is None:
        return vectors, np.arange(len(vectors))
    return vectors, np.unique([str(t) for _, t in texts_of(source, task)], return_inverse=True)[
        1
    ].astype(np.int64)


@dataclass(frozen=True)
class QuerySimilarity:
    """Embed rows and queries alike and compare them: gives what `encoder` gives, and
    `query_similarity` (n, Q), the cosine of each row with each query, with its status.

    encoder: a scorer with a `column` that gives `<column>_embedding`, of length 1
    (`HiddenEmbedding`, `SentenceEmbedding`). queries: a path, glob or list of rows of the same form
    as the pool's, in the order of their ids. task: a field of the queries that names their task;
    then a column per task, in order of their names, holds the largest cosine with any query of it.
    """

    encoder: Scorer
    queries: Source
    task: str | None = None

    def __post_init__(self) -> None:
        resolve_parts(self)
        object.__setattr__(self, "queries", frozen(self.queries, "queries"))
        if not isinstance(self.encoder, Scorer) or not isinstance(
            getattr(self.encoder, "column", None), str
        ):
            raise ValueError(
                f"encoder: expected a scorer that embeds a column, got {self.encoder!r}"
            )

    @property
    def compute(self) -> Compute:
        """Return what the encoder needs of a machine."""
        return compute_of(self.encoder)

    @property
    def needs(self) -> frozenset[str]:
        """Return what the encoder reads."""
        return frozenset(self.encoder.needs)

    @property
    def gives(self) -> frozenset[str]:
        """Return what the encoder gives, the similarities and their status."""
        return frozenset(self.encoder.gives) | {"query_similarity", "query_similarity_status"}

    def resources(self) -> dict[str, str]:
        """Return the hashes of the query files."""
        return hashes_of(self.queries)

    def __call__(self, batch: Mapping[str, Array]) -> dict[str, Array]:
        """Return the columns for every row."""
        column = str(self.encoder.column)  # type: ignore[attr-defined]  # checked
        vectors, group = _queries(
            self.encoder,  # type: ignore[arg-type]  # frozen, so that it can be hashed
            self.queries,
            column,
            self.task,
            tuple(sorted(self.resources().items())),
        )
        out = dict(self.encoder(batch))
        rows = np.asarray(out[f"{column}_embedding"], np.float64)
        cosine = rows @ vectors.T.astype(np.float64)
        if self.task is not None:
            cosine = np.stack(
                [cosine[:, group == g].max(axis=1) for g in range(int(group.max()) + 1)], axis=1
            )
        out["query_similarity"] = cosine.astype(np.float32)
        out["query_similarity_status"] = out[f"{column}_embedding_status"]
        return out
