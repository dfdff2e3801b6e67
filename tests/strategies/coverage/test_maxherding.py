import numpy as np
import pytest
import torch

from coreset import select
from coreset.registry import strategy
from coreset.strategies.coverage import maxherding
from coreset.strategies.coverage.maxherding import max_herding
from coreset.testing import check_strategy


def mixture(n=150, dim=4, seed=0):
    rng = np.random.default_rng(seed)
    return (
        rng.normal(size=(n, dim)) + 3 * rng.normal(size=(5, dim))[rng.integers(0, 5, n)]
    ).astype(np.float32)


def loop(x, k, taken, candidates, width, weights):
    """argmax_x mean_i w_i max(k(x_i, x) - max_S k, 0), every gain at every step."""
    x = x.astype(np.float64)
    kernel = np.exp(-((x[:, None] - x[None]) ** 2).sum(axis=-1) / width**2)
    near = kernel[taken].max(axis=0, initial=0.0)
    picks, added = [], []
    for _ in range(k):
        gain = np.array(
            [
                np.mean(weights * np.maximum(kernel[c] - near, 0)) if c not in picks else -1
                for c in candidates
            ]
        )
        picks.append(
            int(candidates[np.flatnonzero(gain >= gain.max() - 1e-10)[0]])
        )  # two rows may add the same: each other
        added.append(gain.max())
        near = np.maximum(near, kernel[picks[-1]])
    return picks, added, np.mean(weights * near)


@pytest.mark.parametrize("options", [{}, {"normalize": False, "width": 2.0}])
def test_contract(options):
    check_strategy(strategy("maxherding", options))


@pytest.mark.parametrize("width", [0.7, 3.0])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("taken", [[], [4, 90], range(0, 150, 2)])
@pytest.mark.parametrize("keep", [0, 2**28])
def test_the_plain_greedy(width, weighted, taken, keep, monkeypatch):
    monkeypatch.setattr(maxherding, "_BLOCK", 5000)
    monkeypatch.setattr(maxherding, "_KEEP", keep)
    x = mixture()
    taken = np.array(taken, int)
    candidates = np.setdiff1d(np.arange(150), taken)
    weights = np.random.default_rng(1).random(150) if weighted else np.ones(150)
    got = max_herding(
        torch.from_numpy(x),
        40,
        taken,
        candidates,
        width,
        torch.from_numpy(weights) if weighted else None,
    )
    want = loop(x, 40, taken, candidates, width, weights)
    assert got[0].tolist() == want[0]
    assert np.allclose(got[1], want[1], rtol=1e-9, atol=1e-14)
    assert np.isclose(got[2], want[2])


def test_the_tensor_path_gives_the_same(monkeypatch):
    x = torch.from_numpy(mixture())
    want = max_herding(x, 20, np.array([3]), np.arange(4, 150))
    monkeypatch.setattr(maxherding, "_on_cpu", lambda _: False)
    got = max_herding(x, 20, np.array([3]), np.arange(4, 150))
    assert got[0].tolist() == want[0].tolist()
    assert np.allclose(got[1], want[1], rtol=1e-9, atol=1e-14)


def test_strategy_on_unit_length():
    x = mixture()
    unit = x.astype(float) / np.linalg.norm(x.astype(float), axis=1, keepdims=True)
    got = select("maxherding", 12, features=x.astype(np.float64), selected=[0])
    want = loop(unit, 12, np.array([0]), np.arange(1, 150), 1.0, np.ones(150))
    assert got.indices.tolist() == want[0]
    assert np.isclose(got.info["coverage"], want[2])
    assert (np.diff(got.scores) <= 1e-12).all()  # gains of a greedy cover never grow


def test_the_default_width_is_one_in_any_dimension():
    """Not gamma = 1 / dimension, under which all of a wide pool looks alike."""
    x = np.random.default_rng(0).normal(size=(60, 8))
    wide = np.c_[x, np.zeros((60, 760))]
    one, other = (select("maxherding", 12, features=v) for v in (x, wide))
    assert one.indices.tolist() == other.indices.tolist()
    assert np.allclose(one.scores, other.scores)


@pytest.mark.parametrize("sigma", [0.5, 1.5, 4.0, 100.0])
@pytest.mark.parametrize("taken", [[], [4, 90]])
def test_the_top_hat_kernel(sigma, taken):
    """k(x, y) = 1 where ||x - y|| <= sigma: the same greedy on a kernel of zeros and ones, to the
    last bit.
    """
    x = mixture().astype(np.float64)
    d = np.sqrt(((x[:, None] - x[None]) ** 2).sum(axis=-1))
    kernel = (d <= sigma).astype(np.float64)
    candidates = np.setdiff1d(np.arange(150), taken)
    near, picks, added = kernel[taken].max(axis=0, initial=0.0), [], []
    for _ in range(60):
        gain = [
            np.maximum(kernel[c] - near, 0).mean() if c not in picks else -1.0 for c in candidates
        ]
        picks.append(int(candidates[np.argmax(gain)]))
        added.append(max(gain))
        near = np.maximum(near, kernel[picks[-1]])
    options = {"kernel": "top_hat", "width": sigma, "normalize": False}
    got = select("maxherding", 60, features=x, selected=taken, options=options)
    assert got.indices.tolist() == picks
    assert np.allclose(got.scores, added, rtol=1e-12)
    assert got.info["coverage"] == pytest.approx(near.mean())


