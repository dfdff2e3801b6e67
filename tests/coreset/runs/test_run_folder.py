import json

import pytest

from coreset import Point
from coreset.runs.run_folder import RunFolder, difference, hardware, versions

CONFIG = {"strategy": {"_target_": "a.B", "k": 1}, "seed": 0, "budget": [0.1, 0.2, 0.3]}


def folder(path, config=CONFIG, rounds=3):
    return RunFolder(path, config, rounds, "margin", 0)


def commit(run, labels):
    run.commit(
        {"round": run.done, "labels": labels},
        Point(labels, labels / 100, 0.5, run.done, {"loss": 1.0}),
    )


def files(path):
    return {p.name: p.read_bytes() for p in path.iterdir() if p.is_file()}


def test_a_new_run_and_its_rounds(tmp_path):
    run = folder(tmp_path / "run")
    assert run.done == 0
    for labels in (10, 20, 30):
        assert not json.loads((run.path / "state.json").read_text())["finished"]
        commit(run, labels)
    state = json.loads((run.path / "state.json").read_text())
    assert (state["rounds_done"], state["rounds"], state["finished"], state["format"]) == (
        3,
        3,
        True,
        1,
    )
    assert state["versions"]["numpy"]
    assert state["hardware"] == hardware()
    assert sorted(p.name for p in run.path.iterdir()) == [
        ".lock",
        "config.json",
        "curve.jsonl",
        "ledger.jsonl",
        "state.json",
    ]
    assert run.round(2) == run.path / "rounds" / "0002"
    assert run.round(2).is_dir()


def test_reopening_goes_on(tmp_path):
    first = folder(tmp_path)
    commit(first, 10)
    commit(first, 20)
    again = folder(tmp_path)
    assert (again.done, again.ledger, again.points) == (2, first.ledger, first.points)
    assert again.curve == first.curve
    commit(again, 30)
    assert folder(tmp_path).done == 3


@pytest.mark.parametrize("written", [["ledger.jsonl"], ["ledger.jsonl", "curve.jsonl"]])
def test_a_crash_before_the_state_drops_the_half_round(tmp_path, written):
    run = folder(tmp_path)
    commit(run, 10)
    before = files(tmp_path)
    commit(run, 20)
    for name in set(before) - set(written):
        (tmp_path / name).write_bytes(before[name])
    again = folder(tmp_path)
    assert again.done == 1
    assert [p.labels for p in again.points] == [10]
    commit(again, 25)
    assert [
        json.loads(line)["labels"] for line in (tmp_path / "curve.jsonl").read_text().splitlines()
    ] == [10, 25]
    assert [
        json.loads(line)["labels"] for line in (tmp_path / "ledger.jsonl").read_text().splitlines()
    ] == [10, 25]


def test_a_crash_before_the_first_state_starts_anew(tmp_path):
    run = folder(tmp_path)
    (tmp_path / "state.json").unlink()
    assert folder(tmp_path, {"other": 1}).done == run.done == 0


def test_a_round_that_cannot_be_written_does_not_count(tmp_path, monkeypatch):
    import coreset.runs.run_folder as record

    run = folder(tmp_path)
    commit(run, 10)
    whole = record.write_atomic

    def full(path, data):
        if path.name == "curve.jsonl":
            raise OSError(28, "No space left on device")
        return whole(path, data)

    monkeypatch.setattr(record, "write_atomic", full)
    with pytest.raises(OSError, match="No space"):
        commit(run, 20)
    monkeypatch.undo()
    assert folder(tmp_path).done == 1


def test_another_configuration_is_refused_with_its_keys(tmp_path):
    commit(folder(tmp_path), 10)
    other = {**CONFIG, "strategy": {"_target_": "a.B", "k": 2}, "start": 0.1}
    with pytest.raises(
        ValueError,
        match=(
            r"holds a run of another configuration: strategy.k: 1 there, 2 now; start: None there,"
            r" 0.1 now"
        ),
    ):
        folder(tmp_path, other)
    assert folder(tmp_path, json.loads(json.dumps(CONFIG))).done == 1


def test_another_format_is_refused(tmp_path):
    folder(tmp_path)
    state = json.loads((tmp_path / "state.json").read_text())
    (tmp_path / "state.json").write_text(json.dumps({**state, "format": 7}))
    with pytest.raises(ValueError, match="written in format 7, this version reads format 1"):
        folder(tmp_path)


def test_difference():
    assert difference({"a": 1, "b": {"c": [1, 2]}}, {"a": 1, "b": {"c": [1, 3]}}) == [
        "b.c: [1, 2] there, [1, 3] now"
    ]
    assert difference({"a": 1}, {"b": 2}) == ["a: 1 there, None now", "b: None there, 2 now"]
    assert difference({"a": {"b": 1}}, {"a": 5}) == ["a: {'b': 1} there, 5 now"]
    assert difference(CONFIG, CONFIG) == []


def test_versions_leave_out_what_is_not_installed():
    assert set(versions("numpy", "no-such-package-here")) == {"python", "numpy"}
