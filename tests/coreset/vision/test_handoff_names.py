"""Files that a tool has renamed are the images they were."""

import json
from pathlib import Path

import numpy as np
import pytest

from coreset.vision import CocoPool
from coreset.vision.handoff import read_label_studio


def pool_of(*names: str) -> CocoPool:
    n = len(names)
    return CocoPool(n, ids=np.arange(n), names=np.array(names), sizes=np.full((n, 2), 9), categories={1: "cat"})  # fmt: skip


def tasks(folder: Path, *images: str) -> Path:
    choice = {"type": "choices", "value": {"choices": ["cat"]}}
    file = folder / "tasks.json"
    file.write_text(json.dumps([{"data": {"image": i}, "annotations": [{"result": [choice]}]} for i in images]))  # fmt: skip
    return file


def test_uploads_to_label_studio_are_known_by_what_is_left_of_their_names(tmp_path: Path) -> None:
    pool = pool_of("a/street 1 é (1).jpg", "b/plain.jpg", "b/12345678-own.jpg", "c/x+y.jpg")
    file = tasks(
        tmp_path,
        "/data/upload/3/0e65535c-xy.jpg",
        "/data/upload/3/1a2b3c4d-12345678-own.jpg",
        "/data/upload/3/0e65535c-street_1_%C3%A9_1.jpg",
        "/data/upload/3/0e65535c-plain.jpg",
    )
    assert read_label_studio(file, pool).labeled.tolist() == [3, 2, 0, 1]


def test_an_upload_that_may_be_of_two_images_is_refused(tmp_path: Path) -> None:
    pool = pool_of("street 1.jpg", "street_1.jpg", "a/x.jpg", "b/x.jpg")
    for name in ("upload/3/0e65535c-street_1.jpg", "upload/3/0e65535c-x.jpg", "0e65535c-x.jpg"):
        with pytest.raises(KeyError, match="upload of several images"):
            read_label_studio(tasks(tmp_path, f"/data/{name}"), pool)
    with pytest.raises(KeyError, match="is no image of"):
        read_label_studio(tasks(tmp_path, "/data/upload/3/0e65535c-other.jpg"), pool)
    # no upload, or one whose folder says which
    assert read_label_studio(tasks(tmp_path, "/d/street_1.jpg"), pool).labeled.tolist() == [1]
    assert read_label_studio(tasks(tmp_path, "/d/b/0e65535c-x.jpg"), pool).labeled.tolist() == [3]
