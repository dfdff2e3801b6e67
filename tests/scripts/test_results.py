"""What the committed tables of curves say beside their numbers."""

from coreset.runs.curve import Curve, Point
from scripts.results import savings


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
