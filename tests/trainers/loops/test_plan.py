import pytest

from coreset.registry import strategy
from coreset.trainers.loops.plan import make_plan


def test_totals_rounds_and_needs():
    plan = make_plan(strategy("kcenter"), [0.1, 0.3, 50], 100)
    assert (plan.mode, plan.sizes, plan.rounds) == ("prune", (10, 30, 50), 3)
    assert plan.needs == plan.needs_selected == {"features"}
    assert make_plan(strategy("margin"), 20, 100).sizes == (20,)


def test_active_mode_begins_with_the_start_set():
    assert make_plan(strategy("margin"), [0.1, 0.2], 100, "active").sizes == (1, 10, 20)
    assert make_plan(strategy("margin"), [5, 10, 20], 100, "active", start=10).sizes == (10, 20)
    with pytest.raises(
        ValueError,
        match="start: 20 labels already reach the last budget; expected a start below it",
    ):
        make_plan(strategy("margin"), [10, 20], 100, "active", start=0.2)
    with pytest.raises(ValueError, match="start: expected a count from 1 to 100"):
        make_plan(strategy("margin"), 10, 100, "active", start=0)


def test_labels_of_candidates_are_refused_in_active_mode_in_words():
    words = (
        "Stratified needs labels of the candidates, which active mode cannot know before they are"
        " labeled: use mode=prune"
    )
    with pytest.raises(ValueError, match=words):
        make_plan(strategy("stratified"), 10, 100, "active")
    assert make_plan(strategy("stratified"), 10, 100, "prune").needs == {"labels"}
    # brought along
    assert make_plan(strategy("stratified"), 10, 100, "active", columns=["labels"]).needs == {
        "labels"
    }


def test_dynamics_are_for_prune_mode():
    aum = strategy("top_k", {"signal": "aum"})
    assert make_plan(aum, 10, 100, dynamics=["aum"]).needs == {"aum"}
    with pytest.raises(
        ValueError, match="TopK needs aum of the candidates, which active mode cannot know"
    ):
        make_plan(aum, 10, 100, "active", dynamics=["aum"])
    assert make_plan(aum, 10, 100, "active", columns=["aum"], dynamics=["aum"]).needs == {"aum"}


def test_a_signal_that_nothing_gives_is_named_with_what_there_is():
    blur = strategy("top_k", {"signal": "blur"})
    for mode in ("prune", "active"):
        with pytest.raises(
            ValueError,
            match=(
                f"TopK needs blur, which nothing in this run gives; a run in {mode} mode has"
                " .*features"
            ),
        ):
            make_plan(blur, 10, 100, mode)
        assert make_plan(blur, 10, 100, mode, columns=["blur"]).needs == {"blur"}


def test_mode_and_budget():
    with pytest.raises(ValueError, match="mode: expected prune or active, got 'al'"):
        make_plan(strategy("margin"), 10, 100, "al")
    with pytest.raises(ValueError, match="budget: expected a count"):
        make_plan(strategy("margin"), 101, 100)
