"""The interface of an engine: who calls the steps of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Engine(Protocol):
    """Call a picklable step on every item, anywhere and in any order; a step called twice on an
    item writes the same and returns the same.
    """

    @property
    def name(self) -> str:
        """What the manifest calls it."""
        ...

    def map(self, step: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """Yield `step(item)` in the order of items. An exception of a step ends the run and is
        raised here.
        """
        ...
