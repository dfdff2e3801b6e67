"""A file read in ranges gives what it gives whole: rows, lines, rejects, decisions and output."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from coreset.curation import curate
from coreset.curation.engines.local import Local
from coreset.curation.io.discover import discover
from coreset.curation.io.read import count_lines, read_rows
from coreset.curation.io.split import split
from coreset.curation.run import Settings

STEPS = ["length", {"threshold": {"column": "text_words", "low": 2}}, "exact_duplicates"]


def hostile(end=b"\n", last=b""):
    """JSON lines with blank ones, a BOM, letters of three bytes, a line that is no JSON, one that
    is no UTF-8, a very long one, and copies.
    """
    rng = np.random.default_rng(0)
    lines = []
    for i in range(120):
        words = " ".join(f"wört{n}€" for n in rng.integers(0, 40, rng.integers(1, 12)))
        lines.append(json.dumps({"id": i, "text": words}, ensure_ascii=False).encode())
    lines[10] = b""
    lines[11] = b"  "
    lines[30] = b'{"id": 30, "text": "breaks'
    lines[31] = b'{"id": 31, "text": "\xff\xfe"}'
    lines[50] = json.dumps({"id": 50, "text": "long " * 900}).encode()
    lines[70] = lines[60].replace(b'"id": 60', b'"id": 70')
    return b"\xef\xbb\xbf" + end.join(lines) + last


def read(shards):
    """What reading gives, as text."""
    return [str(line) for shard in shards for line in read_rows(shard, 4000, shard.before)]


@pytest.mark.parametrize("size", [97, 1000, 1001, 10**9])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("last", ["", "end"])
def test_lines_of_ranges_are_those_of_the_file(tmp_path, size, end, last):
    path = tmp_path / "a.jsonl"
    path.write_bytes(hostile(end, end if last else b""))
    whole = discover(path)
    ranges = split(Local(), whole, size)
    assert len(ranges) == max(1, -(-path.stat().st_size // size))
    assert read(ranges) == read(whole)
    counts = np.array([count_lines(one) for one in ranges]).sum(axis=0)
    assert counts.tolist() == [120, 118]


def test_a_line_end_on_every_side_of_a_border(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a":1}\n\n{"a":2}\r\n{"a":3}\n')
    whole = read(discover(path))
    assert len(whole) == 3
    for size in range(1, path.stat().st_size + 2):
        assert read(split(Local(), discover(path), size)) == whole, size


@pytest.mark.parametrize("groups", [1, 7, 50, 1000])
def test_row_groups_of_ranges_are_those_of_the_file(tmp_path, groups):
    path = tmp_path / "a.parquet"
    table = pa.table({"id": np.arange(500), "text": [f"row {i}" for i in range(500)]})
    pq.write_table(table, path, row_group_size=groups)
    ranges = split(Local(), discover(path), 400)
    assert len(ranges) > 1 or groups == 1000
    assert read(ranges) == read(discover(path))


def test_compressed_and_small_files_stay_whole(tmp_path):
    import gzip

    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(hostile()))
    (tmp_path / "b.jsonl").write_bytes(b'{"text": "x"}\n')
    (tmp_path / "c.parquet").write_bytes(b"PAR1 broken " * 10)
    shards = discover(tmp_path)
    assert split(Local(), shards, 50) == shards


def left_by(out):
    """The files of a run, the decisions as text (NaN is itself)."""
    contents = {
        str(p.relative_to(out)): p.read_bytes()
        for p in sorted(Path(out).rglob("*"))
        if p.is_file() and p.relative_to(out).parts[0] != "state"
    }
    table = pq.read_table(out / "decisions.parquet")
    return contents | {"decisions.parquet": str(table.to_pylist())}


@pytest.mark.parametrize("kind", ["lf", "crlf", "parquet"])
def test_decisions_rejects_and_output_are_the_same(tmp_path, kind):
    source = tmp_path / ("a.parquet" if kind == "parquet" else "a.jsonl")
    if kind == "parquet":
        rng = np.random.default_rng(1)
        words = [" ".join(map(str, rng.integers(0, 3, rng.integers(1, 4)))) for _ in range(300)]
        words[7] = None
        pq.write_table(pa.table({"id": np.arange(300), "text": words}), source, row_group_size=20)
    else:
        source.write_bytes(hostile(b"\r\n" if kind == "crlf" else b"\n"))
    small = {"partition_rows": 16, "max_characters": 2000}
    one = curate(STEPS, source, tmp_path / "one", settings=Settings(**small))
    two = curate(STEPS, source, tmp_path / "two", settings=Settings(**small, split=500))
    assert len(list((tmp_path / "two" / "state").glob("rows-*/*-p*.json"))) >= 2
    assert one.manifest["counts"]["rejected"] == (1 if kind == "parquet" else 3)
    assert one.manifest["counts"]["dropped"] > 3
    assert left_by(tmp_path / "one") == left_by(tmp_path / "two")
    three = curate(STEPS, source, tmp_path / "two", settings=Settings(**small, split=500))
    assert three.manifest == two.manifest


def test_nothing_is_read_after_a_file_breaks_off(tmp_path):
    """The second of six row groups is damaged: the four after it are not read, as without ranges."""
    source = tmp_path / "a.parquet"
    words = [f"{i} {'x' * 40}" for i in range(60)]
    pq.write_table(
        pa.table({"text": words}), source, row_group_size=10, compression="none",
        use_dictionary=False, write_page_checksum=True, write_statistics=False,
    )  # fmt: skip
    data = bytearray(source.read_bytes())
    group = pq.read_metadata(source).row_group(1).column(0)
    at = group.data_page_offset
    data[at : at + 30] = b"\xff" * 30
    source.write_bytes(bytes(data))
    for name, size in (("one", 2**26), ("two", 450)):
        done = curate(["length"], source, tmp_path / name, settings=Settings(split=size))
        assert done.manifest["counts"]["rows"] == 10
        assert done.manifest["rejects"] == {"unreadable_shard": 1}
    assert left_by(tmp_path / "one") == left_by(tmp_path / "two")
