"""The ledger and files: images go by their names, the start is kept, what contradicts is refused."""

import json
import os

import numpy as np
import pytest

from coreset.core.selection import Selection
from coreset.vision import ImageScores, ImageSelection, Ledger, select
from coreset.vision.coco import CocoPool

CATEGORIES = [{"id": 1, "name": "cat"}]


def image(k, name=None, **more):
    return {"id": k, "file_name": name or f"{k}.jpg", "width": 9, "height": 9, **more}


def write(path, images, annotations=()):
    path.write_text(
        json.dumps({"images": images, "categories": CATEGORIES, "annotations": list(annotations)})
    )
    return path


@pytest.fixture
def pool(tmp_path):
    return CocoPool.from_coco(write(tmp_path / "all.json", [image(k) for k in range(1, 9)]))


def batch(pool, *ids):
    at = [pool.places[k] for k in ids]
    return ImageSelection.over(pool, Selection(at, ids=pool.ids[at]))


def test_a_file_that_a_tool_numbered_anew_never_labels_other_images(tmp_path, pool):
    ledger = Ledger(tmp_path / "al.jsonl")
    ledger.commit(batch(pool, 3, 1, 2, 4))
    back = write(tmp_path / "back.json", [image(1, "3.jpg"), image(2, "1.jpg")])
    before = (tmp_path / "al.jsonl").read_bytes()
    for known in (pool, None):
        with pytest.raises(ValueError, match=r"back.json: image 1 is '3.jpg' here and '1.jpg' in"):
            ledger.ingest(back, known)
    with pytest.raises(ValueError, match="file names alone need pool"):
        ledger.ingest(back, renumbered=True)
    assert (tmp_path / "al.jsonl").read_bytes() == before
    assert ledger.ingest(back, pool, renumbered=True) == {"labeled": 2, "pending": 2}
    assert Ledger(tmp_path / "al.jsonl").ids("labeled") == [3, 1]


def test_ids_that_are_labeled_already_do_not_hide_a_contradiction(tmp_path, pool):
    ledger = Ledger(tmp_path / "al.jsonl")
    begun = CocoPool.from_coco(tmp_path / "all.json", labeled=[1, 2])
    ledger.commit(batch(begun, 3, 4))
    back = write(tmp_path / "back.json", [image(1, "3.jpg"), image(2, "4.jpg")])
    with pytest.raises(ValueError, match="image 1 is '3.jpg' here and '1.jpg' in .*has id 3 there"):
        ledger.ingest(back, begun)
    assert ledger.ingest(back, begun, renumbered=True) == {"labeled": 2, "pending": 0}


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        ([image(3, "x/y/3.jpg"), image(1)], None, [3, 1]),  # a path that ends in the name
        ([{"file_name": "3.jpg"}], None, [3]),
        ([{"id": 3}], None, [3]),
        ([image(3, "gone.jpg")], ValueError, "image 3 is 'gone.jpg' here and '3.jpg' in"),
        ([image(99, "gone.jpg")], KeyError, "image 99, 'gone.jpg', is not in"),
        (
            [image(99, "3.jpg")],
            ValueError,
            "image 99 is '3.jpg' here and no image of .*has id 3 there",
        ),
        (
            [image(3), image(3)],
            ValueError,
            "image 3: entries 0 and 1 of 'images' are the same image",
        ),
        ([{"width": 3}], ValueError, "entry 0 of 'images' has no 'id' and no 'file_name'"),
        ([None], ValueError, "entry 0 of 'images' has no 'id'"),
        ([{"id": 3, "file_name": 3}], ValueError, "image 3: file_name: expected a text, got 3"),
        ([image(5)], ValueError, "image 5 is in no batch, expected one of the 3 pending"),
    ],
)
def test_name_and_id_have_to_agree(tmp_path, pool, images, error, message):
    ledger = Ledger(tmp_path / "al.jsonl")
    ledger.commit(batch(pool, 3, 1, 4))
    back = tmp_path / "back.json"
    back.write_text(json.dumps({"images": images}))
    if error is None:
        ledger.ingest(back, pool)
        assert sorted(ledger.ids("labeled")) == sorted(message)
        return
    with pytest.raises(error, match=message):
        ledger.ingest(back, pool)
    assert ledger.ids("labeled") == []


def test_a_labeled_file_of_the_same_name_in_another_folder_is_another_image(tmp_path):
    every = write(tmp_path / "all.json", [image(1, "a/x.jpg"), image(2, "b/x.jpg")])
    back = write(tmp_path / "back.json", [image(1, "b/x.jpg")])
    with pytest.raises(
        ValueError, match="image 1 is 'b/x.jpg' here and 'a/x.jpg' in .*has id 2 there"
    ):
        CocoPool.from_coco(every, labeled=back)
    pool = CocoPool.from_coco(every)
    ledger = Ledger(tmp_path / "al.jsonl")
    ledger.commit(batch(pool, 1))
    for known in (pool, None):
        with pytest.raises(ValueError, match="image 1 is 'b/x.jpg' here and 'a/x.jpg' in"):
            ledger.ingest(back, known)


