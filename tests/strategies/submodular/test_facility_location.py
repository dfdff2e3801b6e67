import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import coreset
from coreset import Pool, Selection, Signals, select
from coreset.numerics.greedy import lazy, naive, upper_bound
from coreset.numerics.similarity import Sparse
from coreset.strategies.combine.class_quota import ClassQuota
from coreset.strategies.submodular.facility_location import (
    FacilityLocation,
    FacilityLocationFunction,
)
from coreset.testing import check_strategy, example_signals

KINDS = ("cosine", "dot", "rbf", "euclidean")


def facility(s):
    return lambda chosen: sum(
        max(0.0, max((s[i, j] for j in chosen), default=0.0)) for i in range(len(s))
    )


@pytest.mark.parametrize("kind", KINDS)
def test_values_and_order(reference, kind):
    d = reference.data()
    s = reference.similarity(d.x[d.ground], kind=kind)
    expected = reference.greedy(facility(s), d.candidates, 12, d.selected)
    answer = select(
        "facility_location",
        12,
        features=d.x,
        candidates=d.candidates,
        selected=d.selected,
        options={"similarity": kind},
    )
    reference.same(answer, expected, 1e-4 if kind == "dot" else 2e-5)
    assert answer.info["value"] == pytest.approx(facility(s)([*d.selected, *expected[0]]), rel=1e-5)
    left = [j for j in d.candidates if j not in expected[0]]
    value = facility(s)([*d.selected, *expected[0]])
    more = sorted((facility(s)([*d.selected, *expected[0], j]) - value for j in left), reverse=True)
    assert answer.info["bound"] == pytest.approx(value + sum(more[:12]), rel=1e-5)


def test_precomputed_is_used_as_it_is(reference):
    d = reference.data(30)
    s = np.abs(reference.similarity(d.x, kind="dot"))
    expected = reference.greedy(
        facility(s[np.ix_(d.ground, d.ground)]), d.candidates, 8, d.selected
    )
    for dtype in (np.float64, np.float32):
        answer = select(
            "facility_location",
            8,
            similarity=s.astype(dtype),
            candidates=d.candidates,
            selected=d.selected,
            options={"similarity": "precomputed"},
        )
        reference.same(answer, expected, 1e-4)
    whole = select("facility_location", 5, similarity=s, options={"similarity": "precomputed"})
    reference.same(whole, reference.greedy(facility(s), range(30), 5))
    with pytest.raises(ValueError, match="similarity: expected a symmetric"):
        select("facility_location", 2, similarity=np.triu(s), options={"similarity": "precomputed"})
    with pytest.raises(ValueError, match="neighbors"):
        select(
            "facility_location",
            2,
            similarity=s,
            options={"similarity": "precomputed", "neighbors": 3},
        )


def test_within_the_bounds_of_the_optimum():
    for seed in range(6):
        s = np.random.default_rng(seed).random((9, 9)) ** 3
        s = np.maximum(s, s.T)
        best = max(facility(s)(list(c)) for c in itertools.combinations(range(9), 3))
        f = FacilityLocationFunction(s)
        answer = lazy(f, 3, np.arange(9))
        assert f.value >= (1 - 1 / np.e) * best
        assert (
            f.value
            <= best + 1e-9
            <= upper_bound(f, 3, np.setdiff1d(np.arange(9), answer.picks)) + 2e-9
        )


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 40), st.booleans())
def test_lazy_equals_naive_bit_for_bit(seed, n, ties):
    rng = np.random.default_rng(seed)
    s = rng.random((n, n)).astype(np.float32)
    if ties:
        s = np.round(s * 3) / 3
    k = int(rng.integers(1, n + 1))
    one, other = (
        naive(FacilityLocationFunction(s), k, np.arange(n)),
        lazy(FacilityLocationFunction(s), k, np.arange(n)),
    )
    assert one.picks.tolist() == other.picks.tolist()
    assert one.gains.tolist() == other.gains.tolist()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("ties", [False, True])
