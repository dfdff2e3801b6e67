"""Strategies that order rows by one number of each row alone, within groups or not: what makes an
exact answer possible over a pool that no machine holds whole.

`RowOrdered` is a mixin of the strategies that say so of themselves; a score that looks at one row
at a time is ordered by it without asking.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coreset.core.strategy import Strategy
from coreset.score_based import ScoreBased

# (rows of each group, budget) -> how many of each are taken
Quota = Callable[[NDArray[np.int64], int], NDArray[np.int64]]


@dataclass(frozen=True)
class RowOrder:
    """Take the highest of a score first, or by numbers drawn for the ids.

    score: None = at random. group: the signal that says which group a row belongs to, None = one
    group. quota: how many of each group, groups in ascending order; the answer interleaves them.
    """

    score: ScoreBased | None
    group: str | None = None
    quota: Quota | None = None


class RowOrdered(ABC):
    """A strategy whose answer is the beginning of an order of rows, in every group."""

    @abstractmethod
    def row_order(self) -> RowOrder:
        """Return the order. Raises ValueError, with the reason, when the strategy with these
        parameters has none.
        """


def order_of(strategy: Strategy) -> RowOrder:
    """Return the row order of a strategy. Raises ValueError, with the reason, when it has none.

    >>> from coreset.registry import strategy
    >>> order_of(strategy("margin")).group, order_of(strategy("stratified")).group
    (None, 'labels')
    """
    if isinstance(strategy, RowOrdered):
        return strategy.row_order()
    if isinstance(strategy, ScoreBased):
        if strategy.row_wise:
            return RowOrder(strategy)
        raise ValueError("its score of a row depends on other rows")
    raise ValueError("it looks at more than one row at a time")


def is_row_ordered(kind: type) -> bool:
    """Return whether strategies of a class order rows, parameters aside.

    >>> from coreset.registry import load
    >>> is_row_ordered(load("random")), is_row_ordered(load("badge"))
    (True, False)
    """
    return issubclass(kind, RowOrdered) or (issubclass(kind, ScoreBased) and kind.row_wise)
