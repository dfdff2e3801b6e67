import json

from coreset.report.distilled import distilled_html
from coreset.report.load import read_run
from coreset.report.page import write_report
from coreset.report.words import count, percent


def distill(path):
    """Turn a made-up run into one that made its images."""
    lines = [json.loads(line) for line in (path / "ledger.jsonl").read_text().splitlines()]
    for entry in lines:
        size = {
            "ipc": entry["labels"] / 2,
            "images": entry["labels"],
            "bytes": 785 * entry["labels"],
            "trained_images": 4 * entry["labels"],
        }
        entry |= {
            "indices": [],
            "ids": [],
            "synthetic": {**size, "labels_used": 100, "label_kind": "hard"},
        }
    (path / "ledger.jsonl").write_text("".join(json.dumps(e) + "\n" for e in lines))
    return path


def test_three_budgets_and_the_labels_consumed(write_run, tmp_path):
    run = distill(write_run("made", "distill/dm, all labels", 0, {10: 0.7, 20: 0.8}, mode="prune"))
    write_run("random", "random", 0, {10: 0.5, 20: 0.6}, mode="prune")
    html = distilled_html([read_run(run)])
    row = html.split("<tbody>")[1].split("</tr>")[0]
    cells = [c.split("</td>")[0] for c in row.split("<td>")[1:]]
    assert cells == [
        "distill/dm, all labels",
        "0",
        "5",
        "10",
        count(7850),
        "40",
        "hard",
        "100",
        percent(0.7),
    ]
    page = write_report([tmp_path], tmp_path / "out").read_text()
    assert "every image and every label of the pool" in page


def test_nothing_is_said_of_selections(write_run, tmp_path):
    run = write_run("random", "random", 0, {10: 0.5, 20: 0.6})
    assert distilled_html([read_run(run)]) == ""
    assert "distilled sets" not in write_report([tmp_path], tmp_path / "out").read_text()
