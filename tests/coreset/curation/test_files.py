"""Files of every kind in, the same kind out; files that are broken say where."""

import gzip
import json

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
from toys import write_jsonl

from coreset.curation.io.discover import Shard, discover, shard_kind
from coreset.curation.io.formats import content_id
from coreset.curation.io.read import read_rows
from coreset.curation.io.write import write_rows
from coreset.curation.operators.threshold import Threshold
from coreset.curation.run import Settings, curate
from coreset.scorers.length import Length

ROWS = [
    {
        "instruction": f"Count to {n}.",
        "input": "",
        "output": " ".join(map(str, range(n))),
        "meta": {"n": n},
    }
    for n in range(1, 41)
]
KEPT = [r for r in ROWS if len(r["output"].split()) >= 30]
RECIPE = [Length("response"), Threshold("response_words", low=30)]


def zstd(data, path):
    with pa.OSFile(str(path), "wb") as raw, pa.CompressedOutputStream(raw, "zstd") as out:
        out.write(data)


def write(path, rows):
    lines = "".join(json.dumps(r) + "\n" for r in rows).encode()
    table = pa.Table.from_pylist(rows).replace_schema_metadata({"mine": "kept"})
    if path.name.endswith(".json"):
        path.write_text(json.dumps(rows, indent=2))
    elif path.name.endswith(".parquet"):
        pq.write_table(table, path, row_group_size=7, compression="gzip")
    elif path.name.endswith(".arrow"):
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as out:
            out.write_table(table, max_chunksize=9)
    elif path.name.endswith(".feather"):
        feather.write_feather(table, path, compression="zstd", chunksize=9)
    elif path.suffix == ".gz":
        path.write_bytes(gzip.compress(lines[:500]) + gzip.compress(lines[500:]))  # two members
    elif path.suffix == ".zst":
        zstd(lines, path)
    else:
        path.write_bytes(lines)


def read(path):
    if path.name.endswith(".json"):
        return json.loads(path.read_text())
    if path.name.endswith(".parquet"):
        return pq.read_table(path).to_pylist()
    if path.name.endswith(".feather"):
        return feather.read_table(path).to_pylist()
    if path.name.endswith(".arrow"):
        with pa.OSFile(str(path)) as source:
            return pa.ipc.open_stream(source).read_all().to_pylist()
    raw = path.read_bytes()
    data = (
        gzip.decompress(raw)
        if path.suffix == ".gz"
        else (
            pa.CompressedInputStream(pa.BufferReader(raw), "zstd").read()
            if path.suffix == ".zst"
            else raw
        )
    )
    return [json.loads(line) for line in data.splitlines()]


NAMES = [
    "r.jsonl",
    "r.ndjson",
    "r.jsonl.gz",
    "r.jsonl.zst",
    "r.json",
    "r.parquet",
    "r.arrow",
    "r.feather",
]


@pytest.mark.parametrize("name", NAMES)
def test_what_comes_in_goes_out(tmp_path, name):
    write(tmp_path / name, ROWS)
    done = curate(RECIPE, tmp_path / name, tmp_path / "out", settings=Settings(partition_rows=11))
    assert done.manifest["counts"] == {"rows": 40, "kept": 11, "dropped": 29, "rejected": 0}
    assert read(tmp_path / "out" / "data" / name) == KEPT
    ids = pq.read_table(tmp_path / "out" / "decisions.parquet")["id"].to_pylist()
    assert ids == [content_id(r) for r in ROWS]  # the same names from every form
    again = curate(RECIPE, tmp_path / name, tmp_path / "again")
    assert [d["sha256"] for d in done.manifest["output"]["data"]] == [
        d["sha256"] for d in again.manifest["output"]["data"]
    ]
    if name == "r.parquet":
        file = pq.ParquetFile(tmp_path / "out" / "data" / name)
        assert file.metadata.row_group(0).column(0).compression == "GZIP"
        assert file.schema_arrow.metadata[b"mine"] == b"kept"
        assert file.schema_arrow == pq.ParquetFile(tmp_path / name).schema_arrow


def test_lines_are_kept_byte_for_byte(tmp_path):
    lines = ['{"text": "a  b",   "x":1}', '{"x": 1e3, "text": "\\u00e4 c"}', '{"text":"d"}']
    (tmp_path / "a.jsonl").write_bytes(
        "﻿".encode() + "\r\n".join(lines[:2]).encode() + b"\n\n  \n" + lines[2].encode()
    )
    curate([Length("text")], tmp_path / "a.jsonl", tmp_path / "out")
    assert (tmp_path / "out" / "data" / "a.jsonl").read_text() == "".join(
        line + "\n" for line in lines
    )
    assert pq.read_table(tmp_path / "out" / "decisions.parquet")["line"].to_pylist() == [1, 2, 5]