def test_the_compiled_loop_is_the_greedy_in_float64(dtype, sparse, ties):
    for seed in range(8):
        rng = np.random.default_rng(seed)
        s = rng.random((40, 40)).astype(np.float32 if sparse else dtype)
        if ties:
            s = np.round(s * 4) / 4
        kept = (rng.random((40, 40)) < 0.3) | np.eye(40, dtype=bool) | ~np.array(sparse)
        start, bonus = (rng.integers(0, 3, (2, 40)) / 4) if seed % 2 else np.zeros((2, 40))
        items = rng.permutation(40)[:30]
        matrix = Sparse(
            np.r_[0, kept.sum(axis=1).cumsum()], np.nonzero(kept)[1].astype(np.int32), s[kept]
        )
        function = FacilityLocationFunction(
            matrix if sparse else s, start, bonus if seed % 2 else None
        )
        answer = function.exact(25, items)
        best, left = start.copy(), sorted(items.tolist())

        def gains(left, best, s=s, kept=kept, bonus=bonus):
            more = np.where(kept[left], s[left].astype(np.float64) - best, 0)
            return np.maximum(more, 0).sum(axis=1) + bonus[left]

        for pick, gain in zip(answer.picks.tolist(), answer.gains, strict=True):
            now = gains(left, best)
            assert pick == left[int(now.argmax())]
            assert gain == pytest.approx(now.max(), rel=1e-12)
            best = np.where(kept[pick], np.maximum(best, s[pick]), best)
            left.remove(pick)
        assert function.value == pytest.approx(answer.gains.sum())
        assert (answer.bounds[left] >= gains(left, best) - 1e-12).all()
        assert np.isinf(np.delete(answer.bounds, items)).all()
        assert 30 < answer.evaluations <= sum(range(6, 31)) + 30
        # the first gains stand
        assert FacilityLocationFunction(s).exact(1, items).evaluations == 30


def test_the_second_round_on_nearest_neighbors_speaks_of_the_sample(reference):
    x = reference.data(36).x
    s, kept, floor = reference.neighbors(x, 5)
    sample = np.arange(0, 36, 2)

    def f(chosen):
        return sum(
            max([floor[i], *(s[i, j] for j in chosen if kept[i, j])]) - floor[i] for i in sample
        )

    signals = Signals(36, features=x)
    method = FacilityLocation(neighbors=5)
    answer = method.merge(Pool(36), signals, 6, np.random.default_rng(0), [], sample)[0]
    reference.same(answer, reference.greedy(f, range(36), 6))


def test_the_best_of_both_rounds():
    one = Selection(np.array([0]), scores=np.ones(1))
    for union, shard in ((3.0, 1.0), (1.0, 3.0)):
        audits = np.array([[[union], [shard]], [[2.0], [2.0]]])
        best, info = FacilityLocation().certify(audits, [one, one], 5)
        assert best == int(shard > union)
        assert info == pytest.approx(
            {
                "facility_value": 1.0,
                "of_union": (union + 2) / 5,
                "of_best_partition": (shard + 2) / 5,
            }
        )


def test_nearest_neighbors_against_their_definition(reference):
    d = reference.data(36)
    s = reference.similarity(d.x)
    k, n = 5, 36
    listed = np.zeros((n, n), bool)
    floor = np.empty(n)
    unit = d.x / np.linalg.norm(d.x, axis=1, keepdims=True)
    for i in range(n):
        order = [j for j in np.argsort(-s[i], kind="stable") if j != i][:k]
        listed[i, [*order, i]] = True
        rms = np.mean([((unit[i] - unit[j]) ** 2).sum() for j in range(n)])
        floor[i] = (s[i, order[-1]] + 1 - rms / 4) / 2

    def f(chosen):
        best = [max([floor[i], *(s[i, j] for j in chosen if listed[i, j])]) for i in range(n)]
        return sum(best) - floor.sum()

    answer = select("facility_location", 10, features=d.x, options={"neighbors": k})
    reference.same(answer, reference.greedy(f, range(n), 10))
    assert answer.info["variant"] == "nearest neighbors"


