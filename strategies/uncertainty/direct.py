"""DIRECT: examples around the boundary of each class against the rest, as many for a rare class.

For class c the examples stand in a line, by p_c - max p falling (ties: max p falling), and every
threshold h on it is a rule: c before h, another class after. Its agreement with the labels so far
is sum before h of w_i - sum after h of w_i, w_i = 1 where the label is c, -1 where it is not, 0
where it is unknown: no rule is ruled out by one wrong label. One part of the budget searches the
stretch that holds the boundary of each class; the rest goes to the candidates next to each best h.

Nuggehalli, Zhang, Jain & Nowak, "Improved Algorithm for Deep Active Learning under Imbalance via
Optimal Separation", ICML 2025 (arXiv:2312.09196), as in the authors' LabelBench. A choice is one
batch: labels that the paper asks for inside a round come with the next one here. Of two classes the
released code breaks ties by p_0 in both lines.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coreset import Pool, Selection, Signals, Strategy
from coreset.numerics.random import keyed_order
from coreset.numerics.tensors import rows

Rows = NDArray[np.int64]


def line(probs: NDArray[np.float64], c: int) -> Rows:
    """Return the rows of `probs` (n, C) by p_c - max p, then by max p, both falling.

    >>> line(np.array([[0.2, 0.8], [0.6, 0.4], [0.9, 0.1], [0.45, 0.55]]), 0)
    array([2, 1, 3, 0])
    """
    top = probs.max(axis=1)
    return np.lexsort((-top, top - probs[:, c])).astype(np.int64)


def questions(
    pool: Pool, signals: Signals, rng: np.random.Generator
) -> tuple[Rows, int, NDArray[np.float64], NDArray[np.int64]]:
    """Return positions (m,), the candidates first in an order keyed by id, how many those are,
    probabilities (m, C) and labels (m,), -1 where there is none.

    Raises ValueError for a label beyond the classes, and where nothing selected has one.
    """
    candidates = pool.candidates[keyed_order(rng, pool.ids[pool.candidates])]
    at, n = np.concatenate([candidates, pool.selected]), len(candidates)
    probs = rows(signals.column("probs"), at).double().cpu().numpy()
    labels = np.full(len(at), -1)
    labels[n:] = rows(signals.column("labels"), pool.selected).cpu().numpy()
    if (labels >= probs.shape[1]).any():
        raise ValueError(f"labels: expected 0 to {probs.shape[1] - 1}, got {int(labels.max())}")
    if not (labels >= 0).any():
        raise ValueError("labels: expected at least one selected example with a label")
    return at, n, probs, labels


def stretch(w: Rows) -> tuple[int, int]:
    """Return the first and the last place of the line that may hold the boundary: the last label c
    before any other class, and the first of those after which no label is c. w (n,): 1, -1 or 0.

    >>> stretch(np.array([1, 0, 1, 0, -1, 0, 1, 0, -1, 0]))
    (2, 8)
    """
    no, yes = np.flatnonzero(w < 0), np.flatnonzero(w > 0)
    before = yes[yes < no[0]] if len(no) else yes
    after = no[no > yes[-1]] if len(yes) else no
    first = int(before[-1]) if len(before) else 0
    return first, int(after[0]) if len(after) else len(w) - 1


def threshold(w: Rows) -> int:
    """Return the place h, 0 to n, with the largest sum of w before it less that from it on, ties to
    the lowest.

    >>> threshold(np.array([1, 0, -1, 1, 0, -1, -1]))
    1
    """
    before = np.concatenate([[0], np.cumsum(w)])
    return int((2 * before - before[-1]).argmax())


def outward(free: NDArray[np.bool_], h: int) -> Rows:
    """Return the free places (n,) in the order h - 1, h, h - 2, h + 1, ...

    >>> outward(np.array([True, True, False, True, True]), 2)
    array([1, 0, 3, 4])
    """
    place = np.flatnonzero(free)
    away = np.where(place < h, h - 1 - place, place - h)
    return place[np.lexsort((place, away))].astype(np.int64)


@dataclass(frozen=True)
class Direct(Strategy):
    """Take as many candidates at the boundary of a rare class as at that of a frequent one.

    search: the most that are drawn in the stretch of each class; k / (2 C) of C classes where that
    is fewer. The rest, at least half, goes to the thresholds in equal shares, in a random order of
    the classes. Draws are keyed by id. Probabilities of what is selected must be those of the same
    model. Raises ValueError when nothing selected has a label. Scores: p_c - max p for the class c
    it was taken for; info: `classes`, how many for each.

    >>> from coreset import select
    >>> p = np.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4], [0.45, 0.55], [0.2, 0.8], [0.1, 0.9]])
    >>> labels = np.array([0, 0, 0, 1, 1, 1])
    >>> select("direct", 2, selected=[0, 5], probs=p, labels=labels).indices.tolist()
    [1, 4]
    """

    search: int = 10

    needs = frozenset({"probs"})
    needs_selected = frozenset({"probs", "labels"})
    random = True
    greedy = False

    def __post_init__(self) -> None:
        value = self.search
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"search: expected a whole number from 1 on, got {value!r}")

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Search every stretch, then go outward from every threshold."""
        at, n, probs, labels = questions(pool, signals, rng)
        count = probs.shape[1]
        free, taken_for = np.arange(len(at)) < n, np.full(len(at), -1)
        order: list[int] = []

        def take(some: Rows, c: int) -> None:
            free[some], taken_for[some] = False, c
            order.extend(some.tolist())

        def stand(c: int) -> tuple[Rows, Rows]:
            o = line(probs, c)
            return o, np.where(labels[o] < 0, 0, np.where(labels[o] == c, 1, -1))

        each = min(k // count // 2, self.search)
        often = np.bincount(labels[labels >= 0], minlength=count)
        for c in np.argsort(-often, kind="stable").tolist():
            o, w = stand(c)
            first, last = stretch(w)
            inside = np.sort(o[first : last + 1])  # rows are in the random order of the ids
            take(inside[free[inside]][:each], c)
        rest = k - len(order)
        for i, c in enumerate(rng.permutation(count).tolist()):
            share = rest * (i + 1) // count - rest * i // count
            o, w = stand(c)
            take(o[outward(free[o], threshold(w))[:share]], c)
        picks, which = np.array(order), taken_for[order]
        scores = probs[picks, which] - probs[picks].max(axis=1)
        info = {"classes": np.bincount(which, minlength=count).tolist()}
        return Selection(at[picks], scores=scores, info=info)
