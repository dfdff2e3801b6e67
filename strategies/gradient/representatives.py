"""One example per cluster: what DropQuery and ALFA-Mix do with the examples they found worth asking
about.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coreset.numerics.neighbors.kmeans import kmeans
from coreset.numerics.random import keyed_order
from coreset.numerics.tensors import unit_rows
from coreset.strategies.coverage.kmeans import nearest_rows


def representatives(
    x: Tensor, eligible: NDArray[np.bool_], k: int, rng: np.random.Generator, ids: NDArray[Any]
) -> NDArray[np.int64]:
    """Return `k` rows of `x` (n, D): the eligible row nearest to the center of each of k clusters
    of the eligible rows, on the unit sphere.

    Ties (the two rows of a cluster of two are equally near) are broken at random. With at most k
    eligible rows all of them are taken. What is missing to k is drawn at random, eligible rows
    first. All random choices are keyed by `ids` (n,).

    >>> x = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [1.0, 1.0]])
    >>> sorted(
    ...     representatives(
    ...         x, np.array([True, False, True, False]), 2, np.random.default_rng(0), np.arange(4)
    ...     ).tolist()
    ... )
    [0, 2]
    """
    order = keyed_order(rng, ids)
    rows = order[eligible[order]]
    picks = rows
    if len(rows) > k:
        sphere = unit_rows(x[torch.from_numpy(rows).to(x.device)])
        clusters = kmeans(sphere, k, rng, ids[rows])
        picks = rows[nearest_rows(clusters, np.arange(len(rows)))]
    rest = order[~np.isin(order, picks)]
    rest = rest[np.argsort(~eligible[rest], kind="stable")]
    return np.concatenate([picks, rest[: k - len(picks)]]).astype(np.int64)
