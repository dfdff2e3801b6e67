import pytest

from coreset.report.sentence import sentence
from coreset.runs.curve import Curve, Point


def curve(name, values, seed=0, pool=1000):
    return Curve(name, seed, [Point(n, n / pool, v) for n, v in values.items()])


RANDOM = {50: 0.5, 100: 0.8, 200: 0.96}
ONE = "(one seed, so chance is not ruled out)."
CASES = {
    "wins": (
        {"kcenter": {50: 0.5, 100: 0.95, 200: 0.97}, "random": {50: 0.5, 100: 0.8, 200: 0.95}},
        1.0,
        "kcenter reaches 95 % of full accuracy with 10 % of the labels; random needs 20 %",
    ),
    "random wins": (
        {
            "kcenter": {50: 0.5, 100: 0.6, 200: 0.95},
            "random": {50: 0.5, 100: 0.95, 200: 0.96},
            "bad": RANDOM | {200: 0.7},
        },
        1.0,
        (
            "random needs fewest labels for 95 % of full accuracy: 10 % of the labels; the next,"
            " kcenter, needs 20 %"
        ),
    ),
    "only random": (
        {"kcenter": {50: 0.5, 100: 0.6}, "random": {50: 0.5, 100: 0.95}},
        1.0,
        (
            "random needs fewest labels for 95 % of full accuracy: 10 % of the labels; no other"
            " strategy reaches it"
        ),
    ),
    "random never": (
        {"kcenter": {50: 0.5, 100: 0.95}, "random": {50: 0.5, 100: 0.9}},
        1.0,
        (
            "kcenter reaches 95 % of full accuracy with 10 % of the labels; random does not get"
            " there with 10 % of the labels"
        ),
    ),
    "first budget": (
        {"kcenter": {50: 0.95, 100: 0.96}, "random": {50: 0.5, 100: 0.95}},
        1.0,
        "kcenter reaches 95 % of full accuracy with 5 % of the labels or fewer; random needs 10 %",
    ),
    "both at first": (
        {"kcenter": {50: 0.97, 100: 0.98}, "random": {50: 0.96, 100: 0.97}},
        1.0,
        "kcenter and random both reach 95 % of full accuracy with 50 labels or fewer",
    ),
    "close": (
        {"kcenter": {500: 0.95, 600: 0.96}, "random": {499: 0.9, 502: 0.95}},
        1.0,
        "kcenter reaches 95 % of full accuracy with 500 labels or fewer; random needs 502",
    ),
    "nobody": (
        {"kcenter": {50: 0.5, 100: 0.7}, "random": {50: 0.5, 100: 0.6}},
        1.0,
        (
            "no strategy reaches 95 % of full accuracy; with 10 % of the labels the best, kcenter,"
            " has 70.0 %, random 60.0 %"
        ),
    ),
    "nobody, random best": (
        {"kcenter": {50: 0.5, 100: 0.6}, "random": {50: 0.5, 100: 0.7}},
        1.0,
        (
            "no strategy reaches 95 % of full accuracy; with 10 % of the labels the best, random,"
            " has 70.0 %, the next, kcenter, 60.0 %"
        ),
    ),
    "no full line": (
        {"kcenter": {50: 0.5, 100: 0.7}, "random": {50: 0.5, 100: 0.6}},
        None,
        "kcenter has 70.0 % accuracy with 10 % of the labels, random 60.0 %",
    ),
    "no random": (
        {"kcenter": {50: 0.5, 100: 0.7}},
        None,
        (
            "kcenter has 70.0 % accuracy with 10 % of the labels; there is no random baseline to"
            " compare it with"
        ),
    ),
    "no random, reached": (
        {"kcenter": {50: 0.5, 100: 0.95}},
        1.0,
        (
            "kcenter reaches 95 % of full accuracy with 10 % of the labels; there is no random"
            " baseline to compare it with"
        ),
    ),
    "no random, two below": (
        {"kcenter": {50: 0.5, 100: 0.7}, "margin": {50: 0.5, 100: 0.6}},
        1.0,
        (
            "no strategy reaches 95 % of full accuracy; with 10 % of the labels the best, kcenter,"
            " has 70.0 %; there is no random baseline to compare it with"
        ),
    ),
    "random alone": (
        {"random": {50: 0.5, 100: 0.7}},
        None,
        "random has 70.0 % accuracy with 10 % of the labels",
    ),
    "alone, below": (
        {"random": {50: 0.5, 100: 0.7}},
        1.0,
        "random does not reach 95 % of full accuracy; with 10 % of the labels it has 70.0 %",
    ),
    "unfinished": (
        {"kcenter": {50: 0.5, 100: 0.7}, "margin": {50: 0.9}, "random": {50: 0.5, 100: 0.6}},
        None,
        "kcenter has 70.0 % accuracy with 10 % of the labels, random 60.0 %",
    ),
    "tie": (
        {"kcenter": {50: 0.5, 100: 0.6}, "random": {50: 0.5, 100: 0.6}},
        None,
        "kcenter has 60.0 % accuracy with 10 % of the labels, random 60.0 %",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_sentences(case):
    lines, full, claim = CASES[case]
    assert sentence([curve(n, v) for n, v in lines.items()], full) == f"{claim} {ONE}"


def test_means_and_seeds():
    """Mean of 0.94 and 0.96 reaches 0.95 at 100; one seed alone would not."""
    curves = [curve("kcenter", {50: 0.5, 100: v}, s) for s, v in enumerate((0.94, 0.96))]
    curves += [curve("random", {50: 0.5, 100: 0.6}, s) for s in range(2)]
    assert sentence(curves, 1.0).endswith("with 10 % of the labels (mean of 2 seeds).")
    curves += [curve("random", {50: 0.5, 100: 0.6}, 2)]
    assert sentence(curves, 1.0).endswith("(mean of 2 to 3 seeds).")


def test_a_curve_that_knows_all_labels_does_not_win():
    def line(name, values, **extra):
        return Curve(
            name,
            0,
            [
                Point(n, n / 100, v, i, extra)
                for i, (n, v) in enumerate(zip((10, 20), values, strict=True))
            ],
        )

    claim = sentence(
        [
            line("rs2, all labels", (0.9, 0.99), labels_used=100),
            line("margin", (0.5, 0.96)),
            line("random", (0.4, 0.7)),
        ],
        1.0,
    )
    assert claim.startswith("margin reaches")


def test_a_reference_that_is_beaten_is_no_ceiling():
    """83.6 % with 2.7 % of the labels, 83.1 % with all: no share of such a reference is stated."""
    lines = [curve("margin", {50: 0.82, 100: 0.836}), curve("random", {50: 0.8, 100: 0.83})]
    claim = sentence(lines, 0.831)
    assert claim.startswith("margin has 83.6 % accuracy with 10 % of the labels, random 83.0 %")
    assert "95 %" not in claim
