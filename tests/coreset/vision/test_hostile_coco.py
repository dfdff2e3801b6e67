"""Some thousand malformed files, made from a right one by seeded changes: a refusal in words that
names the file, or a right answer.
"""

import copy
import json
import os
import re

import numpy as np
import pytest
import torch

from coreset.core.selection import Selection
from coreset.vision import Detections, ImageSelection, Ledger
from coreset.vision.coco import CocoPool

REFUSALS = (ValueError, KeyError, TypeError, OSError)
NAN, INF = float("nan"), float("inf")
STRANGE = [
    None, True, False, 0, -1, 1.5, 2**70, -(2**70), 10**400, 1e308, NAN, INF, -INF, "", "9", "a.jpg", "../../etc/passwd", "/etc/passwd", "a\0b", "\ud800", "x" * 5000,
    [], [1], [[1]], [None] * 4, [NAN] * 4, [0, 0, "1", 1], [True] * 4, {}, {"size": 3}, {"size": [1, 1], "counts": "zz"}, {"id": 1}, 7, 3, "7",
]  # fmt: skip


def right():
    """A right instances file of four images, and results on it."""
    images = [
        {"id": k, "file_name": f"v/{k}.jpg", "width": 64, "height": 32, "group": k % 2}
        for k in (7, 3, 9, 4)
    ]
    drawn = [
        {
            "id": i,
            "image_id": k,
            "category_id": c,
            "bbox": [1, 2, 30, 20],
            "segmentation": {"size": [32, 64]},
            "iscrowd": 0,
        }
        for i, (k, c) in enumerate([(7, 1), (3, 5), (3, 1)])
    ]
    return {
        "images": images,
        "categories": [{"id": 1, "name": "tree"}, {"id": 5, "name": "nut"}],
        "annotations": drawn,
    }


def results():
    return [
        {
            "image_id": k,
            "category_id": c,
            "bbox": [1, 2, 30, 20],
            "score": s,
            "file_name": f"v/{k}.jpg",
        }
        for k, c, s in ((7, 1, 0.5), (3, 5, 0.25), (3, 1, 1.0), (9, 1, 0.75))
    ]


def places(value, path=()):
    """Every place in a tree of lists and objects."""
    yield path
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, child in inner:
        yield from places(child, (*path, key))


def spoil(rng, data, strange=STRANGE):
    """A copy with one to three places replaced, taken out, doubled or exchanged."""
    data = copy.deepcopy(data)
    for _ in range(int(rng.integers(1, 4))):
        every = [p for p in places(data) if p]
        if not every:
            return data
        path = every[int(rng.integers(len(every)))]
        parent = data
        for key in path[:-1]:
            parent = parent[key]
        how = rng.integers(4)
        if how == 0 and isinstance(parent, list):
            parent.insert(0, copy.deepcopy(parent[path[-1]]))
        elif how == 1:
            del parent[path[-1]]
        else:
            parent[path[-1]] = copy.deepcopy(strange[int(rng.integers(len(strange)))])
    return data


def refused(error, *names):
    """A refusal has words, and one of the names of what it is about in them."""
    words = str(error)
    assert type(error) in (*REFUSALS, FileNotFoundError), repr(error)
    assert len(words) < 3000, words[:200]
    assert any(name in words for name in names), words


def check_pool(pool):
    """What the promises of a pool are, whatever file it came from."""
    assert len(np.unique(pool.ids)) == pool.size == len(set(pool.names.tolist()))
    assert pool.ids.dtype.kind in "iU"
    assert pool.sizes.min() >= 1
    for name in pool.names.tolist():
        assert name
        assert not re.search(r"(^|[/\\])\.\.($|[/\\])|[\0\n\ud800]", name)
    assert all(isinstance(k, int) and not isinstance(k, bool) for k in pool.categories)


@pytest.mark.parametrize("seed", range(8))
def test_instances(tmp_path, seed):
    rng, taken = np.random.default_rng(seed), 0
    for i in range(150):
        data = spoil(rng, right())
        path = tmp_path / f"all{i}.json"
        path.write_text(json.dumps(data))
        try:
            pool = CocoPool.from_coco(path, groups="group" if i % 2 else None)
        except Exception as error:
            refused(error, path.name)
            continue
        taken += 1
        check_pool(pool)
        assert pool.ids.tolist() == [image["id"] for image in data["images"]]
        assert pool.sizes.tolist() == [
            [image["width"], image["height"]] for image in data["images"]
        ]
    assert 0 < taken < 150


@pytest.mark.parametrize("seed", range(4))
def test_labeled_files(tmp_path, seed):
    rng, taken = np.random.default_rng(seed), 0
    every = tmp_path / "all.json"
    every.write_text(json.dumps(right()))
    part = {**right(), "images": right()["images"][:2]}
    names = dict(zip([7, 3, 9, 4], ["v/7.jpg", "v/3.jpg", "v/9.jpg", "v/4.jpg"], strict=True))
    for i in range(100):
        data = spoil(rng, part)
        path = tmp_path / f"labeled{i}.json"
        path.write_text(json.dumps(data))
        try:
            pool = CocoPool.from_coco(every, labeled=path)
        except Exception as error:
            refused(error, path.name)
            continue
        taken += 1
        for image, k in zip(data["images"], pool.ids[pool.selected].tolist(), strict=True):
            assert image.get("id", k) == k
            if "file_name" in image:
                assert names[k].endswith(image["file_name"]) or image["file_name"].startswith(
                    names[k][2:-4]
                )
    assert 0 < taken < 100


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_results(tmp_path, seed, known):
    rng, taken = np.random.default_rng(seed), 0
    every = tmp_path / "all.json"
    every.write_text(json.dumps(right()))
    pool = CocoPool.from_coco(every) if known else None
    for i in range(150):
        data = spoil(rng, results())
        path = tmp_path / f"results{i}.json"
        path.write_text(json.dumps(data))
        try:
            table = Detections.from_coco_results(path, pool, outside="clip" if i % 3 else "error")
        except Exception as error:
            refused(error, path.name)
            continue
        taken += 1
        assert len(table) == len(data)
        assert sorted(table.scores.tolist()) == sorted(row["score"] for row in data)
        assert sorted(table.labels.tolist()) == sorted(row["category_id"] for row in data)
        assert np.isfinite(table.boxes).all()
        assert ((table.scores >= 0) & (table.scores <= 1)).all()
    assert 0 < taken < 150


