"""A dirty pool of 8,121 real drawings, and seven files spoiled by hand: every copy found, every bad
file named, nothing lost, the same on Ray.
"""

import hashlib
import json
import struct
import zlib
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from test_images import operators

from coreset.curation import curate
from coreset.curation.engines.local import Local
from coreset.curation.operators.dedup import ExactDuplicates, ImageDuplicates
from coreset.curation.operators.rules import ReadableImage
from coreset.curation.run import Settings
from coreset.scorers.image.decode import MOST_PIXELS
from coreset.scorers.image.hashes import ImageHashes
from coreset.scorers.image.images import Images

pytestmark = pytest.mark.slow
DRAWINGS = Path("/usr/share/openclipart/png")
SPOILED = {
    "~cut": "truncated", "~text": "not an image", "~empty": "empty file", "~nowhere": "missing file", "~bomb": "too large", "~bits": "truncated",
}  # fmt: skip


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def spoil(folder, good):
    """Write the files that are no images, and return their rows, with a good copy of `good` first."""
    data = good.read_bytes()
    at = data.index(b"IDAT") + 14
    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    content = {
        "~copy": data,
        "~cut": data[: len(data) // 2],
        "~text": b"<svg/>",
        "~empty": b"",
        "~bomb": (
            data[:8]
            + chunk(b"IHDR", head)
            + chunk(b"IDAT", zlib.compress(b""))
            + chunk(b"IEND", b"")
        ),
        "~bits": data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :],
    }
    for name, inside in content.items():
        (folder / f"{name}.png").write_bytes(inside)
    return [{"id": n, "image": f"{n}.png", "text": "spoiled"} for n in ["~copy", *SPOILED]]


