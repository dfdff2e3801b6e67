"""Moderate coreset: examples at a middling distance from the center of their class, neither easy
nor odd.

Xia, Liu, Yu, Shen, Han & Liu, "Moderate Coreset: A Universal Method of Data Selection for
Real-world Data-efficient Deep Learning", ICLR 2023.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coreset import Pool, Selection, Signals, Strategy
from coreset.numerics.classes import class_shares, interleave
from coreset.numerics.tensors import as_float, as_tensor, rows

VARIANTS = ("global", "per_class")


def distance_to_median(x: Tensor, labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the Euclidean distance (n,) of each row of `x` (n, D) to the coordinate-wise median of
    its class; the median of an even number is the middle of the two.

    >>> distance_to_median(torch.tensor([[0.0], [2.0], [7.0]]), np.array([0, 0, 1])).tolist()
    [1.0, 1.0, 0.0]
    """
    out = np.empty(len(x))
    for name in np.unique(labels):
        at = np.flatnonzero(labels == name)
        part = x[torch.from_numpy(at).to(x.device)].cpu().numpy().astype(np.float64)
        out[at] = np.sqrt(np.square(part - np.median(part, axis=0)).sum(axis=1))
    return out


def from_the_middle(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the rows in the order in which a band around the median of `values` takes them in: the
    first k are ranks (n - k) // 2 and the k - 1 after it.

    >>> from_the_middle(np.array([5.0, 1.0, 3.0, 2.0])).tolist()
    [3, 2, 1, 0]
    """
    order = np.argsort(values, kind="stable")
    away = np.abs(2 * np.arange(len(values)) - (len(values) - 1))
    return order[np.argsort(away, kind="stable")]


@dataclass(frozen=True)
class Moderate(Strategy):
    """Take the candidates whose distance to the median of their class lies nearest the middle.

    variant: `global` (default, the paper: one band over all distances) or `per_class` (a band in
    each class, with its share of the budget). Needs the candidates' `labels`; unknown labels (-1)
    form a class of their own. Scores: the distance.

    >>> from coreset import select
    >>> import numpy as np
    >>> select(
    ...     "moderate", 1, features=np.array([[0.0], [1.0], [5.0]]), labels=np.array([0, 0, 0])
    ... ).indices
    array([0])
    """

    variant: str = "global"

    needs = frozenset({"features", "labels"})

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise ValueError(f"variant: expected {' or '.join(VARIANTS)}, got {self.variant!r}")
        object.__setattr__(self, "greedy", self.variant == "global")

    @property
    def scales(self) -> Mapping[str, Mapping[str, float] | None]:
        """Columns whose multiples change no choice, with the power that scores and info carry."""
        return {"features": {"scores": 1}}

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Return the middle of the distances."""
        labels = np.asarray(as_tensor(signals.column("labels")).cpu())[pool.candidates]
        distance = distance_to_median(
            as_float(rows(signals.column("features"), pool.candidates)), labels
        )
        if self.variant == "global":
            picks = from_the_middle(distance)[:k]
        else:
            parts = [
                at[from_the_middle(distance[at])[:share]]
                for _, at, share in class_shares(labels, k)
            ]
            picks = np.concatenate(parts)[interleave([len(p) for p in parts])]
        return Selection(
            pool.candidates[picks], scores=distance[picks], info={"variant": self.variant}
        )
