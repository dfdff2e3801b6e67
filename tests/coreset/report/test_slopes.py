import json

from coreset.report.compare import compare
from coreset.report.load import read_runs
from coreset.report.slopes import on_slope


def mark(path, flags):
    rows = [json.loads(line) for line in (path / "ledger.jsonl").read_text().splitlines()]
    for row, flag in zip(rows, flags, strict=True):
        row["training"] = {"on_slope": flag}
    (path / "ledger.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_trainings_that_stopped_on_a_slope_are_named(tmp_path, write_run):
    path = write_run("m", "margin", 0, {10: 0.5, 20: 0.6, 40: 0.8})
    write_run("m/baseline/random", "random", 0, {10: 0.4, 20: 0.5, 40: 0.7})
    full = write_run("m/baseline/full", "full", 0, {100: 0.9})
    assert on_slope(compare(read_runs(tmp_path))) == []  # runs that do not say
    mark(path, [False, True, True])
    mark(full, [True])
    (note,) = on_slope(compare(read_runs(tmp_path)))
    assert note.startswith("Stopped on a slope: margin at 20, 40 labels; all labels. ")
    assert "more than 2 points" in note
