import itertools

import numpy as np
import pytest
import torch

from coreset import select
from coreset.numerics.greedy import lazy, naive
from coreset.numerics.similarity import Linear
from coreset.strategies.submodular.graph_cut import GraphCut, GraphCutFunction, GraphCutSums
from coreset.testing import check_strategy


def cut(s, lam):
    return lambda chosen: (
        sum(s[i, j] for i in range(len(s)) for j in chosen)
        - lam * sum(s[i, j] for i in chosen for j in chosen)
    )


@pytest.mark.parametrize("lam", [0.0, 0.5, 1.0, 8.0])
@pytest.mark.parametrize(
    ("kind", "neighbors", "variant"),
    [
        ("cosine", "auto", "sums of features"),
        ("cosine", 0, "all pairs"),
        ("dot", "auto", "sums of features"),
        ("rbf", "auto", "all pairs"),
        ("euclidean", "auto", "all pairs"),
    ],
)
def test_values_and_order(reference, kind, neighbors, variant, lam):
    d = reference.data()
    x = np.abs(d.x) if kind == "dot" else d.x
    s = reference.similarity(x[d.ground], kind=kind)
    expected = reference.greedy(cut(s, lam), d.candidates, 12, d.selected)
    options = {"similarity": kind, "neighbors": neighbors, "lam": lam}
    answer = select(
        "graph_cut", 12, features=x, candidates=d.candidates, selected=d.selected, options=options
    )
    reference.same(answer, expected, 1e-4)
    assert answer.info["value"] == pytest.approx(cut(s, lam)([*d.selected, *expected[0]]), rel=1e-4)
    assert ("bound" in answer.info) == (lam <= 0.5)
    if lam <= 0.5:
        chosen = [*d.selected, *expected[0]]
        more = [
            cut(s, lam)([*chosen, j]) - cut(s, lam)(chosen) for j in d.candidates if j not in chosen
        ]
        assert answer.info["bound"] == pytest.approx(
            cut(s, lam)(chosen) + sum(sorted(more)[-12:]), rel=1e-4
        )
    assert answer.info["variant"] == variant


def test_neighbors_are_symmetric(reference):
    d = reference.data(30)
    s = reference.similarity(d.x, kind="rbf")
    listed = np.eye(30, dtype=bool)
    for i in range(30):
        listed[i, [j for j in np.argsort(-s[i], kind="stable") if j != i][:4]] = True
    expected = reference.greedy(cut(np.where(listed | listed.T, s, 0), 0.7), range(30), 10)
    options = {"similarity": "rbf", "neighbors": 4, "lam": 0.7}
    reference.same(select("graph_cut", 10, features=d.x, options=options), expected)


def test_monotone_up_to_one_half():
    s = np.random.default_rng(0).random((8, 8))
    s = s + s.T
    for lam, monotone in ((0.5, True), (0.51, False), (2.0, False)):
        gains = [
            cut(s, lam)([*c, j]) - cut(s, lam)(list(c))
            for c in itertools.combinations(range(8), 7)
            for j in range(8)
            if j not in c
        ]
        if monotone:
            assert min(gains) >= 0
        assert GraphCutFunction(s, lam).monotone is monotone


def test_negative_similarities_are_refused_by_lazy_only(reference):
    d = reference.data(20)
    s = reference.similarity(d.x, kind="dot")
    expected = reference.greedy(cut(s, 0.5), range(20), 6)
    for neighbors in ("auto", 0):
        options = {"similarity": "dot", "neighbors": neighbors}
        with pytest.raises(ValueError, match="submodular"):
            select("graph_cut", 6, features=d.x, options=options)
        answer = select("graph_cut", 6, features=d.x, options={**options, "optimizer": "naive"})
        reference.same(answer, expected, 1e-4)
        assert "bound" not in answer.info


def test_lazy_equals_naive():
    s = np.round(np.random.default_rng(1).random((60, 60)) * 4) / 4
    s = np.maximum(s, s.T)
    one, other = (
        optimize(GraphCutFunction(s, 2.0), 60, np.arange(60)) for optimize in (naive, lazy)
    )
    assert one.picks.tolist() == other.picks.tolist()


@pytest.mark.parametrize("sums", [False, True])
def test_the_compiled_loops_take_the_lowest_of_ties(sums):
    for seed in range(8):
        rng = np.random.default_rng(seed)
        x = rng.integers(0, 3, (100, 3)).astype(np.float32)
        s = (x @ x.T).astype(np.float64)
        bonus, items = rng.integers(0, 3, 100).astype(float), rng.permutation(100)[:90]
        kernel = Linear.of(torch.from_numpy(x), np.arange(100), "dot")
        function = (
            GraphCutSums(kernel, 4.0, bonus)
            if sums
            else GraphCutFunction(s.astype(np.float32), 4.0, bonus)
        )
        answer = function.exact(60, items)
        current, left = s.sum(axis=1) - 4 * np.diag(s) + bonus, sorted(items.tolist())
        for pick, gain in zip(answer.picks.tolist(), answer.gains, strict=True):
            assert pick == left[int(current[left].argmax())]
            assert gain == current[pick]
            current -= 8 * s[pick]
            left.remove(pick)
        if sums:
            assert (answer.bounds[left] >= current[left]).all()


def test_one_negative_pair_is_enough_to_grow_a_gain():
    s = np.ones((5, 5), np.float32)
    assert GraphCutFunction(s, 0.5).submodular
    s[1, 3] = s[3, 1] = -0.1
    assert not GraphCutFunction(s, 0.5).submodular


def test_only_the_ground_set_need_not_be_negative():
    x = np.abs(np.random.default_rng(0).normal(size=(9, 3)))
    x[8] *= -1
    answer = select(
        "graph_cut", 3, features=x, candidates=np.arange(8), options={"similarity": "dot"}
    )
    assert "bound" in answer.info
    assert (
        answer.indices.tolist()
        == select("graph_cut", 3, features=x[:8], options={"similarity": "dot"}).indices.tolist()
    )


def test_gains_that_grow_are_computed_again(reference):
    for seed in range(10):
        x = np.random.default_rng(seed).normal(size=(14, 2))
        expected = reference.greedy(cut(reference.similarity(x, kind="dot"), 1.5), range(14), 9)
        options = {"similarity": "dot", "lam": 1.5, "optimizer": "naive"}
        reference.same(select("graph_cut", 9, features=x, options=options), expected, 1e-4)


def test_a_zero_vector_counts_half_among_nearest_neighbors(reference):
    x = np.abs(reference.data(12).x)
    x[5] = 0
    s = reference.similarity(x)
    expected = reference.greedy(cut(s, 0.9), range(12), 12)
    options = {"neighbors": 11, "lam": 0.9}
    reference.same(select("graph_cut", 12, features=x, options=options), expected)


def test_zero_vectors():
    x = np.zeros((5, 3))
    x[3] = 1
    for neighbors in ("auto", 0, 2):
        assert np.isfinite(
            select("graph_cut", 5, features=x, options={"neighbors": neighbors}).scores
        ).all()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"lam": 3.0},
        {"optimizer": "naive"},
        {"optimizer": "stochastic"},
        {"optimizer": "lazier_than_lazy"},
        {"optimizer": "greedi"},
        {"similarity": "rbf"},
        {"similarity": "euclidean", "neighbors": 6},
        {"neighbors": 0},
    ],
)
def test_contract(options):
    check_strategy(GraphCut(**options))


def test_wrong_options_are_named():
    with pytest.raises(ValueError, match="lam"):
        GraphCut(lam=-1.0)
