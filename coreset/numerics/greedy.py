"""Greedy maximization of set functions: any optimizer goes with any function.

Naive greedy: Nemhauser, Wolsey & Fisher, 1978. Lazy: Minoux, 1978. Stochastic: Mirzasoleiman et
al., "Lazier Than Lazy Greedy", AAAI 2015 (arXiv:1409.7938). GreeDi: Mirzasoleiman et al.,
"Distributed Submodular Maximization", NeurIPS 2013. Upper bound: Leskovec et al., "Cost-effective
Outbreak Detection in Networks", KDD 2007.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from coreset.core.ranges import check_range
from coreset.numerics.compiled import compiled
from coreset.numerics.random import keyed_order, keyed_uniform, salt
from coreset.numerics.tensors import top_k

Items = NDArray[np.int64]
Values = NDArray[np.float64]

OPTIMIZERS = ("naive", "lazy", "stochastic", "lazier_than_lazy", "greedi")


class SetFunction(ABC):
    """A set function f with f(empty) = 0 and the set S it has been given so far; items are 0 ...
    size - 1.

    submodular: gains never grow as S grows, so that an old gain bounds a new one. monotone: gains
    are never negative. variant: how it is computed, in words.
    """

    size: int
    value: float = 0.0
    submodular: bool = True
    monotone: bool = True
    variant: str = "all pairs"

    @abstractmethod
    def gains(self, items: Items) -> Values:
        """Return f(S + j) - f(S) for each j of `items`; an item's gain must not depend on which
        others are asked for with it.
        """

    @abstractmethod
    def add(self, item: int) -> None:
        """Put `item` into S."""

    def exact(self, k: int, items: Items) -> Greedy | None:
        """Return what `naive` returns, S then holding it, where the function has a faster way than
        being asked for gains; else None.
        """
        return None

    def copy(self) -> Self:
        """Return a function with a state of its own; what never changes (similarities, features) is
        shared.
        """
        other = copy.copy(self)
        for name in self.state:
            setattr(other, name, getattr(self, name).copy())
        return other

    @property
    @abstractmethod
    def state(self) -> tuple[str, ...]:
        """Names of the arrays that `add` writes to."""


class Greedy(NamedTuple):
    """Items in the order taken, the gain of each when it was taken, how many gains were computed,
    and a number that the gain of each item (size,) is not above.
    """

    picks: Items
    gains: Values
    evaluations: int
    bounds: Values | None = None


def _best(items: Items, gains: Values) -> int:
    """Return where the largest gain stands, ties to the lowest item."""
    top = np.flatnonzero(gains == gains.max())
    return int(top[0] if len(top) == 1 else top[np.argmin(items[top])])


def naive(function: SetFunction, k: int, items: Items) -> Greedy:
    """Return `k` of `items`, computing every gain at every step; exact for any function.

    >>> from coreset.strategies.submodular.facility_location import FacilityLocationFunction
    >>> f = FacilityLocationFunction(np.array([[1.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 1.0]]))
    >>> naive(f, 2, np.arange(3)).picks
    array([0, 2])
    """
    left = items.copy()
    picks, gains = np.empty(k, np.int64), np.empty(k)
    evaluations = 0
    for t in range(k):
        now = function.gains(left)
        evaluations += len(left)
        at = _best(left, now)
        picks[t], gains[t] = left[at], now[at]
        function.add(int(left[at]))
        left = np.delete(left, at)
    return Greedy(picks, gains, evaluations)


@compiled
def sink(heap: Items, bound: Values, at: int, size: int) -> None:
    """Move heap[at] down: the largest bound on top, ties to the lowest slot."""
    slot = heap[at]
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        a = heap[child]
        if child + 1 < size:
            b = heap[child + 1]
            if bound[b] > bound[a] or (bound[b] == bound[a] and b < a):
                child, a = child + 1, b
        if bound[slot] > bound[a] or (bound[slot] == bound[a] and slot < a):
            break
        heap[at] = a
        at = child
    heap[at] = slot


@compiled
def heapify(heap: Items, bound: Values) -> None:
    """Order slots so that the one with the largest bound is heap[0], ties to the lowest slot."""
    for at in range(len(heap) // 2 - 1, -1, -1):
        sink(heap, bound, at, len(heap))


@compiled
def drop(heap: Items, bound: Values, size: int) -> int:
    """Take the top off a heap of `size` and return its new size."""
    heap[0] = heap[size - 1]
    sink(heap, bound, 0, size - 1)
    return size - 1


@compiled
def _pop(heap: Items, bound: Values, size: int, best: int, out: Items) -> int:
    """Move up to len(out) slots that may still beat `best` (-1: none yet) from the heap to `out`;
    return how many.
    """
    count = 0
    while size > 0 and count < len(out):
        top = heap[0]
        if best >= 0 and (bound[top] < bound[best] or (bound[top] == bound[best] and top > best)):
            break
        out[count] = top
        count += 1
        size = drop(heap, bound, size)
    return count


@compiled
def rise(heap: Items, bound: Values, slot: int, size: int) -> int:
    """Put `slot` into a heap of `size` and return its new size."""
    at = size
    while at > 0:
        parent = (at - 1) // 2
        other = heap[parent]
        if bound[other] > bound[slot] or (bound[other] == bound[slot] and other < slot):
            break
        heap[at] = other
        at = parent
    heap[at] = slot
    return size + 1


@compiled
def _push(heap: Items, bound: Values, size: int, slots: Items, leave: int) -> int:
    """Put `slots` back, all but `leave`; return the new size."""
    for slot in slots:
        if slot != leave:
            size = rise(heap, bound, slot, size)
    return size


@compiled
def _renew(bound: Values, slots: Items, fresh: Values, best: int) -> int:
    """Write the fresh gains and return the best slot of these and `best`."""
    for i in range(len(slots)):
        slot = slots[i]
        bound[slot] = fresh[i]
        if best < 0 or fresh[i] > bound[best] or (fresh[i] == bound[best] and slot < best):
            best = slot
    return best


def check_submodular(function: SetFunction) -> None:
    """Raise ValueError when the function is not submodular: an old gain is then no bound."""
    if not function.submodular:
        raise ValueError(
            "optimizer: lazy evaluation needs a submodular function, and this one is not; use naive"
            " or stochastic"
        )


def lazy(function: SetFunction, k: int, items: Items) -> Greedy:
    """Return what `naive` returns, computing a gain again only while its last value could still
    win.

    Candidates come off a heap of old gains, first a few and then more at a time, until the best
    fresh gain is at least the next old one. Raises ValueError when the function is not submodular,
    because an old gain is then no bound.
    """
    check_submodular(function)
    items = np.sort(items)  # slots in order of position, so that ties go to the lowest
    bound = function.gains(items)
    heap = np.arange(len(items))
    heapify(heap, bound)
    size, evaluations, width = len(items), len(items), 1
    out = np.empty(len(items), np.int64)
    picks, gains = np.empty(k, np.int64), np.empty(k)
    for t in range(k):
        best, taken = -1, 0
        step = width
        while True:
            count = _pop(heap, bound, size, best, out[taken : taken + step])
            if not count:
                break
            slots = out[taken : taken + count]
            if t:  # at the first step all gains are fresh
                fresh = function.gains(items[slots])
                evaluations += count
            else:
                fresh = bound[slots]
            best = _renew(bound, slots, fresh, best)
            taken, size = taken + count, size - count
            step = min(2 * step, 64)
        size = _push(heap, bound, size, out[:taken], best)
        width = max(2, min(64, taken // 4))  # the next pick will need about as many
        picks[t], gains[t] = items[best], bound[best]
        function.add(int(items[best]))
    bounds = np.full(function.size, np.inf)
    bounds[items] = bound
    return Greedy(picks, gains, evaluations, bounds)


@compiled
def _sample(left: Items, size: int, draws: Values) -> None:
    """Bring len(draws) random entries of left[:size] to its front (a partial Fisher-Yates
    shuffle).
    """
    for i in range(len(draws)):
        j = i + int(draws[i] * (size - i))
        left[i], left[j] = left[j], left[i]


def sample_size(n: int, k: int, epsilon: float) -> int:
    """Return how many candidates stochastic greedy looks at per step: n / k * ln(1 / epsilon),
    rounded up, 1 to n.

    In expectation the value is then at least 1 - 1/e - epsilon of the best one, for monotone
    submodular functions.

    >>> sample_size(1000, 100, 0.01)
    47
    """
    check_range("a number in (0, 1)", epsilon=epsilon)
    return min(n, max(1, math.ceil(n / k * math.log(1 / epsilon))))


def stochastic(
    function: SetFunction,
    k: int,
    items: Items,
    ids: NDArray[Any],
    rng: np.random.Generator,
    epsilon: float = 0.01,
    bounds: bool = False,
) -> Greedy:
    """Return `k` of `items`, each the best of a fresh random sample (`sample_size`); ids
    (len(items),) key the samples.

    bounds: skip those of the sample whose old gain is already beaten (lazier than lazy): the same
    picks from fewer gains, for submodular functions only.
    """
    if bounds and not function.submodular:
        raise ValueError(
            "optimizer: lazier_than_lazy needs a submodular function, and this one is not; use"
            " stochastic"
        )
    width = sample_size(len(items), k, epsilon)
    left = keyed_order(rng, ids)
    bound = np.full(len(items), np.inf)
    picks, gains = np.empty(k, np.int64), np.empty(k)
    evaluations = 0
    for t in range(k):
        size = len(items) - t
        sample = left[: min(width, size)]
        _sample(left, size, rng.random(len(sample)))
        order = np.argsort(-bound[sample], kind="stable") if bounds else np.arange(len(sample))
        best, at, step = -np.inf, -1, 4 if bounds else len(sample)
        start = 0
        while start < len(sample) and bound[sample[order[start]]] >= best:
            part = order[start : start + step]
            fresh = function.gains(items[sample[part]])
            bound[sample[part]] = fresh if bounds else np.inf
            evaluations += len(part)
            i = _best(items[sample[part]], fresh)
            if fresh[i] > best or (fresh[i] == best and items[sample[part[i]]] < items[sample[at]]):
                best, at = float(fresh[i]), int(part[i])
            start, step = start + step, 2 * step
        picks[t], gains[t] = items[left[at]], best
        function.add(int(picks[t]))
        left[at] = left[size - 1]
    return Greedy(picks, gains, evaluations)


def greedi(
    function: SetFunction,
    k: int,
    items: Items,
    ids: NDArray[Any],
    rng: np.random.Generator,
    parts: int = 4,
) -> Greedy:
    """Return the better of two: lazy greedy on what `parts` random parts of `items` chose each for
    themselves, or the best part's own choice.

    ids (len(items),) decide the part, so that the parts can be worked on anywhere. The function
    sees the whole ground set in both rounds.
    """
    if parts < 1:
        raise ValueError(f"parts: expected at least one, got {parts}")
    part = np.floor(keyed_uniform(salt(rng), ids) * parts).astype(np.int64)
    union: list[Items] = []
    best: tuple[float, Greedy] | None = None
    evaluations = 0
    for p in range(parts):
        mine = items[part == p]
        if not len(mine):
            continue
        local = function.copy()
        answer = lazy(local, min(k, len(mine)), mine)
        evaluations += answer.evaluations
        union.append(answer.picks)
        if len(answer.picks) == k and (best is None or local.value > best[0]):
            best = local.value, answer
    both = function.copy()
    chosen = lazy(both, k, np.concatenate(union))
    evaluations += chosen.evaluations
    if best is not None and best[0] > both.value:
        chosen = best[1]
    for item in chosen.picks.tolist():
        function.add(item)
    return Greedy(chosen.picks, chosen.gains, evaluations)


def maximize(
    function: SetFunction,
    k: int,
    items: Items,
    optimizer: str,
    ids: NDArray[Any],
    rng: np.random.Generator,
    epsilon: float = 0.01,
    parts: int = 4,
) -> Greedy:
    """Return `k` of `items` by the optimizer of that name; `function` then holds them. Raises
    ValueError for an unknown name.
    """
    if optimizer in ("naive", "lazy"):
        if optimizer == "lazy":
            check_submodular(function)
        return function.exact(k, items) or (naive if optimizer == "naive" else lazy)(
            function, k, items
        )
    if optimizer in ("stochastic", "lazier_than_lazy"):
        return stochastic(function, k, items, ids, rng, epsilon, optimizer == "lazier_than_lazy")
    if optimizer == "greedi":
        return greedi(function, k, items, ids, rng, parts)
    raise ValueError(f"optimizer: expected one of {', '.join(OPTIMIZERS)}, got {optimizer!r}")


def upper_bound(function: SetFunction, k: int, items: Items, bounds: Values | None = None) -> float:
    """Return a number that no `k` of `items` beside what was there at the start can exceed: f(S)
    plus the `k` largest gains left.

    items: those that are not in S. bounds (size,): numbers that their gains are known not to
    exceed, which saves computing most of them. For monotone submodular functions, whatever S is;
    f(S) / bound certifies how close S is to the best.
    """
    if not len(items):
        return float(function.value)
    k = min(k, len(items))
    if bounds is None:
        gains = function.gains(items)
    else:
        items = items[np.argsort(-bounds[items], kind="stable")]
        gains, done = np.full(len(items), -np.inf), 0
        while done < len(items) and (
            done < k or bounds[items[done]] > np.partition(gains[:done], done - k)[done - k]
        ):
            part = slice(done, done + max(k - done, 64))
            gains[part], done = function.gains(items[part]), min(part.stop, len(items))
    return float(function.value + np.maximum(gains[top_k(gains, k)], 0).sum())


class Knapsack(NamedTuple):
    """Items in the order taken, the gain of each, and what is left of the limit."""

    picks: Items
    gains: Values
    slack: float


def knapsack_greedy(
    function: SetFunction, costs: NDArray[Any], limit: float, items: Items | None = None
) -> Knapsack:
    """Return items whose costs never exceed `limit` together, most gain per cost first, or the best
    single item when that is worth more.

    costs (size,): positive. Items that no longer fit are passed over; it stops when nothing fits or
    nothing gains. For monotone submodular functions the better of the two is at least (1 -
    1/sqrt(e)) of the best set (Lin & Bilmes, "Multi-document Summarization via Select Maximization
    of Submodular Functions", NAACL 2010). Raises ValueError for costs that are not positive or a
    function that is not submodular.

    >>> from coreset.strategies.submodular.facility_location import FacilityLocationFunction
    >>> knapsack_greedy(FacilityLocationFunction(np.eye(3)), np.array([3.0, 1.0, 2.0]), 3.5).picks
    array([1, 2])
    """
    costs = np.asarray(costs, np.float64)
    if costs.shape != (function.size,) or not (np.isfinite(costs).all() and (costs > 0).all()):
        raise ValueError(
            f"costs: expected {function.size} positive numbers, got shape {costs.shape}"
        )
    if not function.submodular:
        raise ValueError("knapsack_greedy needs a submodular function, and this one is not")
    items = np.arange(function.size) if items is None else np.sort(items)
    items = items[costs[items] <= limit]
    trial = function.copy()
    first = function.gains(items)
    rate = first / costs[items]
    heap = np.arange(len(items))
    heapify(heap, rate)
    size, slack = len(items), float(limit)
    out = np.empty(len(items), np.int64)
    picks: list[int] = []
    gains: list[float] = []
    while size:
        best, taken, step = -1, 0, 4
        while count := _pop(heap, rate, size, best, out[taken : taken + step]):
            size -= count
            slots = out[taken : taken + count]
            slots = slots[costs[items[slots]] <= slack]  # what does not fit now never will
            out[taken : taken + len(slots)] = slots
            if len(slots):
                best = _renew(rate, slots, trial.gains(items[slots]) / costs[items[slots]], best)
            taken, step = taken + len(slots), min(2 * step, 64)
        if best < 0 or rate[best] <= 0:
            break
        size = _push(heap, rate, size, out[:taken], best)
        item = int(items[best])
        picks.append(item)
        gains.append(float(rate[best] * costs[item]))
        slack -= float(costs[item])
        trial.add(item)
    if len(items) and first.max() > trial.value - function.value:
        picks, gains = [int(items[first.argmax()])], [float(first.max())]
        slack = float(limit - costs[picks[0]])
    for item in picks:
        function.add(item)
    return Knapsack(np.array(picks, np.int64), np.array(gains), slack)
