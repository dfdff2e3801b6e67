"""ProbCover: balls of one radius around the chosen examples, so that they cover as many of the rest
as possible.

Yehuda, Dekel, Hacohen & Weinshall, "Active Learning Through a Covering Lens", NeurIPS 2022
(arXiv:2205.11320).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coreset import Pool, Selection, Signals, Strategy
from coreset.core.ranges import check_range
from coreset.numerics.compiled import compiled
from coreset.numerics.neighbors.distances import exact_rows, square_distance
from coreset.numerics.neighbors.kmeans import kmeans
from coreset.numerics.neighbors.nearest import knn, within
from coreset.numerics.tensors import as_float, rows, unit_rows


def pure_radius(x: Tensor, labels: NDArray[np.int64], purity: float = 0.95) -> float:
    """Return the largest radius at which at least `purity` of the balls (open, one around each row
    of `x`) hold rows of one label only.

    Exact, not a grid: a ball is pure up to the distance to the nearest row with another label, so
    the answer is one of these distances. Infinite when there is only one label.

    >>> pure_radius(torch.tensor([[0.0], [1.0], [3.0], [7.0]]), np.array([0, 0, 1, 1]), purity=0.75)
    2.0
    """
    if len(np.unique(labels)) < 2:
        return float("inf")
    reach, other = (column[:, 0] for column in knn(x, 1, groups=torch.from_numpy(labels)))
    last = int(
        reach.argsort(stable=True)[min(len(x) - 1, int(np.floor((1 - purity) * len(x) + 1e-9)))]
    )
    pair = exact_rows(x[[last, int(other[last])]].cpu())
    radius, square = float(reach[last]), square_distance(pair[0], pair[1])
    while radius * radius > square:  # the root was rounded up: its ball would hold the other row
        radius = float(np.nextafter(radius, 0))
    return radius


@compiled
def _take(
    p: int,
    start: NDArray[np.int64],
    columns: NDArray[np.int32],
    covered: NDArray[np.bool_],
    gain: NDArray[np.int64],
) -> int:
    """Cover row p and its neighbors, lower everyone's gain by what is gone, and return how many
    rows are newly covered.
    """
    new = 0
    for e in range(start[p] - 1, start[p + 1]):
        j = p if e < start[p] else columns[e]
        if covered[j]:
            continue
        covered[j] = True
        new += 1
        gain[j] -= 1
        for f in range(start[j], start[j + 1]):
            gain[columns[f]] -= 1
    return new


@compiled
def _cover(
    start: NDArray[np.int64], columns: NDArray[np.int32],
    taken: NDArray[np.bool_], may: NDArray[np.bool_], picks: NDArray[Any], gains: NDArray[Any],
    layers: bool = True,
) -> int:  # fmt: skip
    """Greedy maximum cover on a symmetric graph without loops, each row covering itself; return how
    many rows the first layer covers.
    """
    size = len(may)
    covered = np.zeros(size, np.bool_)
    gain = start[1:] - start[:-1] + 1
    done, first = 0, -1
    for i in range(size):
        if taken[i]:
            done += _take(i, start, columns, covered, gain)
    for step in range(len(picks)):
        if layers and done == size:  # all covered: another layer
            first, done = size, 0
            covered[:] = False
            gain = start[1:] - start[:-1] + 1
        best = -1
        for i in range(size):
            if may[i] and (best < 0 or gain[i] > gain[best]):
                best = i
        picks[step], gains[step], may[best] = best, gain[best], False
        done += _take(best, start, columns, covered, gain)
    return first if first >= 0 else done


def prob_cover(
    x: Tensor,
    k: int,
    delta: float,
    taken: NDArray[np.bool_],
    may: NDArray[np.bool_],
    *,
    closed: bool = False,
    layers: bool = True,
) -> tuple[NDArray[np.int64], NDArray[np.int64], float]:
    """Return `k` rows of `x` in order, how many uncovered rows each covers (itself included), and
    the share covered at last.

    delta: radius of the balls, `distance < delta`. taken (n,): rows whose balls are there already.
    may (n,): rows that may be picked. Ties go to the lowest row. When everything is covered the
    cover starts over as a second layer in which nothing counts as covered; rows are never taken
    twice. closed: a distance of delta counts as well. layers: False leaves out the second layer, so
    that the lowest rows follow, each with a gain of 0.

    >>> x = torch.tensor([[0.0], [1.0], [2.0], [9.0]])
    >>> picks, gains, share = prob_cover(x, 2, 1.5, np.zeros(4, bool), np.ones(4, bool))
    >>> picks.tolist(), gains.tolist(), share
    ([1, 3], [3, 1], 1.0)
    """
    start, columns = within(x, delta, closed=closed)
    picks, gains = np.empty(k, np.int64), np.empty(k, np.int64)
    covered = _cover(start, columns, taken, may.copy(), picks, gains, layers)
    return picks, gains, covered / len(x)


@dataclass(frozen=True)
class ProbCover(Strategy):
    """Take the candidate whose ball of radius delta covers most of what is not covered yet.

    delta: the radius; None finds the largest with at least `purity` pure balls under k-means
    pseudo-labels (`clusters` of them: as many as there are classes). normalize: scale features to
    unit length first, as the paper does. Scores: newly covered examples. info: `delta`, `covered`
    (share of candidates and selected within delta of a choice). Memory: 4 bytes per pair nearer
    than delta.

    >>> from coreset import select
    >>> import numpy as np
    >>> x = np.array([[0.0], [1.0], [2.0], [9.0]])
    >>> select("probcover", 2, features=x, options={"delta": 1.5, "normalize": False}).indices
    array([1, 3])
    """

    delta: float | None = None
    purity: float = 0.95
    clusters: int = 10
    normalize: bool = True

    needs = frozenset({"features"})
    needs_selected = frozenset({"features"})
    random = True

    def __post_init__(self) -> None:
        if self.delta is not None and not self.delta > 0:
            raise ValueError(f"delta: expected a positive radius or null, got {self.delta}")
        check_range("a share in (0, 1]", purity=self.purity)

    @property
    def scales(self) -> Mapping[str, Mapping[str, float] | None]:
        """Columns whose multiples change no choice, with the power that scores and info carry."""
        if self.normalize:
            return {"features": None}
        return {"features": {"delta": 1}} if self.delta is None else {}

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Find the radius if it is not given, and cover."""
        at = np.concatenate([pool.selected, pool.candidates])
        # ties go to the lowest id: by default the lowest position
        at = at[np.argsort(pool.ids[at])]
        x = as_float(rows(signals.column("features"), at))
        if self.normalize:
            x = unit_rows(x)
        delta = self.delta
        if delta is None:
            delta = pure_radius(
                x, kmeans(x, min(self.clusters, len(x)), rng, pool.ids[at]).labels, self.purity
            )
        taken = np.isin(at, pool.selected)
        picks, gains, share = prob_cover(x, k, delta, taken, ~taken)
        return Selection(
            at[picks], scores=gains.astype(np.float64), info={"delta": delta, "covered": share}
        )
