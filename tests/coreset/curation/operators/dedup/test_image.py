"""Copies of images: each pair verified by hash and color, groups of verified pairs only, the same
however the rows are cut.
"""

import json
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageDraw

from coreset.core.batch import as_batch, objects
from coreset.curation import curate
from coreset.curation.operators.contract import row_keys, run_in_memory
from coreset.curation.operators.dedup import ImageDuplicates
from coreset.curation.run import Settings
from coreset.curation.runtime.checkpoint import Stage
from coreset.curation.runtime.components import label
from coreset.curation.runtime.edges import FindEdges, keyed
from coreset.scorers.image.hashes import ImageHashes
from coreset.scorers.image.images import Images
from coreset.testing import check_operator

DRAWINGS = Path("/usr/share/openclipart/png")


def grouped(operator, hashes, colors, tmp_path, partitions=3, parts=1):
    """Return rows and groups as the engine forms them, from key tables of several partitions."""
    tables, cut = [], np.linspace(0, len(hashes), partitions + 1).astype(int)
    for a, b in zip(cut, cut[1:], strict=False):
        batch = as_batch({"phash": objects(hashes[a:b]), "colors": objects(colors[a:b])})
        keys, signature = row_keys(operator, batch), operator.signature(batch)
        tables.append(keyed(np.arange(a, b), keys, signature, parts))
    table = pa.concat_tables(tables)
    find = FindEdges(
        tmp_path / f"{partitions}-{parts}", Stage("1", "i", "k", frozenset(), operator)
    )
    edges = [np.empty((0, 2), np.int64)]
    for part in range(parts):
        here = table.filter(pa.array(table["_part"].to_numpy() == part))
        if here.num_rows:
            read = pq.read_table(find((part, here)).path)
            edges.append(np.stack([read["u"].to_numpy(), read["v"].to_numpy()], axis=1))
    return label(np.concatenate(edges))


def plain(hashes, colors, radius, tolerance):
    """The duplicate_of of every row by the definition: all pairs, then components; None where it
    has none.
    """
    bits = np.array([0 if h is None else int(h, 16) for h in hashes], np.uint64)
    hues = np.array([list(bytes.fromhex(c)) for c in colors], np.float64)
    there = np.array([h is not None for h in hashes])
    label = np.arange(len(bits))
    for i in np.flatnonzero(there).tolist():
        near = (
            (np.bitwise_count(bits ^ bits[i]) <= radius)
            & there
            & (np.abs(hues - hues[i]).max(axis=1) <= tolerance)
        )
        for j in np.flatnonzero(near).tolist():
            one, two = label[i], label[j]
            if one != two:
                label[label == max(one, two)] = min(one, two)
    return [None if k == i else int(k) for i, k in enumerate(label.tolist())]


@pytest.fixture
def rows():
    rng = np.random.default_rng(3)
    base = rng.integers(0, 2**64, 1000, dtype=np.uint64)
    bits = base[rng.integers(0, 1000, 2500)]
    for _ in range(5):
        bits = np.where(
            rng.random(2500) < 0.5,
            bits ^ (np.uint64(1) << rng.integers(0, 64, 2500).astype(np.uint64)),
            bits,
        )
    hues = rng.integers(0, 256, (4, 12))[rng.integers(0, 4, 2500)] + rng.integers(0, 30, (2500, 12))
    hashes = [None if i % 50 == 7 else f"{b:016x}" for i, b in enumerate(bits.tolist())]
    return hashes, [bytes(h).hex() for h in hues.clip(0, 255).astype(np.uint8)]


@pytest.mark.parametrize(("radius", "tolerance"), [(4, 20), (1, 255), (9, 27)])
def test_against_all_pairs(rows, radius, tolerance, tmp_path):
    hashes, colors = rows
    operator = ImageDuplicates(radius=radius, tolerance=tolerance)
    expected = plain(hashes, colors, radius, tolerance)
    assert 40 < sum(t is not None for t in expected) < 2400
    columns = {
        "id": [f"{i:05d}" for i in range(len(hashes))],
        "phash": objects(hashes),
        "colors": objects(colors),
    }
    table = run_in_memory(operator, as_batch(columns)).to_pylist()
    by_id = {int(r["id"]): r for r in table}
    for i, duplicate_of in enumerate(expected):
        outcome = by_id.get(i, {"duplicate_of": None, "keep": True})
        assert outcome["duplicate_of"] == (None if duplicate_of is None else f"{duplicate_of:05d}")
        assert outcome["keep"] == (duplicate_of is None)
        if duplicate_of is not None:
            assert (
                outcome["image_distance"]
                == (int(hashes[i], 16) ^ int(hashes[duplicate_of], 16)).bit_count()
            )
            a, b = (np.array(list(bytes.fromhex(colors[k])), int) for k in (i, duplicate_of))
            assert outcome["color_distance"] == np.abs(a - b).max()
    for partitions in (1, 4):
        row, group = grouped(operator, hashes, colors, tmp_path, partitions)
        first = {g: int(row[group == g].min()) for g in np.unique(group)}
        duplicates = {int(r): first[g] for r, g in zip(row, group, strict=True) if first[g] != r}
        assert duplicates == {i: t for i, t in enumerate(expected) if t is not None}


