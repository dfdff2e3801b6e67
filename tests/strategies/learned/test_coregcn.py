"""Propagation and training against dense float64 numpy with gradients by hand."""

import numpy as np
import pytest
import torch

from coreset import select
from coreset.registry import strategy
from coreset.strategies.learned.coregcn import CoreGcn, degrees, graph_embedding, propagate
from coreset.testing import check_strategy


def rows(n=20, d=6, seed=0):
    x = np.abs(np.random.default_rng(seed).normal(size=(n, d)))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def adjacency(x):
    s = x @ x.T - np.eye(len(x))
    return s @ np.diag(1 / s.sum(axis=0)) + np.eye(len(x))


def test_propagation_by_the_dense_matrix():
    x, h = rows(), np.random.default_rng(1).normal(size=(20, 3))
    t = torch.tensor(x)
    np.testing.assert_allclose(degrees(t).numpy(), (x @ x.T - np.eye(20)).sum(axis=0), atol=1e-12)
    np.testing.assert_allclose(
        propagate(t, degrees(t), torch.tensor(h)).numpy(), adjacency(x) @ h, atol=1e-12
    )


def test_rows_without_neighbors_keep_to_themselves():
    x = torch.eye(4, dtype=torch.float64)
    h = torch.randn(4, 2, dtype=torch.float64)
    assert torch.equal(propagate(x, degrees(x), h), h)
    x[3] = 0
    assert torch.isfinite(propagate(x, degrees(x), h)).all()


def by_hand(x, labeled, seed, hidden, epochs, lr, decay, weight, dropout):
    """Two graph layers, inverted dropout between them while training, binary cross-entropy, Adam;
    every gradient written out.
    """
    draw = torch.Generator().manual_seed(int(np.random.default_rng(seed).integers(2**63)))

    def uniform(*shape):
        return (
            (torch.rand(*shape, generator=draw, dtype=torch.float64) * 2 - 1) / np.sqrt(shape[-1])
        ).numpy()

    p = [uniform(x.shape[1], hidden), uniform(hidden), uniform(hidden, 1), uniform(1)]
    a = adjacency(x)
    m, v = [np.zeros_like(q) for q in p], [np.zeros_like(q) for q in p]
    for step in range(1, epochs + 1):
        keep = (
            torch.rand(len(x), hidden, generator=draw, dtype=torch.float64).numpy() >= dropout
        ) / (1 - dropout)
        pre = a @ x @ p[0] + p[1]
        h = np.maximum(pre, 0) * keep
        s = 1 / (1 + np.exp(-(a @ h @ p[2] + p[3])))[:, 0]
        dz = np.where(labeled, -(1 - s) / labeled.sum(), weight * s / (~labeled).sum())[:, None]
        dh = a.T @ dz @ p[2].T
        dpre = dh * keep * (pre > 0)
        grads = [(a @ x).T @ dpre, dpre.sum(axis=0), (a @ h).T @ dz, dz.sum(axis=0)]
        for i, g in enumerate(grads):
            g = g + decay * p[i]
            m[i] = 0.9 * m[i] + 0.1 * g
            v[i] = 0.999 * v[i] + 0.001 * g * g
            p[i] = p[i] - lr * (m[i] / (1 - 0.9**step)) / (np.sqrt(v[i] / (1 - 0.999**step)) + 1e-8)
    h = np.maximum(a @ x @ p[0] + p[1], 0)
    return np.concatenate([h, a @ h @ p[2] + p[3]], axis=1)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("epochs", [0, 1, 25])
def test_embedding_by_hand(epochs, dropout):
    x, labeled = rows(), np.arange(20) < 6
    got = graph_embedding(
        torch.tensor(x),
        torch.tensor(labeled),
        np.random.default_rng(3),
        hidden=5,
        dropout=dropout,
        epochs=epochs,
        lr=0.01,
        weight_decay=5e-4,
        unlabeled_weight=1.2,
    )
    np.testing.assert_allclose(
        got.numpy(),
        by_hand(x, labeled, 3, 5, epochs, 0.01, 5e-4, 1.2, dropout),
        rtol=1e-7,
        atol=1e-9,
    )


