import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coreset.numerics.neighbors import semantic
from coreset.numerics.neighbors.semantic import semantic_twins, unit_rows
from coreset.numerics.neighbors.spherical import nearest_centroid, spherical_kmeans


def clustered(n=120, dim=8, groups=15, noise=0.15, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(groups, dim))[rng.integers(0, groups, n)] + noise * rng.normal(
        size=(n, dim)
    )
    return unit_rows(x)


def cosines(x):
    x = x.astype(np.float64)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return x @ x.T


def released(x, eps):
    """The released rule: upper triangle, largest similarity with any row before, kept or not."""
    s = np.triu(cosines(x), 1)
    return s.max(axis=0) > 1 - eps


def kept_by_component(x, eps):
    near = cosines(x) > 1 - eps
    label = np.arange(len(x))
    while True:
        lower = np.array([label[near[i] | (np.arange(len(x)) == i)].min() for i in range(len(x))])
        if (lower == label).all():
            return label
        label = lower


@pytest.mark.parametrize("block", [1, 7, 512])
@pytest.mark.parametrize("eps", [0.01, 0.05, 0.3])
def test_removed_are_the_rows_of_the_released_filter(eps, block, monkeypatch):
    monkeypatch.setattr(semantic, "_BLOCK", block)
    monkeypatch.setattr(semantic, "_WHOLE", 0 if block < 512 else block)
    x = clustered()
    duplicates = semantic_twins(x, eps)
    gone = duplicates != np.arange(len(x))
    assert (gone == released(x, eps)).all()
    assert gone.any()
    assert not gone[duplicates].any()  # a duplicate_of is kept
    s = cosines(x)
    for j in np.flatnonzero(gone):  # the chain of nearest rows before it
        i = j
        while gone[i]:
            i = int(s[i, :i].argmax())
        assert duplicates[j] == i


@pytest.fixture
def narrow(monkeypatch):
    """Products in bfloat16, in small tiles, whether they are faster here or not."""
    monkeypatch.setattr(semantic, "bfloat16_pays", lambda *_: True)
    monkeypatch.setattr(semantic, "_LARGE", 0)
    monkeypatch.setattr(semantic, "_TILE", 32)
    monkeypatch.setattr(semantic, "_FEW", 1.0)


@pytest.mark.parametrize("rows", [31, 64, 120])
@pytest.mark.parametrize("eps", [0.001, 0.01, 0.05, 0.3])
def test_bfloat16_leaves_nothing_open(eps, rows, narrow, monkeypatch):
    # copies among them
    x = np.concatenate([clustered(rows - 10, noise=0.05), clustered(rows - 10, noise=0.05)[:10]])
    ways = [semantic._by_bfloat16(x, 1 - eps, 1e-5, components) for components in (False, True)]
    assert ((ways[0] != np.arange(rows)) == released(x, eps)).all()
    assert ways[1].tolist() == kept_by_component(x, eps).tolist()
    monkeypatch.setattr(semantic, "bfloat16_pays", lambda *_: False)
    assert ways[0].tolist() == semantic_twins(x, eps).tolist()


def test_where_bfloat16_does_not_help(narrow, monkeypatch):
    x = clustered()
    assert semantic._by_bfloat16(x, 0.95, 1e-5, False) is not None
    assert semantic._by_bfloat16(x, 0.005, 1e-5, False) is None  # every pair would be left
    monkeypatch.setattr(semantic, "_FEW", 0.001)
    assert semantic._by_bfloat16(x, 0.95, 1e-5, False) is None  # too many are
    monkeypatch.setattr(semantic, "_FEW", 1.0)
    x[3] = np.nan
    assert semantic._by_bfloat16(x, 0.95, 1e-5, False)[3] == 3  # an undefined row is near nothing


@pytest.mark.parametrize("eps", [0.01, 0.05, 0.3])
def test_components(eps):
    x = clustered()
    assert semantic_twins(x, eps, components=True).tolist() == kept_by_component(x, eps).tolist()


def test_the_two_rules_differ_on_a_chain():
    """0, 20 and 10 degrees: the released rule compares with removed rows but keeps both ends; the
    paper keeps one of the group.
    """
    a = np.radians([0, 20, 10])
    x = np.stack([np.cos(a), np.sin(a)], axis=1).astype(np.float32)
    eps = 1 - np.cos(np.radians(11))
    assert semantic_twins(x, eps).tolist()[:2] == [0, 1]
    assert semantic_twins(x, eps, components=True).tolist() == [0, 0, 0]


def test_a_removed_row_still_removes_in_the_released_filter():
    a = np.radians([0, 10, 20])
    x = np.stack([np.cos(a), np.sin(a)], axis=1).astype(np.float32)
    assert semantic_twins(x, 1 - np.cos(np.radians(11))).tolist() == [
        0,
        0,
        0,
    ]  # the third falls to the second, which is gone itself


def test_strictly_above_the_threshold():
    x = np.array([[1, 0], [0.5, np.sqrt(0.75)]], np.float32)
    exact = float(cosines(x)[0, 1])
    assert semantic_twins(x, 1 - exact).tolist() == [0, 1]
    assert semantic_twins(x, 1 - exact + 1e-12).tolist() == [0, 0]


def test_eps_zero_keeps_all_but_what_rounds_above_one():
    assert (semantic_twins(clustered(), 0.0) == np.arange(120)).mean() > 0.99
    with pytest.raises(ValueError, match=r"expected a number, 1 - cosine, in \[0, 2\]"):
        semantic_twins(clustered(), -1)


def test_unit_rows_marks_what_has_no_direction():
    x = unit_rows(np.array([[3.0, 4.0], [0, 0], [np.nan, 1], [np.inf, 1]]))
    assert np.isnan(x).all(axis=1).tolist() == [False, True, True, True]


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 64), st.integers(0, 100))
def test_nearest_centroid_is_the_float64_answer_in_any_batch(batch, seed):
    x, c = clustered(seed=seed), clustered(20, seed=seed + 1)
    c[7] = c[3]
    s = x.astype(np.float64) @ c.astype(np.float64).T
    label, cosine = zip(
        *(nearest_centroid(x[i : i + batch], c) for i in range(0, len(x), batch)), strict=True
    )
    label, cosine = np.concatenate(label), np.concatenate(cosine)
    assert (np.abs(s[np.arange(len(x)), label] - s.max(axis=1)) < 1e-12).all()
    np.testing.assert_allclose(cosine, s.max(axis=1), atol=1e-12)
    assert not (label == 7).any()


def test_spherical_kmeans():
    x = clustered(300, groups=4, noise=0.02)
    c = spherical_kmeans(x, 4, iterations=50)
    np.testing.assert_allclose(np.linalg.norm(c, axis=1), 1, atol=1e-5)
    label, _ = nearest_centroid(x, c)
    for k in range(4):  # where Lloyd stands still
        mean = x[label == k].astype(np.float64).mean(axis=0)
        np.testing.assert_allclose(c[k], mean / np.linalg.norm(mean), atol=1e-5)
    assert (spherical_kmeans(x, 4, iterations=50) == c).all()
    with pytest.raises(ValueError, match="expected 1 to 3 clusters for 3 rows, got 4"):
        spherical_kmeans(x[:3], 4)
