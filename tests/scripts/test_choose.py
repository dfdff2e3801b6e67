"""`coreset-select` from end to end, as a process."""

import csv
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pandas as pd
import pytest

import coreset
from coreset import Selection
from tests import processes

SCRIPT = Path(__file__).parent.parent.parent / "scripts" / "choose.py"
RNG = np.random.default_rng(0)
X = RNG.normal(size=(30, 4)).astype(np.float32)


def run(folder: Path, *arguments: str) -> CompletedProcess[str]:
    return processes.script(SCRIPT, *arguments, cwd=folder)


@pytest.fixture
def folder(tmp_path):
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "taken.npy", np.array([4, 9]))
    pd.DataFrame({"ids": [f"a,{i}" for i in range(30)]}).to_csv(tmp_path / "ids.csv", index=False)
    return tmp_path


def test_npy_in_parquet_out(folder):
    asked = ("strategy=kcenter", "features=x.npy", "selected=taken.npy", "budget=5", "seed=3")
    ran = run(folder, *asked)
    assert ran.returncode == 0, ran.stderr
    summary, certified = ran.stderr.strip().splitlines()
    assert summary == "5 of 30 chosen -> picked.parquet"
    want = coreset.select("kcenter", 5, features=X, selected=[4, 9], seed=3)
    got = Selection.load(folder / "picked.parquet")
    assert got.indices.tolist() == want.indices.tolist()
    np.testing.assert_array_equal(got.scores, want.scores)
    assert got.info["certificates"] == coreset.certify(want, selected=[4, 9], features=X)
    assert certified.startswith(f"cover radius {got.info['cover_radius']:.3g}, facility value ")
    assert got.info["strategy"] == "KCenterGreedy"
    assert got.info["seed"] == 3
    assert set(got.info["signals"]) >= {"features"}  # fingerprints of what it was chosen from
    assert "numpy" in got.info["versions"]
    assert sorted(p.name for p in folder.iterdir()) == [
        "ids.csv",
        "picked.parquet",
        "taken.npy",
        "x.npy",
    ]  # no log, no outputs/


def test_csv_and_txt_out_and_picks_as_input(folder):
    ran = run(
        folder,
        "features=x.npy",
        "ids=ids.csv",
        "budget=0.1",
        "out=deep/p.csv",
        "strategy=kcenter",
        "strategy.normalize=true",
    )
    assert ran.returncode == 0, ran.stderr
    want = coreset.select(
        "kcenter", 3, features=X, ids=[f"a,{i}" for i in range(30)], options={"normalize": True}
    )
    with (folder / "deep" / "p.csv").open(newline="") as f:
        rows = list(csv.reader(f))
    assert rows == [["index", "id"], *([str(i), f"a,{i}"] for i in want.indices)]
    ran = run(
        folder, "strategy=random", "ids=ids.csv", "selected=deep/p.csv", "budget=4", "out=p.txt"
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.strip() == "4 of 30 chosen -> p.txt"
    picks = [int(line) for line in (folder / "p.txt").read_text().splitlines()]
    assert len(picks) == 4
    assert not set(picks) & set(want.indices.tolist())


def later(*case):
    return pytest.param(*case, marks=pytest.mark.slow)  # a process each


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["features=gone.npy", "budget=5"], "No such file or directory: 'gone.npy'"),
        later(["features=x.npy"], "Missing mandatory value: budget"),
        later(
            ["features=x.npy", "budget=31"],
            "budget: expected a count from 1 to 30 (the pool) or a share in (0, 1], got 31",
        ),
        later(["features=taken.npy", "budget=1"], "features: expected shape (N, D), got (2,)"),
        later(
            ["strategy=margin", "features=x.npy", "budget=5"],
            "signal 'probs' is missing; present: features",
        ),
        later(
            ["features=x.npy", "budget=5", "out=p.json"],
            "out: expected a name that ends in .parquet, .csv or .txt, got p.json",
        ),
        later(
            ["features=x.pt", "budget=5"],
            "features: expected a .npy, .parquet, .csv or .txt file, got x.pt",
        ),
        later(["features=ids.csv", "budget=5"], "features: expected shape (N, D), got (30,)"),
        later(
            ["features=x.npy", "budget=5", "columns={blur: taken.npy}"],
            "columns must have one row per example",
        ),
    ],
    ids=lambda v: v[-1] if isinstance(v, list) else "",
)
def test_a_mistake_is_one_line_and_no_traceback(folder, arguments, words):
    ran = run(folder, *arguments)
    assert ran.returncode == 1
    lines = ran.stderr.strip().splitlines()
    assert len(lines) == 1, ran.stderr
    assert lines[0].startswith("error: ")
    assert words in lines[0]
    assert ran.stdout == ""
    assert not list(folder.glob("p*"))


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("strategy=kcentre", "unknown strategy 'kcentre'; did you mean kcenter"),
        later("bugdet=5", "unknown setting 'bugdet'; did you mean budget"),
        later("strategy.swich=3", "unknown setting 'strategy.swich'; did you mean strategy.switch"),
    ],
)
def test_a_mistyped_name_is_refused_before_anything_is_read(folder, argument, words):
    ran = run(folder, "features=x.npy", "budget=5", argument)
    assert ran.returncode == 1
    assert words in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not list(folder.glob("p*"))


@pytest.mark.slow
def test_a_sweep_goes_on_after_a_mistake(folder):
    ran = run(folder, "-m", "features=x.npy", "budget=31,5", "out=p${budget}.txt")
    assert ran.returncode == 1
    assert "error: budget: expected a count" in ran.stderr
    assert (folder / "p5.txt").exists()
