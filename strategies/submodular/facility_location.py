"""Facility location: every example is as near as possible to one that is taken.

f(S) = sum over i in V of max over j in S of s_ij; V: candidates and what is already taken. Monotone
and submodular (for negative similarities with the empty maximum at 0), so that greedy reaches at
least 1 - 1/e of the best value (Nemhauser, Wolsey & Fisher, 1978).

Lin & Bilmes, "How to select a good training-data subset for transcription", Interspeech 2009; with
lazy greedy and stochastic greedy as in Mirzasoleiman et al., 2015 (arXiv:1409.7938). In two rounds:
GreeDi for decomposable functions, Mirzasoleiman, Karbasi, Sarkar & Krause, "Distributed Submodular
Maximization", NeurIPS 2013 (JMLR 2016, arXiv:1411.0541): each partition's function speaks of its
own rows, the second round's of a random sample as large as a partition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from coreset import Pool, Selection, Signals
from coreset.numerics.compiled import compiled
from coreset.numerics.greedy import (
    Greedy,
    Items,
    SetFunction,
    Values,
    drop,
    heapify,
    maximize,
    rise,
)
from coreset.numerics.similarity import Matrix, Similarity, Sparse
from coreset.numerics.tensors import as_tensor
from coreset.strategies.submodular.common import Pairwise, Submodular
from coreset.two_rounds import TwoRounds, filled_up, greedi

_BLOCK = 2**22  # similarities held at a time: 16 MB


@compiled
def _gains(s: Matrix, best: Matrix, items: Items) -> Values:
    """Return the gains of some items, four rows of `s` at a time: their reads from memory then
    overlap.
    """
    count = len(items)
    out = np.empty(count)
    for t in range(0, count, 4):
        at1, at2, at3 = min(t + 1, count - 1), min(t + 2, count - 1), min(t + 3, count - 1)
        row0, row1, row2, row3 = s[items[t]], s[items[at1]], s[items[at2]], s[items[at3]]
        total0, total1, total2, total3 = 0.0, 0.0, 0.0, 0.0
        for i in range(len(best)):
            have = np.float64(best[i])
            total0 += max(np.float64(row0[i]) - have, 0.0)
            total1 += max(np.float64(row1[i]) - have, 0.0)
            total2 += max(np.float64(row2[i]) - have, 0.0)
            total3 += max(np.float64(row3[i]) - have, 0.0)
        out[t], out[at1], out[at2], out[at3] = total0, total1, total2, total3
    return out


@compiled
def _sparse_gains(
    start: Items, column: NDArray[np.int32], value: Matrix, best: Matrix, items: Items
) -> Values:
    out = np.empty(len(items))
    for t in range(len(items)):
        total = 0.0
        for at in range(start[items[t]], start[items[t] + 1]):
            more = np.float64(value[at]) - np.float64(best[column[at]])
            if more > 0:
                total += more
        out[t] = total
    return out


@compiled
def _greedy(
    s: Matrix, start: Items, column: NDArray[np.int32], value: Matrix, best: Matrix, bonus: Values,
    items: Items, bound: Values, picks: Items, gains: Values,
) -> int:  # fmt: skip
    """Fill picks and gains by lazy greedy, on `s` or, where `start` has entries, on the sparse
    matrix; return how many gains were computed.

    items: ascending. bound: their gains, lowered as we go. best: raised as we go.
    """
    sparse = len(start) > 0
    heap, fresh, slots = (
        np.arange(len(items)),
        np.zeros(len(items), np.int64),
        np.empty(4, np.int64),
    )
    heapify(heap, bound)
    size, evaluations = len(items), 0
    for t in range(len(picks)):
        while fresh[heap[0]] < t:
            count = 0
            while count < 4 and size > 0 and fresh[heap[0]] < t:
                slots[count] = heap[0]
                count += 1
                size = drop(heap, bound, size)
            some = items[slots[:count]]
            gained = (
                _sparse_gains(start, column, value, best, some) if sparse else _gains(s, best, some)
            )
            evaluations += count
            for i in range(count):
                slot = slots[i]
                bound[slot], fresh[slot] = (
                    gained[i] + (bonus[items[slot]] if len(bonus) else 0.0),
                    t,
                )
                size = rise(heap, bound, slot, size)
        slot = heap[0]
        pick = items[slot]
        picks[t], gains[t] = pick, bound[slot]
        size = drop(heap, bound, size)
        if sparse:
            for at in range(start[pick], start[pick + 1]):
                best[column[at]] = max(best[column[at]], value[at])
        else:
            for i in range(len(best)):
                best[i] = max(best[i], s[pick, i])
    return evaluations


class FacilityLocationFunction(SetFunction):
    """f(S) = sum_i max(b_i, max over j in S of s_ji) - sum_i b_i + sum over S of bonus_j.

    similarity: row j holds what item j is to each represented example, (n, m) or `Sparse`. start b
    (m,): what each example has without S (default 0). bonus (n,): a modular part, zero or more
    (default none).
    """

    state = ("best",)

    def __init__(
        self, similarity: Matrix | Sparse, start: Matrix | None = None, bonus: Values | None = None
    ) -> None:
        self.size = len(similarity)
        self.similarity = similarity
        if isinstance(similarity, Sparse):
            width, dtype = self.size, similarity.value.dtype
            self.variant = similarity.variant
        else:
            width, dtype = similarity.shape[1], similarity.dtype
        self.best: NDArray[Any] = (
            np.zeros(width, dtype) if start is None else np.array(start, dtype)
        )
        self.bonus = bonus

    def gains(self, items: Items) -> Values:
        """Return the gain of each item, summed in float64."""
        s = self.similarity
        gained = (
            _sparse_gains(*s.parts, self.best, items)
            if isinstance(s, Sparse)
            else _gains(s, self.best, items)
        )
        return gained if self.bonus is None else gained + self.bonus[items]

    def add(self, item: int) -> None:
        """Put `item` into S."""
        self.value += float(self.gains(np.array([item]))[0])
        s = self.similarity
        if isinstance(s, Sparse):
            part = slice(s.start[item], s.start[item + 1])
            at = s.column[part]
            self.best[at] = np.maximum(self.best[at], s.value[part])
        else:
            np.maximum(self.best, s[item], out=self.best)

    def exact(self, k: int, items: Items) -> Greedy:
        """Return the greedy choice in one compiled lazy loop."""
        items = np.sort(items)
        picks, gains, bound = np.empty(k, np.int64), np.empty(k), self.gains(items)
        s, bonus = self.similarity, np.empty(0) if self.bonus is None else self.bonus
        shared: Any = (self.best, bonus, items, bound, picks, gains)
        if isinstance(s, Sparse):
            count = _greedy(np.empty((0, 0), self.best.dtype), *s.parts, *shared)
        else:
            none = np.empty(0, s.dtype)
            count = _greedy(s, np.empty(0, np.int64), np.empty(0, np.int32), none, *shared)
        self.value += float(gains.sum())
        bounds = np.full(self.size, np.inf)
        bounds[items] = bound
        return Greedy(picks, gains, len(items) + count, bounds)


@dataclass(frozen=True)
class FacilityLocation(Pairwise, Submodular, TwoRounds):
    """Take the examples that stand best for all others.

    neighbors: 0 compares all pairs (4 n^2 bytes); k keeps the similarities to each example's k
    nearest neighbors and takes all others to be at a floor, halfway to the mean (16 n k bytes; once
    k times the budget reaches n, the value over all pairs stayed within 0.1 % in our measurements,
    and `info` speaks of the function with the floor); `auto` compares all pairs up to 8,000
    examples and keeps 32 neighbors beyond. Two mutual nearest neighbors often tie exactly; the
    lower position is taken. Scores: gains. The other parameters: see `Submodular` and `Pairwise`.

    >>> from coreset import select
    >>> x = np.array([[1.0, 0.0], [1.0, 0.1], [1.0, 0.2], [0.0, 1.0]])
    >>> select("facility_location", 2, features=x).indices
    array([2, 3])
    """

    neighbors: int | str = "auto"

    sampled = True

    def function(self, signals: Signals, ground: Items) -> SetFunction:
        """Return the function on the ground set."""
        similarity, floor = self.graph(signals, ground)
        return FacilityLocationFunction(similarity, floor)

    def no_rounds(self) -> str:
        """Return which parameters stand in the way: they would make every partition's function
        another one, or not greedy, or not between 0 and 1.
        """
        if self.optimizer not in ("naive", "lazy"):
            return f"optimizer={self.optimizer} is no plain greedy (naive or lazy)"
        if self.similarity in ("dot", "precomputed", "distances"):
            return f"similarity={self.similarity} (expected cosine, euclidean or rbf)"
        if self.similarity == "rbf" and self.gamma is None:
            return "similarity=rbf without gamma, whose default depends on the rows"
        return ""

    def guarantee(self, partitions: int, k: int) -> tuple[str, float]:
        """Return GreeDi's factor: of the function over all pairs, which beyond 8,000 rows in a
        partition `neighbors=auto` only approximates.
        """
        return greedi("facility value", partitions, k)

    def merge(
        self,
        pool: Pool,
        signals: Signals,
        k: int,
        rng: np.random.Generator,
        firsts: Sequence[Selection],
        sample: Items,
    ) -> list[Selection]:
        """Return the greedy choice from the union for the rows of the sample, and every partition's
        own choice, filled up from it where a partition had fewer rows.
        """
        similarity, floor = self.graph(signals, np.arange(pool.size))
        # stands already: no row outside the sample is asked
        start = np.full(pool.size, np.inf, np.float32)
        start[sample] = 0 if floor is None else floor[sample]
        function = FacilityLocationFunction(similarity, start)
        answer = maximize(
            function, k, pool.candidates, self.optimizer, pool.ids[pool.candidates], rng
        )
        return [
            Selection(answer.picks, scores=answer.gains),
            *(filled_up(one, answer.picks, k) for one in firsts),
        ]

    def audit(
        self, partition: Signals, union: Signals, answers: Sequence[Selection]
    ) -> NDArray[np.float64]:
        """Return the sum over the rows of the partition of the similarity to the nearest that each
        answer took.
        """
        used, at = np.unique(np.concatenate([one.indices for one in answers]), return_inverse=True)
        measure = Similarity.of(
            as_tensor(union.column("features"))[torch.from_numpy(used)], self.similarity, self.gamma
        )
        parts = np.split(at, np.cumsum([len(one) for one in answers])[:-1])
        total = np.zeros((len(answers), 1))
        for block in torch.split(
            as_tensor(partition.column("features")), max(1, _BLOCK // len(used))
        ):
            near = measure.dense(block)
            total[:, 0] += [near[part].max(axis=0).sum(dtype=np.float64) for part in parts]
        return total

    def certify(
        self, audits: NDArray[np.float64], answers: Sequence[Selection], size: int
    ) -> tuple[int, dict[str, Any]]:
        """Return the answer with the largest facility value over the whole pool, and those of both
        kinds. No similarity exceeds 1, the best possible value neither.
        """
        values = audits[:, :, 0].sum(axis=0) / size
        best = int(values.argmax())
        values_of = {
            "facility_value": values[best],
            "of_union": values[0],
            "of_best_partition": values[1:].max(),
        }
        return best, {name: float(value) for name, value in values_of.items()}
