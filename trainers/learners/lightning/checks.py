"""What is said aloud of a pool's labels, because it may be right and is more often a mistake."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset.trainers.learners.lightning.pool import labels_in
from coreset.trainers.learners.lightning.reading import Reading


def doubts(known: NDArray[np.int64], reading: Reading, name: str, named: bool) -> Iterator[str]:
    """Give in words what does not fit between known class numbers (N,) and the logits of a module
    called `name`. named: somebody named the classes, so that the pool may lack some.
    """
    most = int(known.max()) + 1
    if most < reading.classes and not named and not reading.spatial:
        yield (
            f"{reading.method} of {name} gives {reading.classes} values an example, which are taken"
            f" for logits, and the pool has labels of {most} classes only; if they are something"
            " else, name the method that returns logits with logits="
        )
    if (nobody := np.flatnonzero(known < 0)).size:
        yield (
            f"{len(nobody)} of {len(known)} examples of the pool have no label, first"
            f" {known[nobody[0]]} at position {nobody[0]}: unless an oracle gives labels, the run"
            " stops when one of them is chosen"
        )


class Watch:
    """Names the first label that is no class, in the pass that measures the pool: where only
    reading an example tells its own, nobody saw it before. classes: their number, 0 = say nothing.
    """

    def __init__(self, classes: int) -> None:
        self.classes = classes

    def over(self, loader: Iterable[Any], indices: NDArray[np.int64]) -> Iterator[Any]:
        """Go through the batches of the examples at `indices`."""
        begin = 0
        for batch in loader:
            labels = labels_in(batch) if self.classes else None
            if labels is not None and (labels >= self.classes).any():
                at = int((labels >= self.classes).argmax())
                warnings.warn(
                    f"position {indices[begin + at]} of the pool has label {labels[at]}, and there"
                    f" are {self.classes} classes; the run stops when it is chosen",
                    stacklevel=2,
                )
                self.classes = 0
            begin += 0 if labels is None else len(labels)
            yield batch
