"""Rows brought together by the local engine: every row once, to its part, whatever the schemas."""

import multiprocessing
import os
import signal
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest

from coreset.curation.engines import spill
from coreset.curation.engines.local import Local


@dataclass(frozen=True)
class Read:
    """Item i: the numbers of its hundred; odd items lack the column `word`, even ones name it by a
    dictionary.
    """

    parts: int

    def __call__(self, item):
        values = np.arange(100 * item, 100 * item + 100)
        table = {"_part": values * 7 % self.parts, "value": values}
        if item % 2 == 0:
            table["word"] = pa.array([f"w{v % 3}" for v in values]).dictionary_encode()
        return pa.table(table)


@dataclass(frozen=True)
class Held:
    def __call__(self, item):
        part, rows = item
        words = rows["word"].to_pylist() if "word" in rows.schema.names else [None] * len(rows)
        return part, sorted(zip(rows["value"].to_pylist(), words, strict=True))


@pytest.mark.parametrize("parts", [1, 5, 256, 700])
@pytest.mark.parametrize("held", [1, 2**26])
def test_every_row_once(tmp_path, monkeypatch, parts, held):
    monkeypatch.setattr(spill, "_HELD", held)  # write at every item, or at the end
    got = list(Local(spill=str(tmp_path)).exchange(Read(parts), range(4), Held(), parts))
    want = {}
    for v in range(400):
        word = f"w{v % 3}" if v // 100 % 2 == 0 else None
        want.setdefault(v * 7 % parts, []).append((v, word))
    assert got == sorted(want.items())
    assert list(tmp_path.iterdir()) == []


def test_no_rows_and_an_error(tmp_path):
    empty = pa.table({"_part": pa.array([], pa.int64())})
    assert list(Local().exchange(lambda item: empty, [1, 2], Held(), 3)) == []
    with pytest.raises(ZeroDivisionError):
        list(Local(spill=str(tmp_path)).exchange(Read(2), [0], lambda item: 1 / 0, 2))
    assert list(tmp_path.iterdir()) == []


@dataclass(frozen=True)
class Killed:
    """Kill the process of a number."""

    process: int

    def __call__(self, item):
        os.kill(self.process, signal.SIGKILL)


def _killed(folder, workers):
    list(Local(workers, spill=folder).exchange(Read(2), range(4), Killed(os.getpid()), 2))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_process_leaves_its_rows_until_the_next(tmp_path, workers):
    process = multiprocessing.get_context("spawn").Process(
        target=_killed, args=(str(tmp_path), workers)
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert len(list(tmp_path.glob("*/*.arrows"))) == 2
    list(Local(spill=str(tmp_path)).exchange(Read(2), range(4), Held(), 2))
    assert list(tmp_path.iterdir()) == []


def test_what_others_have_stays(tmp_path):
    """A run beside this one, a link to a file elsewhere, and folders without a lock."""
    (mine := tmp_path / "mine.txt").write_text("mine")
    folder = tmp_path / "spill"
    (folder / "coreset-spill-other").mkdir(parents=True)
    (folder / "coreset-spill-link.lock").symlink_to(mine)
    (folder / "coreset-spill-link").symlink_to(tmp_path)
    with spill.spill_folder(folder) as first, spill.spill_folder(folder) as second:
        assert first != second
        assert first.is_dir()
        assert first.stat().st_mode & 0o777 == 0o700
        assert {p.name for p in folder.iterdir() if p.suffix != ".lock"} == {
            "coreset-spill-other", "coreset-spill-link", first.name, second.name,
        }  # fmt: skip
    assert mine.read_text() == "mine"
    assert sorted(p.name for p in folder.iterdir()) == [
        "coreset-spill-link", "coreset-spill-link.lock", "coreset-spill-other",
    ]  # fmt: skip


def test_a_folder_that_is_not_there_is_named_and_not_made(tmp_path):
    with pytest.raises(ValueError, match="spill: expected a folder that exists, got '.*no'"):
        Local(spill=str(tmp_path / "no"))
    assert list(tmp_path.iterdir()) == []
