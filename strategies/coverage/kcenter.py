"""k-center greedy: cover the pool with examples that lie as far apart as possible.

Sener & Savarese, "Active Learning for CNNs: A Core-Set Approach", ICLR 2018, Algorithm 1
(arXiv:1708.00489); the greedy is Gonzalez, 1985, and its radius is at most twice the best one. In
two rounds at most four times: every partition's choice covers it within twice the best radius, and
the second round covers these choices within twice again (Malkomes, Kusner, Chen, Weinberger &
Moseley, "Fast Distributed k-Center Clustering with Outliers on Massive Data", NeurIPS 2015).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset import Pool, Selection, Signals
from coreset.core.pool import Indices
from coreset.core.strategy import Strategy
from coreset.numerics.neighbors.farthest import farthest_first
from coreset.numerics.random import keyed_uniform, salt
from coreset.numerics.tensors import as_array, as_tensor, unit_rows
from coreset.two_rounds import TwoRounds

FIRST = ("random", "center")


def k_center_greedy(
    x: Any, k: int, centers: Any, candidates: Any
) -> tuple[Indices, NDArray[np.float64]]:
    """Return the `k` picks and the distance each had from all centers before it, farthest first,
    ties to the lowest position.

    x (N, D) features, an array or a tensor; centers (M,) positions already taken, at least one;
    candidates (n,) positions that may be picked. Distances are Euclidean, and every choice is that
    of a float64 loop. Memory beside x: O(N), and for large work where bfloat16 pays one copy of x
    in it.

    >>> x = np.array([[0.0], [1.0], [5.0]])
    >>> picks, radius = k_center_greedy(x, 2, np.array([0]), np.array([1, 2]))
    >>> picks.tolist(), radius.tolist()
    ([2, 1], [5.0, 1.0])
    """
    if not len(centers):
        raise ValueError("centers: expected at least one position to measure distances from")
    picks, radii, _ = farthest_first(x, k, centers, np.sort(as_array(candidates)))
    return picks, radii


def nearest_to_mean(x: Any, rows: Indices) -> int:
    """Return which of `rows` of an array or a tensor lies nearest to their mean, ties to the first;
    float64.

    >>> nearest_to_mean(np.array([[0.0], [1.0], [5.0]]), np.arange(3))
    1
    """
    import torch

    x = as_tensor(x)
    parts = torch.split(torch.from_numpy(rows).to(x.device), 8192)
    mean = torch.stack([x[p].double().sum(dim=0) for p in parts]).sum(dim=0) / len(rows)
    away = torch.cat([(x[p].double() - mean).square().sum(dim=1) for p in parts]).cpu().numpy()
    return int(away.argmin())


@dataclass(frozen=True)
class KCenterGreedy(Strategy, TwoRounds):
    """Take the candidate farthest from everything taken so far, again and again.

    normalize: scale features to unit length first (then the Euclidean order is the cosine order).
    first: with nothing selected yet the first pick is `random` (keyed by id) or the one at the
    `center`, nearest to the mean; its score is infinite; a whole number is the position in the
    dataset of a candidate to start with. Scores: distance to the nearest earlier choice, which
    never grows. info: `cover_radius`, the largest distance left. Class by class: `class_quota` with
    base kcenter.

    >>> from coreset import select
    >>> import numpy as np
    >>> select("kcenter", 2, features=np.array([[0.0], [1.0], [5.0]]), selected=[0]).indices
    array([2, 1])
    """

    normalize: bool = False
    first: str | int = "random"

    needs = needs_selected = frozenset({"features"})
    greedy = True
    random = True

    def __post_init__(self) -> None:
        index = isinstance(self.first, int | np.integer) and not isinstance(self.first, bool)
        if self.first not in FIRST and not (index and int(self.first) >= 0):
            raise ValueError(
                f"first: expected {' or '.join(FIRST)}, got {self.first!r} (or the position of a"
                " candidate)"
            )

    @property
    def scales(self) -> Mapping[str, Mapping[str, float] | None]:
        """Columns whose multiples change no choice, with the power that scores and info carry."""
        return {"features": None if self.normalize else {"scores": 1, "cover_radius": 1}}

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Run the greedy from `pool.selected`."""
        x = self._rows(signals)
        chance = keyed_uniform(salt(rng), pool.ids)
        picks, scores, radius = self._cover(x, k, pool.selected, pool.candidates, chance)
        return Selection(picks, scores=scores, info={"cover_radius": radius})

    def _rows(self, signals: Signals) -> Any:
        x = signals.column("features")
        return unit_rows(as_tensor(x)) if self.normalize else x

    def guarantee(self, partitions: int, k: int) -> tuple[str, float]:
        """Return the factor 4 on the smallest radius of any k centers."""
        return (
            (
                "composable core-sets (Malkomes et al., 2015): cover radius at most 4 times the"
                " smallest possible"
            ),
            4.0,
        )

    def merge(
        self,
        pool: Pool,
        signals: Signals,
        k: int,
        rng: np.random.Generator,
        firsts: Sequence[Selection],
        sample: Indices,
    ) -> list[Selection]:
        """Run the greedy on the union."""
        return [self(pool, signals, k, rng)]

    def audit(
        self, partition: Signals, union: Signals, answers: Sequence[Selection]
    ) -> NDArray[np.float64]:
        """Return the largest distance of a row of the partition to the nearest that was taken."""
        centers = as_array(self._rows(union))[answers[0].indices]
        x = np.concatenate([centers, as_array(self._rows(partition))])
        at = np.arange(len(x))
        return np.array([[farthest_first(x, 0, at[: len(centers)], at[len(centers) :])[2]]])

    def certify(
        self, audits: NDArray[np.float64], answers: Sequence[Selection], size: int
    ) -> tuple[int, dict[str, Any]]:
        """Return the cover radius and a bound below which no k centers reach.

        What was taken lies at least the last score apart, and the worst-covered row a radius away
        from all of it: k + 1 points, two of which share one of any k centers, so that half the
        smaller of both numbers is a lower bound. ratio: of the radius to it.
        """
        assert answers[0].scores is not None
        radius = float(audits.max())
        bound = min(radius, float(answers[0].scores[-1])) / 2
        return 0, {
            "cover_radius": radius,
            "lower_bound": bound,
            "ratio": radius / bound if bound else 1.0,
        }

    def _cover(
        self, x: Any, k: int, centers: Indices, candidates: Indices, chance: np.ndarray
    ) -> tuple[Indices, np.ndarray, float]:
        """Return picks, scores and the radius they leave."""
        first = np.empty(0, np.int64)
        if not len(centers):
            if not isinstance(self.first, str):
                at = int(np.searchsorted(candidates, self.first))
                if at == len(candidates) or candidates[at] != self.first:
                    raise ValueError(f"first: position {self.first} is no candidate")
            else:
                at = (
                    nearest_to_mean(x, candidates)
                    if self.first == "center"
                    else int(chance[candidates].argmin())
                )
            first = candidates[at : at + 1]
            centers = first
        rest = np.setdiff1d(candidates, first)
        picks, radii, radius = farthest_first(x, k - len(first), centers, rest)
        return (
            np.concatenate([first, picks]),
            np.concatenate([np.full(len(first), np.inf), radii]),
            radius,
        )