def test_nearest_neighbors_reach_the_dense_value():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 32))[rng.integers(0, 50, 1500)] + 0.7 * rng.normal(size=(1500, 32))
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    value = {
        neighbors: (
            (
                0.5
                + 0.5
                * unit
                @ unit[
                    select(
                        "facility_location", 150, features=x, options={"neighbors": neighbors}
                    ).indices
                ].T
            )
            .max(axis=1)
            .sum()
        )
        for neighbors in (0, 32)
    }
    assert value[32] >= 0.999 * value[0]


def test_zero_vectors_and_duplicates():
    x = np.zeros((6, 3))
    x[1:3] = [1.0, 0.0, 0.0]
    for options in ({}, {"neighbors": 2}):
        answer = select("facility_location", 6, features=x, options=options)
        assert np.isfinite(answer.scores).all()
        assert answer.indices[0] == 1
    for value in (np.zeros((5, 2)), np.ones((5, 2))):
        for kind in KINDS:
            answer = select("facility_location", 5, features=value, options={"similarity": kind})
            assert answer.indices.tolist() == [0, 1, 2, 3, 4]  # ties go to the lowest position
    assert select(
        "facility_location", 1, features=np.ones((1, 2)), options={"neighbors": 4}
    ).indices.tolist() == [0]


def test_half_precision(reference):
    x = reference.data().x.astype(np.float16)
    one, other = (select("facility_location", 9, features=v) for v in (x, x.astype(np.float64)))
    assert one.indices.tolist() == other.indices.tolist()


def test_classes_are_ground_sets_of_their_own(reference):
    d = reference.data(36, seed=3)
    labels = np.array([0] * 18 + [1] * 12 + [2] * 6)
    answer = select(
        "class_quota", 12, features=d.x, labels=labels, options={"base": "facility_location"}
    )
    assert np.bincount(labels[answer.indices]).tolist() == [6, 4, 2]
    for c in range(3):
        rows = np.flatnonzero(labels == c)
        own = answer.indices[labels[answer.indices] == c]
        s = reference.similarity(d.x[rows])
        assert (
            own.tolist()
            == rows[reference.greedy(facility(s), range(len(rows)), len(own))[0]].tolist()
        )
    # halfway through each one's share
    assert labels[answer.indices].tolist() == [0, 1, 0, 2, 1, 0, 0, 1, 0, 2, 1, 0]
    chosen = [
        answer.indices[labels[answer.indices] == c] - np.flatnonzero(labels == c)[0]
        for c in range(3)
    ]
    for c in range(3):
        value = facility(reference.similarity(d.x[labels == c]))(chosen[c].tolist())
        assert answer.info["groups"][str(c)]["value"] == pytest.approx(value, rel=1e-5)
        assert 0.63 < answer.info["groups"][str(c)]["ratio"] <= 1


def test_the_parts_of_greedi_are_handed_on(reference):
    x = reference.data(40).x
    one, many = (
        select("facility_location", 6, features=x, options={"optimizer": "greedi", "parts": parts})
        for parts in (1, 8)
    )
    lazy_ = select("facility_location", 6, features=x)
    assert one.indices.tolist() == lazy_.indices.tolist()
    assert many.info["evaluations"] != one.info["evaluations"] >= lazy_.info["evaluations"]


def test_what_is_taken_counts_in_its_own_class(reference):
    d = reference.data(36, seed=4)
    labels = np.array([0] * 18 + [1] * 18)
    answer = select(
        "class_quota",
        8,
        features=d.x,
        labels=labels,
        selected=[2, 5, 20],
        options={"base": "facility_location"},
    )
    for c, taken in ((0, [2, 5]), (1, [20])):
        rows = np.flatnonzero(labels == c)
        local = [t - rows[0] for t in taken]
        own = answer.indices[labels[answer.indices] == c] - rows[0]
        free = [i for i in range(18) if i not in local]
        assert (
            own.tolist()
            == reference.greedy(facility(reference.similarity(d.x[rows])), free, 4, local)[0]
        )