def test_the_start_is_written_down_once_and_never_bought(tmp_path):
    write(tmp_path / "all.json", [image(k) for k in range(1, 9)])
    begun = CocoPool.from_coco(tmp_path / "all.json", labeled=[1, 2, 3])
    ledger = Ledger(tmp_path / "al.jsonl")
    ledger.commit(batch(ledger.pool(begun), 5, 4))
    ledger.ingest([5, 4])
    events = [json.loads(line) for line in (tmp_path / "al.jsonl").read_text().splitlines()]
    assert [(e["event"], e["ids"]) for e in events] == [
        ("start", [1, 2, 3]),
        ("commit", [5, 4]),
        ("label", [5, 4]),
    ]
    assert events[0]["names"] == ["1.jpg", "2.jpg", "3.jpg"]
    # whatever a later run says of what it knows
    for labeled in ([], [4, 5], [1, 2, 3], [1, 2, 3, 4, 5]):
        ledger = Ledger(tmp_path / "al.jsonl")
        now = ledger.pool(CocoPool.from_coco(tmp_path / "all.json", labeled=labeled))
        assert now.ids[now.candidates].tolist() == [6, 7, 8]
        assert now.selected.tolist() == [0, 1, 2, 4, 3]
        scores = ImageScores(now.ids, np.arange(8.0)[::-1], "last")
        assert select(now, 3, scores=scores).ids.tolist() == [6, 7, 8]
    assert ledger.started
    assert ledger.ids("start") == [1, 2, 3]
    with pytest.raises(ValueError, match="commit: image 2 is start; expected new or skipped"):
        ledger.commit(batch(begun, 2))


def test_a_pool_that_contradicts_the_ledger_is_refused(tmp_path, pool):
    ledger = Ledger(tmp_path / "al.jsonl")
    ledger.commit(batch(CocoPool.from_coco(tmp_path / "all.json", labeled=[1]), 5))
    other = CocoPool.from_coco(tmp_path / "all.json", labeled=[1, 7])
    for use in (ledger.pool, ledger.start, lambda p: ledger.commit(batch(p, 8))):
        with pytest.raises(
            ValueError,
            match=r"image 7 is labeled in .*all.json, but is neither one of the 1 images",
        ):
            use(other)
    renamed = CocoPool.from_coco(
        write(tmp_path / "b.json", [image(k, f"{k + 1}.jpg") for k in range(1, 9)])
    )
    with pytest.raises(
        ValueError, match=r"al.jsonl: image 1 is '1.jpg' here and '2.jpg' in .*b.json"
    ):
        ledger.pool(renamed)
    gone = CocoPool.from_coco(write(tmp_path / "c.json", [image(k) for k in range(2, 9)]))
    with pytest.raises(KeyError, match="al.jsonl: 1 image ids are not in .*c.json, first 1"):
        ledger.pool(gone)
    assert ledger.start([1]) == 1
    with pytest.raises(ValueError, match="it began with 1 other images than these 2"):
        ledger.start([1, 2])


def test_ledgers_from_before_the_start_was_kept(tmp_path, pool):
    path = tmp_path / "al.jsonl"
    path.write_text(
        '{"event": "commit", "time": "", "batch": 1, "ids": [5, 4], "scores": null, "info": {}}\n'
        '{"event": "label", "time": "", "batch": 1, "ids": [5], "file": "x"}\n'
    )
    ledger = Ledger(path)
    assert not ledger.started
    begun = CocoPool.from_coco(tmp_path / "all.json", labeled=[1, 2, 5])
    assert ledger.pool(begun).ids[ledger.pool(begun).candidates].tolist() == [3, 6, 7, 8]
    back = write(tmp_path / "back.json", [image(4)])
    with pytest.raises(
        ValueError,
        match=r"image 4 is '4.jpg' here, and .*al.jsonl keeps no file name of it: give pool=",
    ):
        ledger.ingest(back)
    assert ledger.ingest(back, begun) == {"labeled": 1, "pending": 0}
    ledger.commit(batch(ledger.pool(begun), 8))
    assert Ledger(path).ids("start") == [1, 2]  # completed with the first batch that knew it
    assert 1 not in ledger.pool(pool).candidates.tolist()


def test_files_that_are_no_ledger_stay_as_they_are(tmp_path):
    one_line = tmp_path / "instances.json"
    write(one_line, [image(1)])
    before = one_line.read_bytes()
    with pytest.raises(ValueError, match="instances.json: no ledger"):
        Ledger(one_line)
    assert one_line.read_bytes() == before
    (tmp_path / "b.jsonl").write_bytes(b'\xff\xfe{"event"\n')
    with pytest.raises(ValueError, match="b.jsonl, line 1: not an event"):
        Ledger(tmp_path / "b.jsonl")
    (tmp_path / "c.jsonl").write_text('{"event": "commit", "ids": "abc"}\n')
    with pytest.raises(ValueError, match="c.jsonl, line 1: .*expected a list of ids"):
        Ledger(tmp_path / "c.jsonl")
    os.mkfifo(tmp_path / "d.jsonl")
    with pytest.raises(OSError, match="d.jsonl: not a regular file"):
        Ledger(tmp_path / "d.jsonl")
