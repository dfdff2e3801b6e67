"""GALAXY against its rules, walked one example at a time over lists."""

import math

import numpy as np
import pytest

from coreset import select
from coreset.registry import strategy
from coreset.strategies.uncertainty.galaxy import boundary_distance, halved, paths, turn_order
from coreset.testing import check_strategy


def standing(p, c):
    return sorted(range(len(p)), key=lambda i: (max(p[i]) - p[i][c], -max(p[i])))


def paper(p, known, c):
    """Return which examples the paper may ask for next in the line of class c, by its own graph:
    the middle of the shortest path between unlike labels, else whatever is nearest to a cut.
    """
    o = standing(p, c)
    sign = [None if i not in known else known[i] == c for i in o]
    best = None
    for a in range(len(o)):
        for b in range(a + 2, len(o)):
            if sign[a] is None or sign[b] is None or sign[a] == sign[b]:
                continue
            if all(s is None for s in sign[a + 1 : b]) and (
                best is None or b - a < best[1] - best[0]
            ):
                best = (a, b)
    if best is not None:
        a, b = best
        return {o[(a + b) // 2]}
    cuts = [
        (a, a + 1)
        for a in range(len(o) - 1)
        if sign[a] is not None and sign[a + 1] == (not sign[a])
    ]
    free = [at for at in range(len(o)) if sign[at] is None]
    if not cuts:
        return {o[at] for at in free}
    away = {at: min(min(abs(at - a), abs(at - b)) for a, b in cuts) for at in free}
    return {o[at] for at in free if away[at] == min(away.values())}


def example(seed, n=40, classes=3, selected=9):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(classes), n)
    labels = np.array([rng.choice(classes, p=row) for row in p])  # noisy: never separable
    return p, labels, rng.permutation(n)[:selected]


@pytest.mark.parametrize("classes", [2, 3, 4])
@pytest.mark.parametrize("seed", range(3))
def test_one_at_a_time_it_asks_what_the_paper_asks(seed, classes):
    p, labels, start = example(seed, classes=classes)
    known = {int(i): int(labels[i]) for i in start}
    lines = [0] if classes == 2 else range(classes)
    while len(known) < len(p):
        unknown = np.where(np.isin(np.arange(len(p)), list(known)), labels, -1)
        chosen = select(
            "galaxy", 1, selected=list(known), probs=p, labels=unknown, seed=seed + len(known)
        )
        pick = int(chosen.indices[0])
        c = 0 if classes == 2 else chosen.info["classes"].index(1)
        assert pick in paper(p, known, c)
        assert chosen.scores[0] == pytest.approx(p[pick][c] - max(p[pick]), abs=1e-12)
        assert c in lines
        known[pick] = int(labels[pick])


def evenly(free, count):
    """Halve runs of free places, the longest and leftmost first."""
    runs, out = [free], []
    while len(out) < count:
        longest = max(runs, key=lambda r: (len(r), -(r[0] if r else 0)))
        runs.remove(longest)
        middle = (len(longest) - 1) // 2
        out.append(longest[middle])
        runs += [longest[:middle], longest[middle + 1 :]]
    return out


def walk(p, known, c):
    """Return the places that bisection asks for, in order, and the distance of all others."""
    o = standing(p, c)
    marks = [at for at, i in enumerate(o) if i in known]
    between = [
        (a, b) for a, b in zip(marks, marks[1:], strict=False)
        if (known[o[a]] == c) != (known[o[b]] == c)
    ]  # fmt: skip
    spans = sorted((list(range(a + 1, b)) for a, b in between), key=len)
    first = [at for s in spans for at in evenly(s, math.ceil(math.log2(len(s) + 1)))]
    rest = {
        o[at]: min((max(a - at, at - b, 0) for a, b in between), default=0)
        for at, i in enumerate(o) if i not in known and at not in first
    }  # fmt: skip
    return [o[at] for at in first], rest


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("k", [5, 17, 31])
def test_a_batch_halves_every_path_and_then_stays_near(classes, k):
    for seed in range(4):
        p, labels, start = example(seed, classes=classes)
        known = {int(i): int(labels[i]) for i in start}
        chosen = select("galaxy", k, selected=start, probs=p, labels=labels, seed=seed)
        lines = [walk(p, known, c) for c in ([0] if classes == 2 else range(classes))]
        gone = set()
        for pick in chosen.indices.tolist():
            heads = set()
            for first, rest in lines:
                left = [i for i in first if i not in gone]
                near = {i: d for i, d in rest.items() if i not in gone}
                heads |= {left[0]} if left else {i for i in near if near[i] == min(near.values())}
            assert pick in heads
            gone.add(pick)
        assert sum(chosen.info["classes"]) == k
        if classes == 3 and k > 5:
            assert min(chosen.info["classes"]) > 0


def test_places():
    assert halved(1, 1) == [0]
    assert halved(2, 2) == [0, 1]
    assert halved(15, 4) == [7, 3, 11, 1]
    assert paths(np.zeros(3, int)) == []
    assert paths(np.array([0, -1, 0, -1])) == []
    assert boundary_distance(np.zeros(3, int)).tolist() == [np.inf] * 3
    for seed in range(30):
        w = np.random.default_rng(seed).choice([-1, 0, 0, 0, 1], 25)
        near = [min((max(a - i, i - b, 0) for a, b in paths(w)), default=np.inf) for i in range(25)]
        assert boundary_distance(w).tolist() == near
        everything = turn_order(w, w == 0, np.arange(25), 25)
        assert sorted(everything.tolist()) == np.flatnonzero(w == 0).tolist()
        assert turn_order(w, w == 0, np.arange(25), 3).tolist() == everything[:3].tolist()


def test_a_boundary_far_from_one_half_is_reached_and_a_rare_class_gets_more_than_its_share():
    """40 of 4,000 belong to class 1, and the model's probability of it never comes to a half: in
    ten batches of ten it is the boundary that is asked for.
    """
    rng = np.random.default_rng(0)
    score = np.sort(rng.random(4000)) * 0.3
    p, labels = np.stack([1 - score, score], axis=1), (np.arange(4000) >= 3960).astype(int)
    known = [*range(0, 3900, 300), 3999]
    for seed in range(10):
        unknown = np.where(np.isin(np.arange(4000), known), labels, -1)
        chosen = select("galaxy", 10, selected=known, probs=p, labels=unknown, seed=seed)
        known += chosen.indices.tolist()
    assert labels[known].sum() >= 30
    assert labels[known].mean() > 0.25
    assert 3959 in known
    assert 3960 in known


def test_contract_and_refusals():
    check_strategy(strategy("galaxy"))
    p = np.full((4, 2), 0.5)
    for labels in (np.full(4, -1), np.array([-1, 0, 0, 0])):
        with pytest.raises(ValueError, match="labels: expected at least one selected example"):
            select("galaxy", 1, selected=[0], probs=p, labels=labels)
    with pytest.raises(ValueError, match="labels: expected 0 to 1, got 2"):
        select("galaxy", 1, selected=[0], probs=p, labels=np.full(4, 2))
    one = np.array([1, -1, -1, -1])  # no boundary: everything is as near
    assert sorted(select("galaxy", 3, selected=[0], probs=p, labels=one).indices.tolist()) == [
        1,
        2,
        3,
    ]
    drawn = {
        int(select("galaxy", 1, selected=[0], probs=p, labels=one, seed=s).indices[0])
        for s in range(30)
    }
    assert drawn == {1, 2, 3}