def test_learns_to_tell_labeled_from_unlabeled():
    rng = np.random.default_rng(0)
    x = np.abs(rng.normal(size=(60, 8)) * 0.1) + np.eye(8)[np.arange(60) % 2 * 4]
    labeled = np.arange(60) % 2 == 0
    unit = torch.nn.functional.normalize(torch.tensor(x), dim=1)
    z = graph_embedding(
        unit,
        torch.tensor(labeled),
        np.random.default_rng(0),
        hidden=32,
        dropout=0.3,
        epochs=200,
        lr=0.01,
        weight_decay=5e-4,
        unlabeled_weight=1.2,
    )[:, -1]
    assert z[labeled].min() > z[~labeled].max()


def test_picks_are_farthest_first_in_the_embedding():
    x = rows(30, 6, 2)
    selected = np.array([4, 11, 20])
    chosen = select(
        "coregcn", 8, features=x, selected=selected, seed=5, options={"epochs": 10, "hidden": 7}
    )
    # the embedding again, in the order the strategy puts its nodes in
    from coreset.numerics.random import keyed_order, keyed_uniform, salt

    rng = np.random.default_rng(5)
    candidates = np.setdiff1d(np.arange(30), selected)
    candidates = candidates[keyed_order(rng, candidates)]
    nodes = np.concatenate([selected, candidates])
    nodes = nodes[np.argsort(keyed_uniform(salt(rng), nodes), kind="stable")]
    e = np.empty((30, 8))
    e[nodes] = graph_embedding(
        torch.tensor(x[nodes]),
        torch.tensor(np.isin(nodes, selected)),
        rng,
        hidden=7,
        dropout=0.3,
        epochs=10,
        lr=1e-3,
        weight_decay=5e-4,
        unlabeled_weight=1.2,
    ).numpy()
    taken, want, radii = selected.tolist(), [], []
    for _ in range(8):
        near = [
            min(((e[i] - e[j]) ** 2).sum() for j in taken) if i not in taken else -1
            for i in range(30)
        ]
        want.append(int(np.argmax(near)))
        radii.append(np.sqrt(max(near)))
        taken.append(want[-1])
    assert chosen.indices.tolist() == want
    np.testing.assert_allclose(chosen.scores, radii, rtol=1e-9)


def test_subset_bounds_the_graph():
    x = rows(40)
    chosen = select("coregcn", 5, features=x, selected=[0, 1], options={"epochs": 3, "subset": 9})
    assert chosen.info["looked_at"] == 9
    assert (
        select("coregcn", 20, features=x, selected=[0, 1], options={"epochs": 3, "subset": 9}).info[
            "looked_at"
        ]
        == 20
    )


@pytest.mark.parametrize(
    "options",
    [{"epochs": 8}, {"epochs": 8, "subset": 5, "hidden": 4}, {"epochs": 0, "subset": None}],
)
def test_contract(options):
    check_strategy(strategy("coregcn", options))


def test_edges_and_refusals():
    same = np.ones((6, 3), np.float16)
    assert sorted(
        select("coregcn", 5, features=same, selected=[2], options={"epochs": 3}).indices.tolist()
    ) == [
        0,
        1,
        3,
        4,
        5,
    ]
    with pytest.raises(ValueError, match="selected: CoreGCN"):
        select("coregcn", 1, features=rows())
    for wrong in ({"subset": 0}, {"hidden": 0}, {"epochs": -1}, {"dropout": 1.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            CoreGcn(**wrong)


def test_a_training_that_diverges_is_refused():
    x = np.random.default_rng(0).normal(size=(12, 4))
    with pytest.raises(ValueError, match="lr: the graph network diverged with 1e\\+15"):
        select("coregcn", 2, features=x, selected=[0, 1], options={"lr": 1e15, "epochs": 3})