def test_the_top_hat_is_probcover_with_its_border():
    x = mixture(80)
    hat = {"kernel": "top_hat", "width": 1.5, "normalize": False}
    open_balls = select("probcover", 15, features=x, options={"delta": 1.5, "normalize": False})
    assert (
        select("maxherding", 15, features=x, options=hat).indices.tolist()
        == open_balls.indices.tolist()
    )
    line = np.array([[0.0], [1.5], [2.5], [3.5]])  # at a distance of the width exactly
    assert select("maxherding", 1, features=line, options=hat).scores.tolist() == [0.75]
    assert select(
        "probcover", 1, features=line, options={"delta": 1.5, "normalize": False}
    ).scores.tolist() == [3]
    edge = np.array([[0.0], [1.5]])
    assert select("maxherding", 1, features=edge, options=hat).info["coverage"] == 1.0
    assert (
        select("probcover", 1, features=edge, options={"delta": 1.5, "normalize": False}).info[
            "covered"
        ]
        == 0.5
    )


def test_kernels_that_are_none():
    with pytest.raises(ValueError, match="kernel: expected rbf or top_hat, got 'laplace'"):
        strategy("maxherding", {"kernel": "laplace"})
    with pytest.raises(
        ValueError,
        match="neighbors: kernel=top_hat counts all pairs within the width, so auto or 0, got 4",
    ):
        strategy("maxherding", {"kernel": "top_hat", "neighbors": 4})


def test_duplicates_go_to_the_lowest():
    x = np.repeat(mixture(6), 5, axis=0)
    got = select("maxherding", 30, features=x, options={"normalize": False})
    assert (got.indices[:6] % 5 == 0).all()
    assert got.indices[6:].tolist() == sorted(got.indices[6:].tolist())


def test_wrong_width():
    with pytest.raises(ValueError, match="width: expected a positive number, got 0"):
        strategy("maxherding", {"width": 0})


def sparse_loop(x, k, taken, candidates, width, neighbors, weights):
    """The same greedy on the kernel that is left when each row knows its nearest `neighbors` alone,
    from a floor for all others; values to 2^-20.
    """
    x = x.astype(np.float64)
    n = len(x)
    square = ((x[:, None] - x[None]) ** 2).sum(axis=-1)

    def kernel(d):
        return np.round(np.exp(-d / width**2) * 2**20) / 2**20

    order = np.argsort(square + np.where(np.eye(n, dtype=bool), np.inf, 0), axis=1, kind="stable")[
        :, :neighbors
    ]
    spread = ((x - x.mean(axis=0)) ** 2).sum(axis=1)
    far = np.exp(-(spread + spread.mean()) / width**2)
    last = kernel(square[np.arange(n), order[:, -1]])
    best = weights * np.round((last + far) * 2**19) / 2**20
    value = np.zeros((n, n))  # [j, i]: what j is to i
    value[order, np.arange(n)[:, None]] = kernel(square[np.arange(n)[:, None], order])
    np.fill_diagonal(value, 1)
    value *= weights
    for j in taken:
        best = np.maximum(best, value[j])
    picks = []
    for _ in range(k):
        gain = np.array(
            [np.maximum(value[c] - best, 0).sum() if c not in picks else -1 for c in candidates]
        )
        picks.append(int(candidates[np.flatnonzero(gain >= gain.max() - 1e-5)[0]]))
        best = np.maximum(best, value[picks[-1]])
    return picks, best.mean()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("taken", [[], [4, 90]])
def test_the_greedy_on_nearest_neighbors(weighted, taken):
    x = mixture()
    taken = np.array(taken, int)
    candidates = np.setdiff1d(np.arange(150), taken)
    weights = (
        np.random.default_rng(1).random(150).astype(np.float32)
        if weighted
        else np.ones(150, np.float32)
    )
    picks, added, coverage = maxherding.sparse_herding(
        torch.from_numpy(x),
        25,
        taken,
        candidates,
        2.0,
        7,
        torch.from_numpy(weights) if weighted else None,
    )
    want, reached = sparse_loop(x, 25, taken, candidates, 2.0, 7, weights.astype(np.float64))
    assert (np.diff(added) <= 1e-9).all()
    assert coverage == pytest.approx(reached, rel=2e-3)
    # gains within the rounding of float32 may change places
    assert len(set(picks.tolist()) & set(want)) >= 23
    assert picks[:8].tolist() == want[:8]
    one = maxherding.sparse_herding(
        torch.from_numpy(x),
        1,
        taken,
        candidates,
        2.0,
        7,
        torch.from_numpy(weights) if weighted else None,
    )
    assert added[1:].sum() == pytest.approx(coverage - one[2], rel=1e-4)


def test_nearest_neighbors_cover_as_well_as_all_pairs():
    x = mixture(600, 8)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    kernel = np.exp(-((x[:, None] - x[None]) ** 2).sum(axis=-1))
    value = {}
    for neighbors in (0, 32):
        chosen = select("maxherding", 40, features=x, options={"neighbors": neighbors})
        value[neighbors] = kernel[chosen.indices].max(axis=0).mean()
        assert chosen.info["variant"] == (
            f"{neighbors} nearest neighbors" if neighbors else "all pairs"
        )
    assert value[32] > 0.99 * value[0]


def test_auto_changes_over_at_a_size(monkeypatch):
    assert select("maxherding", 3, features=mixture(60)).info["variant"] == "all pairs"
    monkeypatch.setattr(maxherding, "EXACT_UP_TO", 50)
    assert select("maxherding", 3, features=mixture(60)).info["variant"] == "32 nearest neighbors"
    p = np.full((60, 2), 0.5)
    assert select("maxherding", 3, features=mixture(50)).info["variant"] == "all pairs"
    assert (
        select("uherding", 3, features=mixture(60), probs=p).info["variant"]
        == "32 nearest neighbors"
    )
    for name in ("maxherding", "uherding"):
        with pytest.raises(
            ValueError, match="neighbors: expected 'auto' or a whole number of at least 0"
        ):
            strategy(name, {"neighbors": -1})
