import io

import pytest
from rich.console import Console

from coreset.report.console import print_comparison, print_run, sparkline

VALUES = {10: 0.5, 20: 0.6, 40: 0.8}


def printed(function, what):
    out = io.StringIO()
    function(what, Console(file=out, width=150))
    return out.getvalue()


def test_sparkline_by_hand():
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], 0, 7) == "▁▂▃▄▅▆▇█"
    assert sparkline([0.3, 0.3], 0.3, 0.3) == "▁▁"
    assert sparkline([], 0, 1) == ""


def test_run_with_baselines(write_run):
    path = write_run("r", "margin[x]", 1, VALUES)
    write_run("r/baseline/random", "random", 1, {10: 0.4, 20: 0.6, 40: 0.7})
    write_run("r/baseline/full", "full", 1, {100: 0.85})
    lines = printed(print_run, path).splitlines()
    assert lines[0].strip() == "margin[x], seed 1"
    assert lines[1].split("  ")[0] == "labels"
    assert lines[3].split() == ["20", "20", "%", "60.0", "+10.0", "+0.0", "500", "ms", "3.0", "s"]
    assert lines[4].split() == ["40", "40", "%", "80.0", "+20.0", "+10.0", "500", "ms", "3.0", "s"]
    assert lines[5] == "▁▃█  50.0 to 80.0 %, all labels 85.0 %"
    assert lines[6] == "Nothing is proven: 1 seed beside random, and a test needs at least two"
    assert lines[7].startswith(
        "By the means alone: no strategy reaches 95 % of full accuracy; with 40 % of the labels the"
        " best, margin[x], has"
    )


def test_unfinished_run(write_run):
    text = printed(print_run, write_run("r", "margin", 0, {10: 0.5}, finished=False))
    assert "unfinished: 1 of 3 rounds" in text
    with pytest.raises(ValueError, match="finished round"):
        printed(print_run, write_run("none", "margin", 0, {}, finished=False))


def test_comparison(tmp_path, write_run):
    for seed in (0, 1):
        write_run(f"m{seed}", "margin", seed, {n: v + 0.02 * seed for n, v in VALUES.items()})
        write_run(f"r{seed}", "random", seed, {10: 0.5, 20: 0.5, 40: 0.6})
    lines = printed(print_comparison, tmp_path).splitlines()
    assert lines[0].strip() == "test accuracy, %, 2 seeds"
    assert lines[2].split()[:5] == ["margin", "▁▃█", "51.0", "61.0", "81.0"]
    assert lines[3].split()[:5] == ["random", "▁▁▃", "50.0", "50.0", "60.0"]
    start = lines.index("area against random, labels to 95 % of all, seconds")
    at = next(i for i, line in enumerate(lines) if line.startswith("Nothing is proven"))
    assert at > start == 4
    assert lines[at].startswith(
        "Nothing is proven: no strategy differs from random at the 5 % level over 2 seeds"
    )
    claim = (
        "By the means alone: margin has 81.0 % accuracy with 40 % of the labels, random 60.0 %"
        " (mean of 2 seeds)."
    )
    assert lines[at + 1].startswith(claim)
