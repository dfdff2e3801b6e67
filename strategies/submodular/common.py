"""What all submodular strategies share: a function on the ground set, and an optimizer that any of
them can use.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coreset import Pool, Selection, Signals, Strategy
from coreset.core.ranges import check_range
from coreset.core.signals import check_column
from coreset.numerics.greedy import (
    OPTIMIZERS,
    Items,
    SetFunction,
    knapsack_greedy,
    maximize,
    upper_bound,
)
from coreset.numerics.similarity import KINDS, Matrix, Similarity, Sparse
from coreset.numerics.tensors import as_float, as_tensor

DENSE_UP_TO = 8000  # examples; the matrix then holds 256 MB
NEIGHBORS = 32
# words for columns of pairs, and their names
GIVEN = {"precomputed": "similarity", "distances": "distances"}


@dataclass(frozen=True)
class Submodular(Strategy):
    """Greedy maximization of a set function over the ground set: the candidates and what is already
    taken, which counts as in S from the start.

    optimizer: naive | lazy | stochastic | lazier_than_lazy | greedi; the first two give the same
    answer, `epsilon` sets the sample size of the next two (n / k ln 1/epsilon), `parts` belongs to
    the last. Class by class: `class_quota` with this base.

    `info` holds the value f(S), without a constant so that f(empty) = 0, and where the function is
    monotone and submodular an upper bound on what any set with as many new examples can reach, with
    their ratio; `variant` says how it was computed (from all pairs, nearest neighbors or sums).
    """

    optimizer: str = "lazy"
    epsilon: float = 0.01
    parts: int = 4

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(
                f"optimizer: expected one of {', '.join(OPTIMIZERS)}, got {self.optimizer!r}"
            )
        check_range("a number in (0, 1)", epsilon=self.epsilon)
        if self.parts < 1:
            raise ValueError(f"parts: expected at least one, got {self.parts}")

    @property
    @abstractmethod
    def reads(self) -> frozenset[str]:
        """Names of the columns the function is made of."""

    @abstractmethod
    def function(self, signals: Signals, ground: Items) -> SetFunction:
        """Return the function on the ground set `ground`, positions in ascending order, with
        nothing taken.
        """

    @property
    def needs(self) -> frozenset[str]:
        """What the function reads."""
        return self.reads

    @property
    def needs_selected(self) -> frozenset[str]:  # type: ignore[override]
        """The same for what is already taken."""
        return self.needs

    @property
    def greedy(self) -> bool:  # type: ignore[override]
        """Samples and parts depend on the budget."""
        return self.optimizer in ("naive", "lazy")

    @property
    def random(self) -> bool:  # type: ignore[override]
        """Samples and parts are drawn."""
        return self.optimizer not in ("naive", "lazy")

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Run the optimizer on the candidates, given what is taken."""
        ground = np.sort(np.concatenate([pool.candidates, pool.selected]))
        function = self.function(signals, ground)
        for item in np.searchsorted(ground, np.sort(pool.selected)).tolist():
            function.add(item)
        items = np.searchsorted(ground, pool.candidates)
        ids = pool.ids[pool.candidates]
        greedy = maximize(function, k, items, self.optimizer, ids, rng, self.epsilon, self.parts)
        info: dict[str, Any] = {
            "value": function.value,
            "evaluations": greedy.evaluations,
            "variant": function.variant,
        }
        if function.submodular and function.monotone:
            left = np.setdiff1d(items, greedy.picks)
            info["bound"] = upper_bound(function, k, left, greedy.bounds)
            info["ratio"] = _ratio(function.value, info["bound"])
        return Selection(ground[greedy.picks], scores=greedy.gains, info=info)

    def within(self, pool: Pool, signals: Signals, costs: NDArray[Any], limit: float) -> Selection:
        """Return candidates whose costs (N,) never exceed `limit` together, most gain per cost
        first; `info` says what is left of it, as `slack`.

        For monotone submodular functions worth at least 1 - 1/sqrt(e) of the best such set: see
        `knapsack_greedy`. Raises ValueError for a function that is not submodular, costs that are
        not positive, and an optimizer other than naive and lazy.

        >>> from coreset.registry import strategy
        >>> x, pool = np.eye(3), Pool(3)
        >>> strategy("facility_location").within(
        ...     pool, Signals(3, features=x), np.array([3.0, 1.0, 2.0]), 3.5
        ... ).indices
        array([1, 2])
        """
        if not self.greedy:
            raise ValueError("a limit of costs needs optimizer naive or lazy")
        ground = np.sort(np.concatenate([pool.candidates, pool.selected]))
        function = self.function(signals, ground)
        for item in np.searchsorted(ground, np.sort(pool.selected)).tolist():
            function.add(item)
        answer = knapsack_greedy(
            function,
            np.asarray(costs, np.float64)[ground],
            limit,
            np.searchsorted(ground, pool.candidates),
        )
        return Selection(
            ground[answer.picks],
            scores=answer.gains,
            info={"slack": answer.slack, "variant": function.variant},
        )


