"""What oracles share: what they are asked, how they say that people have not labeled yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

SKIPPED = -1  # a label: somebody looked and gave none


class AwaitingLabels(Exception):  # nothing went wrong: the run stops until somebody has labeled
    """The batch to label is written; the run goes on when the labels are there."""

    def __init__(
        self, place: Path | str, missing: int, advice: str = "fill its column 'label'"
    ) -> None:
        super().__init__(
            f"{missing} examples wait for a label in {place}: {advice}, then resume this run"
        )
        self.path, self.missing = place, missing


@dataclass(frozen=True, eq=False)
class Request:
    """A batch that people are asked to label, most wanted first.

    indices (n,): positions; reason: why they were chosen, one text for all; scores (n,): of the
    strategy, None where it has none; proposed (n,): class numbers that the current model gives,
    with its confidence (n,), None before the first training; pictures: positions -> uint8 (n, S, S,
    C), None where the examples are no images. drawn: the objects that the current model gives of
    each example, entries of a COCO results file, None where none are drawn or before the first
    training.
    """

    indices: NDArray[np.int64]
    reason: str
    scores: NDArray[np.float64] | None = None
    proposed: NDArray[np.int64] | None = None
    confidence: NDArray[np.float64] | None = None
    pictures: Callable[[NDArray[np.int64]], NDArray[np.uint8]] | None = None
    drawn: Sequence[Sequence[Mapping[str, Any]]] | None = None


@runtime_checkable
class AsksPeople(Protocol):
    """An oracle that shows people what it asks them."""

    def check(self) -> None:
        """Raise ValueError or ConnectionError, before anything trains, when nobody can be asked."""

    def ask(self, request: Request) -> None:
        """Put a batch before people. Asking for the same examples again changes nothing."""

    def label(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return labels (n,), `SKIPPED` where somebody gave none. Raises AwaitingLabels."""
