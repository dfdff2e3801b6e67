"""Pools larger than the blocks in which sums over rows are taken, against the formula in one piece
of float64 numpy.
"""

import numpy as np
import pytest
import torch

from coreset import select
from coreset.numerics.gradients import LastLayerGradients
from coreset.strategies.coverage.d2_sampling import lightweight_share
from coreset.strategies.coverage.kcenter import nearest_to_mean
from coreset.strategies.coverage.zcore import zcore_scores
from coreset.strategies.gradient.alfamix import linear_head
from coreset.strategies.gradient.bait import class_factor, information
from coreset.strategies.gradient.craig import dense_distances
from coreset.strategies.submodular.disparity import disperse

N = 9001
RNG = np.random.default_rng(0)
# the last rows differ from the first
X = (RNG.normal(size=(N, 3)) + np.linspace(0, 3, N)[:, None]).astype(np.float32)
T, EXACT = torch.from_numpy(X), X.astype(np.float64)
AWAY = ((EXACT - EXACT.mean(axis=0)) ** 2).sum(axis=1)


def test_means():
    assert nearest_to_mean(T, np.arange(N)) == AWAY.argmin()
    np.testing.assert_allclose(lightweight_share(T), 0.5 / N + 0.5 * AWAY / AWAY.sum(), rtol=1e-12)
    assert select("kcenter", 1, features=X, options={"first": "center"}).indices[0] == AWAY.argmin()


@pytest.mark.parametrize("variant", ["icarl", "inner_product"])
def test_herding_meets_the_mean_of_all(variant):
    got = select("herding", 3, features=X, options={"variant": variant})
    mean, total, picks = EXACT.mean(axis=0), np.zeros(3), []
    for t in range(1, 4):
        value = (
            -((t * mean - total - EXACT) ** 2).sum(axis=1)
            if variant == "icarl"
            else EXACT @ (t * mean - total)
        )
        value[picks] = -np.inf
        picks.append(int(value.argmax()))
        total = total + EXACT[picks[-1]]
    assert got.indices.tolist() == picks
    assert got.info["mean_gap"] == pytest.approx(np.linalg.norm(mean - total / 3))


def test_prototypes_of_one_center():
    got = select("prototypes", 50, features=X, options={"clusters": 1})
    unit = EXACT / np.linalg.norm(EXACT, axis=1, keepdims=True)
    center = unit.mean(axis=0)
    distance = 1 - unit @ center / np.linalg.norm(center)
    assert got.scores == pytest.approx(np.sort(distance)[::-1][:50], abs=1e-7)
    assert distance[got.indices] == pytest.approx(got.scores, abs=1e-7)


def test_disparity_starts_farthest_from_the_mean_and_goes_on():
    picks = disperse(T, 3, T[:0])[0].tolist()
    want = [int(AWAY.argmax())]
    for _ in range(2):
        want.append(
            int(np.min([((EXACT - EXACT[i]) ** 2).sum(axis=1) for i in want], axis=0).argmax())
        )
    assert picks == want


def test_sums_of_gradients_information_and_heads():
    p = RNG.dirichlet(np.ones(4), N)
    y = RNG.integers(0, 4, N)
    r = p - np.eye(4)[y]
    g = LastLayerGradients(torch.from_numpy(r), T.double())
    full = np.einsum("nc,nd->cd", r, np.c_[EXACT, np.ones(N)])
    np.testing.assert_allclose(g.total(), full, rtol=1e-9)
    w = RNG.random(N)
    np.testing.assert_allclose(
        g.total(torch.from_numpy(w)), np.einsum("n,nc,nd->cd", w, r, np.c_[EXACT, np.ones(N)])
    )
    inner = np.einsum("nc,cd->ncd", p, np.eye(4)) - np.einsum("nc,nd->ncd", p, p)
    want = np.einsum("ncd,ne,nf->cedf", inner, EXACT, EXACT).reshape(12, 12) / N
    np.testing.assert_allclose(
        information(class_factor(torch.from_numpy(p)), T.double()), want, atol=1e-12
    )
    head = RNG.normal(size=(4, 3))
    np.testing.assert_allclose(
        linear_head(T, torch.from_numpy(EXACT @ head.T + 1)), head, atol=1e-6
    )


def test_graph_cut_s_first_gains():
    got = select("graph_cut", 1, features=X)
    unit = EXACT / np.linalg.norm(EXACT, axis=1, keepdims=True)
    gain = 0.5 * N + 0.5 * unit @ unit.sum(axis=0) - 0.5
    assert got.indices[0] == gain.argmax()
    assert got.scores[0] == pytest.approx(gain.max())


def test_negative_features_are_found_in_a_later_block():
    x = np.abs(X)
    x[8500, 1] = -1
    with pytest.raises(ValueError, match="first position 8500"):
        select("feature_based", 1, features=x)


def test_all_pairs_of_gradients_beyond_one_block():
    n = 1100
    r, h = RNG.normal(size=(n, 3)), RNG.normal(size=(n, 4))
    got = dense_distances(LastLayerGradients(torch.from_numpy(r), torch.from_numpy(h)), "euclidean")
    g = np.einsum("nc,nd->ncd", r, np.c_[h, np.ones(n)]).reshape(n, -1)
    square = (g**2).sum(axis=1)[:, None] + (g**2).sum(axis=1) - 2 * g @ g.T
    d = np.sqrt(np.maximum(square, 0))
    np.fill_diagonal(d, 0)
    assert (got == got.T).all()
    assert (got.view(np.int32) % 16 == 0).all()  # 20 significant bits: sums are exact
    np.testing.assert_allclose(got, d, rtol=1.2e-6)


def test_more_places_than_a_block():
    rng = np.random.default_rng(0)
    parts = zcore_scores(X[:40], 4096, rng) + zcore_scores(X[:40], 904, rng)
    np.testing.assert_allclose(
        zcore_scores(X[:40], 5000, np.random.default_rng(0)), parts, atol=1e-9
    )
