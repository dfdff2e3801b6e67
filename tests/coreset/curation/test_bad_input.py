"""Every kind of bad input is named with file and line, kept in the rejects and counted; nothing is
kept silently and nothing lost.
"""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from toys import Coin, write_jsonl

from coreset.curation.operators.threshold import Threshold
from coreset.curation.run import Settings, curate
from coreset.scorers.length import Length

RECIPE = [Length("response"), Threshold("response_words", low=2)]


def good(n, output="one two"):
    return json.dumps({"id": n, "instruction": f"Say {n}.", "output": output}).encode()


def rejects(out):
    return [json.loads(line) for line in (out / "rejects.jsonl").read_text().splitlines()]


def adds_up(done):
    counts = done.manifest["counts"]
    assert counts["rows"] == counts["kept"] + counts["dropped"] + counts["rejected"]
    table = pq.read_table(done.out / "decisions.parquet")
    assert table.num_rows == counts["rows"]
    states = table["state"].to_pylist()
    assert {s: states.count(s) for s in ("kept", "dropped", "rejected")} == {
        k: counts[k] for k in ("kept", "dropped", "rejected")
    }
    assert all((r["state"] == "kept") == (r["reason"] is None) for r in table.to_pylist())
    files = {f["file"]: f for f in done.manifest["input"]}
    assert sum(f["rows"] for f in files.values()) == counts["rows"]
    return counts


LINES = [
    (good(1), None, ""),
    (b'{"id": 2, "instruction": "Say", "output"', "truncated_line", "breaks off after 40 characters"),
    (b'{"id": 3, "instruction": "Say \xff", "output": "x"}', "wrong_encoding", "byte 31 of the line is not UTF-8"),
    (b'{"id": 4, "instruction": "Say 4."}', "missing_field", "no field 'output'"),
    (b'{"id": 5, "instruction": "Say 5.", "output": "  "}', "empty_answer", "'output' is empty"),
    (good(6, "long " * 400), "too_long", "characters, more than 1000"),
    (good(1, "other words"), "duplicate_id", "the id '1' stands in a.jsonl, line 1 already"),
    (b'{"id": 8, "text": "a page of the web"}', "mixed_schema", "a row of kind text among rows of kind alpaca"),
    (b'{"id": 9, "instruction": "Say 9.", "output": 9}', "wrong_type", "'output' is no text but int"),
    (b"[1, 2]", "not_an_object", "expected an object with fields, got list"),
    (b"{'id': 11}", "not_json", "Expecting property name enclosed in double quotes at character 2"),
    (b'{"id": 12, "instruction": "Say \\ud800", "output": "x y"}', "wrong_encoding", "half a surrogate pair"),
    (b'{"instruction": "Say", "output": "no id"}', "missing_field", "'id', the row's name, is missing"),
    (b'{"id": 14, "instruction": "' + b"y" * 80_000 + b'", "output": "x"}', "too_long", "the line has more than 73536 bytes"),
    (b"[" * 100_000, "too_long", "the line has more than 73536 bytes"),
    (b"[" * 50_000, "not_json", "nested too deeply"),
    (good(17), None, ""),
    (good(18, "one"), None, ""),
    (b'{"id": 19, "instruction": "Say 19.", "output": "cut o', "truncated_line", "at the end of the file"),
]  # fmt: skip


@pytest.mark.parametrize("partition_rows", [3, 1000])
def test_every_bad_line(tmp_path, partition_rows):
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(line for line, _, _ in LINES))
    done = curate(
        RECIPE,
        tmp_path / "a.jsonl",
        tmp_path / "out",
        settings=Settings(max_characters=1000, partition_rows=partition_rows, batch=2),
    )
    assert adds_up(done) == {"rows": 19, "kept": 2, "dropped": 1, "rejected": 16}
    rejected = rejects(tmp_path / "out")
    want = [(i, reason, why) for i, (_, reason, why) in enumerate(LINES, 1) if reason]
    assert [(r["file"], r["line"], r["reason"]) for r in rejected] == [
        ("a.jsonl", i, reason) for i, reason, _ in want
    ]
    for reject, (_, _, why) in zip(rejected, want, strict=True):
        assert why in reject["why"]
        assert reject["row"]
    assert (tmp_path / "out" / "data" / "a.jsonl").read_bytes().splitlines() == [good(1), good(17)]
    assert done.manifest["rejects"] == {
        "duplicate_id": 1, "empty_answer": 1, "missing_field": 2, "mixed_schema": 1, "not_an_object": 1, "not_json": 2, "too_long": 3,
        "truncated_line": 2, "wrong_encoding": 2, "wrong_type": 1,
    }  # fmt: skip
    by_line = {
        r["line"]: r for r in pq.read_table(tmp_path / "out" / "decisions.parquet").to_pylist()
    }
    assert [by_line[i]["reason"] for i in range(1, 20)] == [
        reason or ("response_words below 2" if i == 18 else None)
        for i, (_, reason, _) in enumerate(LINES, 1)
    ]
    assert by_line[3]["operator"] == "input"


