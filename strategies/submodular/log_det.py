"""Log-determinant: examples that span as large a volume as possible; the most likely set of a
determinantal point process.

f(S) = log det(L_S + reg I), L the similarities; submodular, and monotone for reg >= 1.

Kulesza & Taskar, "Determinantal Point Processes for Machine Learning", 2012 (arXiv:1207.6083); the
incremental Cholesky factor follows Chen, Zhang & Zhou, "Fast Greedy MAP Inference for Determinantal
Point Process", NeurIPS 2018 (arXiv:1709.05135).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coreset import Signals
from coreset.numerics.compiled import compiled
from coreset.numerics.greedy import Items, SetFunction, Values
from coreset.numerics.similarity import Linear, Matrix
from coreset.numerics.tensors import as_tensor
from coreset.strategies.submodular.common import Pairwise, Submodular

# below this share of the largest diagonal entry a residual is rounding, and without a ridge zero
_ROUNDING = 2.0**-40


def _log(reg: float, residual: Values, least: float) -> Values:
    """Return log(reg + residual); without a ridge minus infinity for what depends linearly on the
    taken.
    """
    if reg:
        return np.asarray(np.log(reg + np.maximum(residual, 0)))
    out = np.full(len(residual), -np.inf)
    np.log(residual, out=out, where=residual > least)
    return out


def _definite(gain: float, count: int) -> float:
    """Return a gain; raise ValueError where it is minus infinity."""
    if gain == -np.inf:
        raise ValueError(
            f"reg: without a ridge at most {count} examples can be taken here, every other one"
            " depends linearly on them; expected a positive number or fewer examples"
        )
    return gain


class LogDetFunction(SetFunction):
    """Log-determinant from a symmetric matrix (n, n): gain_j = log(reg + L_jj - L_jS (L_SS + reg
    I)^-1 L_Sj).

    One row of the Cholesky factor per member of S, against all items: O(n |S|) per step, 8 n |S|
    bytes.
    """

    state = ("residual", "factor")

    def __init__(self, similarity: Matrix, reg: float) -> None:
        self.size, self.similarity, self.reg = len(similarity), similarity, reg
        self.residual = similarity.diagonal().astype(np.float64)
        self.most = float(np.abs(self.residual).max(initial=0.0))
        self.least = _ROUNDING * self.most
        self.factor = np.empty((0, self.size))
        self.count = 0
        self.monotone = reg >= 1

    def gains(self, items: Items) -> Values:
        """Return the gain of each item."""
        gains = _log(self.reg, self.residual[items], self.least)
        return np.asarray(gains.round(12))  # a product rounds equal rows in more than one way

    def add(self, item: int) -> None:
        """Put `item` into S."""
        self.value += _definite(float(self.gains(np.array([item]))[0]), self.count)
        if self.count == len(self.factor):  # room for twice as many
            self.factor = np.concatenate([self.factor, np.empty((max(16, self.count), self.size))])
        above = self.factor[: self.count]
        row = self.factor[self.count]
        row[:] = self.similarity[item] - above[:, item] @ above
        rest = max(float(self.residual[item]), 0.0)
        # S spans what has rounding alone left: it takes nothing off others, and rounding over the
        # root of a small ridge would grow with every such item
        row[:] = row / np.sqrt(self.reg + rest) if max(self.reg, rest) > self.least else 0.0
        self.residual -= np.square(row)
        if self.residual.min() < -0.1 * self.most:
            raise ValueError(
                "similarity: expected a positive semi-definite matrix for the log-determinant"
            )
        self.count += 1


@compiled
def _catch_up(
    x: Matrix,
    rows: Items,
    scale: Values,
    offset: float,
    axes: Values,
    count: int,
    seen: Items,
    residual: Values,
    items: Items,
) -> None:
    """Bring the residuals of `items` up to date: take off the squared component along each axis
    they have not seen.
    """
    width = axes.shape[1] - 1
    for t in range(len(items)):
        j = items[t]
        row = x[rows[j]]
        for a in range(seen[j], count):
            axis = axes[a]
            along = 0.0
            for d in range(width):
                along += row[d] * axis[d]
            along = scale[j] * along + offset * axis[width]
            residual[j] -= along * along
        seen[j] = count


class LogDetSums(SetFunction):
    """Log-determinant from a linear kernel, exactly and without a matrix: O(n + |S| D) memory, and
    only the items that are asked for are brought up to date.

    L_jS (L_SS + reg I)^-1 L_Sj is the sum of (phi_j . u_t)^2 over one axis u_t per member of S.
    """

    state = ("residual", "seen", "axes")
    variant = "sums of features"

    def __init__(self, kernel: Linear, reg: float) -> None:
        self.size, self.kernel, self.reg = len(kernel.rows), kernel, reg
        self.residual = kernel.squares()
        self.least = _ROUNDING * float(self.residual.max(initial=0.0))
        self.seen = np.zeros(self.size, np.int64)
        self.axes: NDArray[np.float64] = np.empty((0, kernel.x.shape[1] + 1))
        self.count = 0
        self.monotone = reg >= 1

    def gains(self, items: Items) -> Values:
        """Return the gain of each item."""
        x, rows, scale, offset = self.kernel
        _catch_up(x, rows, scale, offset, self.axes, self.count, self.seen, self.residual, items)
        return _log(self.reg, self.residual[items], self.least)

    def add(self, item: int) -> None:
        """Put `item` into S."""
        self.value += _definite(float(self.gains(np.array([item]))[0]), self.count)
        if self.count == len(self.axes):
            self.axes = np.concatenate(
                [self.axes, np.empty((max(16, self.count), self.axes.shape[1]))]
            )
        phi, axes = self.kernel.phi(item), self.axes[: self.count]
        rest, residual = phi - (axes @ phi) @ axes, max(float(self.residual[item]), 0.0)
        length = float(rest @ rest)  # at most the residual, but for rounding where S spans phi
        if length > 2 * residual:
            residual = length
        self.axes[self.count] = rest / np.sqrt(self.reg + residual) if residual else 0.0
        self.count += 1


@dataclass(frozen=True)
class LogDet(Pairwise, Submodular):
    """Take the examples whose similarity matrix has the largest determinant.

    reg: added to the diagonal, at least 0; at least 1 keeps f monotone, less asks for more
    diversity; 0 is the plain determinant (a DPP), which ends in ValueError once k exceeds the rank
    of the similarities. cosine and dot need no matrix; rbf, euclidean and precomputed hold all
    pairs (4 n^2 bytes). Scores: gains. The other parameters: see `Submodular` and `Pairwise`.

    >>> from coreset import select
    >>> x = np.array([[1.0, 0.0], [1.0, 0.1], [1.0, 0.2], [0.0, 1.0]])
    >>> select("log_det", 2, features=x).indices
    array([0, 3])
    """

    reg: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.reg >= 0:
            raise ValueError(f"reg: expected a number of at least 0, got {self.reg}")

    @property
    def scales(self) -> Mapping[str, Mapping[str, float] | None]:
        """Columns whose multiples change no choice: none for a similarity that grows with them."""
        return {} if self.similarity in ("dot", "precomputed") else super().scales

    def function(self, signals: Signals, ground: Items) -> SetFunction:
        """Return the function on the ground set."""
        if self.linear:
            return LogDetSums(
                Linear.of(as_tensor(signals.column("features")), ground, self.similarity), self.reg
            )
        return LogDetFunction(self.dense(signals, ground), self.reg)
