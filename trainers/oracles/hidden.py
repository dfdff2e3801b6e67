"""Labels that are known and shown only when asked for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coreset.core.pool import Indices


@dataclass(frozen=True, eq=False)
class HiddenLabels:
    """Simulation: the labels are known and shown only when asked for.

    labels (N,): class numbers, -1 = unknown.
    """

    labels: NDArray[np.int64]

    def label(self, indices: Indices) -> NDArray[np.int64]:
        """Return the labels at `indices`; ValueError when one of them is not known."""
        labels = self.labels[indices]
        if (labels < 0).any():
            raise ValueError(
                f"labels: {int((labels < 0).sum())} chosen examples have no label, first position"
                f" {int(indices[labels < 0][0])}; use oracle=file"
            )
        return np.asarray(labels, np.int64)
