import errno
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch

from coreset.core.store import Store, fingerprint, write_atomic

A = np.arange(12, dtype=np.float32).reshape(3, 4)


def test_equal_content_has_one_fingerprint():
    assert (
        fingerprint(A)
        == fingerprint(A.copy())
        == fingerprint(np.asfortranarray(A))
        == fingerprint(A[::-1][::-1])
    )
    assert fingerprint({"a": 1, "b": [A]}) == fingerprint({"b": (A,), "a": 1})
    assert fingerprint(torch.from_numpy(A)) == fingerprint(A)
    assert fingerprint(np.array(["a", None], object)) == fingerprint(np.array(["a", None], object))
    fingerprint(
        np.array(["2020-01-01"], "M8[D]"),
        np.float16([1]),
        np.ones((3, 0)),
        np.array(1.0),
        Path("a"),
        None,
    )


def test_a_fingerprint_is_the_same_in_another_process():
    code = (
        "import numpy as np; from coreset.core.store import fingerprint; print(fingerprint({'a':"
        " [1, 'x', None], 'b': np.arange(3)}))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == fingerprint({"a": [1, "x", None], "b": np.arange(3)})
    assert len(out.stdout.strip()) == 16


def test_different_content_has_different_fingerprints():
    big = torch.arange(100_000)
    other = big.clone()
    other[50_000] = 0
    parts = [
        A, A.T, A.reshape(4, 3), A.astype(np.float64), A + 1e-3, A.tolist(), [A], [A, A], big, other,
        1, 1.0, "1", b"1", True, None, "", [], [[]], {}, [{}], {"a": {"b": 1}}, {"a": {}, "b": 1}, [1, [2]], [[1], 2], [[1, 2]],
        ["ab", "c"], ["a", "bc"], np.array(["ab", "c"]), {"a": 1}, ["a", 1], np.float32(1), np.array([], np.int64), np.array([]),
    ]  # fmt: skip
    assert len({fingerprint(p) for p in parts}) == len(parts)
    assert fingerprint(1, 2) != fingerprint([1, 2], [])


def test_blocks_do_not_change_a_fingerprint():
    wide = np.random.default_rng(0).normal(size=(5, 2**21))  # 16 MiB a row
    assert fingerprint(wide) == fingerprint(wide.copy()) != fingerprint(np.roll(wide, 1, axis=0))


@pytest.mark.parametrize("thing", [{1, 2}, object(), fingerprint])
def test_what_has_no_stable_content_is_refused(thing):
    with pytest.raises(TypeError, match=r"fingerprint: expected arrays.*got (set|object|function)"):
        fingerprint({"a": [thing]})


def test_write_atomic_replaces_and_leaves_nothing_beside(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    assert write_atomic(path, "ä") == path
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    with pytest.raises(UnicodeEncodeError):
        write_atomic(path, "\ud800")
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]
    assert path.read_bytes() == b"new"


def limited(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run code in a process that may write no file beyond 64 KiB: a real OSError from the system."""
    head = """
        import resource, signal, sys
        from pathlib import Path
        import numpy as np
        from coreset.core.store import Store, write_atomic
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
        folder = Path(sys.argv[1])
    """
    code = textwrap.dedent(head) + textwrap.dedent(code)
    return subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=False
    )


def test_a_full_disk_leaves_the_old_file(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    ran = limited(
        """
        try:
            write_atomic(folder / "a.txt", b"x" * 200_000)
        except OSError as error:
            print(error.errno, error)
        """,
        tmp_path,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith(f"{errno.EFBIG} ")
    assert (
        f"cannot write {tmp_path / 'a.txt'}: File too large; nothing that was there is lost"
        in ran.stdout
    )
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_full_disk_leaves_no_column(tmp_path):
    ran = limited(
        """
        try:
            Store(folder).create("x", "k", (50_000,), np.float64, lambda a: a.fill(1))
        except OSError as error:
            print(error)
        """,
        tmp_path,
    )
    assert ran.returncode == 0, ran.stderr
    assert f"cannot write {tmp_path / 'x-k.npy'}: File too large" in ran.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_selection_on_a_full_disk_leaves_the_old_one(tmp_path):
    from coreset import Selection

    Selection([1, 2]).save(tmp_path / "s.parquet")
    ran = limited(
        "from coreset import Selection;"
        " Selection(np.random.default_rng(0).permutation(100_000)).save(folder / 's.parquet')",
        tmp_path,
    )
    assert "nothing that was there is lost" in ran.stderr
    assert Selection.load(tmp_path / "s.parquet").indices.tolist() == [1, 2]
    assert [p.name for p in tmp_path.iterdir()] == ["s.parquet"]


def test_a_column_is_made_once_and_memory_mapped(tmp_path):
    store, calls = Store(tmp_path / "cache"), []

    def fill(array):
        calls.append(1)
        array[:] = A

    assert store.get("features", "k") is None
    for _ in range(2):
        got = store.create("features", "k", (3, 4), np.float32, fill, {"model": "m"})
        assert isinstance(got, np.memmap)
        assert not got.flags.writeable
        np.testing.assert_array_equal(got, A)
    assert calls == [1]
    assert json.loads((tmp_path / "cache" / "features-k.json").read_text()) == {
        "name": "features",
        "key": "k",
        "shape": [3, 4],
        "model": "m",
    }
    assert sorted(p.name for p in (tmp_path / "cache").iterdir()) == [
        "features-k.json",
        "features-k.npy",
    ]
    assert store.get("features", "other") is None


def test_a_fill_that_fails_leaves_nothing(tmp_path):
    store = Store(tmp_path)

    def fill(array):
        array[0] = 1
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        store.create("x", "k", (3,), np.float32, fill)
    assert list(tmp_path.iterdir()) == []
    assert store.create("x", "k", (3,), np.float32, lambda a: a.fill(2)).tolist() == [2, 2, 2]


def test_a_process_killed_half_way_leaves_nothing_under_the_final_name(tmp_path):
    code = """
    import os, signal, sys
    from coreset.core.store import Store
    def fill(array):
        array[:1000] = 1
        array.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    Store(sys.argv[1]).create("x", "k", (2000,), "f4", fill)
    """
    ran = subprocess.run([sys.executable, "-c", textwrap.dedent(code), str(tmp_path)], check=False)
    assert ran.returncode == -9
    assert Store(tmp_path).get("x", "k") is None
    assert not (tmp_path / "x-k.npy").exists()
    assert Store(tmp_path).create("x", "k", (2000,), "f4", lambda a: a.fill(3)).sum() == 6000


def test_json_has_no_word_for_infinity_and_every_file_says_null(tmp_path):
    import json

    import numpy as np

    from coreset import Curve, Point, Selection
    from coreset.core.store import to_json
    from coreset.runs.curve import read_curves
    from coreset.runs.run_folder import RunFolder

    def strict(text):
        return json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))

    value = {
        "a": [float("inf"), 1.0, float("nan")],
        "b": np.float64(-np.inf),
        "c": np.array([np.inf, 2.0]),
        "d": "inf",
    }
    assert strict(to_json(value, lambda v: v.tolist())) == {
        "a": [None, 1.0, None],
        "b": None,
        "c": [None, 2.0],
        "d": "inf",
    }
    folder = RunFolder(tmp_path / "run", {"a": 1}, 1, "kcenter", 0)
    folder.commit({"round": 0, "scores": [float("inf"), 2.0]}, Point(1, 0.1, float("nan")))
    line = (tmp_path / "run" / "ledger.jsonl").read_text()
    assert strict(line) == {"round": 0, "scores": [None, 2.0]}
    strict((tmp_path / "run" / "curve.jsonl").read_text())
    assert np.isnan(RunFolder(tmp_path / "run", {"a": 1}, 1, "kcenter", 0).points[0].value)
    (curve,) = read_curves([tmp_path / "run" / "curve.jsonl"])
    assert isinstance(curve, Curve)
    # as it was written before
    (tmp_path / "run" / "ledger.jsonl").write_text(line.replace("null", "Infinity"))
    assert RunFolder(tmp_path / "run", {"a": 1}, 1, "kcenter", 0).ledger[0]["scores"] == [
        float("inf"),
        2.0,
    ]
    saved = Selection([1], info={"error": float("inf")}).save(tmp_path / "s.parquet")
    assert Selection.load(saved).info == {"error": None}
