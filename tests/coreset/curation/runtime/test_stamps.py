"""Files that change under the same path are noticed, whatever their size and times say; what did
not change is reused.
"""

import multiprocessing
import os
import time

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from toys import Coin, write_jsonl

from coreset.curation.operators.threshold import Threshold
from coreset.curation.run import Settings, curate
from coreset.curation.runtime.stamps import stamp
from coreset.scorers.image.images import Images
from coreset.scorers.length import Length

CONTEXT = multiprocessing.get_context("fork")


def rewrite(path, data):
    """Write other content of the same size into a file, and set its times back."""
    before = path.stat()
    assert len(data) == before.st_size
    time.sleep(0.02)
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (
        before.st_size,
        before.st_mtime_ns,
        before.st_ino,
    )


def words(out):
    return {r["id"]: r["text_words"] for r in pq.read_table(out / "decisions.parquet").to_pylist()}


def test_text_that_changed_in_place(tmp_path):
    source = tmp_path / "a.jsonl"
    source.write_text('{"id": "a", "text": "one two"}\n{"id": "b", "text": "x"}\n')
    log = []
    curate([Length()], source, tmp_path / "out", log=log.append)
    assert words(tmp_path / "out") == {"a": 2, "b": 1}
    assert not any("reused" in s or "unchanged" in s for s in log)
    rewrite(source, b'{"id": "a", "text": "one-two"}\n{"id": "b", "text": "x"}\n')
    curate([Length()], source, tmp_path / "out", log=log.append)
    assert words(tmp_path / "out") == {"a": 1, "b": 1}
    assert not any("reused" in s for s in log)


def test_what_did_not_change_is_reused_and_named(tmp_path, monkeypatch):
    for name in "ab":
        write_jsonl(tmp_path / f"{name}.jsonl", [{"text": f"{name} {i}"} for i in range(10)])
    settings = Settings(partition_rows=5)
    curate([Length()], str(tmp_path / "*.jsonl"), tmp_path / "out", settings=settings)
    log = []
    (tmp_path / "a.jsonl").touch()
    (tmp_path / "b.jsonl").replace(tmp_path / "c")  # a copy of the same content
    (tmp_path / "b.jsonl").write_bytes((tmp_path / "c").read_bytes())
    monkeypatch.setattr(Length, "__call__", lambda *_: pytest.fail("computed again"))
    curate(
        [Length()], str(tmp_path / "*.jsonl"), tmp_path / "out", settings=settings, log=log.append
    )
    assert "state: the rows of 2 of 2 files are reused" in log
    assert "text_words: the answers about 4 of 4 partitions are reused" in log
    curate(
        [Length()], str(tmp_path / "*.jsonl"), tmp_path / "out", settings=settings, log=log.append
    )
    assert "input: 2 of 2 files are unchanged since an earlier run" in log


def picture(path, size):
    Image.fromarray(np.full((*size, 3), 90, np.uint8)).save(path, format="BMP")


def test_an_image_that_changed_under_its_path(tmp_path):
    picture(tmp_path / "a.bmp", (8, 4))
    picture(tmp_path / "b.bmp", (8, 4))
    picture(tmp_path / "other.bmp", (4, 8))
    write_jsonl(tmp_path / "rows.jsonl", [{"id": n, "image": f"{n}.bmp"} for n in "ab"])
    recipe = [Images(()), Threshold("image_width", low=5)]
    other = (tmp_path / "other.bmp").read_bytes()
    first = curate(recipe, tmp_path / "rows.jsonl", tmp_path / "out")
    assert first.manifest["counts"]["kept"] == 0
    assert len(other) == (tmp_path / "b.bmp").stat().st_size
    rewrite(tmp_path / "b.bmp", other)
    second = curate(recipe, tmp_path / "rows.jsonl", tmp_path / "out")
    kept = [
        r["id"]
        for r in pq.read_table(tmp_path / "out" / "decisions.parquet").to_pylist()
        if r["state"] == "kept"
    ]
    assert kept == ["b"]
    assert second.manifest["counts"]["kept"] == 1
    (tmp_path / "a.bmp").unlink()
    third = curate(recipe, tmp_path / "rows.jsonl", tmp_path / "out")
    assert third.manifest["counts"] == {"rows": 2, "kept": 1, "dropped": 1, "rejected": 0}


def test_images_are_reused_when_nothing_changed_and_not_looked_at_when_nothing_reads_them(
    tmp_path, monkeypatch
):
    picture(tmp_path / "a.bmp", (8, 4))
    write_jsonl(
        tmp_path / "rows.jsonl",
        [
            {"id": "a", "image": "a.bmp", "text": "x"},
            {"id": "b", "image": "gone.bmp", "text": "\\u0000"},
        ],
    )
    curate([Images(())], tmp_path / "rows.jsonl", tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr(Images, "__call__", lambda *_: pytest.fail("computed again"))
        curate([Images(())], tmp_path / "rows.jsonl", tmp_path / "out")
    monkeypatch.setattr("coreset.curation.run.images_key", lambda *_: pytest.fail("looked at"))
    curate([Length()], tmp_path / "rows.jsonl", tmp_path / "words")


def test_the_stamp_of_what_is_not_there():
    assert stamp("/nowhere/at/all") is None
    assert stamp("a\0b") is None


def slow(source, out, state, ready):
    import coreset.curation.run as run

    original = run.decide
    run.decide = lambda *a: (ready.set(), time.sleep(60), original(*a))[-1]
    curate([Coin(0)], source, out, state=state)


def test_two_runs_with_one_out_and_different_states(tmp_path):
    source = write_jsonl(tmp_path / "a.jsonl", [{"text": f"x {i}"} for i in range(5)])
    ready = CONTEXT.Event()
    child = CONTEXT.Process(target=slow, args=(source, tmp_path / "out", tmp_path / "one", ready))
    child.start()
    assert ready.wait(60)
    with pytest.raises(ValueError, match="another process works in .*out"):
        curate([Coin(0)], source, tmp_path / "out", state=tmp_path / "two")
    with pytest.raises(ValueError, match="another process works in .*one"):
        curate([Coin(0)], source, tmp_path / "other", state=tmp_path / "one")
    child.kill()
    child.join()
    done = curate([Coin(0)], source, tmp_path / "out", state=tmp_path / "two")
    assert done.manifest["counts"]["kept"] == 5
    assert not (tmp_path / "out" / ".lock").exists()