def outputs():
    return [
        {"boxes": [[0.0, 0, 9, 9]], "scores": [0.5], "labels": [1], "probs": [[0.25, 0.75]]},
        {
            "boxes": [[0.0, 0, 9, 9], [1, 1, 2, 2]],
            "scores": [0.5, 0.25],
            "labels": [1, 5],
            "probs": [[0.5, 0.5], [1, 0.0]],
        },
    ]


@pytest.mark.parametrize("seed", range(4))
def test_outputs_of_torchvision(tmp_path, seed):
    rng, taken = np.random.default_rng(seed), 0
    every = tmp_path / "all.json"
    every.write_text(json.dumps(right()))
    pool = CocoPool.from_coco(every)
    strange = [v for v in STRANGE if not isinstance(v, str | dict)]
    for i in range(150):
        rows = spoil(rng, outputs(), strange) if i else outputs()
        try:
            if i % 2:
                rows = [{k: torch.tensor(v) for k, v in row.items()} for row in rows]
        except Exception:  # torch itself refuses these
            continue
        try:
            table = Detections.from_torchvision(rows, [7, 3], pool)
        except Exception as error:
            refused(error, "torchvision outputs")
            continue
        taken += 1
        assert np.isfinite(table.boxes).all()
        assert ((table.scores >= 0) & (table.scores <= 1)).all()
    assert 0 < taken < 150


@pytest.mark.parametrize("with_pool", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_ingest(tmp_path, seed, with_pool):
    rng, taken = np.random.default_rng(seed), 0
    every = tmp_path / "all.json"
    every.write_text(json.dumps(right()))
    pool = CocoPool.from_coco(every, labeled=[4])
    part = {"images": right()["images"][:2]}
    for i in range(100):
        ledger = Ledger(tmp_path / f"al{seed}{i}.jsonl")
        ledger.commit(ImageSelection.over(pool, Selection([0, 1, 2], ids=pool.ids[[0, 1, 2]])))
        before = ledger.path.read_bytes()
        data = spoil(rng, part)
        path = tmp_path / f"back{i}.json"
        path.write_text(json.dumps(data))
        renumbered = with_pool and i % 4 == 0
        try:
            ledger.ingest(path, pool if with_pool else None, renumbered=renumbered)
        except Exception as error:
            refused(error, path.name)
            assert ledger.path.read_bytes() == before
            continue
        taken += 1
        if not renumbered:
            told = [image.get("id", image.get("file_name", "")[2:3]) for image in data["images"]]
            assert {str(k) for k in ledger.ids("labeled")} <= {
                f"{k:g}" if isinstance(k, float) else str(k) for k in told
            }
        assert len(Ledger(ledger.path).ids("labeled")) <= len(data["images"])
    assert 0 < taken < 100


@pytest.mark.parametrize("seed", range(2))
def test_bytes_that_are_no_file_of_ours(tmp_path, seed):
    rng = np.random.default_rng(seed)
    whole = json.dumps(right()).encode()
    every = tmp_path / "all.json"
    every.write_bytes(whole)
    pool = CocoPool.from_coco(every)
    ledger = Ledger(tmp_path / "al.jsonl")
    ledger.commit(ImageSelection.over(pool, Selection([0, 1], ids=pool.ids[[0, 1]])))
    for i in range(100):
        data = bytearray(whole)
        for _ in range(int(rng.integers(1, 6))):
            data[int(rng.integers(len(data)))] = int(rng.integers(256))
        path = tmp_path / f"bytes{i}.json"
        path.write_bytes(bytes(data[: int(rng.integers(1, len(data) + 1))]))
        for use in (
            CocoPool.from_coco, lambda p: CocoPool.from_coco(every, labeled=p), lambda p: CocoPool.from_coco(every, features=p),
            lambda p: Detections.from_coco_results(p, pool), lambda p: ledger.ingest(p, pool), Ledger,
        ):  # fmt: skip
            try:
                use(path)
            except Exception as error:
                refused(error, path.name)


def test_a_pipe_is_not_waited_for(tmp_path):
    every = tmp_path / "all.json"
    every.write_text(json.dumps(right()))
    pool = CocoPool.from_coco(every)
    os.mkfifo(tmp_path / "pipe")
    for use in (
        CocoPool.from_coco, lambda p: CocoPool.from_coco(every, labeled=p), lambda p: CocoPool.from_coco(every, features=p), lambda p: Detections.from_coco_results(p, pool),
        lambda p: Detections.from_coco_results(results(), pool, probs=p), lambda p: Ledger(tmp_path / "al.jsonl").ingest(p, pool), Ledger,
    ):  # fmt: skip
        with pytest.raises(OSError, match="pipe: not a regular file"):
            use(tmp_path / "pipe")