# two mutual nearest neighbors tie exactly under a symmetric similarity, so seeds without such a
# pair among the picks
@pytest.mark.parametrize(
    ("options", "seed"),
    [
        ({}, 3),
        ({"optimizer": "naive"}, 3),
        ({"optimizer": "stochastic"}, 3),
        ({"optimizer": "lazier_than_lazy"}, 3),
        ({"optimizer": "greedi"}, 3),
        ({"similarity": "dot"}, 0),
        ({"similarity": "rbf"}, 3),
        ({"similarity": "euclidean"}, 3),
        ({"neighbors": 8}, 3),
        ({"neighbors": 8, "similarity": "rbf"}, 3),
    ],
)
def test_contract(options, seed):
    strategy = FacilityLocation(**options)
    check_strategy(strategy, example_signals(48, strategy.needs, seed))


def test_contract_class_by_class():
    strategy = ClassQuota(FacilityLocation())
    check_strategy(strategy, example_signals(48, strategy.needs, 1))


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"similarity": "cos"}, "similarity"),
        ({"optimizer": "eager"}, "optimizer"),
        ({"epsilon": 1.0}, "epsilon"),
        ({"parts": 0}, "parts"),
        ({"neighbors": -1}, "neighbors"),
        ({"neighbors": "all"}, "neighbors"),
    ],
)
def test_wrong_options_are_named(options, word):
    with pytest.raises(ValueError, match=word):
        FacilityLocation(**options)


def test_dot_has_no_neighbor_graph():
    with pytest.raises(ValueError, match="neighbors"):
        select(
            "facility_location",
            1,
            features=np.eye(4),
            options={"similarity": "dot", "neighbors": 2},
        )
    with pytest.raises(ValueError, match="gamma"):
        select(
            "facility_location", 1, features=np.eye(4), options={"similarity": "rbf", "gamma": -1.0}
        )


def test_approximate_neighbors_reach_the_value_of_exact_ones(monkeypatch):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 16))[rng.integers(0, 50, 3000)] + 0.7 * rng.normal(size=(3000, 16))
    exact = select("facility_location", 150, features=x, options={"neighbors": 32})
    monkeypatch.setattr("coreset.numerics.similarity.EXACT_UP_TO", 2000)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    dense = select("facility_location", 150, features=x, options={"neighbors": 0})
    for name in ("cosine", "rbf"):
        got = select(
            "facility_location", 150, features=x, options={"neighbors": 32, "similarity": name}
        )
        assert got.info["variant"] == "approximate nearest neighbors (IVF)"
    got = select("facility_location", 150, features=x, options={"neighbors": 32})
    value = [(0.5 + 0.5 * unit @ unit[s.indices].T).max(axis=1).sum() for s in (got, exact, dense)]
    assert value[0] >= 0.9995 * value[1]
    assert value[0] >= 0.999 * value[2]
    cut = select("graph_cut", 20, features=x, options={"neighbors": 8})
    assert cut.info["variant"] == "approximate nearest neighbors (IVF)"


def test_given_distances_are_similarities_of_one_over_one_plus_d():
    x = np.random.default_rng(0).normal(size=(40, 4))
    d = np.linalg.norm(x[:, None] - x, axis=-1)
    got = coreset.select("facility_location", 8, distances=d, options={"similarity": "distances"})
    s, best, picks = 1 / (1 + d), np.zeros(40), []
    for _ in range(8):
        gain = np.maximum(s - best, 0).sum(axis=1)
        picks.append(int(gain.argmax()))
        best = np.maximum(best, s[picks[-1]])
    assert got.indices.tolist() == picks
    assert got.info["value"] == pytest.approx(best.sum(), rel=1e-5)
