import numpy as np
import pytest

from coreset.curation.operators.dedup import semantic_eps
from coreset.curation.operators.dedup.semantic_eps import close_pairs, eps_of, leaving_cosines
from coreset.numerics.neighbors.semantic import semantic_twins, unit_rows


def clustered(n=150, dim=8, groups=15, noise=0.15, seed=0):
    rng = np.random.default_rng(seed)
    return unit_rows(
        rng.normal(size=(groups, dim))[rng.integers(0, groups, n)]
        + noise * rng.normal(size=(n, dim))
    )


def cosines(x):
    x = x.astype(np.float64)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return x @ x.T


def groups(x, cut):
    """How many connected components the graph of cosines above the cut has."""
    near, left, count = cosines(x) > cut, set(range(len(x))), 0
    while left:
        todo, count = [left.pop()], count + 1
        while todo:
            more = {j for j in np.flatnonzero(near[todo.pop()]).tolist() if j in left}
            left -= more
            todo += more
    return count


@pytest.mark.parametrize("block", [7, 256])
def test_they_are_what_each_row_leaves_at(block, monkeypatch):
    monkeypatch.setattr(semantic_eps, "_BLOCK", block)
    x = clustered()
    want = np.triu(cosines(x) + 10, 1).max(axis=0) - 10
    leaving = leaving_cosines(x)
    assert np.isneginf(leaving[0])
    np.testing.assert_allclose(leaving[1:], want[1:], atol=1e-12)


def test_components_join_at_them():
    x = clustered(90)
    leaving = leaving_cosines(x, components=True)
    assert np.isneginf(leaving).sum() == 1
    for cut in np.linspace(-0.5, 0.999, 25):
        assert groups(x, cut) == len(x) - (leaving > cut).sum()


@pytest.mark.parametrize("components", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_eps_keeps_as_many_as_asked(components, seed):
    parts = [clustered(n, seed=10 * seed + n) for n in (1, 2, 40, 90)]  # clusters
    leaving = np.concatenate([leaving_cosines(p, components) for p in parts])
    for keep in (4, 5, 30, 100, 132, 133):
        eps = eps_of(leaving, keep)
        assert (
            sum((semantic_twins(p, eps, components) == np.arange(len(p))).sum() for p in parts)
            == keep
        )


def test_copies_go_together():
    x = np.repeat(clustered(5), 4, axis=0)
    eps = eps_of(leaving_cosines(x), 12)
    assert (semantic_twins(x, eps) == np.arange(20)).sum() in (5, 20)
    for keep in (0, 21):
        with pytest.raises(
            ValueError, match=r"expected to keep 1 \(one row a cluster\) to 20 rows"
        ):
            eps_of(leaving_cosines(x), keep)


@pytest.mark.parametrize("block", [7, 256])
@pytest.mark.parametrize("eps", [0.01, 0.05, 0.3])
def test_pairs_and_pairs_across(eps, block, monkeypatch):
    monkeypatch.setattr(semantic_eps, "_BLOCK", block)
    x, label = clustered(), np.random.default_rng(1).integers(0, 3, 150)
    i, j = np.nonzero(np.triu(cosines(x), 1) > 1 - eps)
    assert close_pairs(x, label, eps) == (len(i), int((label[i] != label[j]).sum()))
    assert len(i)