def test_broken_shards(tmp_path):
    rows = [{"id": n, "instruction": f"Say {n}.", "output": "one two"} for n in range(200)]
    write_jsonl(tmp_path / "a.jsonl", rows[:3])
    data = b"".join(json.dumps(r).encode() + b"\n" for r in rows[3:])
    packed = gzip.compress(data)
    (tmp_path / "b.jsonl.gz").write_bytes(packed[: len(packed) // 2])
    (tmp_path / "c.parquet").write_bytes(b"PAR1 no parquet")
    (tmp_path / "d.jsonl").write_bytes("﻿".encode("utf-16-le") + '{"text": "x"}'.encode("utf-16-le"))
    (tmp_path / "e.jsonl").write_bytes(b"")
    (tmp_path / "f.arrow").write_bytes(b"")
    (tmp_path / "g.json").write_text(
        json.dumps([{"id": "g1", "instruction": "Say.", "output": "one two"}])[:-1]
    )
    (tmp_path / "h.parquet").symlink_to(tmp_path / "gone.parquet")
    table = pa.Table.from_pylist(
        [{"id": f"i{n}", "instruction": "Say.", "output": "one two " * 50} for n in range(5000)]
    )
    pq.write_table(
        table, tmp_path / "i.parquet", row_group_size=1000, compression="none", use_dictionary=False
    )
    raw = bytearray((tmp_path / "i.parquet").read_bytes())
    middle = pq.ParquetFile(tmp_path / "i.parquet").metadata.row_group(3).column(2).data_page_offset
    raw[middle : middle + 30] = b"\xff" * 30
    (tmp_path / "i.parquet").write_bytes(raw)
    (tmp_path / "h.parquet").unlink()
    done = curate(RECIPE, tmp_path, tmp_path / "out")
    counts = adds_up(done)
    broken = {f["file"]: f for f in done.manifest["input"] if "broken" in f}
    assert {f: b["rows"] for f, b in broken.items()} == {
        "b.jsonl.gz": broken["b.jsonl.gz"]["rows"],
        "c.parquet": 0,
        "d.jsonl": 0,
        "f.arrow": 0,
        "g.json": 0,
        "i.parquet": 3000,
    }
    assert "Parquet magic bytes not found" in broken["c.parquet"]["broken"]
    assert "UTF-16" in broken["d.jsonl"]["broken"]
    assert "Truncated" in broken["b.jsonl.gz"]["broken"]
    assert counts["rows"] == 3 + broken["b.jsonl.gz"]["rows"] + 3000
    assert counts["rejected"] == 0
    rejected = {r["file"]: r for r in rejects(tmp_path / "out")}
    assert set(rejected) == set(broken)
    assert {r["reason"] for r in rejected.values()} == {"unreadable_shard"}
    assert rejected["i.parquet"]["why"].startswith("after row 3000: ")
    assert (
        sorted(p.name for p in (tmp_path / "out" / "data").iterdir())
        == ["a.jsonl", "b.jsonl.gz", "i.parquet"]
        or broken["b.jsonl.gz"]["rows"] == 0
    )


def test_ids_in_several_shards(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", [{"id": n, "text": f"a {n}"} for n in range(5)])
    write_jsonl(tmp_path / "b.jsonl", [{"id": n, "text": f"b {n}"} for n in (7, 3, 7, 0)])
    done = curate(
        [Coin(0)],
        [tmp_path / "a.jsonl", tmp_path / "b.jsonl"],
        tmp_path / "out",
        settings=Settings(partition_rows=2),
    )
    assert adds_up(done) == {"rows": 9, "kept": 6, "dropped": 0, "rejected": 3}
    assert [(r["file"], r["line"], r["why"]) for r in rejects(tmp_path / "out")] == [
        ("b.jsonl", 2, "the id '3' stands in a.jsonl, line 4 already"),
        ("b.jsonl", 3, "the id '7' stands in b.jsonl, line 1 already"),
        ("b.jsonl", 4, "the id '0' stands in a.jsonl, line 1 already"),
    ]
    assert (tmp_path / "out" / "data" / "b.jsonl").read_text() == '{"id": 7, "text": "b 7"}\n'


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "nothing can be read: .*no row is a JSON object"),
        (b"hello\n", "nothing can be read: .*no row is a JSON object"),
        (
            b'{"text": ""}\n{"text": ""}\n',
            (
                r"all 2 rows are rejected, the first \(a.jsonl, line 1\) as empty_text: 'text' is"
                r" empty"
            ),
        ),
        (b'{"body": "x"}\n', "neither Alpaca .* their fields are body"),
    ],
)
def test_an_input_without_a_usable_row_is_an_error(tmp_path, content, words):
    (tmp_path / "a.jsonl").write_bytes(content)
    with pytest.raises(ValueError, match=words):
        curate([Coin()], tmp_path / "a.jsonl", tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_the_first_shard_may_be_broken(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"no")
    write_jsonl(tmp_path / "b.jsonl", [{"text": "x y"}])
    done = curate([Coin(0)], tmp_path, tmp_path / "out")
    assert adds_up(done) == {"rows": 1, "kept": 1, "dropped": 0, "rejected": 0}
    assert done.manifest["rejects"] == {"unreadable_shard": 1}


def test_a_file_that_changes_while_it_is_read_is_noticed(tmp_path, monkeypatch):
    source = write_jsonl(tmp_path / "a.jsonl", [{"text": f"x {n}"} for n in range(9)])
    import coreset.curation.run as run

    original = run.decide
    monkeypatch.setattr(
        run, "decide", lambda *a: (source.write_text('{"text": "x 0"}\n'), original(*a))[1]
    )
    with pytest.raises(
        RuntimeError, match="9 rows were to be kept but 1 could be read again; did the file change"
    ):
        curate([Coin(0)], source, tmp_path / "out")


def test_other_rows_in_as_many_lines_are_noticed(tmp_path, monkeypatch):
    """Rows that nobody has decided about are not passed off as those that were kept."""
    source = write_jsonl(tmp_path / "a.jsonl", [{"text": f"x {n}"} for n in range(9)])
    import coreset.curation.run as run

    original = run.decide
    others = "".join(f'{{"text": "y {n}"}}\n' for n in range(9))
    monkeypatch.setattr(run, "decide", lambda *a: (source.write_text(others), original(*a))[1])
    with pytest.raises(OSError, match=r"a.jsonl changed between the time it was read and"):
        curate([Coin(0)], source, tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_two_runs_in_one_folder(tmp_path):
    from coreset.curation.run import locked

    source = write_jsonl(tmp_path / "a.jsonl", [{"text": "x"}])
    with (
        locked(tmp_path / "out" / "state"),
        pytest.raises(ValueError, match="another process works in"),
    ):
        curate([Coin(0)], source, tmp_path / "out")


def test_a_run_that_ends_while_it_writes_leaves_nothing_that_looks_whole(tmp_path, monkeypatch):
    """The manifest of an earlier run does not stand beside half of a later one; the later one goes
    on there, wherever its state lies.
    """
    rows = "".join(json.dumps({"text": "word " * n}) + "\n" for n in range(1, 9))
    (tmp_path / "rows.jsonl").write_text(rows)
    out, state = tmp_path / "out", tmp_path / "state"
    recipes = [["length", {"threshold": {"column": "text_words", "low": low}}] for low in (2, 5)]
    curate(recipes[0], tmp_path / "rows.jsonl", out, state=state)
    assert json.loads((out / "manifest.json").read_text())["counts"]["kept"] == 7

    def full(*args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("coreset.curation.run._write_results", full)
        with pytest.raises(OSError, match="No space left"):
            curate(recipes[1], tmp_path / "rows.jsonl", out, state=state)
    assert not (out / "manifest.json").exists()
    assert (out / "unfinished").exists()
    curate(recipes[1], tmp_path / "rows.jsonl", out, state=state)
    assert json.loads((out / "manifest.json").read_text())["counts"]["kept"] == 4
    assert not (out / "unfinished").exists()
