"""The interface of an engine: who calls the steps of a run, and who brings rows together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")

PART = "_part"  # the column that says which part a row goes to


class Engine(Protocol):
    """Call a picklable step on every item, anywhere and in any order; a step called twice on an
    item writes the same and returns the same.
    """

    @property
    def name(self) -> str:
        """What the manifest calls it."""
        ...

    @property
    def sharded(self) -> bool:
        """Whether decisions and rejects are written as folders of files, one per task."""
        ...

    def check(self, operators: Sequence[Any]) -> None:
        """Raise ValueError for an operator that needs more of a machine than there is
        (`coreset.core.compute`): called before anything is computed.
        """
        ...

    def map(self, step: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """Yield `step(item)` in the order of items, as many as there are items. An exception of a
        step ends the run and is raised here.
        """
        ...

    def exchange(
        self,
        read: Callable[[T], Any],
        items: Sequence[T],
        step: Callable[[tuple[int, Any]], R],
        parts: int,
    ) -> Iterator[R]:
        """Bring rows together: `read(item)` gives an Arrow table with a column `_part` (int64, 0 to
        parts - 1); yield, in the order of parts, `step((part, rows))` for every part that has rows.
        The rows of a part come in no order and without `_part`.

        Every row is moved once, and what a step returns is small. A step is called with all rows
        that were read for its part, or not at all: then an error says what has not come.
        """
        ...
