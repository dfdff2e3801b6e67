"""What a language model is asked: the tokens of a target after the tokens of a context; and how
questions are put together into batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Span:
    """Score `target` after `context`. The first `shared` tokens of the context are those of many
    spans too and need be computed once only.

    A first token after nothing has no probability: with an empty context it is not scored.

    >>> Span((), (5, 6, 7)).scored
    2
    """

    context: tuple[int, ...]
    target: tuple[int, ...]
    shared: int = 0

    @property
    def scored(self) -> int:
        """Return how many tokens of the target have a loss."""
        return len(self.target) if self.context else max(0, len(self.target) - 1)


def plan(
    lengths: Sequence[int], scored: Sequence[int], budget: int, most_scored: int
) -> list[list[int]]:
    """Return the positions 0 .. n-1 cut into batches of rows of similar length, the longest first:
    the cheapest cut of the sorted rows.

    A batch costs rows x longest row (it is padded), and a sixteenth of the budget for being one.
    None costs more than `budget` tokens or has more than `most_scored` scored tokens, unless it is
    a single row.

    >>> plan([10, 90, 11, 80], [1, 1, 1, 1], budget=200, most_scored=100)
    [[1, 3], [2, 0]]
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    length = np.array([lengths[i] for i in order], np.int64)
    total = np.concatenate([[0], np.cumsum([scored[i] for i in order])])
    cost = np.zeros(len(order) + 1)
    # where the last batch of the cheapest cut of the first i rows begins
    first = np.zeros(len(order) + 1, np.int64)
    low = 0
    for end in range(1, len(order) + 1):
        while low < end - 1 and (
            (end - low) * length[low] > budget or total[end] - total[low] > most_scored
        ):
            low += 1
        start = np.arange(low, end)
        costs = cost[low:end] + budget / 16 + (end - start) * length[low:end]
        fits = (end - start) * length[low:end] <= budget
        fits[-1] = True
        best = int(np.argmin(np.where(fits, costs, np.inf)))
        cost[end], first[end] = costs[best], low + best
    batches: list[list[int]] = []
    end = len(order)
    while end:
        batches.append(order[first[end] : end])
        end = int(first[end])
    return batches[::-1]
