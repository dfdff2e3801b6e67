"""k-center with outliers: cover all but a share of the pool, so that a few odd examples do not draw
the picks.

Ding, Yu & Wang, "Greedy Strategy Works for k-Center Clustering with Outliers and Coreset
Construction", ESA 2019 (arXiv:1901.08219), the greedy that draws from the farthest; the aim (some
examples may stay uncovered) is the robust k-center of Charikar et al., SODA 2001, used by Sener &
Savarese, ICLR 2018 (arXiv:1708.00489).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from coreset import Pool, Selection, Signals, Strategy
from coreset.core.ranges import check_range
from coreset.numerics.compiled import compiled
from coreset.numerics.neighbors.distances import Float, exact_rows, square_distance
from coreset.numerics.random import keyed_uniform, salt
from coreset.numerics.tensors import as_float, as_tensor, top_k, unit_rows


@compiled
def _lower(x: Float, rows: NDArray[np.int64], center: Float, near: Float) -> None:
    for i in range(len(rows)):
        if near[i] >= 0:
            near[i] = min(near[i], square_distance(x[rows[i]], center))


def robust_k_center(
    x: Tensor,
    k: int,
    centers: NDArray[np.int64],
    candidates: NDArray[np.int64],
    pool: int,
    ids: NDArray[Any],
    rng: np.random.Generator,
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Return `k` of `candidates`, the distance of each to the centers before it, and at last those
    of all candidates (0 where picked); float64.

    Each pick is drawn from the `pool` candidates now farthest from all centers, by a number keyed
    by id: with many more good examples than outliers among these, it is most likely a good one.
    With no center to begin with the first pick is drawn from all. x (N, D) on the CPU.
    """
    exact = exact_rows(x)
    near = np.full(len(candidates), np.inf)
    for c in centers:
        _lower(exact, candidates, exact[c], near)
    picks, distances = np.empty(k, np.int64), np.empty(k)
    for i in range(k):
        far = (
            np.arange(len(near))
            if np.isinf(near[0]) and not len(centers) and i == 0
            else top_k(near, min(pool, len(near) - i))
        )
        pick = int(far[keyed_uniform(salt(rng), ids[far]).argmin()])
        picks[i], distances[i] = pick, np.sqrt(near[pick])
        _lower(exact, candidates, exact[candidates[pick]], near)
        near[pick] = -1.0
    return candidates[picks], distances, np.sqrt(near.clip(0))


@dataclass(frozen=True)
class RobustKCenter(Strategy):
    """Take, again and again, one of the farthest candidates at random, so that `outliers` (a share
    of the candidates) may stay uncovered.

    outliers: share z of the candidates that need no cover. slack: epsilon; each pick is drawn from
    the (1 + epsilon) z farthest. normalize: unit length first. Each pick is a good example with
    probability at least epsilon / (1 + epsilon); with k good ones in a row the radius is at most
    twice the best (the paper's bound). Scores: distance to the nearest earlier choice (infinite for
    a first pick). info: `cover_radius` of all but the share z, `full_radius` of all.

    >>> from coreset import select
    >>> import numpy as np
    >>> x = np.array([[0.0], [1.0], [5.0], [6.0], [99.0]])
    >>> select(
    ...     "kcenter_robust", 1, features=x, selected=[0], options={"outliers": 0.5, "slack": 0.0}
    ... ).info["full_radius"] > 1
    True
    """

    outliers: float = 0.05
    slack: float = 1.0
    normalize: bool = False

    needs = frozenset({"features"})
    needs_selected = frozenset({"features"})
    random = True

    def __post_init__(self) -> None:
        check_range("a share in [0, 1)", outliers=self.outliers)
        check_range("a number in [0, inf)", slack=self.slack)

    @property
    def scales(self) -> Mapping[str, Mapping[str, float] | None]:
        """Columns whose multiples change no choice, with the power that scores and info carry."""
        lengths = {"scores": 1, "cover_radius": 1, "full_radius": 1}
        return {"features": None if self.normalize else lengths}

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Run the greedy from `pool.selected`."""
        x = as_float(as_tensor(signals.column("features")).cpu())
        if self.normalize:
            x = unit_rows(x)
        spared = int(self.outliers * len(pool.candidates) + 1e-9)
        farthest = max(1, int((1 + self.slack) * spared))
        ids = pool.ids[pool.candidates]
        picks, distances, left = robust_k_center(
            x, k, pool.selected, pool.candidates, farthest, ids, rng
        )
        radius = float(np.sort(left)[len(left) - 1 - spared])
        return Selection(
            picks, scores=distances, info={"cover_radius": radius, "full_radius": float(left.max())}
        )
