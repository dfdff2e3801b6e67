import numpy as np
import pytest
import torch

from coreset.numerics import similarity
from coreset.numerics.similarity import Linear, Similarity


def reference(x, y, kind, gamma):
    out = np.empty((len(x), len(y)))
    for i, a in enumerate(x.astype(float)):
        for j, b in enumerate(y.astype(float)):
            d, lengths = np.linalg.norm(a - b), np.linalg.norm(a) * np.linalg.norm(b)
            out[i, j] = {
                "cosine": 0.5 + 0.5 * (a @ b) / lengths if lengths else 0.5,
                "dot": a @ b,
                "rbf": np.exp(-gamma * d * d),
                "euclidean": 1 / (1 + d),
            }[kind]
    return out


@pytest.mark.parametrize("kind", ["cosine", "dot", "rbf", "euclidean"])
@pytest.mark.parametrize("shift", [0.0, 100.0])
def test_formulas(kind, shift):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 5)) + shift, rng.normal(size=(7, 5)) + shift
    x[3] = x[11]
    x[4] = 0
    s = Similarity.of(torch.from_numpy(x), kind, 0.1 if kind == "rbf" else None)
    tolerance = 1e-6 * max(1, np.abs(reference(x, x, kind, 0.1)).max())
    np.testing.assert_allclose(s.dense(), reference(x, x, kind, 0.1), atol=tolerance)
    np.testing.assert_allclose(
        s.dense(torch.from_numpy(y)), reference(x, y, kind, 0.1), atol=tolerance
    )
    if kind != "dot":
        whole = s.dense()
        assert (whole == whole.T).all()
        assert (whole * 2**20 == np.round(whole * 2**20)).all()
        assert whole[3, 11] == whole[3, 3] == 1
        assert whole.min() >= 0
        assert whole.max() <= 1


def test_gamma_is_one_over_the_mean_squared_distance(monkeypatch):
    monkeypatch.setattr(similarity, "_ROWS", 8)
    x = np.random.default_rng(0).normal(size=(20, 3))
    mean = np.mean([((a - b) ** 2).sum() for a in x for b in x])
    assert Similarity.of(torch.from_numpy(x), "rbf").gamma == pytest.approx(1 / mean)
    assert Similarity.of(torch.ones(4, 2), "rbf").gamma == 1


@pytest.mark.parametrize("kind", ["cosine", "rbf", "euclidean"])
def test_nearest(kind):
    x = np.random.default_rng(1).normal(size=(40, 4))
    x[7] = 0
    x[8:12] = x[8]  # more duplicates than neighbors
    s = Similarity.of(torch.from_numpy(x), kind)
    whole = s.dense()
    sparse, floor = s.nearest(3, block=16)
    assert len(sparse) == 40
    got = np.zeros((40, 40))
    for j in range(40):
        part = slice(sparse.start[j], sparse.start[j + 1])
        assert len(np.unique(sparse.column[part])) == len(sparse.column[part])
        got[j, sparse.column[part]] = sparse.value[part]
    listed = got > 0
    assert (listed.sum(axis=0) == 4).all()  # every row names three neighbors and itself
    np.testing.assert_allclose(got[listed], whole[listed], atol=2e-6)
    np.testing.assert_allclose(sparse.own(), np.diag(whole))
    for i in set(range(40)) - ({7} if kind == "cosine" else set()):
        others = np.delete(whole[i], [i] + ([7] if kind == "cosine" else []))
        assert (
            np.sort(got[np.arange(40) != i, i])[::-1][:2]
            == pytest.approx(np.sort(others)[::-1][:2], abs=2e-6)
            or listed[7, i]
        )
    if kind == "cosine":
        assert floor[7] == 0.5
    assert (floor <= 1).all()
    assert (floor >= 0).all()
    both = sparse.symmetric()
    dense = np.zeros((40, 40))
    for j in range(40):
        part = slice(both.start[j], both.start[j + 1])
        dense[j, both.column[part]] = both.value[part]
    np.testing.assert_array_equal(dense, np.maximum(got, got.T))


@pytest.mark.parametrize("kind", ["cosine", "dot"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_linear_kernel_is_the_matrix(kind, dtype):
    x = np.random.default_rng(2).normal(size=(30, 5)).astype(dtype)
    x[6] = 0
    rows = np.array([1, 4, 6, 9, 20])
    s = reference(x[rows], x[rows], kind, 1.0)
    kernel = Linear.of(torch.from_numpy(x), rows, kind)
    phi = np.stack([kernel.phi(j) for j in range(5)])
    np.testing.assert_allclose(phi @ phi.T, s, atol=1e-6)
    np.testing.assert_allclose(kernel.inner(np.arange(5), kernel.total()), s.sum(axis=0), atol=1e-5)
    np.testing.assert_allclose(
        kernel.inner(np.array([3, 1]), kernel.phi(2)), s[[3, 1], 2], atol=1e-6
    )
    np.testing.assert_allclose(kernel.squares(), np.diag(s), atol=1e-6)


def test_unknown_kind():
    with pytest.raises(ValueError, match="similarity: expected one of cosine"):
        Similarity.of(torch.ones(2, 2), "manhattan")


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_euclidean_of_equal_and_nearly_equal_rows(scale):
    """The square root would make 1e-4 of what a product rounds away at 1e8."""
    x = np.random.default_rng(0).normal(size=(50, 33)) * scale
    x[30:40], x[40:] = x[:10], x[:10] * (1 + 1e-7)
    exact = 1 / (1 + np.sqrt(((x[:, None] - x) ** 2).sum(axis=-1)))
    got = Similarity.of(torch.from_numpy(x), "euclidean").dense()
    np.testing.assert_allclose(got, exact, atol=2.0**-20)
    assert (np.diag(got) == 1).all()
