"""DSIR: how much likelier a text's hashed n-grams are in a target than in the raw pool.

Xie et al., "Data Selection for Language Models via Importance Resampling", NeurIPS 2023
(arXiv:2302.03169). The weights are log-weights: resampling without replacement is `Select` with
`coreset.strategies.combine.stochastic_batch.StochasticBatch(TopK("dsir"), kind="softmax")`, Gumbel
top-k keyed by id.

Weights are sums over n-grams, not means, so that a short text is never unlikely: hence the floor on
the length. Cut long texts to equal partitions first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from coreset.core.batch import Batch
from coreset.curation.io.reference_texts import Source, frozen, hashes_of, texts_of
from coreset.curation.operators.base import Estimator
from coreset.numerics.text.hashed import Whole, dsir_buckets
from coreset.scorers.text.base import TextScorer, Values


def log_ratio(target: Whole, raw: Whole, laplace: bool = False) -> NDArray[np.float64]:
    """Return log p_target - log p_raw for counts (buckets,), each probability plus 1e-8 as in the
    released code. laplace: one added to every target count, for small targets.

    >>> log_ratio(np.array([1, 3]), np.array([2, 2])).round(3).tolist()
    [-0.693, 0.405]
    """
    wanted = target + int(laplace)
    p, q = wanted / wanted.sum(), raw / max(1, raw.sum())
    ratio: NDArray[np.float64] = np.log(p + 1e-8) - np.log(q + 1e-8)
    return ratio


@dataclass(frozen=True)
class Dsir(Estimator):
    """Weigh rows by importance for the texts of `target` (a path, glob or list): gives `dsir`, a
    log-weight.

    column, target_column: the texts. shortest: tokens below which a row is "too_short", undefined.
    laplace: smooth the target's counts, needed where the target has fewer n-grams than there are
    buckets.
    """

    gives = frozenset({"dsir", "dsir_status"})

    target: Source
    column: str = "text"
    target_column: str = "text"
    buckets: int = 10_000
    shortest: int = 100
    laplace: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "target", frozen(self.target, "target"))
        if self.buckets < 1 or self.shortest < 0:
            raise ValueError(
                f"buckets, shortest: expected at least 1 and 0, got {self.buckets}, {self.shortest}"
            )

    def resources(self) -> dict[str, str]:
        """Return the hashes of the target's files."""
        return hashes_of(self.target)

    @property
    def needs(self) -> frozenset[str]:
        """Return the text."""
        return frozenset({self.column})

    def _counts(self, texts: Sequence[str | None]) -> Whole:
        total = np.zeros(self.buckets, np.int64)
        for text in texts:
            total += np.bincount(dsir_buckets(text or "", self.buckets), minlength=self.buckets)
        return total

    def fit(self, batch: Batch) -> Whole:
        """Return the counts of one batch."""
        return self._counts(batch[self.column].tolist())

    def merge(self, a: Whole, b: Whole) -> Whole:
        """Return the counts of both."""
        return a + b

    def finish(self, state: Whole) -> DsirWeight:
        """Return the scorer. Raises ValueError when the target has no words."""
        target = self._counts([t for _, t in texts_of(self.target, self.target_column)])
        if not target.sum():
            raise ValueError(
                f"target: no words in {self.target if isinstance(self.target, str) else 'the list'}"
            )
        return DsirWeight(self.column, self.shortest, log_ratio(target, state, self.laplace))


@dataclass(frozen=True, eq=False)
class DsirWeight(TextScorer):
    """Fitted importance weights. ratio (buckets,): the log ratio of each bucket."""

    columns = ("dsir",)
    status_column = "dsir_status"

    column: str
    shortest: int
    ratio: NDArray[np.float64] = field(repr=False)

    def measure(self, texts: Sequence[str], column: pa.Array) -> Values:
        """Return the sum of the log ratios of each text's n-grams."""
        out, status = np.full(len(texts), np.nan), np.full(len(texts), "too_short", object)
        for i, text in enumerate(texts):
            buckets = dsir_buckets(text, len(self.ratio))
            if len(buckets) + 1 >= 2 * self.shortest:
                out[i], status[i] = self.ratio[buckets].sum(), "ok"
        return {"dsir": out, "dsir_status": status}
