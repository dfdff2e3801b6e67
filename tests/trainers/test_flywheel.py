import csv
import json

import numpy as np
import pytest

from coreset.trainers import flywheel as command_line
from coreset.trainers.data.sources import digits
from coreset.trainers.flywheel import split


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_roles_have_their_shares_where_the_test_set_was_split_off_by_the_same_seed(seed):
    data = digits()
    roles, labels = split(data, {"train": 0.1, "dev": 0.2, "canary": 0.05}, seed)
    counts = {r: int((roles == r).sum()) for r in ("train", "dev", "canary", "test")}
    n = len(data)
    assert counts["test"] == len(data.test_labels)
    for name, share in (("train", 0.1), ("dev", 0.2), ("canary", 0.05)):
        assert abs(counts[name] - share * n) < 4 * np.sqrt(share * (1 - share) * n)
    assert len(labels) == len(roles)


@pytest.mark.parametrize("command", ["turn", "show"])
def test_a_folder_without_a_flywheel_is_refused_before_the_data_are_made(
    command, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(command_line, "make_flywheel", lambda *_: pytest.fail("data were made"))
    folder = tmp_path / "none"
    monkeypatch.setattr("sys.argv", ["coreset-flywheel", command, f"flywheel={folder}"])
    with pytest.raises(SystemExit):
        command_line.main()
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert "no flywheel there; begin one with init" in message
    assert not folder.exists()


def test_init_on_a_flywheel_is_refused_before_the_data_are_made(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command_line, "make_flywheel", lambda *_: pytest.fail("data were made"))
    (tmp_path / "state.json").write_text("{}")
    monkeypatch.setattr("sys.argv", ["coreset-flywheel", "init", f"flywheel={tmp_path}"])
    with pytest.raises(SystemExit):
        command_line.main()
    assert "holds a flywheel already" in capsys.readouterr().err


def test_a_pattern_names_observations_and_one_without_files_is_refused_before_the_data_are_made(
    tmp_path, monkeypatch, capsys
):
    class Reached(BaseException):
        pass

    def reached(*_):
        raise Reached

    monkeypatch.setattr(command_line, "make_flywheel", reached)
    (tmp_path / "state.json").write_text("{}")
    words = [f"flywheel={tmp_path}", f"observations={tmp_path}/prod/*.parquet"]
    monkeypatch.setattr("sys.argv", ["coreset-flywheel", "turn", *words])
    with pytest.raises(SystemExit):
        command_line.main()
    assert "observations: no such file" in capsys.readouterr().err
    (tmp_path / "prod").mkdir()
    (tmp_path / "prod/day.parquet").write_bytes(b"")
    monkeypatch.setattr("sys.argv", ["coreset-flywheel", "turn", *words])
    with pytest.raises(Reached):
        command_line.main()


def test_another_command_is_refused_by_name(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["coreset-flywheel", "spin", f"flywheel={tmp_path}"])
    with pytest.raises(SystemExit):
        command_line.main()
    assert "expected init, turn, show, got 'spin'" in capsys.readouterr().err


@pytest.mark.slow
def test_people_fill_the_file_of_a_turn(tmp_path, monkeypatch, capsys):
    """The turn stops with a table of what to label and goes on when it is filled."""
    data = digits()
    _, truth = split(data, {"train": 0.1, "dev": 0.2, "canary": 0}, 0)
    words = (
        f"flywheel={tmp_path}/wheel", "data=digits", "embedding=pixels", f"store={tmp_path}/store",
        "split={train: 0.1, dev: 0.2, canary: 0}", "freeze.clusters=0", "freeze.leaks=drop",
        "oracle=file",
    )  # fmt: skip

    def run(command, *more):
        monkeypatch.setattr("sys.argv", ["coreset-flywheel", command, *words, *more])
        command_line.main()
        return capsys.readouterr()

    run("init")
    file = tmp_path / "wheel/labels.csv"
    for _ in range(3):  # the batch and its control; the rows asked twice
        shown = run("turn", "budget=20")
        if (tmp_path / "wheel/turns/001/decide.json").exists():
            break
        assert "labels.csv" in shown.err
        with file.open(newline="") as lines:
            rows = list(csv.DictReader(lines))
        for row in rows:
            row["label"] = data.classes[truth[int(row["index"])]]
        with file.open("w", newline="") as lines:
            table = csv.DictWriter(lines, ["index", "id", "label"])
            table.writeheader()
            table.writerows(rows)
    facts = json.loads((tmp_path / "wheel/turns/001/label.json").read_text())["facts"]
    assert 0 < facts["cost"] <= 20
    assert (tmp_path / "wheel/turns/001/gate.json").exists()
