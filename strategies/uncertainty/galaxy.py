"""GALAXY: bisection of the stretch between unlike labels, in a line of the examples per class.

For class c the examples stand in a line as in `direct`, by p_c - max p falling. Two labels next to
each other in the line, one c and one another class, hold a boundary between them. The shortest such
path with an example left is halved by asking for its middle; where no path is left, the example
nearest to a boundary is asked for. Every turn is that of a class drawn at random; two classes have
one line.

Zhang, Katz-Samuels & Nowak, "GALAXY: Graph-based Active Learning at the Extreme", ICML 2022
(arXiv:2202.01402). The paper reads each answer before it asks again; here a choice of k is one
batch, and answers come with the next. With k = 1 the rule is the paper's. In a batch a path of m
examples is asked for as many as bisection with answers would take, ceil(log2(m + 1)), evenly: its
middle, then the middles of the longest pieces. The authors' LabelBench looks, where no path is
left, at boundaries with c on the right only; here both kinds count, as in the paper.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coreset import Pool, Selection, Signals, Strategy
from coreset.strategies.uncertainty.direct import line, questions

Rows = NDArray[np.int64]


def halved(m: int, count: int) -> list[int]:
    """Return `count` of m places: the middle, then the middle of the longest piece left, the first
    of several.

    >>> halved(7, 3)
    [3, 1, 5]
    """
    pieces, out = [(-m, 0, m)], list[int]()
    while len(out) < count:
        _, low, high = heapq.heappop(pieces)
        middle = (low + high - 1) // 2
        out.append(middle)
        for a, b in ((low, middle), (middle + 1, high)):
            if a < b:
                heapq.heappush(pieces, (a - b, a, b))
    return out


def paths(w: Rows) -> list[tuple[int, int]]:
    """Return the places of labels that follow each other in the line and are unlike, from the left.
    w (n,): 1 for the class, -1 for another, 0 where the label is unknown.

    >>> paths(np.array([1, 0, 0, -1, 1, 0]))
    [(0, 3), (3, 4)]
    """
    known = np.flatnonzero(w)
    at = np.flatnonzero(w[known[1:]] != w[known[:-1]])
    return list(zip(known[at].tolist(), known[at + 1].tolist(), strict=True))


def boundary_distance(w: Rows) -> NDArray[np.float64]:
    """Return how many places each is away from the nearest path (n,), 0 inside, inf without one.

    >>> boundary_distance(np.array([0, 0, 1, -1, 0])).tolist()
    [2.0, 1.0, 0.0, 0.0, 1.0]
    """
    n, spans = len(w), paths(w)
    if not spans:
        return np.full(n, np.inf)
    place, span = np.arange(n), np.array(spans)
    left = np.searchsorted(span[:, 0], place, side="right") - 1  # the last path begun before
    before = np.where(left >= 0, np.maximum(place - span[left, 1], 0), n)
    after = np.append(span[:, 0], 2 * n)[left + 1] - place
    return np.minimum(before, after).astype(np.float64)


def turn_order(w: Rows, free: NDArray[np.bool_], order: Rows, most: int) -> Rows:
    """Return up to `most` free places of a line in the order in which they are asked for.

    w (n,): as in `paths`; free (n,): which may be asked for; order (n,): whole numbers, the lowest
    first where places are as near.

    >>> w, free = np.array([1, 0, 0, 0, -1, 0]), np.array([False, True, True, True, False, True])
    >>> turn_order(w, free, np.arange(6), 4).tolist()
    [2, 1, 3, 5]
    """
    inside = [a + 1 + np.flatnonzero(free[a + 1 : b]) for a, b in paths(w)]
    out: list[int] = []
    for path in sorted(inside, key=len):  # stable: the leftmost of equal lengths first
        if len(out) < most:
            out += path[halved(len(path), len(path).bit_length())].tolist()
    if len(out) >= most:
        return np.array(out[:most], np.int64)
    asked = np.zeros(len(w), bool)
    asked[out] = True
    rest = np.flatnonzero(free & ~asked)
    near = rest[np.lexsort((order[rest], boundary_distance(w)[rest]))]
    return np.concatenate([np.array(out, np.int64), near])[:most]


@dataclass(frozen=True)
class Galaxy(Strategy):
    """Halve the shortest stretch between unlike labels, in a line of the examples for each class.

    Probabilities of what is selected must be those of the same model. Draws, of the class of a turn
    and of one among examples as near to a boundary, are keyed by id; with labels of one class alone
    there is no boundary, and the choice is random. Raises ValueError when nothing selected has a
    label. Scores: p_c - max p for the class c it was taken for; info: `classes`, how many for each.

    >>> from coreset import select
    >>> p = np.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4], [0.45, 0.55], [0.2, 0.8], [0.1, 0.9]])
    >>> labels = np.array([0, 0, 0, 0, 0, 1])
    >>> select("galaxy", 2, selected=[0, 5], probs=p, labels=labels).indices.tolist()
    [2, 3]
    """

    needs = frozenset({"probs"})
    needs_selected = frozenset({"probs", "labels"})
    random = True
    greedy = False

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Draw a class k times and take the next of its line."""
        at, n, probs, labels = questions(pool, signals, rng)
        count = probs.shape[1]
        queues = []
        for c in range(1 if count == 2 else count):
            o = line(probs, c)
            w = np.where(labels[o] < 0, 0, np.where(labels[o] == c, 1, -1))
            queues.append(iter(o[turn_order(w, o < n, o, k)].tolist()))
        taken_for: dict[int, int] = {}
        for c in rng.integers(len(queues), size=k).tolist():
            taken_for[next(i for i in queues[c] if i not in taken_for)] = c
        picks = np.array(list(taken_for), np.int64)
        which = np.array(list(taken_for.values()), np.int64)
        scores = probs[picks, which] - probs[picks].max(axis=1)
        info = {"classes": np.bincount(which, minlength=count).tolist()}
        return Selection(at[picks], scores=scores, info=info)
