import numpy as np
import pytest
import torch

import coreset
from coreset import select
from coreset.numerics.similarity import Linear
from coreset.strategies.combine.class_quota import ClassQuota
from coreset.strategies.submodular.log_det import LogDet, LogDetFunction, LogDetSums
from coreset.testing import check_strategy, example_signals


def log_det(s, reg):
    def f(chosen):
        sign, value = np.linalg.slogdet(s[np.ix_(chosen, chosen)] + reg * np.eye(len(chosen)))
        assert sign > 0
        return value if chosen else 0.0

    return f


@pytest.mark.parametrize("reg", [1.0, 0.1, 2.0])
@pytest.mark.parametrize("optimizer", ["lazy", "naive"])
@pytest.mark.parametrize("kind", ["cosine", "dot", "rbf", "euclidean"])
def test_values_and_order(reference, kind, reg, optimizer):
    d = reference.data()
    s = reference.similarity(d.x[d.ground], kind=kind)
    expected = reference.greedy(log_det(s, reg), d.candidates, 20, d.selected)
    options = {"similarity": kind, "reg": reg, "optimizer": optimizer}
    answer = select(
        "log_det", 20, features=d.x, candidates=d.candidates, selected=d.selected, options=options
    )
    reference.same(answer, expected, 1e-4)
    assert answer.info["value"] == pytest.approx(
        log_det(s, reg)([*d.selected, *expected[0]]), rel=1e-4, abs=1e-4
    )
    assert ("bound" in answer.info) == (reg >= 1)


def test_better_than_random_and_than_the_worst(reference):
    # a published greedy maximizes the wrong half of the gain and ends below random
    d = reference.data(40)
    f = log_det(reference.similarity(d.x, kind="rbf"), 0.01)
    ours = f(
        select(
            "log_det", 10, features=d.x, options={"similarity": "rbf", "reg": 0.01}
        ).indices.tolist()
    )
    rng = np.random.default_rng(0)
    assert ours > max(f(rng.choice(40, 10, replace=False).tolist()) for _ in range(50))


def test_precomputed_and_more_than_the_rank(reference):
    d = reference.data(30, 3)
    s = reference.similarity(d.x, kind="dot")
    expected = reference.greedy(log_det(s, 1.0), range(30), 12)
    reference.same(
        select("log_det", 12, similarity=s, options={"similarity": "precomputed"}), expected
    )
    reference.same(select("log_det", 12, features=d.x, options={"similarity": "dot"}), expected)


def test_duplicates_and_zero_vectors():
    for x in (np.ones((6, 2)), np.zeros((6, 2))):
        for kind in ("cosine", "dot", "rbf"):
            answer = select("log_det", 6, features=x, options={"similarity": kind})
            assert np.isfinite(answer.scores).all()
            assert answer.indices[0] == 0


@pytest.mark.parametrize("kind", ["dot", "rbf"])
def test_rounding_below_zero_is_zero(kind):
    """Copies of four rows under a ridge far below rounding: the four first, then copies."""
    for seed in range(20):
        x = np.repeat(np.random.default_rng(seed).normal(size=(4, 3)), 8, axis=0)
        answer = select("log_det", 20, features=x, options={"similarity": kind, "reg": 1e-18})
        assert np.isfinite(answer.scores).all()
        rank = 3 if kind == "dot" else 4
        assert len(set(answer.indices[:rank] // 8)) == rank
        assert answer.scores[:rank].min() > -10
        assert answer.scores[rank:].max() < -25


def test_of_equal_rows_the_lowest():
    for seed in range(10):
        x = np.repeat(np.random.default_rng(seed).normal(size=(9, 5)), 7, axis=0)
        answer = select("log_det", 9, features=x, options={"similarity": "rbf", "reg": 0.1})
        assert (answer.indices % 7 == 0).all()


@pytest.mark.parametrize("sums", [False, True])
def test_a_copy_goes_its_own_way(sums):
    x = np.random.default_rng(0).normal(size=(12, 4))
    f = log_det(x @ x.T, 1.0)
    one = (
        LogDetSums(Linear.of(torch.from_numpy(x), np.arange(12), "dot"), 1.0)
        if sums
        else LogDetFunction(x @ x.T, 1.0)
    )
    one.add(0)
    other = one.copy()
    for a, b in ((1, 5), (2, 6), (3, 7)):
        one.add(a)
        other.add(b)
    items = np.arange(8, 12)
    for function, taken in ((one, [0, 1, 2, 3]), (other, [0, 5, 6, 7])):
        assert function.value == pytest.approx(f(taken))
        np.testing.assert_allclose(
            function.gains(items), [f([*taken, j]) - f(taken) for j in items], atol=1e-9
        )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"reg": 0.05},
        {"optimizer": "naive"},
        {"optimizer": "stochastic"},
        {"optimizer": "lazier_than_lazy"},
        {"optimizer": "greedi"},
        {"similarity": "rbf"},
        {"similarity": "dot"},
    ],
)
def test_contract(options):
    check_strategy(LogDet(**options))


def test_contract_class_by_class():
    # every class needs something taken: with a unit diagonal all first gains are equal
    strategy = ClassQuota(LogDet(similarity="dot"))
    check_strategy(strategy, example_signals(48, strategy.needs, 1))


def test_wrong_options_are_named():
    with pytest.raises(ValueError, match="reg"):
        LogDet(reg=-0.5)


def test_without_a_ridge_it_is_the_plain_determinant():
    x = np.random.default_rng(0).normal(size=(20, 6))
    for similarity, kernel in (
        ("dot", x @ x.T),
        ("rbf", np.exp(-((x[:, None] - x) ** 2).sum(axis=-1))),
    ):
        options = {
            "similarity": similarity,
            "reg": 0.0,
            **({"gamma": 1.0} if similarity == "rbf" else {}),
        }
        got = coreset.select("log_det", 5, features=x, options=options)
        picks = []
        for _ in range(5):
            free = np.setdiff1d(np.arange(20), picks)
            value = [np.linalg.slogdet(kernel[np.ix_([*picks, j], [*picks, j])])[1] for j in free]
            if not picks and similarity == "rbf":
                value = np.zeros(len(free))  # a unit diagonal: all tie
            picks.append(int(free[int(np.argmax(value))]))
        assert got.indices.tolist() == picks
        want = np.linalg.slogdet(kernel[np.ix_(picks, picks)])[1]
        assert got.info["value"] == pytest.approx(want, abs=1e-4)
    with pytest.raises(ValueError, match="reg: without a ridge at most 6 examples"):
        coreset.select("log_det", 7, features=x, options={"similarity": "dot", "reg": 0.0})
    wrong = np.random.default_rng(1).normal(size=(20, 20))
    with pytest.raises(ValueError, match="similarity: expected a positive semi-definite matrix"):
        coreset.select(
            "log_det", 20, similarity=wrong + wrong.T, options={"similarity": "precomputed"}
        )
