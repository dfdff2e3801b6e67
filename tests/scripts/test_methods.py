import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from coreset.registry import names, strategy
from coreset.strategies.combine.mixture import Mixture
from coreset.strategies.coverage.kcenter import KCenterGreedy
from tests import processes

ROOT = Path(__file__).parent.parent.parent
SCRIPT = ROOT / "scripts" / "methods.py"


@pytest.fixture(scope="module")
def methods():
    spec = importlib.util.spec_from_file_location("methods_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    path = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = path
    return module


def test_escape(methods):
    assert methods.escape("a | b_c * `x_|y` <d> [e]\n  f") == r"a \| b\_c \* `x_\|y` \<d\> \[e\] f"
    assert (
        methods.escape("X (arXiv:1708.00489).")
        == "X ([arXiv:1708.00489](https://arxiv.org/abs/1708.00489))."
    )


def test_values_as_yaml_writes_them(methods):
    values = [None, True, False, 1, 1.0, "a", (0.5, "b"), [], KCenterGreedy()]
    assert [methods.shown(v) for v in values] == [
        "null",
        "true",
        "false",
        "1",
        "1.0",
        "a",
        "[0.5, b]",
        "[]",
        "kcenter",
    ]
    assert methods.shown(Mixture().strategies) == "[margin, random]"


def test_paper_is_the_paragraph_that_cites(methods):
    assert "ICLR 2018" in methods.paper("coreset.strategies.coverage.kcenter")
    assert methods.paper("coreset.strategies.submodular.facility_location").startswith(
        "Lin & Bilmes"
    )  # not the formula before it
    assert methods.paper("coreset.strategies.baseline.random") == ""


def test_every_strategy_has_one_row_of_five_cells(methods):
    page = methods.page()
    own, _, columns = page.partition("## Columns")
    for name, column in methods.COLUMNS.items():
        assert f"| `{name}` | {column.shape} |" in columns
        assert methods.escape(column.source) in columns
    table = [line for line in own.splitlines() if line.startswith("| `")]
    assert all(line.replace(r"\|", "").count("|") == 6 for line in table)
    listed = [line.split("`")[1] for line in table]
    ours = [n for n in names() if type(strategy(n)).__module__.startswith("coreset.strategies.")]
    distillers = [f"distill/{n}" for n in names("coreset.distillers")]
    assert sorted(listed) == sorted([*ours, *distillers])
    assert page == methods.page()
    assert page.endswith("\n")
    assert f"{len(ours)} strategies in" in page


def test_rows(methods):
    row = methods.row("stratified")
    assert (
        row == "| `stratified` | Take candidates at random with a share per class. | `labels` |"
        " `balance=proportional` |  |"
    )
    assert "| `features` | `normalize=false`" in methods.row("kcenter")


def test_needs_of_what_is_taken(methods, monkeypatch):
    from coreset import Strategy

    @dataclass(frozen=True)
    class Both(Strategy):
        """Do it."""

        a: str = "x|y"
        needs = frozenset({"probs"})
        needs_selected = frozenset({"probs", "labels"})

        def select(self, pool, signals, k, rng):
            raise NotImplementedError

    monkeypatch.setattr(methods, "strategy", lambda name: Both())
    monkeypatch.setattr(sys.modules[__name__], "__doc__", None)
    assert (
        methods.row("both")
        == r"| `both` | Do it. | `probs`, `labels` (of what is taken) | `a=x\|y` |  |"
    )


def test_check_sees_what_is_missing_and_stale(methods, tmp_path, capsys):
    page = tmp_path / "METHODS.md"
    assert methods.main(["--check", "--out", str(page)]) == 1
    assert methods.main(["--out", str(page)]) == 0
    assert methods.main(["--check", "--out", str(page)]) == 0
    page.write_text(page.read_text() + "edited\n")
    assert methods.main(["--check", "--out", str(page)]) == 1
    assert "METHODS.md is stale: run python scripts/methods.py" in capsys.readouterr().err


@pytest.mark.slow
def test_the_page_in_the_tree_is_up_to_date():
    ran = processes.script(SCRIPT, "--check", cwd=ROOT)
    assert ran.returncode == 0, ran.stderr
