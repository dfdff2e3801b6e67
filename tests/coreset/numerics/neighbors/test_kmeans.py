import numpy as np
import pytest
import torch

from coreset.numerics.neighbors import kmeans as module
from coreset.numerics.neighbors.distances import Frame, error_unit
from coreset.numerics.neighbors.kmeans import assign, d2_sample, kmeans


def mixture(n=300, dim=5, groups=6, seed=0):
    rng = np.random.default_rng(seed)
    return (
        rng.normal(size=(n, dim)) + 4 * rng.normal(size=(groups, dim))[rng.integers(0, groups, n)]
    ).astype(np.float32)


def squares(a, b):
    return ((a[:, None].astype(np.float64) - b[None].astype(np.float64)) ** 2).sum(axis=-1)


def run(x, k, seed=0, ids=None, **options):
    return kmeans(
        torch.from_numpy(x),
        k,
        np.random.default_rng(seed),
        np.arange(len(x)) if ids is None else ids,
        **options,
    )


def test_assign_is_the_float64_answer():
    x, c = mixture(), mixture(n=40, seed=1)
    c[7] = c[3]  # a tie goes to the lower center
    labels, distances = assign(torch.from_numpy(x), torch.from_numpy(c))
    d = squares(x, c)
    assert (labels == d.argmin(axis=1)).all()
    assert np.allclose(distances, np.sqrt(d.min(axis=1)), rtol=1e-12)


def test_it_ends_where_lloyd_stands_still():
    x = mixture()
    c = run(x, 6, iterations=200)
    d = squares(x, c.centers)
    assert (c.labels == d.argmin(axis=1)).all()
    assert np.allclose(c.distances**2, d.min(axis=1))
    for j in range(6):
        assert np.allclose(c.centers[j], x[c.labels == j].astype(np.float64).mean(axis=0))


def test_lloyd_step_by_step():
    x = mixture(80, 3)
    start = run(x, 4, iterations=0)
    centers = start.centers.copy()
    for steps in range(1, 4):
        label = squares(x, centers).argmin(axis=1)
        centers = np.stack([x[label == j].astype(np.float64).mean(axis=0) for j in range(4)])
        assert np.allclose(run(x, 4, iterations=steps).centers, centers)


def test_seeds_are_rows_and_more_iterations_never_hurt():
    x = mixture()
    costs = [np.square(run(x, 8, iterations=i).distances).sum() for i in (0, 1, 2, 5, 25)]
    assert all(b <= a * (1 + 1e-12) for a, b in zip(costs, costs[1:], strict=False))
    assert squares(run(x, 8, iterations=0).centers, x).min(axis=1).max() == 0


def test_the_arrangement_and_the_threads_do_not_matter():
    x, ids = mixture(), np.arange(300) * 5 + 1
    a = run(x, 12, ids=ids)
    threads = torch.get_num_threads()
    try:
        for n in (1, 2):
            torch.set_num_threads(n)
            order = np.random.default_rng(n).permutation(300)
            b = run(x[order], 12, ids=ids[order])
            assert (a.centers == b.centers).all()  # bit by bit
            assert (a.labels[order] == b.labels).all()
    finally:
        torch.set_num_threads(threads)
    assert not np.array_equal(run(x, 12, seed=1, ids=ids).centers, a.centers)


def test_fewer_distinct_rows_than_centers():
    x = np.repeat(mixture(4, 3), 5, axis=0)
    c = run(x, 9)
    assert len(np.unique(c.labels)) == 4
    assert c.sizes().sum() == 20
    assert (c.distances < 1e-6).all()
    assert np.isfinite(c.centers).all()


def test_all_rows_the_same_and_one_cluster_each():
    assert run(np.ones((7, 2), np.float32), 3).labels.tolist() == [0] * 7
    x = mixture(20)
    assert sorted(run(x, 20).sizes().tolist()) == [1] * 20


def test_d2_sample_follows_the_squared_distance():
    x = torch.tensor([[0.0], [1.0], [2.0], [5.0]])
    near = np.array([0.0, 1.0, 4.0, 25.0])
    drawn = [
        d2_sample(x, 1, np.random.default_rng(s), np.arange(4), near)[0][0] for s in range(3000)
    ]
    share = np.bincount(drawn, minlength=4) / 3000
    assert np.allclose(share, near / near.sum(), atol=0.03)


def test_d2_sample_is_the_plain_loop():
    x = mixture(60, 4)
    picks, at = d2_sample(torch.from_numpy(x), 10, np.random.default_rng(4), np.arange(60))
    rng, near = np.random.default_rng(4), None
    for pick, square in zip(picks, at, strict=True):
        u = rng.random()
        want = (
            int(u * 60) if near is None else int(np.searchsorted(np.cumsum(near), u * near.sum()))
        )
        assert pick == want
        assert near is None or np.isclose(square, near[pick])
        d = squares(x, x[[pick]])[:, 0]
        near = d if near is None else np.minimum(near, d)


def test_d2_sample_never_repeats_among_duplicates():
    picks, _ = d2_sample(torch.ones(6, 2), 6, np.random.default_rng(0), np.arange(6))
    assert sorted(picks.tolist()) == list(range(6))


def test_the_tensor_path_gives_the_same():
    x, c = torch.from_numpy(mixture()), torch.from_numpy(mixture(n=30, seed=1)).double()
    frame = Frame.of(x)
    a, length = frame.rows(x)
    b, reach = frame.rows(c)
    slack = (error_unit(5) * (length + reach.max()).square()).float()
    label, square = module._nearest_center_torch(a @ b.T, (reach.square() / 2).float(), slack, x, c)
    labels, distances = assign(x, c)
    assert label.tolist() == labels.tolist()
    assert np.allclose(square.sqrt().numpy(), distances, rtol=1e-12)


def test_wrong_k():
    with pytest.raises(ValueError, match="expected 1 to 3 clusters for 3 rows, got 4"):
        run(np.zeros((3, 1), np.float32), 4)