def test_a_json_array_is_read_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr("coreset.curation.io.json_elements.BLOCK", 16)
    text = (
        '\n [ {"text": "one"}\n,{"text": "tw]o, \\" {"} , {"text": "'
        + "x" * 50
        + '"}, 12, 345 ]\n\n'
    )
    (tmp_path / "a.json").write_text(text)
    rows = list(read_rows(Shard(tmp_path / "a.json", "a.json", "json"), 1000))
    assert [r.row for r in rows] == [*json.loads(text)]
    assert [r.number for r in rows] == [1, 2, 3, 4, 5]
    (tmp_path / "e.json").write_text(" [ ] ")
    assert list(read_rows(Shard(tmp_path / "e.json", "e.json", "json"), 1000)) == []
    for content, words in [
        (text[:60], "element 3 breaks off or is no JSON"),
        ('[{"text": "a"} {"text": "b"}', "element 2 breaks off"),
        ('{"text": "a"}', "expected a JSON array; one object a line is a .jsonl file"),
        ('[{"text": "' + "y" * 2000, "element 1 has more than 1000 bytes"),
        ("", "expected a JSON array"),
    ]:
        (tmp_path / "b.json").write_text(content)
        with pytest.raises(OSError, match=words):
            list(read_rows(Shard(tmp_path / "b.json", "b.json", "json"), 1000))


def test_saved_datasets(tmp_path):
    datasets = pytest.importorskip("datasets")
    data = datasets.Dataset.from_list(ROWS)
    data.save_to_disk(tmp_path / "saved", num_shards=3)
    for source in (tmp_path / "saved", data):
        out = tmp_path / f"out{type(source).__name__}"
        done = curate(RECIPE, source, out)
        assert done.manifest["counts"]["kept"] == 11
        back = datasets.load_from_disk(str(out / "data"))
        assert back.to_list() == KEPT
        assert back.features == data.features
    datasets.DatasetDict({"train": data, "test": data}).save_to_disk(tmp_path / "splits")
    with pytest.raises(
        ValueError, match="holds several splits, name one: .*splits/train, .*splits/test"
    ):
        curate(RECIPE, tmp_path / "splits", tmp_path / "no")
    curate(
        [Length("response"), Threshold("response_words", low=1000)],
        tmp_path / "splits" / "test",
        tmp_path / "none",
    )
    assert len(datasets.load_from_disk(str(tmp_path / "none" / "data"))) == 0


def test_hub_names(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    asked = []
    monkeypatch.setattr(
        datasets,
        "load_dataset",
        lambda name, split: asked.append((name, split)) or datasets.Dataset.from_list(ROWS),
    )
    for name in ("hf:tatsu-lab/alpaca", "hf:tatsu-lab/alpaca:test"):
        assert curate(RECIPE, name, tmp_path / name[-4:]).manifest["counts"]["kept"] == 11
    assert asked == [("tatsu-lab/alpaca", "train"), ("tatsu-lab/alpaca", "test")]


def test_which_files(tmp_path):
    for name in ("b/2.jsonl", "b/1.jsonl.gz", "a.parquet", "notes.txt", "b/deep/3.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    assert [s.name for s in discover(tmp_path)] == [
        "a.parquet",
        "b/1.jsonl.gz",
        "b/2.jsonl",
        "b/deep/3.json",
    ]
    assert [s.name for s in discover(str(tmp_path / "b" / "*"))] == ["1.jsonl.gz", "2.jsonl"]
    assert [s.name for s in discover(str(tmp_path / "**" / "*.js*"))] == [
        "1.jsonl.gz",
        "2.jsonl",
        "deep/3.json",
    ]
    assert [s.name for s in discover([tmp_path / "b" / "2.jsonl", tmp_path / "a.parquet"])] == [
        "a.parquet",
        "b/2.jsonl",
    ]
    assert discover(tmp_path / "a.parquet")[0].name == "a.parquet"
    assert shard_kind(tmp_path / "x.parquet.gz") is None
    for source, kind, words in [
        (tmp_path / "gone.jsonl", FileNotFoundError, "gone.jsonl"),
        (str(tmp_path / "*.csv"), FileNotFoundError, "csv"),
        (tmp_path / "notes.txt", ValueError, "expected .jsonl or .json"),
        ([tmp_path / "a.parquet", str(tmp_path / "a.p*")], ValueError, "is given twice"),
        ([], FileNotFoundError, "at least one input file"),
    ]:
        with pytest.raises(kind, match=words):
            discover(source)


def test_files_of_one_name_in_two_folders(tmp_path):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        write_jsonl(tmp_path / folder / "r.jsonl", [{"text": f"{folder} {n}"} for n in range(3)])
    curate(
        [Length("text")], [tmp_path / "x" / "r.jsonl", tmp_path / "y" / "r.jsonl"], tmp_path / "out"
    )
    assert sorted(
        str(p.relative_to(tmp_path / "out" / "data"))
        for p in (tmp_path / "out" / "data").rglob("*.jsonl")
    ) == ["x/r.jsonl", "y/r.jsonl"]


def test_repeats_in_every_form(tmp_path):
    import numpy as np

    times = np.zeros(41, np.int32)
    times[[3, 40]] = [2, 1]
    for name in NAMES:
        write(tmp_path / name, ROWS)
        shard = discover(tmp_path / name)[0]
        assert write_rows(shard, times, 10**6, tmp_path / "w" / name) == 3
        assert read(tmp_path / "w" / name) == [ROWS[2], ROWS[2], ROWS[39]]
