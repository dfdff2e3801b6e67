"""What the committed tables of curves say beside their numbers."""

from pathlib import Path

from coreset.report.load import Run
from coreset.runs.curve import Curve, Point
from scripts.results import differences, savings, steps


def curve(strategy, seed, values):
    return Curve(strategy, seed, [Point(n, n / 100, v) for n, v in values.items()])


def test_label_savings_of_curves_that_are_known():
    """Half the labels for the same; never there; there from the first budget on."""
    made = []
    for seed in range(4):
        made += [
            curve("random", seed, {10: 0.5, 20: 0.6, 40: 0.7, 80: 0.8}),
            curve("half", seed, {10: 0.6, 20: 0.7, 40: 0.8, 80: 0.9}),
            curve("low", seed, {10: 0.1, 20: 0.2, 40: 0.3, 80: 0.4}),
            curve("high", seed, {10: 0.9, 20: 0.9, 40: 0.9, 80: 0.9}),
        ]
    said = savings(made)
    assert (
        "with 80: half 2.0x [2.0, 2.0], high at least 8.0x [8.0, 8.0], low never gets there" in said
    )


def test_differences_are_paired_by_seed_and_leave_out_a_common_start():
    made = []
    for seed, (random, lift) in enumerate([(0.4, 0.01), (0.5, 0.02), (0.6, 0.03), (0.7, 0.02)]):
        made += [
            curve("random", seed, {10: random, 20: random, 40: random}),
            curve("same", seed, {10: random, 20: random, 40: random}),
            curve("up", seed, {10: random, 20: random + 0.1, 40: random + lift}),
        ]
    said = differences(made)
    assert said.startswith("Minus random, points (paired, 95 % bootstrap over seeds): same nothing")
    assert "; up +10.0 [+10.0, +10.0] at 20, +2.0 [" in said
    low, high = (float(x) for x in said.split("+2.0 [")[1].split("]")[0].split(", "))
    assert 1.0 <= low < 2.0 < high <= 3.0
    assert " at 10," not in said


def test_steps_are_shares_of_the_training_on_all_of_the_same_seed():
    def run(name, seed, seconds, folder="a"):
        rounds = [{"labels": n, "training": {"steps": s}} for n, s in seconds.items()]
        curves = [Curve(name, seed, [], "accuracy")]
        config = {"strategy_name": name, "seed": seed}
        return Run(Path(f"outputs/{folder}/{name}"), config, {}, rounds, curves)

    runs = [run("full", 0, {100: 10}, "baseline"), run("full", 1, {100: 20}, "baseline")]
    runs += [run("random", 0, {10: 1, 50: 5}), run("rs2", 1, {10: 4, 50: 10})]
    runs += [run("lonely", 2, {10: 9})]  # no training on all: no share
    said = "Optimizer steps of every row over those of training on all: "
    assert steps(runs) == f"{said}0.10 to 0.20 at 10, 0.50 at 50."
