"""What is screened in low precision is decided in float64: data made so that float32 cannot tell
the best from the next.

Exact ties on a lattice, a far origin, lengths that differ in the last digits, mirrored points,
values that span eight decades, and all of it once more in half precision.
"""

import numpy as np
import pytest
import torch
from scipy.optimize import nnls

from coreset import select
from coreset.numerics.neighbors.kmeans import assign
from coreset.numerics.neighbors.nearest import knn, within

KINDS = ("lattice", "far", "shell", "mirror", "decades")


def data(kind, n=160, d=6, seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    if kind == "lattice":
        x = rng.integers(-2, 3, (n, d)).astype(float)
    elif kind == "far":
        x = 5000 + rng.normal(size=(n, d))
    elif kind == "shell":
        x = rng.normal(size=(n, d))
        x *= (1 + 3e-7 * rng.normal(size=(n, 1))) / np.linalg.norm(x, axis=1, keepdims=True)
    elif kind == "mirror":
        half = rng.normal(size=(n // 4, d)).astype(np.float32).astype(float)
        x = np.concatenate([half, -half, half[:, ::-1], -half[:, ::-1]])
    else:
        x = rng.normal(size=(n, d)) * 10.0 ** rng.uniform(-4, 4, (n, 1))
    return x.astype(dtype)


def squares(x, rows):
    x = x.astype(np.float64)
    return ((x[:, None] - x[None, rows]) ** 2).sum(axis=-1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64])
def test_kcenter(kind, dtype):
    x = data(kind, dtype=dtype if kind != "decades" or dtype != np.float16 else np.float32)
    d = squares(x, np.arange(len(x)))
    near, picks = d[:, [5, 9]].min(axis=1), []
    near[[5, 9]] = -1
    for _ in range(60):
        best = int(near.argmax())
        picks.append(best)
        near = np.where(near < 0, -1, np.minimum(near, d[:, best]))
        near[best] = -1
    assert select("kcenter", 60, features=x, selected=[5, 9]).indices.tolist() == picks


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("variant", ["icarl", "inner_product"])
def test_herding(kind, variant):
    x = data(kind)
    exact = x.astype(np.float64)
    mean, total, picks = exact.mean(axis=0), np.zeros(x.shape[1]), []
    got = select("herding", 60, features=x, options={"variant": variant}).indices.tolist()
    for t in range(1, 61):
        value = (
            -((t * mean - total - exact) ** 2).sum(axis=1)
            if variant == "icarl"
            else exact @ (t * mean - total)
        )
        value[picks] = -np.inf
        # float64 cannot tell these apart itself: whichever of them it is, go on from there
        slack = 1e-13 * (np.abs(exact) ** 2).sum(axis=1).max() * t
        assert value[got[t - 1]] >= value.max() - slack, t
        picks.append(got[t - 1])
        total = total + exact[picks[-1]]


# its width is one for all: at 8 decades every other row is alone
@pytest.mark.parametrize("kind", KINDS[:-1])
@pytest.mark.parametrize("width", [0.5, 2.0])
def test_maxherding(kind, width):
    x = data(kind, 120)
    exact = x.astype(np.float64) - x.astype(np.float64).mean(axis=0)
    kernel = np.exp(-squares(exact, np.arange(len(x))) / width**2)
    got = select("maxherding", 40, features=x, options={"width": width, "normalize": False})
    near, picks = np.zeros(len(x)), []
    for t in range(40):
        gain = np.maximum(kernel - near, 0).mean(axis=1)
        gain[picks] = -1
        assert gain[got.indices[t]] >= gain.max() * (1 - 1e-10) - 1e-11, t
        assert got.indices[t] <= gain.argmax(), t  # of what rounding cannot tell apart the lowest
        assert got.scores[t] == pytest.approx(gain.max(), abs=1e-10)
        picks.append(int(got.indices[t]))
        near = np.maximum(near, kernel[picks[-1]])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gradmatch(kind, dtype):
    x = data(kind, 100, dtype=dtype)
    rng = np.random.default_rng(3)
    y = rng.integers(0, 3, 100)
    p = rng.dirichlet(np.ones(3), 100).astype(dtype)
    if kind in ("lattice", "mirror"):
        p[:] = [0.5, 0.25, 0.25]
    r = p.astype(np.float64) - np.eye(3)[y]
    g = np.array(
        [
            np.outer(a, np.append(h, 1.0)).ravel()
            for a, h in zip(r, x.astype(np.float64), strict=True)
        ]
    )
    lam, target = 0.01 * (g**2).sum(axis=1).mean(), g.sum(axis=0)
    got = select(
        "gradmatch", 15, features=x, probs=p, labels=y, options={"per_class": False}
    ).indices.tolist()
    picks, w = [], np.zeros(0)
    for t in range(15):
        score = g @ (target - w @ g[picks]) if picks else g @ target
        score[picks] = -np.inf
        slack = (
            1e-9
            * np.sqrt((g**2).sum(axis=1).max())
            * (np.linalg.norm(target) + np.abs(w).sum() * np.sqrt((g**2).sum(axis=1).max()))
        )
        assert score[got[t]] >= score.max() - slack, t
        picks.append(got[t])
        w = nnls(
            np.vstack([g[picks].T, np.sqrt(lam) * np.eye(t + 1)]),
            np.append(target, np.zeros(t + 1)),
        )[0]


@pytest.mark.parametrize("kind", KINDS)
def test_neighbors_radius_and_centers(kind):
    x = data(kind)
    d = squares(x, np.arange(len(x)))
    np.fill_diagonal(d, np.inf)
    distance, index = knn(torch.from_numpy(x), 7)
    want = np.argsort(d, axis=1, kind="stable")[:, :7]
    assert index.tolist() == want.tolist()
    np.testing.assert_array_equal(distance.numpy() ** 2 > 0, np.take_along_axis(d, want, 1) > 0)
    for radius in np.sqrt(np.partition(d.ravel(), 500)[[40, 500]]) * np.array([1, 1 + 1e-12]):
        start, columns = within(torch.from_numpy(x), float(radius))
        hit = np.zeros(d.shape, bool)
        hit[np.repeat(np.arange(len(x)), np.diff(start)), columns] = True
        assert (hit == (d < float(radius) ** 2)).all()
    centers = x[::9].astype(np.float64) * (1 + 1e-9)
    labels, _ = assign(torch.from_numpy(x), centers)
    away = ((x.astype(np.float64)[:, None] - centers) ** 2).sum(axis=-1)
    assert labels.tolist() == away.argmin(axis=1).tolist()


@pytest.mark.parametrize("name", ["craig", "gradmatch", "glister"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_of_equal_gradients_the_lowest_row_comes_first(name, dtype):
    """A matrix product may round the same row in two ways, by where it stands."""
    for seed, (d, c) in enumerate([(5, 3), (5, 3), (33, 4), (33, 4), (130, 10)]):
        rng = np.random.default_rng(seed)
        copy = rng.permutation(np.repeat(np.arange(10), 6))
        x, p, y = rng.normal(size=(10, d)), rng.dirichlet(np.ones(c), 10), rng.integers(0, c, 10)
        columns = {
            "features": x[copy].astype(dtype),
            "probs": p[copy].astype(dtype),
            "labels": y[copy],
        }
        for per_class in (True, False):
            picks = select(name, 40, **columns, options={"per_class": per_class}).indices
            for row in range(10):
                mine, taken = np.flatnonzero(copy == row), picks[copy[picks] == row]
                assert taken.tolist() == mine[: len(taken)].tolist()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("less", {}),
        ("batchbald", {}),
        ("log_det", {"similarity": "rbf"}),
        ("log_det", {}),
        ("facility_location", {"similarity": "euclidean"}),
        ("graph_cut", {"neighbors": 0}),
        ("maxherding", {}),
    ],
)
def test_of_equal_rows_the_lowest_comes_first(name, options):
    for seed, (d, c) in enumerate([(5, 3), (33, 4), (33, 4), (130, 10), (130, 10)]):
        rng = np.random.default_rng(seed)
        copy = rng.permutation(np.repeat(np.arange(10), 7))
        x, p = rng.normal(size=(10, d)), rng.dirichlet(np.ones(c), (10, 5))
        columns = {"features": x[copy]}
        if name == "less":
            columns = {
                "projected_gradients": x[copy],
                "validation_task": np.where(np.arange(70) > 66, 0, -1),
            }
        elif name == "batchbald":
            columns = {"member_probs": p[copy]}
        picks = select(name, 30, **columns, candidates=np.arange(66), options=options).indices
        for row in range(10):
            mine, taken = np.flatnonzero(copy[:66] == row), picks[copy[picks] == row]
            assert taken.tolist() == mine[: len(taken)].tolist()
