"""Falcun against the paper's equations, with every draw looked up in plain sums."""

import numpy as np
import pytest

from coreset import select
from coreset.registry import strategy
from coreset.strategies.uncertainty.falcun import falcun
from coreset.testing import check_strategy


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def chances(p, chosen, gamma):
    """Return the chance of each row to be drawn next, given those drawn: equations 1 to 6, one row
    at a time.
    """
    n = len(p)
    u = [1 - (sorted(row)[-1] - sorted(row)[-2]) for row in p]
    d = [
        min([u[i], *(sum(abs(a - b) for a, b in zip(p[i], p[j], strict=True)) for j in chosen)])
        for i in range(n)
    ]
    left = [i for i in range(n) if i not in chosen]
    low, high = min(d[i] for i in left), max(d[i] for i in left)
    r = {i: u[i] + ((d[i] - low) / (high - low) if high > low else 0.0) for i in left}
    total = sum(v**gamma for v in r.values())
    return r, np.array([r[i] ** gamma / total if i in r else 0.0 for i in range(n)])


@pytest.mark.parametrize("gamma", [0.0, 1.0, 10.0])
def test_every_draw_has_its_chance(gamma):
    rng = np.random.default_rng(0)
    p, draws = softmax(rng.normal(size=(40, 4)) * 2), rng.random(25)
    picks, values = falcun(p, 25, gamma, draws)
    chosen = []
    for pick, value, draw in zip(picks.tolist(), values, draws, strict=True):
        r, chance = chances(p, chosen, gamma)
        edge = np.cumsum(chance)
        assert edge[pick] - chance[pick] - 1e-12 <= draw < edge[pick] + 1e-12
        assert value == pytest.approx(r[pick], rel=1e-12)
        chosen.append(pick)


def test_the_highest():
    p = softmax(np.random.default_rng(1).normal(size=(60, 3)) * 2)
    chosen = []
    for pick in falcun(p, 30, np.inf, np.zeros(30))[0].tolist():
        r, _ = chances(p, chosen, 1.0)
        assert pick == max(r, key=lambda i: (r[i], -i))
        chosen.append(pick)
    margins = np.sort(p, axis=1)
    order = np.argsort(margins[:, -1] - margins[:, -2], kind="stable")
    assert chosen[0] == order[0]  # the first is margin's
    assert chosen != order[:30].tolist()


def test_the_strategy_draws_by_those_chances():
    p = np.array([[0.5, 0.5, 0.0], [0.5, 0.0, 0.5], [0.9, 0.1, 0.0], [0.7, 0.3, 0.0]])
    firsts = [
        int(select("falcun", 1, probs=p, seed=s, options={"gamma": 2.0}).indices[0])
        for s in range(2000)
    ]
    _, want = chances(p, [], 2.0)
    np.testing.assert_allclose(np.bincount(firsts, minlength=4) / 2000, want, atol=0.04)


def test_all_alike():
    assert sorted(select("falcun", 5, probs=np.tile([0.5, 0.5], (5, 1))).indices.tolist()) == list(
        range(5)
    )
    assert sorted(select("falcun", 3, probs=np.eye(3)).indices.tolist()) == [0, 1, 2]


@pytest.mark.parametrize("options", [{}, {"gamma": float("inf")}])
def test_contract(options):
    check_strategy(strategy("falcun", options))
    with pytest.raises(ValueError, match="gamma: expected a number of at least 0, got -1"):
        strategy("falcun", {"gamma": -1})
