"""Hundreds of hostile files over all forms: no run ends early, every row is accounted for, and no
good row is lost.
"""

import gzip
import io
import json
import os
import random
import struct
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from toys import write_jsonl

from coreset.curation.operators.threshold import Threshold
from coreset.curation.run import Settings, curate
from coreset.scorers.length import Length

RECIPE = [Length(), Threshold("text_words", low=1), Threshold("score", low=-1e300)]
GOOD = [{"id": f"good-{i}", "text": f"a good row {i}", "score": float(i)} for i in range(40)]
SETTINGS = Settings(max_characters=20_000, partition_rows=50, batch=16)


def line(**more):
    return json.dumps({"id": "x", "text": "one two", "score": 1.0, **more}).encode()


DEEP = b"[" * 100_000 + b"]" * 100_000
DIGITS = b"9" * 5000
# what stands in the place of one row, as JSON
ROWS = {
    "digits": b'{"id": "x", "text": "a", "score": ' + DIGITS + b"}",
    "digits in a list": b'{"id": "x", "text": "a", "more": [' + DIGITS + b"]}",
    "digits as id": b'{"id": ' + DIGITS + b', "text": "a"}',
    "many digits": b'{"id": "x", "text": "a", "score": ' + b"9" * 400 + b"}",
    "nested": DEEP,
    "nested objects": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "nested in a field": b'{"id": "x", "text": "a", "more": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    "nested below the limit": b'{"id": "x", "text": "a", "more": ' + b"[" * 800 + b"]" * 800 + b"}",
    "nested without id": b'{"text": "a", "more": ' + b"[" * 970 + b"]" * 970 + b"}",
    "surrogate in text": b'{"id": "x", "text": "a \\ud800 b"}',
    "surrogate in score": b'{"id": "x", "text": "a", "score": "\\udfff"}',
    "surrogate in id": b'{"id": "\\ud83d", "text": "a"}',
    "surrogate in a name": b'{"id": "x", "text": "a", "\\ud800": 1}',
    "surrogate pair": b'{"id": "x", "text": "\\ud83d\\ude00"}',
    "byte": b'{"id": "x", "text": "a \xff b"}',
    "byte in a name": b'{"id": "x", "te\xfet": "a"}',
    "overlong": b'{"id": "x", "text": "\xc0\xaf"}',
    "raw surrogate": b'{"id": "x", "text": "\xed\xa0\x80"}',
    "nul": b'{"id": "x", "text": "a\\u0000b"}',
    "raw nul": b'{"id": "x", "text": "a\x00b"}',
    "only nul": b"\x00\x00\x00",
    "control": b'{"id": "x", "text": "a\x07b"}',
    "nan": b'{"id": "x", "text": "a", "score": NaN}',
    "infinity": b'{"id": "x", "text": "a", "score": -Infinity}',
    "nan as id": b'{"id": NaN, "text": "a"}',
    "huge exponent": b'{"id": "x", "text": "a", "score": 1e999999}',
    "double keys": b'{"id": "x", "text": "a", "text": "b", "id": "y"}',
    "double id": b'{"id": "good-3", "text": "again"}',
    "no object": b"[1, 2]",
    "a number": b"17",
    "a text": b'"text"',
    "null": b"null",
    "empty object": b"{}",
    "empty text": b'{"id": "x", "text": "  "}',
    "text is a list": b'{"id": "x", "text": ["a"]}',
    "text is an object": b'{"id": "x", "text": {"a": {}}}',
    "text is null": b'{"id": "x", "text": null}',
    "id is a list": b'{"id": [1], "text": "a"}',
    "id is an object": b'{"id": {}, "text": "a"}',
    "id is true": b'{"id": true, "text": "a"}',
    "id is empty": b'{"id": "", "text": "a"}',
    "score is a text": b'{"id": "x", "text": "a", "score": "1"}',
    "score is a list": b'{"id": "x", "text": "a", "score": [1, [2]]}',
    "single quotes": b"{'id': 'x', 'text': 'a'}",
    "comma at the end": b'{"id": "x", "text": "a",}',
    "no comma": b'{"id": "x" "text": "a"}',
    "comment": b'{"id": "x", /* c */ "text": "a"}',
    "unquoted": b"{id: x}",
    "too long": b'{"id": "x", "text": "' + b"w " * 15_000 + b'"}',
    "far too long": b'{"id": "x", "text": "' + b"w " * 200_000 + b'"}',
    "other schema": b'{"id": "x", "instruction": "a", "output": "b"}',
    "chat": b'{"id": "x", "messages": [{"role": ["user"], "content": 1}]}',
    "wide": json.dumps({"id": "x", "text": "a", **{f"c{i}": i for i in range(3000)}}).encode(),
    "right to left": '{"id": "x", "text": "\u202egnorw"}'.encode(),
    "line separators": '{"id": "x", "text": "a\u2028b\u2029c\x85d"}'.encode(),
    "tabs": b'\t{"id": "x",\t"text": "a"}\t',
    "bom inside": b'\xef\xbb\xbf{"id": "x", "text": "a"}',
    "utf-16 inside": '{"id": "x", "text": "a"}'.encode("utf-16-le").replace(b"\n", b""),
    "brackets in text": b'{"id": "x", "text": "a ] } , [ {"}',
    "escapes": b'{"id": "x", "text": "\\\\\\"]}\\"", "score": 1}',
    "a bad escape": b'{"id": "x", "text": "\\x41"}',
}  # fmt: skip
ENDS = (b"\n", b"\r\n")


def good_lines(a, b):
    return [json.dumps(r).encode() for r in GOOD[a:b]]


def around(row, end=b"\n"):
    return end.join([*good_lines(0, 5), row, *good_lines(5, 10)]) + end


def json_file(row):
    return b"[" + b", ".join([*good_lines(0, 5), row, *good_lines(5, 10)]) + b"]"


def zst(data):
    out = pa.BufferOutputStream()
    with pa.CompressedOutputStream(out, "zstd") as file:
        file.write(data)
        file.flush()
    return out


def packed(folder, name, data, codec):
    with pa.OSFile(str(folder / name), "wb") as raw, pa.CompressedOutputStream(raw, codec) as file:
        file.write(data)


def check(folder, out, files, least=None):
    """Curate good rows with the hostile files beside them; return the manifest after checking that
    all adds up.
    """
    done = curate(
        RECIPE, [folder / "0-good.jsonl", *(folder / f for f in files)], out, settings=SETTINGS
    )
    counts = done.manifest["counts"]
    assert counts["rows"] == counts["kept"] + counts["dropped"] + counts["rejected"]
    table = pq.read_table(out / "decisions.parquet").to_pylist()
    assert len(table) == counts["rows"] == sum(f["rows"] for f in done.manifest["input"])
    refused = [
        json.loads(r) for r in (out / "rejects.jsonl").read_text(encoding="utf-8").split("\n") if r
    ]
    known = {f["file"] for f in done.manifest["input"]}
    assert {r["file"] for r in refused} <= known
    assert sum(r["line"] is not None for r in refused) == counts["rejected"]
    assert {r["file"] for r in refused if r["line"] is None} == {
        f["file"] for f in done.manifest["input"] if "broken" in f
    }
    kept = {r["id"] for r in table if r["file"] == "0-good.jsonl" and r["state"] == "kept"}
    assert kept == {r["id"] for r in GOOD[10:]}
    if least is not None:
        for name, rows in least.items():
            here = [r for r in table if r["file"] == name]
            assert len(here) >= rows, (name, len(here))
            good = {
                r["id"].removeprefix(f"{name}-") for r in here if r["state"] == "kept" and r["id"]
            }
            assert len(good) >= rows - 1, (name, [r for r in here if r["state"] != "kept"])
    return done.manifest


def write_good(folder):
    write_jsonl(folder / "0-good.jsonl", GOOD[10:])


def renamed(data, name):
    """Give the good rows of one file ids of their own, so that no two files have one in common."""
    return data.replace(b'"good-', f'"{name}-'.encode()).replace(
        b'"id": "x"', f'"id": "{name}-x"'.encode()
    )


@pytest.mark.parametrize("form", ["jsonl", "crlf", "json", "gz", "zst", "tar"])
def test_a_row_of_every_hostile_kind_between_good_ones(tmp_path, form):
    """Ten good rows about each hostile one: all ten are read, the one is kept or rejected with its
    line.
    """
    write_good(tmp_path)
    files = {}
    for i, (_, row) in enumerate(ROWS.items()):
        end = (
            ".jsonl"
            if form == "crlf"
            else {"gz": ".jsonl.gz", "zst": ".jsonl.zst"}.get(form, f".{form}")
        )
        name = f"f{i:03d}{end}"
        if form == "json":
            (tmp_path / name).write_bytes(renamed(json_file(row), name))
        elif form == "tar":
            write_tar(
                tmp_path / name,
                [renamed(r, name) for r in (*good_lines(0, 5), row, *good_lines(5, 10))],
            )
        else:
            data = renamed(around(row, b"\r\n" if form == "crlf" else b"\n"), name)
            if form in ("gz", "zst"):
                packed(tmp_path, name, data, {"gz": "gzip", "zst": "zstd"}[form])
            else:
                (tmp_path / name).write_bytes(data)
        files[name] = 11
    if form == "json":  # where such an element ends cannot be told: it is longer than a row may be
        lost = [
            n for n, row in zip(files, ROWS.values(), strict=True) if len(row) > 8 * 20_000 + 2**16
        ]
        files = dict.fromkeys(files, 11) | dict.fromkeys(lost, 5)
    check(tmp_path, tmp_path / "out", list(files), files if form != "tar" else None)


def write_tar(path, rows):
    with tarfile.open(path, "w") as tar:
        for i, row in enumerate(rows):
            for suffix, data in (("json", row), ("txt", b"words")):
                about = tarfile.TarInfo(f"{path.name}-{i:03d}.{suffix}")
                about.size = len(data)
                tar.addfile(about, io.BytesIO(data))


def table_of(n, name="t"):
    return pa.table(
        {
            "id": [f"{name}-{i}" for i in range(n)],
            "text": [f"some words {i}" for i in range(n)],
            "score": [float(i) for i in range(n)],
        }
    )


def arrow_bytes(table, stream=False):
    sink = pa.BufferOutputStream()
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def parquet_bytes(table, **more):
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **more)
    return sink.getvalue().to_pybytes()


