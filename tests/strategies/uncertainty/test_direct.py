"""DIRECT against its rules, walked one example at a time."""

import itertools

import numpy as np
import pytest

from coreset import select
from coreset.registry import strategy
from coreset.strategies.uncertainty.direct import Direct, outward, stretch, threshold
from coreset.testing import check_strategy


def standing(p, c):
    return sorted(range(len(p)), key=lambda i: (max(p[i]) - p[i][c], -max(p[i])))


def best_threshold(signs):
    """Try every rule and count its right answers less its wrong ones."""
    agreement = [
        sum(w if i < h else -w for i, w in enumerate(signs)) for h in range(len(signs) + 1)
    ]
    return agreement.index(max(agreement))


def walk(p, known, c, taken, share):
    """Go left and right from the threshold of class c in turns, passing what is taken."""
    o = standing(p, c)
    right = best_threshold([0 if i not in known else 1 if known[i] == c else -1 for i in o])
    left, turn, picks = right - 1, 0, []
    while len(picks) < share:
        at = left if turn == 0 else right
        if 0 <= at < len(o) and o[at] not in taken and o[at] not in picks:
            picks.append(o[at])
        left, right = (left - 1, right) if turn == 0 else (left, right + 1)
        turn = 1 - turn
    return picks


def region(p, known, c):
    """Return the examples between the last sure yes and the first sure no."""
    o = standing(p, c)
    first, last = 0, len(o) - 1
    for at, i in enumerate(o):
        if i in known and known[i] != c:
            break
        if i in known:
            first = at
    for at in range(len(o) - 1, -1, -1):
        if o[at] in known and known[o[at]] == c:
            break
        if o[at] in known:
            last = at
    return set(o[first : last + 1])


def example(seed, n=60, classes=3, selected=12):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(classes), n)
    labels = np.array([rng.choice(classes, p=row) for row in p])  # noisy: never separable
    return p, labels, rng.permutation(n)[:selected]


@pytest.mark.parametrize("seed", range(6))
def test_around_the_thresholds(seed):
    """Of fewer than two per class none is drawn: all go to the thresholds."""
    p, labels, selected = example(seed)
    known = {int(i): int(labels[i]) for i in selected}
    chosen = select("direct", 5, selected=selected, probs=p, labels=labels, seed=seed)
    answers = []
    for order in itertools.permutations(range(3)):
        taken = set(known)
        picks = []
        for i, c in enumerate(order):
            some = walk(p, known, c, taken, 5 * (i + 1) // 3 - 5 * i // 3)
            picks += some
            taken |= set(some)
        answers.append(picks)
    assert chosen.indices.tolist() in answers
    assert sum(chosen.info["classes"]) == 5


@pytest.mark.parametrize(("k", "search"), [(24, 3), (24, 10), (13, 10), (13, 1), (40, 5)])
def test_the_search_stays_in_the_stretch_and_the_rest_goes_outward(k, search):
    each = min(k // 6, search)
    for seed in range(3):
        p, labels, selected = example(seed)
        known = {int(i): int(labels[i]) for i in selected}
        options = {"search": search}
        chosen = select(
            "direct", k, selected=selected, probs=p, labels=labels, options=options
        ).indices.tolist()
        often = [list(known.values()).count(c) for c in range(3)]
        searched = sorted(range(3), key=lambda c: -often[c])
        at, taken = 0, set(known)
        for c in searched:
            room = len(region(p, known, c) - taken)
            part = chosen[at : at + min(each, room)]
            assert set(part) <= region(p, known, c) - taken
            taken |= set(part)
            at += len(part)
        rest = k - at
        answers = []
        for order in itertools.permutations(range(3)):
            have, picks = set(taken), []
            for i, c in enumerate(order):
                some = walk(p, known, c, have, rest * (i + 1) // 3 - rest * i // 3)
                picks += some
                have |= set(some)
            answers.append(picks)
        assert chosen[at:] in answers


def test_draws_reach_the_whole_stretch():
    p, labels, selected = example(0)
    known = {int(i): int(labels[i]) for i in selected}
    often = [list(known.values()).count(c) for c in range(3)]
    c = sorted(range(3), key=lambda c: -often[c])[0]  # the first that is searched
    wanted = region(p, known, c) - set(known)
    drawn = [
        int(select("direct", 6, selected=selected, probs=p, labels=labels, seed=t).indices[0])
        for t in range(200)
    ]
    counts = np.array([drawn.count(i) for i in sorted(wanted)])
    assert counts.sum() == 200
    assert ((counts - 200 / len(wanted)) ** 2 / (200 / len(wanted))).sum() < 2 * len(wanted) + 10


def test_places():
    assert stretch(np.zeros(4, int)) == (0, 3)
    assert stretch(np.array([0, 1, 0, 1])) == (3, 3)
    assert stretch(np.array([0, -1, 0, -1])) == (0, 1)
    assert stretch(np.array([-1, 0, 1, 0])) == (0, 3)
    assert threshold(np.array([-1, -1, 0])) == 0
    assert threshold(np.array([1, 1, 0])) == 2
    assert threshold(np.array([1, -1, 1, 1, -1])) == 4  # one wrong label does not move it
    assert outward(np.ones(4, bool), 0).tolist() == [0, 1, 2, 3]
    assert outward(np.ones(4, bool), 4).tolist() == [3, 2, 1, 0]
    for seed in range(50):
        w = np.random.default_rng(seed).integers(-1, 2, 12)
        assert threshold(w) == best_threshold(w.tolist())


def test_a_rare_class_gets_more_than_its_share():
    """200 of 5,000 belong to class 1: of 100 choices far more than 4 come from it."""
    rng = np.random.default_rng(0)
    labels = (np.arange(5000) < 200).astype(int)
    logit = np.where(labels == 1, 1.0, -3.0) + rng.normal(size=5000) - 2.0
    p = np.stack([1 / (1 + np.exp(logit)), 1 / (1 + np.exp(-logit))], axis=1)
    selected = rng.permutation(5000)[:200]
    chosen = select("direct", 100, selected=selected, probs=p, labels=labels)
    assert labels[chosen.indices].sum() > 20


def test_contract_and_refusals():
    check_strategy(strategy("direct"))
    check_strategy(Direct(search=2))
    p = np.full((4, 2), 0.5)
    for labels in (np.full(4, -1), np.array([-1, 0, 0, 0])):
        with pytest.raises(ValueError, match="labels: expected at least one selected example"):
            select("direct", 1, selected=[0], probs=p, labels=labels)
    with pytest.raises(ValueError, match="labels: expected 0 to 1, got 2"):
        select("direct", 1, selected=[0], probs=p, labels=np.full(4, 2))
    with pytest.raises(ValueError, match="search: expected a whole number from 1 on, got 0"):
        Direct(search=0)
    unknown = np.array([1, -1, -1, -1])
    everything = select("direct", 3, selected=[0], probs=p, labels=unknown)
    assert sorted(everything.indices.tolist()) == [1, 2, 3]
