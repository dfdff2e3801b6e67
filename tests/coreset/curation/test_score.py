"""Scores alone: a row per row, vectors too, rejects beside it; a run that breaks off goes on."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from toys import Coin, Common, Vectors, write_jsonl

from coreset.core.batch import to_numpy
from coreset.curation import Settings, score
from coreset.scorers.length import Length

ROWS = [{"id": i, "text": f"{'the' if i % 4 else 'a'} row {i}"} for i in range(30)]


def test_vectors_and_fits(tmp_path):
    source = write_jsonl(tmp_path / "in.jsonl", ROWS)
    counts = score(Vectors(), source, tmp_path / "v.parquet", settings=Settings(partition_rows=7))
    assert counts == {"rows": 30, "scored": 30, "rejected": 0}
    table = pq.read_table(tmp_path / "v.parquet")
    assert table["id"].to_pylist() == [str(i) for i in range(30)]
    want = [[len(r["text"]), sum(map(ord, r["text"])) % 97] for r in ROWS]
    np.testing.assert_array_equal(to_numpy(table["vector"]), want)
    score(Common(), source, tmp_path / "c.parquet", settings=Settings(partition_rows=7))
    table = pq.read_table(tmp_path / "c.parquet")
    assert table["common_status"].to_pylist() == [
        "too_common" if i % 4 else "ok" for i in range(30)
    ]
    assert np.nan_to_num(to_numpy(table["common"]), nan=-1).tolist() == [
        -1 if i % 4 else 8 for i in range(30)
    ]
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "c.parquet",
        "in.jsonl",
        "v.parquet",
    ]  # no state, no empty rejects


def test_rejects_lie_beside_it(tmp_path):
    (tmp_path / "in.jsonl").write_text('{"text": "a"}\n{"text": 3}\n{"te')
    (tmp_path / "broken.parquet").write_bytes(b"no")
    counts = score(
        Length("text"), [tmp_path / "in.jsonl", tmp_path / "broken.parquet"], tmp_path / "s.parquet"
    )
    assert counts == {"rows": 3, "scored": 1, "rejected": 2}
    lines = [json.loads(line) for line in (tmp_path / "s.rejects.jsonl").read_text().splitlines()]
    assert [(r["file"], r["line"], r["reason"]) for r in lines] == [
        ("broken.parquet", None, "unreadable_shard"), ("in.jsonl", 2, "wrong_type"), ("in.jsonl", 3, "truncated_line")
    ]  # fmt: skip


def test_it_goes_on(tmp_path, monkeypatch):
    source = write_jsonl(tmp_path / "in.jsonl", ROWS)
    original, calls = Length.__call__, []

    def breaking(self, batch):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(self, batch)

    monkeypatch.setattr(Length, "__call__", breaking)
    with pytest.raises(KeyboardInterrupt):
        score(Length("text"), source, tmp_path / "s.parquet", settings=Settings(partition_rows=10))
    assert (tmp_path / "s.parquet.state").exists()
    assert not (tmp_path / "s.parquet").exists()
    score(Length("text"), source, tmp_path / "s.parquet", settings=Settings(partition_rows=10))
    assert len(calls) == 4  # two partitions, the one that broke off, and that one again
    assert not (tmp_path / "s.parquet.state").exists()


def test_what_is_refused(tmp_path):
    source = write_jsonl(tmp_path / "in.jsonl", ROWS)
    with pytest.raises(TypeError, match="scorer: Coin is of kind filter, expected a score"):
        score(Coin(), source, tmp_path / "s.parquet")
    with pytest.raises(ValueError, match=r"expected a name that ends in .parquet, got .*s.csv"):
        score(Length("text"), source, tmp_path / "s.csv")
