"""The pictures of a finished run folder, as loggers show them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

PICKS = 64  # rows of pictures per round


@dataclass(frozen=True, eq=False)
class Pick:
    """An example that was chosen. label: name of its class, empty where it is not known; score: of
    the strategy, None where it has none; pixels (H, W) or (H, W, 3), uint8.
    """

    round: int
    id: str
    label: str
    score: float | None
    pixels: NDArray[Any]


def picks_of(folder: Path) -> Iterator[Pick]:
    """Give the first picks of every round; none where the examples are no images."""
    path = folder / "gallery.npz"
    if not path.exists():
        return
    with np.load(path) as gallery:
        classes = [str(c) for c in gallery["classes"]]
        for number in np.unique(gallery["thumb_round"]).tolist():
            for i in np.flatnonzero(gallery["thumb_round"] == number)[:PICKS].tolist():
                label = int(gallery["thumb_labels"][i])
                score = float(gallery["thumb_scores"][i])
                pixels = gallery["thumbs"][i]
                yield Pick(
                    number,
                    str(gallery["thumb_ids"][i]),
                    classes[label] if 0 <= label < len(classes) else "",
                    None if np.isnan(score) else score,
                    pixels[:, :, 0] if pixels.shape[2] == 1 else pixels,
                )


def class_names(folder: Path, count: int) -> list[str]:
    """Return the names of the classes, or their numbers where the run knows no names."""
    path = folder / "gallery.npz"
    if path.exists():
        with np.load(path) as gallery:
            if len(gallery["classes"]) == count:
                return [str(c) for c in gallery["classes"]]
    return [str(i) for i in range(count)]