@pytest.fixture(scope="module")
def drawings(tmp_path_factory):
    """The rows in a file, and the paths by id."""
    if not DRAWINGS.is_dir():
        pytest.skip(
            "the Debian package openclipart-png is not installed: apt-get install openclipart-png"
        )
    folder = tmp_path_factory.mktemp("clipart")
    paths = {
        str(p.relative_to(DRAWINGS).with_suffix("")): p for p in sorted(DRAWINGS.rglob("*.png"))
    }
    rows = [{"id": n, "image": str(p), "text": p.stem.replace("_", " ")} for n, p in paths.items()]
    rows += spoil(folder, min(paths.values()))
    (folder / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    paths["~copy"] = folder / "~copy.png"
    return folder / "rows.jsonl", paths


@pytest.fixture(scope="module")
def done(drawings, tmp_path_factory):
    """The whole pool, decoded once: the run, and the decisions by id."""
    recipe = [
        Images([ImageHashes()]),
        ReadableImage(),
        ExactDuplicates("pixel_hash"),
        ImageDuplicates(radius=4),
    ]
    run = curate(recipe, drawings[0], tmp_path_factory.mktemp("out"))
    return run, {r["id"]: r for r in pq.read_table(run.out / "decisions.parquet").to_pylist()}


def test_nothing_is_lost(drawings, done):
    counts = done[0].manifest["counts"]
    assert counts["rows"] == len(drawings[1]) + len(SPOILED) == len(done[1])
    assert counts["rows"] == counts["kept"] + counts["dropped"] + counts["rejected"]
    states = Counter(r["state"] for r in done[1].values())
    assert {n: counts[n] for n in ("kept", "dropped", "rejected")} == {
        **{"dropped": 0, "rejected": 0},
        **states,
    }
    kept = [
        json.loads(line)["id"]
        for line in (done[0].out / "data/rows.jsonl").read_text().splitlines()
    ]
    assert kept == [n for n, r in done[1].items() if r["state"] == "kept"]
    assert all(r["reason"] for r in done[1].values() if r["state"] != "kept")


def test_every_bad_file_is_named(drawings, done):
    """Which drawings are too large is read from their headers here; all others are good."""
    size = {n: struct.unpack(">II", p.open("rb").read(24)[16:]) for n, p in drawings[1].items()}
    expected = {n: "image too large" for n, (w, h) in size.items() if w * h > MOST_PIXELS}
    assert len(expected) >= 10
    expected |= {n: f"image {word}" for n, word in SPOILED.items()}
    assert {
        n: r["reason"] for n, r in done[1].items() if r["operator"] == "readable_image"
    } == expected


def test_every_copy_is_found(drawings, done):
    """Files of the same bytes: one of a group is left at most, and the others name one that was
    kept in their place.
    """
    groups = defaultdict(list)
    for name, path in drawings[1].items():
        if done[1][name]["operator"] != "readable_image":
            groups[hashlib.sha256(path.read_bytes()).digest()].append(name)
    groups = [sorted(g) for g in groups.values() if len(g) > 1]
    assert len(groups) > 800
    for group in groups:
        first, *others = (done[1][n] for n in group)
        assert {r["reason"] for r in others} == {"exact duplicate"}
        assert len({r["duplicate_of"] for r in others}) == 1
        assert others[0]["duplicate_of"] == (
            first["duplicate_of"] if first["reason"] == "exact duplicate" else first["id"]
        )
    assert done[1]["~copy"]["reason"] == "exact duplicate"


def test_nothing_but_copies_is_dropped_as_one(drawings, done):
    from PIL import Image

    def pixels(name):
        image = Image.open(drawings[1][name]).convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return np.asarray(Image.alpha_composite(white, image))

    pairs = [(n, r["duplicate_of"]) for n, r in done[1].items() if r["reason"] == "exact duplicate"]
    differ = [
        (a, b) for a, b in pairs if drawings[1][a].read_bytes() != drawings[1][b].read_bytes()
    ]
    for a, b in [*differ[:60], *pairs[::40]]:
        assert np.array_equal(pixels(a), pixels(b)), (a, b)


def test_near_copies_are_the_components_of_all_pairs(done):
    rows = sorted(
        (
            r
            for r in done[1].values()
            if r["state"] == "kept" or r["operator"] == "image_duplicates"
        ),
        key=lambda r: r["id"],
    )
    there = [i for i, r in enumerate(rows) if r["phash"]]
    bits = np.array([int(rows[i]["phash"], 16) for i in there], np.uint64)
    hues = np.array([list(bytes.fromhex(rows[i]["colors"])) for i in there], np.int64)
    root = np.arange(len(bits))
    for i in range(len(bits)):
        near = np.bitwise_count(bits[i + 1 :] ^ bits[i]) <= 4
        for j in np.flatnonzero(near & (np.abs(hues[i + 1 :] - hues[i]).max(axis=1) <= 32)) + i + 1:
            a, b = root[i], root[j]
            if a != b:
                root[root == max(a, b)] = min(a, b)
    duplicate_of = {
        rows[there[i]]["id"]: rows[there[int(r)]]["id"]
        for i, r in enumerate(root.tolist())
        if r != i
    }
    assert len(duplicate_of) > 100
    assert {r["id"]: r["duplicate_of"] for r in rows if r["state"] == "dropped"} == duplicate_of


def test_the_page_is_small_and_whole(done):
    from coreset.report.curation import write_curation_report

    page = write_curation_report(done[0].out, done[0].manifest, done[0].samples, done[0].gallery)
    html = page.read_text()
    assert len(html) < 2_000_000
    assert 40 < html.count("<img ") < 140
    for words in (
        "exact duplicate",
        "near duplicate image",
        "image too large",
        "image truncated",
        "Copies, by image_duplicates",
    ):
        assert words in html, words


def test_the_same_on_ray(drawings, tmp_path):
    """600 drawings, copies among them, and all the spoiled files, by the shipped recipe; the order
    of the rows and the size of the partitions differ too.
    """
    ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
    from coreset.curation.engines.ray import RayData

    lines = drawings[0].read_text().splitlines(keepends=True)
    chosen = [*lines[:600], *lines[-len(SPOILED) - 1 :]]
    source = drawings[0].parent / "some.jsonl"
    source.write_text("".join(chosen))
    engine = RayData(workers=2)
    try:
        for where in (Local(), engine):
            curate(
                operators("recipe=images_clean"),
                source,
                tmp_path / where.name,
                engine=where,
                settings=Settings(partition_rows=150),
            )
    finally:
        engine.close()
        ray.shutdown()
    one, two = (pq.read_table(tmp_path / n / "decisions.parquet") for n in ("local", "ray"))
    assert one.schema.equals(two.schema)
    assert str(one.to_pylist()) == str(two.to_pylist())  # as text NaN is itself
    reasons = pq.read_table(tmp_path / "ray/decisions.parquet")["reason"].to_pylist()
    assert {"exact duplicate", "near duplicate image", "image truncated"} <= set(reasons)
    backwards = drawings[0].parent / "backwards.jsonl"
    backwards.write_text("".join(chosen[::-1]))
    again = curate(operators("recipe=images_clean"), backwards, tmp_path / "backwards")
    kept = sorted((tmp_path / "local/data/some.jsonl").read_text().splitlines())
    assert sorted((again.out / "data/backwards.jsonl").read_text().splitlines()) == kept
