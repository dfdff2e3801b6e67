"""Self-supervised prototypes: the distance to the nearest of a few k-means centers says how hard an
example is, without labels.

Sorscher, Geirhos, Shekhar, Ganguli & Morcos, "Beyond Neural Scaling Laws: Beating Power Law Scaling
via Data Pruning", NeurIPS 2022 (arXiv:2206.14486).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coreset import Pool, Selection, Signals, Strategy
from coreset.numerics.neighbors.kmeans import kmeans
from coreset.numerics.tensors import as_float, rows, top_k, unit_rows

KEEPS = ("hardest", "easiest")


def prototype_distance(
    x: Tensor,
    clusters: int,
    rng: np.random.Generator,
    ids: NDArray[Any],
    given: Tensor | None = None,
) -> NDArray[np.float64]:
    """Return 1 - cosine of each row of `x` (n, D) with the center of its k-means cluster, (n,) in
    [0, 2]; rows are scaled to unit length before clustering. given: the centers (K, D); a row then
    belongs to the one with the largest cosine. A row or a center of length zero has cosine 0.
    Rounded to multiples of 1e-12, so that rows which are centers of their own tie at 0.

    >>> prototype_distance(
    ...     torch.tensor([[1.0, 0.0], [2.0, 0.0]]), 1, np.random.default_rng(0), np.arange(2)
    ... ).tolist()
    [0.0, 0.0]
    """
    unit = unit_rows(x)
    if given is not None:
        centers = unit_rows(given.double()).to(x.device)
        parts = [
            (unit_rows(part.double()) @ centers.T).amax(dim=1) for part in torch.split(x, 8192)
        ]
        return np.asarray((1 - torch.cat(parts).cpu().numpy()).round(12) + 0.0)
    clustering = kmeans(unit, min(clusters, len(x)), rng, ids)
    centers = unit_rows(torch.from_numpy(clustering.centers)).to(x.device)
    labels = torch.from_numpy(clustering.labels).to(x.device)
    cosines = [
        (unit_rows(x[i].double()) * centers[labels[i]]).sum(dim=1)
        for i in torch.split(torch.arange(len(x), device=x.device), 8192)
    ]
    return np.asarray((1 - torch.cat(cosines).cpu().numpy()).round(12) + 0.0)


@dataclass(frozen=True)
class Prototypes(Strategy):
    """Take the candidates farthest from (or nearest to) the center of their cluster.

    keep: `hardest` (default; the paper's choice when data is plentiful) or `easiest` (when it is
    scarce). clusters: number of k-means centers; the paper finds results alike within a factor of
    ten around the number of classes. centers: prototypes of yours (K, D), such as class means, in
    place of k-means. Scores: 1 - cosine, negated for `easiest`.

    >>> from coreset import select
    >>> import numpy as np
    >>> x = np.array([[1.0, 0.0], [1.0, 0.1], [1.0, 0.9]])
    >>> select("prototypes", 1, features=x, options={"clusters": 1}).indices
    array([2])
    """

    keep: str = "hardest"
    clusters: int = 100
    centers: Sequence[Sequence[float]] | None = None

    needs = frozenset({"features"})
    random = True

    def __post_init__(self) -> None:
        if self.keep not in KEEPS:
            raise ValueError(f"keep: expected {' or '.join(KEEPS)}, got {self.keep!r}")
        if self.centers is not None:
            centers = np.asarray(self.centers, np.float64)
            if centers.ndim != 2 or not centers.size or not np.isfinite(centers).all():
                raise ValueError(
                    f"centers: expected finite numbers of shape (K, D), got shape {centers.shape}"
                )
            object.__setattr__(self, "centers", tuple(tuple(row) for row in centers.tolist()))
        if self.clusters < 1:
            raise ValueError(f"clusters: expected at least 1, got {self.clusters}")

    @property
    def scales(self) -> Mapping[str, Mapping[str, float] | None]:
        """Columns whose multiples change no choice, with the power that scores and info carry."""
        return {"features": None}

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Return the `k` highest scores."""
        at = pool.candidates[
            np.argsort(pool.ids[pool.candidates])
        ]  # ties go to the lowest id: by default the lowest position
        x = as_float(rows(signals.column("features"), at))
        given = None if self.centers is None else torch.tensor(self.centers, dtype=torch.float64)
        if given is not None and given.shape[1] != x.shape[1]:
            raise ValueError(
                f"centers: expected {x.shape[1]} numbers each, as in features, got {given.shape[1]}"
            )
        distance = prototype_distance(x, self.clusters, rng, pool.ids[at], given)
        scores = distance if self.keep == "hardest" else -distance
        picks = top_k(scores, k)
        return Selection(at[picks], scores=scores[picks], info={"keep": self.keep})
