"""As many images of an ordered choice as a budget pays for, when how many that are depends on which
ones are chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from coreset.core.budget import Budget
from coreset.core.pool import Indices
from coreset.core.selection import Selection
from coreset.vision.boxes import Float

TRIES = 16


def afford(
    draw: Callable[[int], Selection],
    candidates: Indices,
    most: int,
    prices: Mapping[str, Float],
    budget: Budget,
    fit: str,
    steady: bool,
) -> tuple[Selection, NDArray[np.int64], dict[str, float], bool]:
    """Return a choice, which of it fits the budget (in order), what is left per unit, and whether
    there was nothing more to choose.

    draw(k): the choice of k candidates, or of fewer where there are no more; most: an upper bound
    on how many can fit. steady: the choice of fewer is a prefix of the choice of more; then more
    are drawn, twice as many each time, only until the limits are met. Otherwise the answer is
    `draw(n)` whole for the largest n found to fit, by bisection with at most 16 draws; where none
    fits whole, the prefix of one that does (of the smallest n tried).
    """
    total, limits = len(candidates), budget.limits
    k = total if fit == "fill" and steady else most
    mean = {u: float(p[candidates].mean()) for u, p in prices.items()}
    ask = max(
        1, min(k, *(int(min(limits[u] / m, total) + 0.5) if m else total for u, m in mean.items()))
    )
    fits, too_many, best, cut = 0, k + 1, None, None
    for _ in range(TRIES):
        order = draw(ask)
        cost = {u: p[order.indices] for u, p in prices.items()}
        keep, slack = budget.walk(cost, fit if steady else "prefix")
        whole = len(keep) == len(order)
        if whole or steady:
            best, fits = (order, keep, slack, len(order) < ask or len(order) == total), ask
        else:
            cut, too_many = (order, keep, slack, False), ask
        if steady and not (whole or _room(candidates, order, prices, slack, fit)):
            break
        if len(order) < ask or fits + 1 >= too_many:
            break
        more = min(2 * ask, k) if too_many > k else (fits + too_many) // 2
        ask = more if whole or steady else max(fits + 1, min(len(keep), too_many - 1))
    answer = best or cut
    assert answer is not None
    return answer


def _room(
    candidates: Indices,
    order: Selection,
    prices: Mapping[str, Float],
    slack: Mapping[str, float],
    fit: str,
) -> bool:
    """Return whether some candidate that was not drawn still fits."""
    if fit == "prefix":
        return False
    rest = np.setdiff1d(candidates, order.indices)
    open_ = np.ones(len(rest), bool)
    for unit, price in prices.items():
        open_ &= price[rest] <= slack[unit]
    return bool(open_.any())