@dataclass(frozen=True)
class Pairwise:
    """The part of a strategy that compares examples with one another.

    similarity: cosine | dot | rbf | euclidean (formulas in `coreset.numerics.similarity`), or
    `precomputed`: a symmetric column `similarity` (N, N) is used as it is, or `distances`: of a
    symmetric column `distances` (N, N) the similarity is 1 / (1 + d), as for euclidean. gamma: the
    width of rbf, by default one over the mean squared distance in the ground set.
    """

    similarity: str = "cosine"
    gamma: float | None = None

    def __post_init__(self) -> None:
        if self.similarity not in (*KINDS, *GIVEN):
            raise ValueError(
                f"similarity: expected one of {', '.join((*KINDS, *GIVEN))}, got"
                f" {self.similarity!r}"
            )
        neighbors = getattr(self, "neighbors", 0)
        if neighbors != "auto" and (not isinstance(neighbors, int) or neighbors < 0):
            raise ValueError(
                f"neighbors: expected 'auto' or a whole number of at least 0, got {neighbors!r}"
            )
        later: Any = super()
        if hasattr(later, "__post_init__"):
            later.__post_init__()

    @property
    def reads(self) -> frozenset[str]:
        """The column that is compared."""
        return frozenset({GIVEN.get(self.similarity, "features")})

    @property
    def linear(self) -> bool:
        """Whether sums over features replace sums over pairs, exactly."""
        return self.similarity in ("cosine", "dot")

    @property
    def scales(self) -> Mapping[str, Mapping[str, float] | None]:
        """Columns whose multiples change no choice, with the power that scores and info carry."""
        if self.similarity in ("dot", "precomputed"):
            power = 2 if self.similarity == "dot" else 1
            return {next(iter(self.reads)): {"scores": power, "value": power, "bound": power}}
        free = self.similarity == "cosine" or (self.similarity == "rbf" and self.gamma is None)
        return {"features": {}} if free else {}

    def measure(self, signals: Signals, ground: Items) -> Similarity:
        """Return the similarity of the ground set's features."""
        return Similarity.of(_rows(signals, ground), self.similarity, self.gamma)

    def dense(self, signals: Signals, ground: Items) -> Matrix:
        """Return the similarities of the ground set to itself."""
        if self.similarity in GIVEN:
            return _precomputed(signals, GIVEN[self.similarity], ground, ground)
        return self.measure(signals, ground).dense()

    def between(
        self, signals: Signals, ground: Items, others: Items, width: int = 0
    ) -> Iterator[Matrix]:
        """Yield the similarities of the ground set (rows) to `others`, `width` columns at a time
        (0: all at once).
        """
        parts = (
            [others[start : start + width] for start in range(0, len(others), width)]
            if width
            else [others]
        )
        if self.similarity in GIVEN:
            yield from (
                _precomputed(signals, GIVEN[self.similarity], ground, part) for part in parts
            )
            return
        check_column("features", signals.check("features", others), others)
        measure = self.measure(signals, ground)
        yield from (measure.dense(_rows(signals, part)) for part in parts)

    def nearest_of(self, signals: Signals, ground: Items, others: Items) -> NDArray[np.float64]:
        """Return each example's largest similarity to `others`, (len(ground),)."""
        best = np.full(len(ground), -np.inf)
        for block in self.between(signals, ground, others, 256):
            np.maximum(best, block.max(axis=1), out=best)
        return best

    def sum_to(self, signals: Signals, ground: Items, others: Items) -> NDArray[np.float64]:
        """Return the sum of each example's similarities to `others`, (len(ground),)."""
        total = np.zeros(len(ground))
        for block in self.between(signals, ground, others, 256):
            total += block.sum(axis=1, dtype=np.float64)
        return total

    def graph(self, signals: Signals, ground: Items) -> tuple[Matrix | Sparse, Matrix | None]:
        """Return all similarities of the ground set, or those between `neighbors` with a floor for
        the others.
        """
        neighbors = getattr(self, "neighbors", 0)
        if neighbors == "auto":
            neighbors = 0 if len(ground) <= DENSE_UP_TO or self.similarity in GIVEN else NEIGHBORS
        if not neighbors:
            return self.dense(signals, ground), None
        if self.similarity in GIVEN:
            raise ValueError(
                "neighbors: a precomputed similarity is used as it is; use neighbors=0 or auto"
            )
        return self.measure(signals, ground).nearest(neighbors)


