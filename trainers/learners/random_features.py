"""A head in closed form: ridge regression of the classes on random Fourier features.

Rahimi & Recht, "Random Features for Large-Scale Kernel Machines", NIPS 2007. A fit is one linear
system; the seed draws the features, so trainings differ between seeds as those of networks do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RandomFeatureModel:
    """cos(x @ w + b) @ v, sharpened by `scale`."""

    w: Floats
    b: Floats
    v: Floats
    scale: float

    def logits(self, x: NDArray[Any]) -> Floats:
        """Return (n, C) float64 for x (n, D)."""
        return self.scale * (np.cos(np.asarray(x, np.float64) @ self.w + self.b) @ self.v)


@dataclass(frozen=True)
class RandomFeatures:
    """Settings: number of features; width of the Gaussian kernel in units of the root mean square
    length of x around its mean; ridge penalty per example; scale of the logits, of which the
    targets are 0 and 1.

    >>> x = np.array([[-1.0], [-0.9], [0.9], [1.0]])
    >>> model, _ = RandomFeatures(64).fit(
    ...     x, np.array([0, 0, 1, 1]), 2, np.ones(4), np.random.default_rng(0)
    ... )
    >>> model.logits(x).argmax(axis=1).tolist()
    [0, 0, 1, 1]
    """

    features: int = 768
    width: float = 1.0
    penalty: float = 0.003
    scale: float = 8.0

    def fit(
        self,
        x: Floats,
        y: NDArray[np.int64],
        classes: int,
        weights: Floats,
        rng: np.random.Generator,
    ) -> tuple[RandomFeatureModel, dict[str, Any]]:
        """Draw the features, then solve."""
        length = float(np.sqrt(np.square(x - x.mean(axis=0)).sum(axis=1).mean())) or 1.0
        w = rng.normal(size=(x.shape[1], self.features)) / (self.width * length)
        b = rng.uniform(0, 2 * np.pi, self.features)
        z = np.cos(x @ w + b)
        scaled = z * weights[:, None]
        gram = scaled.T @ z + self.penalty * len(x) * np.eye(self.features)
        v = np.asarray(np.linalg.solve(gram, scaled.T @ np.eye(classes)[y]), np.float64)
        return RandomFeatureModel(w, b, v, self.scale), {"features": self.features}

    def refit(
        self,
        x: Floats,
        y: NDArray[np.int64],
        classes: int,
        weights: Floats,
        info: Mapping[str, Any],
        seed: int,
    ) -> RandomFeatureModel:
        """Fit anew with a seed of its own."""
        return self.fit(x, y, classes, weights, np.random.default_rng(seed))[0]

    def state(self, fitted: RandomFeatureModel) -> dict[str, NDArray[Any]]:
        """Return the arrays of a model."""
        return {"w": fitted.w, "b": fitted.b, "v": fitted.v, "scale": np.array(fitted.scale)}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> RandomFeatureModel:
        """Return the model of these arrays."""
        return RandomFeatureModel(arrays["w"], arrays["b"], arrays["v"], float(arrays["scale"]))
