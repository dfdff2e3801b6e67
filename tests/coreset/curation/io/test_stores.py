"""Input, state and output in a store: a real S3 server on loopback that fails now and then, and
errors in words.
"""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from toys import recipe

from coreset.core.leases import LEASE, lease
from coreset.core.places import StoreError, place, put, stamp
from coreset.curation import curate
from coreset.curation.io.discover import discover
from coreset.curation.run import Settings
from tests.stores import Faulty

pytest.importorskip("s3fs", reason="the extra `stores` is not installed")
SMALL = Settings(batch=16, partition_rows=80)  # three partitions


@pytest.fixture(autouse=True)
def no_faults():
    Faulty.every = 0
    yield
    Faulty.every = 0


def lines(n=230):
    words = ["the", "a", "sun", "moon", "rain", "wind", "hill", "town", "road", "tree"]
    rows = [
        {"id": f"{i:04d}", "text": " ".join(words[(i * k) % 10] for k in range(1, 3 + i % 7))}
        for i in range(n)
    ]
    return rows, "".join(json.dumps(r) + "\n" for r in rows).encode()


def decided(out):
    table = pq.read_table(pa.BufferReader((out / "decisions.parquet").read_bytes()))
    return str(table.to_pylist())  # NaN is itself


@pytest.mark.slow
@pytest.mark.parametrize("every", [0, 7])
def test_the_same_decisions_from_a_store_that_fails_now_and_then(tmp_path, s3, every):
    _, data = lines()
    (tmp_path / "in").mkdir()
    base = s3 / f"in-{every}"
    for name, part in (("a.jsonl", data[: data.index(b'{"id": "0150"')]),
                       ("b.jsonl.gz", gzip.compress(data[data.index(b'{"id": "0150"') :]))):  # fmt: skip
        (tmp_path / "in" / name).write_bytes(part)
        put(base / name, part)
    here = curate(recipe(), tmp_path / "in", tmp_path / "out", settings=SMALL)
    Faulty.every, Faulty.counts = every, {"all": 0, "503": 0, "partial": 0}
    there = curate(recipe(), str(base), f"s3://rows/out-{every}", settings=SMALL)
    if every:
        assert Faulty.counts["503"] > 3
        assert Faulty.counts["partial"] > 1
    Faulty.every = 0
    assert here.manifest["counts"] == there.manifest["counts"]
    out = place(f"s3://rows/out-{every}")
    assert decided(out) == decided(tmp_path / "out")
    for name in ("a.jsonl",):
        assert (out / "data" / name).read_bytes() == (tmp_path / "out" / "data" / name).read_bytes()
    assert json.loads((out / "manifest.json").read_text())["output"] == there.manifest["output"]
    assert not (out / LEASE).exists()


def test_parquet_by_pattern_and_memory(tmp_path):
    rows, _ = lines(90)
    for i in range(3):
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(rows[30 * i : 30 * i + 30]), sink, row_group_size=8)
        put(place(f"memory://store/{i}.parquet"), sink.getvalue().to_pybytes())
    assert [s.name for s in discover("memory://store/*.parquet")] == [
        f"{i}.parquet" for i in range(3)
    ]
    done = curate(["exact_duplicates"], "memory://store/*.parquet", tmp_path / "out")
    assert done.manifest["counts"]["rows"] == 90
    assert done.manifest["counts"]["kept"] == len({r["text"] for r in rows})


def test_what_is_wrong_is_said(tmp_path, s3):
    with pytest.raises(StoreError, match="there is no bucket for s3://nobody-has-this"):
        discover("s3://nobody-has-this/rows")
    with pytest.raises(FileNotFoundError, match="expected at least one input file"):
        discover("s3://rows/*.nothing")
    with pytest.raises(ValueError, match="no such kind of store"):
        place("nosuch://a/b")
    put(s3 / "used" / "other.txt", b"x")
    put(s3 / "one" / "a.jsonl", lines(3)[1])
    with pytest.raises(ValueError, match="holds other files; give a new prefix"):
        curate(["exact_duplicates"], "s3://rows/one", "s3://rows/used")


def test_no_permission(s3, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError("Access Denied")

    path = s3 / "closed" / "a.jsonl"
    put(path, b"{}\n")
    monkeypatch.setattr(path.fs, "pipe_file", refuse)
    with pytest.raises(StoreError, match=r"no permission to write s3://rows/closed/a.jsonl; check"):
        put(path, b"{}\n")


def test_two_runs_in_one_prefix(s3):
    folder = s3 / "shared"
    with (
        lease(folder),
        pytest.raises(ValueError, match=r"another run works in s3://rows/shared: process \d+"),
        lease(folder),
    ):
        pass
    put(
        folder / LEASE,
        json.dumps({"run": "x", "host": "elsewhere", "process": 1, "time": 0}).encode(),
    )
    with lease(folder):  # its owner has not written for long
        pass
    assert not (folder / LEASE).exists()


def test_a_file_that_changes_while_it_is_read(s3, tmp_path, monkeypatch):
    from coreset.curation.runtime import ingest

    path = s3 / "moving" / "a.jsonl"
    put(path, lines(50)[1])
    first, read = stamp(path), ingest.read_columns

    def changing(row, schema):
        if stamp(path) == first:
            put(path, lines(60)[1])
        return read(row, schema)

    monkeypatch.setattr(ingest, "read_columns", changing)
    with pytest.raises(OSError, match=r"a.jsonl changed while it was read"):
        curate(["exact_duplicates"], str(path), tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.json").exists()
