"""Rules about images: that there is one to look at, and how it is made."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from coreset.core.batch import Batch, objects
from coreset.curation.operators.base import Decision, Filter


@dataclass(frozen=True)
class ReadableImage(Filter):
    """Keep rows whose image could be decoded; the reason is its status in words (see
    `coreset.scorers.image.decode`).
    """

    needs = frozenset({"image_status"})

    def decide(self, batch: Batch) -> Decision:
        """Return the decision by `image_status`."""
        status = batch["image_status"]
        keep = np.array([s == "ok" for s in status], bool)
        return Decision(
            keep,
            objects(
                [
                    "" if k else f"image {s.replace('_', ' ')}"
                    for k, s in zip(keep, status, strict=True)
                ]
            ),
        )