def test_the_contract(rows):
    hashes, colors = rows[0][:60] + rows[0][:20], rows[1][:60] + rows[1][:20]
    check_operator(ImageDuplicates(), {"phash": objects(hashes), "colors": objects(colors)})
    check_operator(
        ImageDuplicates(radius=15, tolerance=255),
        {"phash": objects(hashes), "colors": objects(colors)},
    )
    check_operator(ImageDuplicates(colors=None), {"phash": objects(hashes)})


def test_rows_that_share_a_piece_by_chance_are_no_group(tmp_path):
    """100,000 random hashes: each partition of 12 bits is shared by dozens, and no two are alike."""
    n = 100_000
    rng = np.random.default_rng(0)
    hashes = [f"{b:016x}" for b in rng.integers(0, 2**64, n, dtype=np.uint64).tolist()]
    colors = [b.tobytes().hex() for b in rng.integers(0, 256, (n, 48)).astype(np.uint8)]
    operator = ImageDuplicates()
    start = time.process_time()
    row, _ = grouped(operator, hashes, colors, tmp_path)
    assert time.process_time() - start < 60
    assert len(row) == 0


def test_in_many_parts_of_keys(rows, tmp_path):
    hashes, colors = rows
    one = grouped(ImageDuplicates(), hashes, colors, tmp_path)
    two = grouped(ImageDuplicates(), hashes, colors, tmp_path, 2, parts=9)
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    assert len(one[0]) > 100


def button(color, word="OK", size=(160, 90)):
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    draw.rounded_rectangle(
        (8, 8, size[0] - 8, size[1] - 8), 20, fill=color, outline=(90, 90, 90), width=4
    )
    draw.line((30, 20, size[0] - 30, size[1] - 20), fill=(120, 120, 120), width=5)
    draw.text((size[0] // 2 - 8, size[1] // 2 - 6), word, fill="white")
    return image


@pytest.fixture
def buttons(tmp_path):
    """One button in colors of about the same luma, and copies of two of them: smaller, and as a
    poor JPEG.
    """
    colors = {
        "red": (200, 40, 40),
        "green": (30, 117, 30),
        "blue": (60, 80, 230),
        "violet": (140, 50, 190),
        "teal": (0, 110, 120),
    }
    folder = tmp_path / "in"
    folder.mkdir()
    images = {n: button(c) for n, c in colors.items()}
    for name, image in images.items():
        image.save(folder / f"{name}.png")
    images["red"].save(folder / "red-copy.jpg", quality=60)
    images["blue"].resize((80, 45), Image.Resampling.LANCZOS).save(folder / "blue-copy.png")
    names = sorted(p.name for p in folder.iterdir())
    (folder / "rows.jsonl").write_text(
        "".join(json.dumps({"id": n, "image": n, "text": "a"}) + "\n" for n in names)
    )
    return folder / "rows.jsonl"


@pytest.mark.parametrize("partitions", [20_000, 2])
def test_buttons_of_other_colors_are_no_copies(buttons, tmp_path, partitions):
    scorer = Images([ImageHashes(min_texture=0)])
    done = {}
    for name, operator in (
        ("both", ImageDuplicates(radius=6)),
        ("shape", ImageDuplicates(radius=6, colors=None)),
    ):
        run = curate(
            [scorer, operator],
            buttons,
            tmp_path / name,
            settings=Settings(partition_rows=partitions),
        )
        table = pq.read_table(run.out / "decisions.parquet").to_pylist()
        done[name] = {r["id"]: r["duplicate_of"] for r in table if r["state"] == "dropped"}
        for row in table:
            assert (
                (row["image_distance"] is None)
                or row["state"] == "dropped"
                or row["image_distance"] == 0
            )
    assert done["both"] == {"red.png": "red-copy.jpg", "blue.png": "blue-copy.png"}
    assert len(done["shape"]) >= 5  # the hash alone takes them for one


@pytest.mark.slow
def test_drawings_do_not_chain(tmp_path):
    """1,584 real drawings: the largest group has dozens at most, where sharing a partition made one
    of 1,392.
    """
    if not DRAWINGS.is_dir():
        pytest.skip(
            "the Debian package openclipart-png is not installed: apt-get install openclipart-png"
        )
    paths = [p for p in sorted(DRAWINGS.rglob("*.png")) if p.stat().st_size < 40_000][:1584]
    columns = Images([ImageHashes()])({"image": objects([str(p) for p in paths])})
    hashes, colors = columns["phash"].tolist(), columns["colors"].tolist()
    operator = ImageDuplicates()
    _, group = grouped(operator, hashes, colors, tmp_path)
    assert 0 < np.bincount(group).max() < 100
    there = [i for i, h in enumerate(hashes) if h is not None]
    expected = plain([hashes[i] for i in there], [colors[i] for i in there], 4, 32)
    row, group = grouped(
        operator, [hashes[i] for i in there], [colors[i] for i in there], tmp_path, 2
    )
    first = {g: int(row[group == g].min()) for g in np.unique(group)}
    assert {int(r): first[g] for r, g in zip(row, group, strict=True) if first[g] != r} == {
        i: t for i, t in enumerate(expected) if t is not None
    }
