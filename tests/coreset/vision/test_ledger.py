import json

import numpy as np
import pytest

from coreset.core.pool import Pool
from coreset.core.selection import Selection
from coreset.vision import Ledger

IDS = np.array([11, 12, 13, 14, 15, 16])
POOL = Pool(6, selected=[0], ids=IDS)


def batch(*positions):
    return Selection(
        positions,
        scores=np.linspace(1, 0.5, len(positions)),
        ids=IDS[list(positions)],
        info={"strategy": "margin", "k": np.int64(3)},
    )


def test_a_round_and_the_next(tmp_path):
    path = tmp_path / "runs" / "al.jsonl"
    ledger = Ledger(path)
    assert ledger.commit(batch(3, 1, 4)) == 1
    assert ledger.ids("pending") == [14, 12, 15]
    labeled = tmp_path / "labeled.json"
    labeled.write_text(
        json.dumps({"images": [{"id": 11}, {"id": 14}]})
    )  # 11 was labeled before; 14 may have no box in it
    assert ledger.ingest(labeled, POOL) == {"labeled": 1, "pending": 2}
    ledger.skip([12], "blurred screen")
    ledger.reject(np.array([15]), "private")
    ledger = Ledger(path)  # another day
    assert {s: ledger.ids(s) for s in ("pending", "labeled", "skipped", "rejected")} == {
        "pending": [],
        "labeled": [14],
        "skipped": [12],
        "rejected": [15],
    }
    now = ledger.pool(POOL)
    assert now.selected.tolist() == [0, 3]
    assert now.candidates.tolist() == [1, 2, 5]
    assert ledger.commit(batch(1, 2)) == 2  # a skipped image may come again
    assert ledger.ingest([12, 13, 14]) == {"labeled": 2, "pending": 0}
    events = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(e["event"], e["batch"], e["ids"]) for e in events] == [
        ("commit", 1, [14, 12, 15]),
        ("label", 1, [14]),
        ("skip", 1, [12]),
        ("reject", 1, [15]),
        ("commit", 2, [12, 13]),
        ("label", 2, [12, 13]),
    ]
    assert events[0]["scores"] == [1.0, 0.75, 0.5]
    assert events[0]["info"] == {"strategy": "margin", "k": 3}
    assert events[1]["file"] == str(labeled)
    assert events[2]["reason"] == "blurred screen"


def test_a_line_cut_short_is_dropped_and_written_again(tmp_path):
    path = tmp_path / "al.jsonl"
    Ledger(path).commit(batch(1))
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"event": "commit", "ids": [1')
    ledger = Ledger(path)
    assert ledger.ids("pending") == [12]
    assert path.read_bytes() == whole
    ledger.commit(batch(2))
    assert Ledger(path).ids("pending") == [12, 13]


def test_what_cannot_follow_is_refused_and_not_written(tmp_path):
    path = tmp_path / "al.jsonl"
    ledger = Ledger(path)
    ledger.commit(batch(1, 2))
    before = path.read_bytes()
    with pytest.raises(ValueError, match="commit: image 13 is pending; expected new or skipped"):
        ledger.commit(batch(3, 2))
    with pytest.raises(ValueError, match="an image occurs twice"):
        ledger.commit(batch(3, 3))
    with pytest.raises(ValueError, match="skip: image 16 is not in any batch; expected pending"):
        ledger.skip([16], "dark")
    with pytest.raises(
        ValueError, match="labeled: image 16 is in no batch, expected one of the 2 pending"
    ):
        ledger.ingest([12, 16])
    ledger.reject([12], "broken")
    with pytest.raises(ValueError, match="commit: image 12 is rejected"):
        ledger.commit(batch(1))
    with pytest.raises(ValueError, match="labeled: image 12 is rejected"):
        ledger.ingest([12])
    with pytest.raises(ValueError, match="a selection without ids"):
        ledger.commit(Selection([1]))
    with pytest.raises(ValueError, match="state: expected pending"):
        ledger.ids("done")
    assert path.read_bytes().startswith(before)
    assert len(path.read_text().splitlines()) == 2


def test_files_that_are_none(tmp_path):
    ledger = Ledger(tmp_path / "al.jsonl")
    ledger.commit(batch(1))
    empty = tmp_path / "empty.json"
    empty.write_text('{"images": []}')
    with pytest.raises(ValueError, match="empty.json: no labeled images"):
        ledger.ingest(empty)
    (tmp_path / "bad.jsonl").write_text(
        '{"event": "commit", "ids": [1]}\n{"event": "dance", "ids": []}\n'
    )
    with pytest.raises(ValueError, match=r"bad.jsonl, line 2: not an event that can follow"):
        Ledger(tmp_path / "bad.jsonl")


def test_names_may_be_texts(tmp_path):
    ledger = Ledger(tmp_path / "al.jsonl")
    ledger.commit(Selection([0], ids=np.array(["a.jpg"])))
    assert Ledger(tmp_path / "al.jsonl").ids("pending") == ["a.jpg"]
