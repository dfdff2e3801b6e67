"""GPT-3's quality classifier: logistic regression on hashed terms, curated text against the raw
pool.

Brown et al., "Language Models are Few-Shot Learners", NeurIPS 2020, appendix A (arXiv:2005.14165):
Spark's standard tokenizer and HashingTF. `coreset.curation.operators.rules.ParetoFilter` then keeps
good rows surely and poor ones sometimes. The paper does not say how counts are scaled: here a
text's counts have length 1, so that its length alone says nothing; both classes weigh the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from coreset.core.batch import Batch, objects
from coreset.curation.io.reference_texts import Source, frozen, hashes_of, texts_of
from coreset.curation.operators.base import Estimator
from coreset.numerics.random import keyed_uniform
from coreset.numerics.text.hashed import spark_buckets
from coreset.scorers.text.base import TextScorer, Values


class Sample(NamedTuple):
    """The rows of the smallest keyed numbers, sorted by id: number (m,), id (m,), and the buckets
    of each.
    """

    number: NDArray[np.float64]
    id: NDArray[Any]
    buckets: list[NDArray[np.int64]]

    def least(self, k: int) -> Sample:
        """Return the sample cut to its k smallest numbers."""
        first = np.lexsort((self.id.astype(str), self.number))[:k]
        order = first[np.argsort(self.id[first].astype(str), kind="stable")]
        return Sample(self.number[order], self.id[order], [self.buckets[i] for i in order.tolist()])


def unit_counts(rows: Sequence[NDArray[np.int64]], buckets: int) -> Any:
    """Return the counts of each row, scaled to length 1, as a scipy CSR matrix (n, buckets)."""
    from scipy.sparse import csr_matrix

    counted = [np.unique(r, return_counts=True) for r in rows]
    start = np.concatenate([[0], np.cumsum([len(f[0]) for f in counted])]).astype(np.int64)
    column = np.concatenate([f[0] for f in counted] or [np.zeros(0, np.int64)])
    value = np.concatenate(
        [f[1] / np.sqrt((f[1].astype(np.float64) ** 2).sum()) for f in counted if len(f[1])]
        or [np.zeros(0)]
    )
    return csr_matrix((value, column, start), shape=(len(rows), buckets))  # fmt: skip


@dataclass(frozen=True)
class QualityClassifier(Estimator):
    """Learn what sets `curated` text (a path, glob or list) apart from the pool; then give every
    row `quality`, the probability that it is curated.

    column, curated_column: the texts. sample: rows of either side that are learned from, drawn by
    id. c: inverse strength of the squared penalty.
    """

    gives = frozenset({"quality", "quality_status"})

    curated: Source
    column: str = "text"
    curated_column: str = "text"
    buckets: int = 2**18
    sample: int = 20_000
    c: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "curated", frozen(self.curated, "curated"))
        if min(self.buckets, self.sample) < 1 or not self.c > 0:
            raise ValueError(
                f"buckets, sample, c: expected numbers above 0, got {self.buckets}, {self.sample},"
                f" {self.c}"
            )

    def resources(self) -> dict[str, str]:
        """Return the hashes of the curated files."""
        return hashes_of(self.curated)

    @property
    def needs(self) -> frozenset[str]:
        """Return the id and the text."""
        return frozenset({"id", self.column})

    def _sample(self, ids: NDArray[Any], texts: Sequence[str | None]) -> Sample:
        number = keyed_uniform(self.seed, ids)
        first = Sample(number, ids, [np.array([i]) for i in range(len(ids))]).least(self.sample)
        own = [spark_buckets(texts[int(i[0])] or "", self.buckets) for i in first.buckets]
        return Sample(first.number, first.id, own)

    def fit(self, batch: Batch) -> Sample:
        """Return the sample of one batch."""
        return self._sample(batch["id"], batch[self.column].tolist())

    def to_state(self, state: Sample) -> Any:
        """Return numbers, ids, all buckets in a row and where those of each text end."""
        ends = np.cumsum([len(b) for b in state.buckets], dtype=np.int64)
        return state.number, state.id, np.concatenate([np.zeros(0, np.int64), *state.buckets]), ends

    def from_state(self, plain: Any) -> Sample:
        """Return the sample of its plain form."""
        number, ids, buckets, ends = plain
        return Sample(number, ids, np.split(buckets, ends[:-1]) if len(ends) else [])

    def merge(self, a: Sample, b: Sample) -> Sample:
        """Return the sample of both."""
        both = Sample(
            np.concatenate([a.number, b.number]),
            np.concatenate([a.id, b.id]),
            a.buckets + b.buckets,
        )
        return both.least(self.sample)

    def finish(self, state: Sample) -> HashedQuality:
        """Return the scorer. Raises ValueError when there is no curated text or no raw one."""
        from scipy.sparse import vstack
        from sklearn.linear_model import LogisticRegression

        rows = texts_of(self.curated, self.curated_column)
        good = self._sample(objects([i for i, _ in rows]), [t for _, t in rows])
        positive, negative = ([b for b in s.buckets if len(b)] for s in (good, state))
        if not positive or not negative:
            raise ValueError(
                f"quality: expected curated and raw texts with words, got {len(positive)} and"
                f" {len(negative)}"
            )
        x = vstack(
            [unit_counts(positive, self.buckets), unit_counts(negative, self.buckets)]
        ).tocsr()
        y = np.repeat([1, 0], [len(positive), len(negative)])
        model = LogisticRegression(C=self.c, class_weight="balanced", max_iter=1000, tol=1e-6).fit(
            x, y
        )
        return HashedQuality(
            self.column, np.asarray(model.coef_[0], np.float64), float(model.intercept_[0])
        )


@dataclass(frozen=True, eq=False)
class HashedQuality(TextScorer):
    """A fitted quality classifier. weights (buckets,), bias."""

    columns = ("quality",)
    status_column = "quality_status"

    column: str
    weights: NDArray[np.float64] = field(repr=False)
    bias: float

    def measure(self, texts: Sequence[str], column: pa.Array) -> Values:
        """Return the probability of being curated."""
        rows = unit_counts([spark_buckets(t, len(self.weights)) for t in texts], len(self.weights))
        margin = rows @ self.weights + self.bias
        return {"quality": 1 / (1 + np.exp(-margin))}