def test_files_cut_anywhere(tmp_path):
    """Every form cut at twelve places: what stands before the cut is read."""
    write_good(tmp_path)
    rows = [json.dumps({**r, "id": f"NAME-{i}"}).encode() for i, r in enumerate(GOOD * 8)]
    lines = b"\n".join(rows) + b"\n"
    small = b"\n".join(rows[:9]) + b"\n"
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as file:
        for i in range(20):
            about = tarfile.TarInfo(f"NAME-{i}.json")
            about.size = len(rows[i])
            file.addfile(about, io.BytesIO(rows[i]))
    coco = {"images": [{"id": i, "file_name": f"{i}.jpg"} for i in range(9)], "annotations": [{"id": i, "image_id": i, "caption": "a b"} for i in range(9)]}  # fmt: skip
    forms = {
        ".jsonl": lines, ".jsonl.gz": gzip.compress(lines), ".json": b"[" + b",".join(rows) + b"]", ".ndjson": small,
        ".json.gz": gzip.compress(b"[" + b",".join(rows) + b"]"), ".parquet": parquet_bytes(table_of(300)),
        ".arrow": arrow_bytes(table_of(300)), ".feather": arrow_bytes(table_of(50), True), ".tar": tar.getvalue(), "-coco.json": json.dumps(coco).encode(),
    }  # fmt: skip
    names = []
    for suffix, data in forms.items():
        for j in range(12):
            name = f"cut{j:02d}{suffix}"
            cut = data[: (len(data) * j) // 12] if j < 10 else data[: -1 if j == 10 else -17]
            (tmp_path / name).write_bytes(
                cut if suffix.endswith("gz") else renamed_any(cut, name, suffix)
            )
            names.append(name)
    manifest = check(tmp_path, tmp_path / "out", names)
    assert len(names) == 120
    assert sum("broken" in f for f in manifest["input"]) > 60


def renamed_any(data, name, suffix):
    """Keep lengths: parquet and arrow know where everything lies."""
    return (
        data.replace(b"NAME-", f"N{name[3:5]}{suffix[1]}-".encode()) if b"NAME-" in data else data
    )


def test_a_cut_gzip_loses_nothing_before_the_cut(tmp_path):
    rows = [{"id": str(i), "text": f"word {random.Random(i).random()}"} for i in range(2000)]
    data = b"".join(json.dumps(r).encode() + b"\n" for r in rows)
    whole = gzip.compress(data)
    (tmp_path / "a.jsonl.gz").write_bytes(whole[: len(whole) * 3 // 4])
    import zlib

    there = zlib.decompressobj(31).decompress(whole[: len(whole) * 3 // 4]).count(b"\n")
    done = curate([Length()], tmp_path / "a.jsonl.gz", tmp_path / "out")
    assert there > 1000
    assert done.manifest["counts"]["kept"] == there
    assert "Truncated" in done.manifest["input"][0]["broken"]
    two = gzip.compress(data[:5000]) + b"\0" * 512 + gzip.compress(data[5000:])
    (tmp_path / "b.jsonl.gz").write_bytes(two)
    assert (
        curate([Length()], tmp_path / "b.jsonl.gz", tmp_path / "two").manifest["counts"]["kept"]
        == 2000
    )
    (tmp_path / "c.jsonl.zst").write_bytes(b"")
    packed(tmp_path, "c.jsonl.zst", data, "zstd")
    assert (
        curate([Length()], tmp_path / "c.jsonl.zst", tmp_path / "three").manifest["counts"]["kept"]
        == 2000
    )


def test_one_byte_that_is_no_utf_8_in_parquet_and_arrow(tmp_path):
    write_good(tmp_path)
    table = table_of(60)
    bad = {}
    for name, data in (("a.parquet", parquet_bytes(table, compression="none", use_dictionary=False)), ("b.arrow", arrow_bytes(table)), ("c.feather", arrow_bytes(table, True))):  # fmt: skip
        at = (
            data.index(b"some words 7some words 8")
            if name != "a.parquet"
            else data.index(b"some words 7")
        )
        raw = data[:at] + b"s\xffme" + data[at + 4 :]
        (tmp_path / name).write_bytes(raw.replace(b"t-", name[:1].encode() + b"-"))
        bad[name] = 8
    manifest = check(tmp_path, tmp_path / "out", list(bad))
    rejected = [
        json.loads(r) for r in (tmp_path / "out" / "rejects.jsonl").read_text().splitlines()
    ]
    assert [(r["file"], r["line"], r["reason"]) for r in rejected] == [
        (n, i, "wrong_encoding") for n, i in bad.items()
    ]
    assert [f["rows"] for f in manifest["input"]] == [30, 60, 60, 60]


@pytest.mark.parametrize("offset", [2**30, -5, 2**31 - 1, 7])
def test_an_offset_past_the_end_kills_nothing(tmp_path, offset):
    write_good(tmp_path)
    table = table_of(200)
    data = arrow_bytes(table)
    offsets = table["text"].chunk(0).buffers()[1].to_pybytes()
    at = data.index(offsets[: 4 * 201]) + 4 * 100
    (tmp_path / "a.arrow").write_bytes(data[:at] + struct.pack("<i", offset) + data[at + 4 :])
    manifest = check(tmp_path, tmp_path / "out", ["a.arrow"])
    rejected = [
        json.loads(r) for r in (tmp_path / "out" / "rejects.jsonl").read_text().splitlines()
    ]
    assert {r["reason"] for r in rejected} == {"damaged"}
    assert {r["line"] for r in rejected} <= {100, 101}
    assert manifest["input"][1]["rows"] == 200


@pytest.mark.parametrize("part", range(2))
def test_files_with_bytes_changed_anywhere(tmp_path, part):
    """Each form with bytes changed, doubled and left out at places drawn once."""
    write_good(tmp_path)
    rng = random.Random(part)
    names = []
    forms = {
        ".jsonl": b"\n".join(json.dumps(r).encode() for r in GOOD), ".jsonl.gz": gzip.compress(b"\n".join(json.dumps(r).encode() for r in GOOD)),
        ".json": json.dumps(GOOD).encode(), ".parquet": parquet_bytes(table_of(80), compression="zstd" if part else "none"),
        ".arrow": arrow_bytes(table_of(80)), ".feather": arrow_bytes(table_of(80), True),
    }  # fmt: skip
    for suffix, data in forms.items():
        for j in range(8):
            raw = bytearray(data)
            for _ in range(1 + 3 * (j % 4)):
                at = rng.randrange(len(raw))
                if j % 3 == 0:
                    raw[at] = rng.randrange(256)
                elif j % 3 == 1:
                    raw[at:at] = raw[at : at + 4]
                else:
                    del raw[at : at + rng.randrange(1, 9)]
            name = f"changed{j}{suffix}"
            (tmp_path / name).write_bytes(bytes(raw))
            names.append(name)
    done = curate([Length()], [tmp_path / "0-good.jsonl", *(tmp_path / n for n in names)], tmp_path / "out", settings=SETTINGS)  # fmt: skip
    counts = done.manifest["counts"]
    assert counts["rows"] == counts["kept"] + counts["dropped"] + counts["rejected"]
    assert len(names) == 48


STRANGE = {
    "empty.jsonl": b"", "empty.json": b"", "empty.parquet": b"", "empty.arrow": b"", "empty.tar": b"", "empty.jsonl.gz": b"", "empty.jsonl.zst": b"",
    "blank.jsonl": b"\n\n \r\n\t\n", "blank.json": b"  ", "array.json": b"[]", "array2.json": b"[,]", "array3.json": b"[1,,2]", "array4.json": b"[{}}]",
    "bom.jsonl": b"\xef\xbb\xbf" + line(id="bom"), "bom.json": b"\xef\xbb\xbf[" + line(id="bom2") + b"]", "utf16.jsonl": line().decode().encode("utf-16"),
    "utf16.json": b"[" .decode().encode("utf-16") + line().decode().encode("utf-16-le"), "utf32.jsonl": line().decode().encode("utf-32"),
    "latin.jsonl": '{"id": "l", "text": "é"}'.encode("latin-1"), "cr.jsonl": line(id="cr1") + b"\r" + line(id="cr2"), "nul.jsonl": b"\0" * 70_000,
    "nul.tar": b"\0" * 10_240, "noise.tar": random.Random(1).randbytes(20_000), "noise.jsonl": random.Random(2).randbytes(20_000),
    "noise.json": random.Random(3).randbytes(20_000), "noise.parquet": b"PAR1" + random.Random(4).randbytes(9000) + b"PAR1",
    "noise.arrow": b"ARROW1\0\0" + random.Random(5).randbytes(9000) + b"ARROW1", "noise.jsonl.gz": b"\x1f\x8b\x08" + random.Random(6).randbytes(9000),
    "noise.jsonl.zst": b"\x28\xb5\x2f\xfd" + random.Random(7).randbytes(9000), "one-line.jsonl": b"x" * 500_000, "object.json": b'{"a": 1}',
    "coco1.json": b'{"images": [], "annotations": []}', "coco2.json": b'{"images": [{"id": [1]}], "annotations": [{"image_id": {}}, 3, null]}',
    "coco3.json": b'{"images": ' + DEEP + b', "annotations": []}', "coco4.json": b'{"images": [], "annotations": [' + DIGITS + b"]}",
    "coco5.json": b'{"images": 1, "annotations": 2}', "text.json": b'"text"', "number.json": b"1", "gzip-no-gzip.jsonl.gz": line(),
    "trailing.jsonl.gz": gzip.compress(line(id="trail") + b"\n") + b"garbage", "bomb.jsonl.gz": gzip.compress(b"0" * 20_000_000),
    "nested-lists.json": b"[" * 200_000, "strings.json": b'["' + b"\\" * 30_001 + b'"]', "minus.json": b"[-]", "deep.jsonl": DEEP,
}  # fmt: skip


def test_strange_files(tmp_path):
    write_good(tmp_path)
    for name, data in STRANGE.items():
        (tmp_path / name).write_bytes(data)
    pq.write_table(pa.table({"other": [1, 2]}), tmp_path / "schema.parquet")
    pq.write_table(pa.table({"id": [1], "text": [["a"]]}), tmp_path / "lists.parquet")
    pq.write_table(pa.table({"id": ["d"], "text": ["a"], "at": pa.array([2**62], pa.timestamp("us"))}), tmp_path / "time.parquet")  # fmt: skip
    pq.write_table(pa.table({"id": pa.array([], pa.string()), "text": pa.array([], pa.string())}), tmp_path / "none.parquet")  # fmt: skip
    pq.write_table(pa.table({"id": pa.nulls(3), "text": pa.nulls(3)}), tmp_path / "nulls.parquet")
    pq.write_table(
        pa.table({"id": pa.array([b"\xff"], pa.binary()), "text": ["a"]}),
        tmp_path / "binary.parquet",
    )
    more = ["schema", "lists", "time", "none", "nulls", "binary"]
    check(tmp_path, tmp_path / "out", [*STRANGE, *(f"{n}.parquet" for n in more)])
    assert len(STRANGE) + len(more) >= 50


def test_more_than_five_hundred_files_in_all():
    assert 6 * len(ROWS) + 120 + 96 + len(STRANGE) > 500


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX")
def test_pipes_devices_and_links_that_go_nowhere_are_refused_in_words(tmp_path):
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "zero.jsonl").symlink_to("/dev/zero")
    (tmp_path / "loop.jsonl").symlink_to(tmp_path / "loop.jsonl")
    for name in ("pipe.jsonl", "zero.jsonl"):
        with pytest.raises(ValueError, match="is a pipe, a device or a socket"):
            curate(RECIPE, tmp_path / name, tmp_path / "out")
    with pytest.raises(FileNotFoundError):
        curate(RECIPE, tmp_path / "loop.jsonl", tmp_path / "out")
    (tmp_path / "real").mkdir()
    write_jsonl(tmp_path / "real" / "a.jsonl", GOOD)
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "real" / "a.jsonl")
    assert (
        curate(RECIPE, tmp_path / "link.jsonl", tmp_path / "out").manifest["counts"]["kept"] == 40
    )
