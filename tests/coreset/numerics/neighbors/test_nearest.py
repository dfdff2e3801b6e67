import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coreset.numerics.neighbors import nearest as neighbors
from coreset.numerics.neighbors.distances import Frame
from coreset.numerics.neighbors.nearest import knn, within


def squares(a, b):
    return ((a[:, None].astype(np.float64) - b[None].astype(np.float64)) ** 2).sum(axis=-1)


def awkward(kind, n=260, dim=20):
    rng = np.random.default_rng(3)
    x = rng.normal(size=(n, dim))
    if kind == "far":  # far from the origin: the plain |a|^2 + |b|^2 - 2ab has no digits left here
        x = 1e-3 * x + 1e3
    if kind == "duplicates":
        x[20:60], x[100:130] = x[5], x[6]
    if kind == "close":  # distances that differ in the seventh digit
        x = np.sign(x) * (1 + 1e-6 * rng.normal(size=x.shape))
    return x.astype({"half": np.float16, "double": np.float64}.get(kind, np.float32))


def radius_of(d):
    """Return a radius between the median distance and the next larger one.

    A sum of squares in another order may differ in its last bit, so that at a radius which is
    itself a distance of such data neither answer is wrong; whole numbers below have no such bits.
    """
    value = np.unique(d[np.isfinite(d)])
    value = value[np.diff(value, append=np.inf) > 1e-12 * value]
    at = len(value) // 2
    return float(np.sqrt((value[at] + value[at + 1]) / 2))


KINDS = ["plain", "far", "duplicates", "close", "half", "double"]


@pytest.mark.parametrize("kind", KINDS)
def test_knn_is_the_float64_answer_with_ties_to_the_lowest(kind):
    x = awkward(kind)
    d = squares(x, x)
    np.fill_diagonal(d, np.inf)
    want = np.argsort(d, axis=1, kind="stable")[:, :9]
    distance, index = knn(torch.from_numpy(x), 9)
    assert (index.numpy() == want).all()
    assert np.allclose(distance.numpy(), np.sqrt(np.take_along_axis(d, want, 1)), rtol=1e-12)


def test_queries_and_many_blocks(monkeypatch):
    monkeypatch.setattr(neighbors, "_BLOCK", 1000)
    x, q = awkward("duplicates"), awkward("plain", n=31)[::-1].copy()
    d = squares(q, x)
    distance, index = knn(torch.from_numpy(x), 4, torch.from_numpy(q))
    assert (index.numpy() == np.argsort(d, axis=1, kind="stable")[:, :4]).all()
    assert distance.dtype == torch.float64


def test_rows_of_the_own_group_are_no_neighbors():
    x = awkward("plain", n=90)
    group = np.random.default_rng(0).integers(0, 4, 90)
    d = squares(x, x)
    d[group[:, None] == group] = np.inf
    index = knn(torch.from_numpy(x), 3, groups=torch.from_numpy(group))[1]
    assert (index.numpy() == np.argsort(d, axis=1, kind="stable")[:, :3]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_tensor_path_gives_the_same(kind):
    x = torch.from_numpy(awkward(kind))
    frame = Frame.of(x)
    a, length = frame.rows(x)
    own = torch.arange(len(x))
    square, index = neighbors._nearest_torch(
        a, a, length, length, x.double(), x, own, own, 9, frame.scale**2
    )
    distance, want = knn(x, 9)
    assert torch.equal(index, want)
    assert torch.allclose(square.sqrt(), distance, rtol=1e-12)
    radius = radius_of(squares(x.numpy(), x.numpy()))
    hit = neighbors._decide_torch(
        a @ a.T, length, length, x, x, radius**2, frame.scale**2, False, 0
    )
    start, columns = within(x, radius)
    assert hit.sum(dim=1).tolist() == np.diff(start).tolist()
    assert np.nonzero(hit.numpy())[1].tolist() == columns.tolist()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("closed", [False, True])
def test_within_is_the_float64_comparison(kind, closed):
    x = awkward(kind)
    d = squares(x, x)
    radius = radius_of(d)
    hit = d < radius**2
    np.fill_diagonal(hit, False)
    start, columns = within(torch.from_numpy(x), radius, closed=closed)
    assert np.diff(start).tolist() == hit.sum(axis=1).tolist()
    assert columns.tolist() == np.nonzero(hit)[1].tolist()


def test_a_distance_equal_to_the_radius():
    x, q = torch.tensor([[0.0, 0.0], [3.0, 4.0]]), torch.tensor([[0.0, 0.0]])
    assert within(x, 5.0, q)[1].tolist() == [0]
    assert within(x, 5.0, q, closed=True)[1].tolist() == [0, 1]


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 40), st.integers(1, 4), st.integers(0, 10**6))
def test_a_lattice_full_of_ties(n, dim, seed):
    x = np.random.default_rng(seed).integers(-2, 3, (n, dim)).astype(np.float32)
    d = squares(x, x)
    np.fill_diagonal(d, np.inf)
    for radius, closed in ((1.0, False), (1.0, True), (2.0, False), (2.0, True)):
        hit = d <= radius**2 if closed else d < radius**2
        start, columns = within(torch.from_numpy(x), radius, closed=closed)
        assert np.diff(start).tolist() == hit.sum(axis=1).tolist()
        assert columns.tolist() == np.nonzero(hit)[1].tolist()
    k = max(1, n // 2)
    assert (
        knn(torch.from_numpy(x), k)[1].numpy() == np.argsort(d, axis=1, kind="stable")[:, :k]
    ).all()


def test_reads_what_it_is_given_and_leaves_it():
    x = awkward("plain")
    kept = x.copy()
    x.flags.writeable = True
    knn(torch.from_numpy(x), 3)
    assert (x == kept).all()
    wide = torch.from_numpy(np.repeat(x, 2, axis=1))[:, ::2]  # strided
    assert torch.equal(knn(wide, 3)[1], knn(torch.from_numpy(x), 3)[1])


@pytest.mark.parametrize("k", [0, 4])
def test_too_many_neighbors(k):
    with pytest.raises(ValueError, match="expected 1 to 3 neighbors among 4 rows"):
        knn(torch.zeros(4, 2), k)


def test_queries_out_of_all_proportion_to_the_rows():
    """The rows lie within 1e-186 of each other, the queries a unit away: float32 holds no scale for
    both.
    """
    rng = np.random.default_rng(0)
    x, q = rng.normal(size=(9, 4)) * 1e-186, rng.normal(size=(30, 4))
    distance, index = knn(torch.from_numpy(x), 3, torch.from_numpy(q))
    np.testing.assert_allclose(
        distance.numpy(), np.linalg.norm(q, axis=1)[:, None].repeat(3, 1), rtol=1e-12
    )
    assert index.tolist() == [[0, 1, 2]] * 30
    start, _ = within(torch.from_numpy(x), 100.0, torch.from_numpy(q))
    assert np.diff(start).tolist() == [9] * 30
