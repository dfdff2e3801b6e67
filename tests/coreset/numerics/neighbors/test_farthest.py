from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coreset.numerics.neighbors import bfloat16
from coreset.numerics.neighbors import farthest as front
from coreset.numerics.neighbors import farthest_blocks as farthest
from coreset.numerics.neighbors.farthest import farthest_first


def loop(x, k, centers, candidates):
    """The textbook, in float64."""
    x = np.asarray(x).astype(np.float64)
    near = np.min([((x[candidates] - x[c]) ** 2).sum(axis=1) for c in centers], axis=0)
    picks, distances, taken = [], [], np.zeros(len(candidates), bool)
    for _ in range(k):
        best = int(np.where(taken, -1, near).argmax())
        picks.append(candidates[best])
        distances.append(np.sqrt(near[best]))
        taken[best] = True
        near = np.minimum(near, ((x[candidates] - x[candidates[best]]) ** 2).sum(axis=1))
    return np.array(picks), np.array(distances), np.sqrt(np.where(taken, 0, near))


def data(kind, n=400, dim=24):
    rng = np.random.default_rng(7)
    x = rng.normal(size=(n, dim)) + 3 * rng.normal(size=(8, dim))[rng.integers(0, 8, n)]
    if kind == "far":
        x = 1e-3 * x + 1e3
    if kind == "close":  # corners of a cube, moved a little: every choice is between near ties
        x = np.sign(rng.normal(size=(n, dim))) * (1 + 1e-6 * rng.normal(size=(n, dim)))
    if kind == "duplicates":
        x = x[rng.integers(0, n // 4, n)]
    # near ties between rows that float32 holds as they are: only their products round
    if kind == "exact":
        x = np.sign(x[: n // 2]) * (1 + 1e-6 * rng.normal(size=(n // 2, dim)))
        x = np.concatenate([x, -x])
    if kind == "steep":
        x = np.maximum(x * np.arange(1, dim + 1) ** -1.5, 0)
    if kind == "large":
        x = x * 1e20
    if kind == "small":
        x = x * 1e-25
    return x.astype({"half": np.float16, "double": np.float64}.get(kind, np.float32))


KINDS = [
    "plain",
    "far",
    "close",
    "exact",
    "duplicates",
    "steep",
    "large",
    "small",
    "half",
    "double",
]


@pytest.fixture(autouse=True, scope="module")
def blocks_for_small_work_too():
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(front, "_LOOP", 0)
        yield


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ["float32", "anew", "bfloat16", "tensor", "loop"])
def test_the_picks_are_those_of_a_float64_loop(kind, way, monkeypatch):
    monkeypatch.setattr(farthest, "_SHORT_LIST", 32)  # many rounds
    monkeypatch.setattr(farthest, "_ROWS", 150)  # many blocks
    monkeypatch.setattr(farthest, "_CENTERS", 20)
    if way == "anew":  # no copies are kept
        monkeypatch.setattr(farthest, "_KEEP", 0)
    if way == "bfloat16":
        monkeypatch.setattr(farthest, "_WORTH", 0)
        monkeypatch.setattr(farthest, "bfloat16_pays", lambda *_: True)
    if way == "loop":
        monkeypatch.setattr(front, "_LOOP", 1e9)
    if way == "tensor":
        monkeypatch.setattr(farthest, "_loops", lambda _: False)
    x = data(kind)
    centers, candidates = np.array([3, 250]), np.setdiff1d(np.arange(0, 400), [3, 250, 17, 18])
    got = farthest_first(
        torch.from_numpy(x), 300, torch.from_numpy(centers), torch.from_numpy(candidates)
    )
    want = loop(x, 300, centers, candidates)
    if kind == "duplicates":  # after all are covered, the lowest positions
        assert got[1][-1] == 0
    assert (got[0] == want[0]).all()
    assert np.allclose(got[1], want[1], rtol=1e-12)
    assert np.isclose(got[2], want[2].max(), rtol=1e-12)


@pytest.mark.parametrize("way", ["float32", "bfloat16", "tensor", "loop"])
@pytest.mark.parametrize("width", [4, 90])  # ties, and for bfloat16 near ties
@settings(max_examples=50, deadline=None)
@given(
    st.integers(2, 60),
    st.integers(1, 3),
    st.integers(0, 10**6),
    st.sampled_from([2, 5, 256]),
    st.sampled_from([1, 3]),
)
def test_ties_on_a_lattice_go_to_the_lowest_position(way, width, n, dim, seed, short, together):
    x = np.random.default_rng(seed).integers(0, width, (n, dim)).astype(np.float32)
    rest = np.arange(1, n)
    with (
        patch.object(front, "_LOOP", 1e9 if way == "loop" else 0),
        patch.object(farthest, "_SHORT_LIST", short),
        patch.object(farthest, "_CENTERS", together),
        patch.object(farthest, "_loops", lambda _: way != "tensor"),
        patch.object(farthest, "_WORTH", 0),
        patch.object(farthest, "bfloat16_pays", lambda *_: way == "bfloat16"),
    ):
        for k in (n // 2, n - 1):
            picks, distances, radius = farthest_first(
                torch.from_numpy(x), k, torch.tensor([0]), torch.from_numpy(rest)
            )
            want = loop(x, k, [0], rest)
            assert picks.tolist() == want[0].tolist()
            assert distances.tolist() == want[1].tolist()
            assert radius == want[2].max()


@pytest.mark.parametrize("count", [1, 2, 39, 390])
def test_many_centers_and_no_pick(count, monkeypatch):
    monkeypatch.setattr(farthest, "_SHORT_LIST", 4)
    monkeypatch.setattr(farthest, "_CENTERS", 7)
    x = data("plain")
    centers, rest = np.arange(400)[-count:], np.arange(400)[:-count]
    picks, _, radius = farthest_first(
        torch.from_numpy(x), 0, torch.from_numpy(centers), torch.from_numpy(rest)
    )
    assert len(picks) == 0
    assert np.isclose(radius, loop(x, 0, centers, rest)[2].max(), rtol=1e-12)


def test_the_center_that_lost_most_in_rounding_may_be_the_nearest(monkeypatch):
    """Thirty centers at nearly one distance and one that bfloat16 holds as it is; the mean is zero."""
    monkeypatch.setattr(farthest, "_WORTH", 0)
    monkeypatch.setattr(farthest, "bfloat16_pays", lambda *_: True)
    for seed in range(150):
        rng = np.random.default_rng(seed)
        around = rng.normal(size=(30, 2))
        around *= (1 + 0.003 * rng.normal(size=(30, 1))) / np.linalg.norm(
            around, axis=1, keepdims=True
        )
        row = rng.integers(-64, 64, 2) / 64
        x = np.concatenate([[row], row + around, [[2.0, 0.0]]])
        radius = farthest_first(
            torch.from_numpy(np.r_[x, -x]), 0, torch.arange(1, 32), torch.tensor([0])
        )[2]
        assert np.isclose(radius, np.linalg.norm(x[1:] - row, axis=1).min(), rtol=1e-12)


def test_nothing_to_pick():
    picks, distances, radius = farthest_first(
        torch.zeros(2, 1), 0, torch.tensor([0]), torch.tensor([1])
    )
    assert len(picks) == len(distances) == 0
    assert radius == 0.0


@pytest.mark.parametrize("dim", [8, 64, 500])
def test_bfloat16_is_used_by_the_processor_and_not_by_the_clock(dim, monkeypatch):
    rule = bfloat16.bfloat16_pays.__wrapped__
    monkeypatch.setattr("time.perf_counter", lambda: 1 / 0)
    flags = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    for flag in flags:
        monkeypatch.setattr(torch.cpu, flag, lambda: False)
    assert rule(dim, 1) is False
    monkeypatch.setattr(torch.cpu, flags[1], lambda: True)
    assert rule(dim, 1) is True  # torch's product is within the bound, in hardware or not
    monkeypatch.setattr(bfloat16, "STORED", 2.0**-12)
    assert rule(dim, 1) is False
