"""One process in a folder at a time, and nothing of a killed one left."""

import gc
import multiprocessing
import os
import signal
import time

import pytest

from coreset.core.locks import LOCK, hold, locked, sweep
from coreset.runs.run_folder import RunFolder

CONTEXT = multiprocessing.get_context("fork")


def holds(folder, how, ready):
    if how == "block":
        with locked(folder):
            ready.set()
            time.sleep(60)
    else:
        kept = RunFolder(folder, {"a": 1}, 2, "margin", 0)
        ready.set()
        time.sleep(60)
        del kept


@pytest.mark.parametrize("how", ["block", "run"])
def test_a_second_process_is_refused_until_the_first_has_died(tmp_path, how):
    ready = CONTEXT.Event()
    child = CONTEXT.Process(target=holds, args=(tmp_path / "run", how, ready))
    child.start()
    assert ready.wait(60)
    with pytest.raises(ValueError, match="another process works in"), locked(tmp_path / "run"):
        pass
    with pytest.raises(ValueError, match="another process works in"):
        RunFolder(tmp_path / "run", {"a": 1}, 2, "margin", 0)
    (tmp_path / "run" / "deep").mkdir()
    (tmp_path / "run" / "deep" / "x.parquet.77.part").write_bytes(b"half")
    (tmp_path / "run" / "hf-1.77.part").mkdir()
    (tmp_path / "run" / "hf-1.77.part" / "state.json").write_bytes(b"half")
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    if how == "run":
        assert RunFolder(tmp_path / "run", {"a": 1}, 2, "margin", 0).done == 0
    else:
        with locked(tmp_path / "run"):
            pass
    gc.collect()
    assert not list((tmp_path / "run").rglob("*.part"))
    assert not (tmp_path / "run" / LOCK).exists()


def test_one_process_may_open_its_run_twice(tmp_path):
    first = hold(tmp_path)
    assert hold(tmp_path) is first
    assert (tmp_path / LOCK).exists()
    first.release()
    first.release()
    assert not (tmp_path / LOCK).exists()


def test_a_forked_child_lets_go_of_nothing(tmp_path):
    first = hold(tmp_path / "a")
    child = CONTEXT.Process(target=first.release)
    child.start()
    child.join()
    assert (tmp_path / "a" / LOCK).exists()
    with pytest.raises(ValueError, match="another process"), locked(tmp_path / "a"):
        pass


def test_the_sweep_takes_only_what_matches(tmp_path):
    for name in ("a.parquet.1.part", "a.parquet", "b.parquet.1.part"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.parquet.1.part").write_bytes(b"x")
    sweep(tmp_path, "a.parquet.*.part", deep=False)
    assert sorted(p.name for p in tmp_path.rglob("*.part")) == [
        "a.parquet.1.part",
        "b.parquet.1.part",
    ]
    sweep(tmp_path)
    assert not list(tmp_path.rglob("*.part"))
