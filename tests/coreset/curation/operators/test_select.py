"""Any strategy under a budget of rows or of a cost; undefined rows are dropped with the reason."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coreset import Pool, Signals, select
from coreset.core.batch import as_batch
from coreset.curation.operators.select import Select
from coreset.registry import strategy
from coreset.testing import check_operator

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3))
IDS = [f"{i:02d}" for i in range(40)]


def decide(operator, total=40, **columns):
    return operator.decide(as_batch({"id": IDS, **columns}), total)


def test_it_is_the_strategy():
    operator = Select(strategy("kcenter"), 0.25, {"features": "vector"}, seed=3)
    assert operator.needs == {"vector"}
    decision = decide(operator, vector=X)
    want = select("kcenter", 10, features=X, ids=IDS, seed=3)
    assert np.argsort(decision.columns["rank"])[30:].tolist() == want.indices.tolist()
    np.testing.assert_array_equal(decision.columns["gain"][want.indices][1:], want.scores[1:])
    assert want.scores[0] == np.inf
    assert decision.columns["gain_status"][want.indices].tolist() == ["undefined"] + ["ok"] * 9
    assert set(decision.reason[~decision.keep]) == {"not among the 10 chosen"}
    check_operator(operator, {"vector": X})
    check_operator(Select(strategy("random"), 7), {"vector": X})


def test_shares_are_of_all_rows_read_and_never_more_than_are_left():
    operator = Select(strategy("kcenter"), 0.5, {"features": "vector"})
    assert decide(operator, 100, vector=X).keep.all()
    assert decide(operator, 60, vector=X).keep.sum() == 30
    assert decide(Select(strategy("kcenter"), None, {"features": "vector"}), vector=X).keep.all()


def test_undefined_rows_are_no_candidates():
    holed = X.copy()
    holed[[2, 5], 1] = np.nan
    status = ["ok"] * 40
    status[2] = "empty_text"
    decision = decide(
        Select(strategy("kcenter"), 39, {"features": "vector"}), vector=holed, vector_status=status
    )
    assert decision.keep.sum() == 38
    assert decision.reason[[2, 5]].tolist() == ["vector undefined (empty_text)", "vector undefined"]
    nothing = decide(Select(strategy("top_k", {"signal": "s"}), 3), s=np.full(40, np.nan))
    assert not nothing.keep.any()


@given(st.integers(0, 100), st.one_of(st.integers(1, 900), st.floats(0.01, 1.0)))
@settings(max_examples=40, deadline=None)
def test_a_cost_is_never_overrun(seed, budget):
    """Against the plain loop: take rows in the order of the strategy until one does not fit."""
    rng = np.random.default_rng(seed)
    costs, score = rng.integers(0, 60, 40).astype(float), rng.permutation(40).astype(float)
    limit = budget * costs.sum() if isinstance(budget, float) else budget
    spent, want = 0.0, []
    for i in np.argsort(-score).tolist():
        if spent + costs[i] > limit:
            break
        spent += costs[i]
        want.append(i)
    decision = decide(
        Select(strategy("top_k", {"signal": "s"}), budget, cost="tokens"), s=score, tokens=costs
    )
    assert sorted(want) == np.flatnonzero(decision.keep).tolist()
    assert costs[decision.keep].sum() <= limit


def test_a_cost_without_a_value_and_what_is_refused():
    costs = np.ones(40)
    costs[3] = np.nan
    decision = decide(
        Select(strategy("top_k", {"signal": "s"}), 100, cost="tokens"),
        s=np.arange(40.0),
        tokens=costs,
    )
    assert decision.keep.sum() == 39
    assert decision.reason[3] == "tokens undefined"
    with pytest.raises(ValueError, match="expected costs of at least 0, got -1"):
        decide(
            Select(strategy("top_k", {"signal": "s"}), 5, cost="tokens"),
            s=np.arange(40.0),
            tokens=-np.ones(40),
        )
    with pytest.raises(ValueError, match="cost: Stratified is not greedy"):
        Select(strategy("stratified"), 5, cost="tokens")
    with pytest.raises(
        ValueError, match=r"columns: KCenterGreedy reads no signal \['vector'\]; it reads features"
    ):
        Select(strategy("kcenter"), 5, {"vector": "features"})
    with pytest.raises(ValueError, match="budget: expected a count from 1 to 40"):
        Select(strategy("random"), 41).check(40)
    with pytest.raises(TypeError, match="budget: expected a count"):
        Select(strategy("random"), "all").check(40)


def test_a_submodular_strategy_weighs_gain_against_cost():
    rng = np.random.default_rng(0)
    x, tokens = np.abs(rng.normal(size=(40, 4))), rng.uniform(1, 9, 40)
    facility = strategy("facility_location")
    decision = decide(Select(facility, 30, cost="tokens"), features=x, tokens=tokens)
    expected = facility.within(Pool(40), Signals(40, features=x), tokens, 30.0)
    assert np.flatnonzero(decision.keep).tolist() == sorted(expected.indices.tolist())
    assert decision.columns["rank"][expected.indices].tolist() == list(range(len(expected.indices)))
    assert tokens[decision.keep].sum() <= 30
