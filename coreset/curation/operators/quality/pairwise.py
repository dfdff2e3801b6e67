"""Ratings of texts from a judge's comparisons of two: QuRating's, by Bradley and Terry's model.

Wettig, Gupta, Malik & Chen, "QuRating: Selecting High-Quality Data for Training Language Models",
ICML 2024 (arXiv:2402.09739). The paper trains a language model on the comparisons; here ratings
are fitted to the rows that were compared, or to a column of vectors, by which every row then has
one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coreset.core.batch import Batch, objects
from coreset.core.pool import Array
from coreset.core.strategy import Scorer
from coreset.curation.operators.base import Estimator
from coreset.numerics.bradley_terry import bradley_terry
from coreset.numerics.random import keyed_uniform
from coreset.registry import resolve_parts
from coreset.scorers.judge.pairs import PairJudge
from coreset.scorers.judge.scorer import Judge


class Excerpt(NamedTuple):
    """A row of the sample: what it was drawn by, its id, what the judge sees of it, its vector."""

    number: float
    id: str
    text: str
    vector: tuple[float, ...]


def paired(ids: NDArray[Any], rounds: int, seed: int) -> NDArray[np.int64]:
    """Return the pairs (m, 2) of places in `ids` that are compared, each once.

    They are neighbors in `rounds` random rings. A ring joins all rows, so that all ratings can be
    compared; it depends on ids and seed alone.

    >>> len(paired(np.array(["a", "b", "c"]), 1, 0)), len(paired(np.array(["a", "b"]), 3, 0))
    (3, 1)
    """
    pairs = set()
    for ring in range(rounds):
        order = np.argsort(keyed_uniform(seed + 1 + ring, ids), kind="stable").tolist()
        both = zip(order, order[1:] + order[:1], strict=True)
        pairs |= {(min(p), max(p)) for p in both if p[0] != p[1]}
    return np.array(sorted(pairs), np.int64).reshape(-1, 2)


@dataclass(frozen=True)
class PairwiseRatings(Estimator):
    """Let a judge compare texts two by two, and rate them.

    Gives `rating`, log-odds with a mean of 0 over the compared, and `rating_status`.

    judge: a `Judge`, whose rubric plays no part. criterion: writing_style, required_expertise,
    facts_and_trivia or educational_value. sample: rows that are compared, drawn by id. rounds:
    rings of comparisons, each with two per row. characters: of a longer text an excerpt of so many,
    from a place drawn by id. features: a column of vectors; ratings are then linear in it and every
    row has one, else only the compared rows have. ridge: of the fit. A row is undefined:
    missing_field, empty_text, not_sampled, not_compared (no comparison of it was decided). Raises
    ValueError, with the reasons, when no comparison at all was decided; with dry_run of the judge
    that says what they would cost.
    """

    gives = frozenset({"rating", "rating_status"})

    judge: Scorer
    criterion: str = "educational_value"
    column: str = "text"
    sample: int = 1000
    rounds: int = 4
    characters: int = 2000
    features: str | None = None
    ridge: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        resolve_parts(self)
        self.pairs  # noqa: B018  its checks
        if self.sample < 2 or min(self.rounds, self.characters) < 1 or not 0 < self.ridge < np.inf:
            raise ValueError(
                "sample, rounds, characters, ridge: expected at least 2, 1, 1 and a number above"
                f" 0, got {self.sample}, {self.rounds}, {self.characters}, {self.ridge}"
            )

    @property
    def pairs(self) -> PairJudge:
        """The judge of two texts at a time. Raises TypeError when `judge` is none."""
        if not isinstance(self.judge, Judge):
            raise TypeError(f"judge: expected the scorer judge, got {self.judge!r}")
        return PairJudge(self.judge, self.criterion)

    @property
    def needs(self) -> frozenset[str]:
        """Return the id, the text and the vectors."""
        return frozenset({"id", self.column} | ({self.features} if self.features else set()))

    def fit(self, batch: Batch) -> list[Excerpt]:
        """Return the sample of one batch."""
        ids, texts = batch["id"], batch[self.column].tolist()
        number, place = keyed_uniform(self.seed, ids), keyed_uniform(self.seed - 1, ids)
        vectors = np.zeros((batch.rows, 0))
        if self.features is not None:
            vectors = np.asarray(batch[self.features], np.float64).reshape(batch.rows, -1)
        good = [
            i
            for i, t in enumerate(texts)
            if t and not t.isspace() and np.isfinite(vectors[i]).all()
        ]
        good = sorted(good, key=lambda i: (number[i], str(ids[i])))[: self.sample]
        out = []
        for i in good:
            start = int(place[i] * max(1, len(texts[i]) - self.characters + 1))
            text = texts[i][start : start + self.characters]
            out.append(Excerpt(float(number[i]), str(ids[i]), text, tuple(vectors[i].tolist())))
        return out

    def to_state(self, state: list[Excerpt]) -> Any:
        """Return the excerpts as plain tuples."""
        return [tuple(row) for row in state]

    def from_state(self, plain: Any) -> list[Excerpt]:
        """Return the excerpts of their plain form."""
        return [Excerpt(*row) for row in plain]

    def merge(self, a: list[Excerpt], b: list[Excerpt]) -> list[Excerpt]:
        """Return the sample of both."""
        return sorted([*a, *b])[: self.sample]

    def finish(self, state: list[Excerpt]) -> Ratings:
        """Return the scorer, after all comparisons."""
        rows = sorted(state, key=lambda row: row.id)
        if len(rows) < 2:
            raise ValueError(
                f"pairwise_ratings: expected at least 2 rows with texts, got {len(rows)}"
            )
        pairs = paired(objects([row.id for row in rows]), self.rounds, self.seed)
        texts = [(rows[a].text, rows[b].text) for a, b in pairs.tolist()]
        judge = self.pairs
        share, why = judge.shares(texts)
        decided = np.isfinite(share)
        if not decided.any():
            more = ""
            if judge.judge.dry_run:
                questions, dollars = judge.cost(texts)
                more = f"; they take {questions} questions that cost at most {dollars:.2f} dollars"
            reasons = ", ".join(f"{n} {word}" for word, n in sorted(why.items()))
            raise ValueError(
                f"pairwise_ratings: none of {len(pairs)} comparisons was decided: {reasons}{more}"
            )
        pairs, share = pairs[decided], share[decided]
        if self.features is not None:
            x = np.array([row.vector for row in rows])
            w = bradley_terry(pairs, share, len(rows), self.ridge, x)
            return Ratings(
                self.column, self.features, {}, w, float((x @ w)[np.unique(pairs)].mean())
            )
        ratings = bradley_terry(pairs, share, len(rows), self.ridge)
        known = {rows[i].id: float(ratings[i]) for i in np.unique(pairs).tolist()}
        asked = {row.id: known.get(row.id) for row in rows}
        return Ratings(self.column, None, asked, np.zeros(0), 0.0)


@dataclass(frozen=True, eq=False)
class Ratings:
    """Fitted ratings.

    asked: {id: rating, None where no comparison was decided}; or weights (D,) of `features`, and
    the mean to take off.
    """

    column: str
    features: str | None
    asked: Mapping[str, float | None] = field(repr=False)
    weights: NDArray[np.float64] = field(repr=False)
    mean: float

    gives = frozenset({"rating", "rating_status"})

    @property
    def needs(self) -> frozenset[str]:
        """Return the id, the text and the vectors."""
        return frozenset({"id", self.column} | ({self.features} if self.features else set()))

    def __call__(self, batch: Mapping[str, Array]) -> dict[str, Array]:
        """Return the rating of every row that has one."""
        texts, ids = list(batch[self.column]), [str(i) for i in batch["id"]]
        status = [
            "missing_field" if t is None else "ok" if t.strip() else "empty_text" for t in texts
        ]
        value = np.full(len(texts), np.nan)
        if self.features is not None:
            x = np.asarray(batch[self.features], np.float64).reshape(len(texts), -1)
            value = (x * self.weights).sum(axis=1) - self.mean
            status = [
                "non_finite" if s == "ok" and np.isnan(v) else s
                for s, v in zip(status, value, strict=True)
            ]
        else:
            for i, name in enumerate(ids):
                if status[i] == "ok":
                    rating = self.asked.get(name)
                    status[i] = "ok" if rating is not None else _WHY[name in self.asked]
                    value[i] = np.nan if rating is None else rating
        value[np.array([s != "ok" for s in status], bool)] = np.nan
        return {"rating": value, "rating_status": objects(status)}


_WHY = {True: "not_compared", False: "not_sampled"}