def marked(signals: Signals, name: str) -> Items:
    """Return the positions that a column (N,) of true and false (or 1 and 0) marks. Raises
    ValueError when it marks none or is no such column.
    """
    column = np.asarray(as_tensor(signals.check(name, np.arange(signals.size))).cpu())
    if column.ndim != 1 or not np.isin(column, (0, 1)).all():
        raise ValueError(
            f"{name}: expected one true or false per example, shape ({signals.size},), got"
            f" {column.dtype} with shape {column.shape}"
        )
    if not column.any():
        raise ValueError(f"{name}: no example is marked")
    return np.flatnonzero(column)


def _rows(signals: Signals, rows: Items) -> Tensor:
    x = as_tensor(signals.check("features", rows))
    return x if len(rows) == len(x) else x[torch.from_numpy(rows).to(x.device)]


def square_column(signals: Signals, name: str) -> Matrix:
    """Return a column (N, N) as an array. Raises ValueError for another shape or kind, and for
    distances below 0 or that are no distances of a row to itself.

    >>> square_column(Signals(2, distances=np.array([[0.0, 1.0], [1.0, 0.0]])), "distances").shape
    (2, 2)
    """
    whole = as_float(as_tensor(signals.column(name))).cpu().numpy()
    n = signals.size
    if whole.shape != (n, n) or whole.dtype.kind != "f":
        raise ValueError(
            f"{name}: expected floating-point values of shape ({n}, {n}), got {whole.dtype} with"
            f" shape {whole.shape}"
        )
    if name == "distances" and (whole.min() < 0 or np.abs(whole.diagonal()).max() > 0):
        raise ValueError(
            "distances: expected numbers of at least 0, and 0 from each example to itself"
        )
    return whole


def _precomputed(signals: Signals, name: str, rows: Items, columns: Items) -> Matrix:
    """Return a part of a column of similarities, without a copy when it is all of it, or what a
    part of a column of distances makes of them.
    """
    whole, n = square_column(signals, name), signals.size
    few = rows[
        :: max(1, len(rows) // 64)
    ]  # a sample: reading columns of the whole matrix would take longer than the selection
    one, other = whole[np.ix_(few, rows)], whole[np.ix_(rows, few)].T
    if not np.allclose(one, other, rtol=1e-3, atol=1e-5):
        raise ValueError(f"{name}: expected a symmetric matrix")
    if not whole.flags.c_contiguous:
        whole = whole.T if whole.flags.f_contiguous else np.ascontiguousarray(whole)
    part = whole if len(rows) == len(columns) == n else whole[np.ix_(rows, columns)]
    return part if name == "similarity" else (1 / (1 + part)).astype(np.float32)


def _ratio(value: float, bound: float) -> float:
    return value / bound if bound > 0 else 1.0
