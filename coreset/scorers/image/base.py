"""What image scorers have in common: the pixels of a batch, and columns that are NaN where there
are none.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from coreset.core.batch import objects
from coreset.core.pool import Array


class PixelScorer(ABC):
    """Score images one by one: a subclass names its `columns` and measures one image (H, W, 3)
    uint8.

    Inside `Images` it reads `pixels` and `pixels_status`; called by itself it takes any mapping
    with `pixels`.
    """

    columns: ClassVar[tuple[str, ...]]
    status_column: ClassVar[str]

    needs = frozenset({"pixels"})

    @property
    def gives(self) -> frozenset[str]:
        """Return the columns and their status."""
        return frozenset({*self.columns, self.status_column})

    @abstractmethod
    def measure(self, pixels: NDArray[np.uint8]) -> tuple[float, ...] | str:
        """Return one number per column, or a status word where they are undefined."""

    def __call__(self, batch: Mapping[str, Array]) -> dict[str, Array]:
        """Return the columns (n,) float64."""
        images = batch["pixels"]
        status: list[Any] = list(
            batch["pixels_status"]
            if "pixels_status" in batch
            else ["missing_field" if p is None else "ok" for p in images]
        )
        values = np.full((len(images), len(self.columns)), np.nan)
        for i, pixels in enumerate(images):
            if pixels is None:
                continue
            measured = self.measure(pixels)
            if isinstance(measured, str):
                status[i] = measured
            else:
                values[i] = measured
        return {
            **{n: values[:, j] for j, n in enumerate(self.columns)},
            self.status_column: objects(status),
        }
