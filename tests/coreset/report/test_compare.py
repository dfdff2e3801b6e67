import pytest

from coreset.report.compare import compare
from coreset.report.load import read_runs

LOW, HIGH = {10: 0.4, 20: 0.5}, {10: 0.6, 20: 0.9}


def curves(seen):
    return {
        (c.strategy, c.seed): dict(zip(c.labels.tolist(), c.values.tolist(), strict=True))
        for c in seen.curves
    }


def test_the_random_baseline_of_several_runs_counts_once_per_seed(tmp_path, write_run):
    for name in ("kcenter", "margin"):
        for seed in (0, 1):
            write_run(f"{name}{seed}", name, seed, HIGH)
            write_run(f"{name}{seed}/baseline/random", "random", seed, LOW)
            write_run(f"{name}{seed}/baseline/full", "full", seed, {100: 0.9 + 0.05 * seed})
    seen = compare(read_runs(tmp_path))
    assert sorted(curves(seen)) == [(n, s) for n in ("kcenter", "margin", "random") for s in (0, 1)]
    assert [len(seen.runs[n]) for n in ("kcenter", "margin", "random")] == [2, 2, 2]
    assert (seen.pool_size, len(seen.full_runs), seen.left_out) == (100, 2, [])
    assert seen.full == pytest.approx(0.925)  # two seeds, each once
    # 2 rounds of 2 s and of 3 s
    assert seen.seconds["random"] == (pytest.approx(1.0), pytest.approx(5.0))


def test_a_run_of_random_replaces_the_baseline_of_its_seed(tmp_path, write_run):
    for seed in (0, 1):
        write_run(f"m{seed}", "margin", seed, HIGH)
        write_run(f"m{seed}/baseline/random", "random", seed, LOW)
    write_run("z", "random", 0, {10: 0.45, 20: 0.55})
    seen = compare(read_runs(tmp_path))
    assert curves(seen)["random", 0] == {10: 0.45, 20: 0.55}
    assert curves(seen)["random", 1] == LOW


def test_budgets_swept_one_by_one_are_one_curve(tmp_path, write_run):
    write_run("a", "margin", 0, {10: 0.6}, mode="prune")
    write_run("b", "margin", 0, {20: 0.9}, mode="prune")
    seen = compare(read_runs(tmp_path))
    assert curves(seen) == {("margin", 0): HIGH}
    assert seen.pool_size == 100


def test_parameters_tell_runs_of_one_strategy_apart(tmp_path, write_run):
    for flag in (True, False):
        write_run(
            str(flag),
            "kcenter",
            0,
            HIGH,
            config={"strategy": {"_target_": "x", "normalize": flag, "same": 1}},
        )
    assert sorted(compare(read_runs(tmp_path)).runs) == [
        "kcenter (normalize=False)",
        "kcenter (normalize=True)",
    ]


@pytest.mark.parametrize(
    ("config", "key", "values"),
    [
        ({"mode": "prune"}, "mode", ("active", "prune")),
        ({"data": {"name": "cifar10"}}, "data.name", ("toy", "cifar10")),
        ({"model": {"name": "linear", "width": 9}}, "model.width", ("None", "9")),
        ({"fit": {"lr": 0.2}}, "fit.lr", ("0.1", "0.2")),
    ],
)
def test_different_tasks_are_refused_by_name(tmp_path, write_run, config, key, values):
    write_run("a", "margin", 0, HIGH)
    write_run("b", "kcenter", 0, HIGH, config=config)
    with pytest.raises(ValueError, match=rf"{key} is .*{values[0]}.*a and .*{values[1]}.*b"):
        compare(read_runs(tmp_path))


def test_different_metrics_are_refused_and_places_and_seeds_are_not(tmp_path, write_run):
    write_run(
        "a", "margin", 0, HIGH, config={"data": {"name": "toy", "root": "here", "workers": 1}}
    )
    write_run(
        "b", "margin", 1, HIGH, config={"data": {"name": "toy", "root": "there", "workers": 2}}
    )
    compare(read_runs(tmp_path))
    write_run("c", "margin", 2, HIGH, metric="f1", config={"data": {"name": "toy"}})
    with pytest.raises(ValueError, match=r"metric is 'accuracy'.*'f1'"):
        compare(read_runs(tmp_path))


def test_unfinished_runs_are_left_out_by_name_where_others_are_finished_and_shown_where_not(
    tmp_path, write_run
):
    write_run("a0", "margin", 0, HIGH)
    write_run("a1", "margin", 1, {10: 0.1}, finished=False)
    write_run("b0", "kcenter", 0, {10: 0.3}, finished=False)
    write_run("c0", "entropy", 0, {}, finished=False)
    seen = compare(read_runs(tmp_path))
    assert curves(seen) == {("margin", 0): HIGH, ("kcenter", 0): {10: 0.3}}
    assert seen.left_out == [
        "entropy, seed 0: no finished round",
        "margin, seed 1: unfinished, 1 of 3 rounds, not in the averages",
    ]


def test_nothing_to_show_and_nothing_in_common(tmp_path, write_run):
    write_run("a", "margin", 0, {}, finished=False)
    with pytest.raises(ValueError, match="none of the 1 runs"):
        compare(read_runs(tmp_path))
    write_run("b0", "margin", 0, {10: 0.5})
    write_run("b1", "margin", 1, {11: 0.5})
    with pytest.raises(ValueError, match="all its seeds share"):
        compare(read_runs(tmp_path))
    write_run("c0", "kcenter", 0, HIGH)
    assert (
        "margin: its seeds share no label count, not in the averages"
        in compare(read_runs(tmp_path)).left_out
    )


def test_references_that_were_trained_differently_are_not_averaged(tmp_path, write_run):
    for seed, steps in ((0, 400), (1, "auto")):
        write_run(f"m{seed}", "margin", seed, HIGH)
        config = {"fit": {"lr": 0.1, "steps": steps}}
        write_run(f"m{seed}/baseline/full", "full", seed, {100: 0.9}, config=config)
    with pytest.raises(ValueError, match=r"fit.steps is 400 in .*m0.* and 'auto' in .*m1"):
        compare(read_runs(tmp_path))


def test_a_run_that_did_not_say_its_schedule_had_the_cosine(tmp_path, write_run):
    write_run("a", "margin", 0, HIGH)
    write_run("b", "margin", 1, HIGH, config={"fit": {"lr": 0.1, "schedule": "cosine"}})
    compare(read_runs(tmp_path))
    write_run("c", "margin", 2, HIGH, config={"fit": {"lr": 0.1, "schedule": "step"}})
    with pytest.raises(ValueError, match=r"fit.schedule is 'cosine' .* and 'step'"):
        compare(read_runs(tmp_path))
