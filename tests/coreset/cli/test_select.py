from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from omegaconf.errors import MissingMandatoryValue
from rich.console import Console

from coreset import Selection, select
from coreset.cli.common import conf_dir, fail, read_column, write_picks
from tests import processes

X = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)


def test_conf_dir_holds_the_applications():
    assert {"train.yaml", "select.yaml", "strategy"} <= {p.name for p in conf_dir().iterdir()}


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("sizes [a] and [/b] differ"), "error: sizes [a] and [/b] differ\n"),
        (KeyError("signal 'x' is missing"), "error: signal 'x' is missing\n"),
        (
            FileNotFoundError(2, "No such file or directory", "a[b].npy"),
            "error: [Errno 2] No such file or directory: 'a[b].npy'\n",
        ),
        (
            MissingMandatoryValue("Missing mandatory value: budget\n    full_key: budget"),
            "error: Missing mandatory value: budget\n",
        ),
    ],
)
def test_fail_prints_one_line_and_leaves(error, words, capsys):
    with pytest.raises(SystemExit) as left:
        fail(error, Console(stderr=True), go_on=False)
    assert left.value.code == 1
    assert capsys.readouterr().err == words


def test_fail_lets_what_is_unexpected_or_part_of_a_sweep_through(capsys, monkeypatch):
    fail(RuntimeError("broken"), Console(stderr=True), go_on=False)
    fail(KeyError("key"), Console(stderr=True), go_on=False)
    fail(ValueError("budget"), Console(stderr=True), go_on=True)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    fail(ValueError("seen"), Console(stderr=True), go_on=False)
    assert (
        capsys.readouterr().err
        == "error: RuntimeError: broken\nerror: KeyError: key\nerror: budget\nerror: seen\n"
    )


def test_read_column(tmp_path):
    for suffix, write in [
        ("csv", lambda t, p: t.to_csv(p, index=False)),
        ("parquet", lambda t, p: t.to_parquet(p)),
    ]:
        path = tmp_path / f"t.{suffix}"
        write(pd.DataFrame({"index": [3, 1], "loss": [0.5, 1.5], "ids": ["007", "x"]}), path)
        assert read_column(path, "loss").tolist() == [0.5, 1.5]
        assert read_column(path, "selected").tolist() == [3, 1]
        assert read_column(path, "ids").tolist() == ["007", "x"]
        with pytest.raises(
            ValueError,
            match=(
                rf"blur: cannot be read from .*t.{suffix}: no column 'blur'; it has index,"
                r" loss, ids"
            ),
        ):
            read_column(path, "blur")
    pd.DataFrame({"whatever": ["01", "2"]}).to_csv(tmp_path / "one.csv", index=False)
    assert read_column(tmp_path / "one.csv", "ids").tolist() == ["01", "2"]
    assert read_column(tmp_path / "one.csv", "labels").tolist() == [1, 2]
    pd.DataFrame({"f": [[1.0, 2.0], [3.0, 4.0]]}).to_parquet(tmp_path / "lists.parquet")
    assert read_column(tmp_path / "lists.parquet", "features").shape == (2, 2)
    (tmp_path / "a.txt").write_text("3\n\n1\n")
    assert read_column(tmp_path / "a.txt", "selected").dtype == np.int64
    assert read_column(tmp_path / "a.txt", "loss").tolist() == [3.0, 1.0]
    (tmp_path / "ids.txt").write_text("01\na b #1\n")
    assert read_column(tmp_path / "ids.txt", "ids").tolist() == ["01", "a b #1"]
    (tmp_path / "empty.txt").write_text("")
    assert read_column(tmp_path / "empty.txt", "selected").tolist() == []
    np.save(tmp_path / "x.npy", X)
    assert isinstance(read_column(tmp_path / "x.npy", "features"), np.memmap)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.npy", b""),
        ("x.npy", b"not numpy"),
        ("x.txt", b"1\ntwo\n"),
        ("x.csv", b""),
        ("x.parquet", b"no"),
    ],
)
def test_an_unreadable_file_is_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"loss: cannot be read from .*{name}: "):
        read_column(tmp_path / name, "loss")


def test_write_picks_without_ids(tmp_path):
    write_picks(Selection([4, 2]), tmp_path / "p.csv")
    assert (tmp_path / "p.csv").read_text() == "index,id\n4,4\n2,2\n"


def run(*settings):
    """Return the finished process of `coreset-select`."""
    return processes.command("coreset-select", *settings, cwd=Path.cwd())


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl"])
def test_a_table_of_scores_is_chosen_from_by_name(ending, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = pd.DataFrame({"name": list("abcde"), "ifd": [0.1, 0.9, 0.5, 0.2, 0.8], "other": 1})
    path = tmp_path / f"scores.{ending}"
    if ending == "parquet":
        table.to_parquet(path)
    elif ending == "csv":
        table.to_csv(path, index=False)
    else:
        table.to_json(path, orient="records", lines=True)
    settings = [
        "strategy=top_k",
        "strategy.signal=ifd",
        "budget=2",
        f"input={path}",
        "out=picked.csv",
    ]
    assert run(*settings, "id=name").returncode == 0
    assert (tmp_path / "picked.csv").read_text() == "index,id\n1,b\n4,e\n"
    answer = run(*settings, "id=nothing")
    assert answer.returncode == 1
    assert "no field 'nothing' for ids; it has name, ifd, other" in answer.stderr.replace("\n", " ")


@pytest.mark.parametrize(
    ("columns", "variant", "why"),
    [
        (["features"], "MaxHerding", "MaxHerding: nothing is labeled yet"),
        (["probs"], "Margin", "Margin: features for MaxHerding are not there"),
        (["features", "probs", "selected"], "UHerding", "UHerding: 6 labels over 3 classes"),
    ],
)
def test_without_a_strategy_auto_answers_as_in_python(columns, variant, why, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    probs = np.random.default_rng(1).dirichlet(np.ones(3), len(X))
    given = {"features": X, "probs": probs, "selected": np.array([2, 3, 5])}
    for name in columns:
        np.save(f"{name}.npy", given[name])
    done = run("budget=3", "out=picked.csv", *(f"{name}={name}.npy" for name in columns))
    assert done.returncode == 0, done.stderr
    assert why in done.stderr
    same = select(budget=3, **{name: given[name] for name in columns})
    assert same.info["variant"] == variant
    assert pd.read_csv("picked.csv")["index"].tolist() == same.indices.tolist()


def test_auto_named_asks_for_all_its_columns(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", X)
    done = run("strategy=auto", "budget=3", "out=picked.csv", "features=x.npy")
    assert done.returncode == 1
    assert "signal 'probs' is missing; present: features" in done.stderr
    assert not Path("picked.csv").exists()


def test_an_option_of_auto_keeps_it_partial_as_in_python(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", X)
    done = run("strategy.switch=3", "budget=3", "out=picked.csv", "features=x.npy")
    assert done.returncode == 0, done.stderr
    same = select(budget=3, features=X, options={"switch": 3.0})
    assert pd.read_csv("picked.csv")["index"].tolist() == same.indices.tolist()
