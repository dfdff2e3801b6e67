"""Which images a page shows: counted apart, the same however the input is cut, none of a run over
text.
"""

import json
from collections import Counter, defaultdict

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from coreset.curation import curate
from coreset.curation.operators.dedup import ExactDuplicates
from coreset.curation.operators.mixing import BalanceEntries
from coreset.curation.operators.rules import ReadableImage
from coreset.curation.operators.select import Select
from coreset.curation.results.gallery import SALT
from coreset.curation.run import Settings
from coreset.numerics.pca import plane
from coreset.numerics.random import keyed_uniform
from coreset.registry import strategy
from coreset.scorers.image.images import Images
from coreset.scorers.text.entries import Entries

WORDS = ["cat", "dog", "eel", "fox", "gnu", "hen", "ibis", "jay", "koi"]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Ninety images of noise with captions, every third a copy; two files that are none."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    (folder / "words.json").write_text(json.dumps(WORDS))
    rows = []
    for i in range(90):
        if i % 3 or i < 27:
            Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8)).save(folder / f"{i}.png")
        else:
            (folder / f"{i}.png").write_bytes((folder / f"{i % 27}.png").read_bytes())
        words = [w for j, w in enumerate(WORDS) if rng.random() < 0.8 / (j + 1)] or ["cat"]
        vector = rng.normal(size=4).round(6).tolist()
        rows.append(
            {"id": f"r{i:02d}", "image": f"{i}.png", "text": " ".join(words), "vector": vector}
        )
    (folder / "50.png").write_text("no image")
    (folder / "51.png").write_bytes(b"")
    (folder / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return folder, rows


def run(source, out, partition_rows=1000, budget=60):
    recipe = [
        Images(),
        ReadableImage(),
        ExactDuplicates("pixel_hash"),
        Select(strategy("kcenter"), budget, columns={"features": "vector"}),
        Entries(str(source / "words.json")),
        BalanceEntries(t=8),
    ]
    return curate(
        recipe, source / "rows.jsonl", out, settings=Settings(partition_rows=partition_rows)
    )


def plain(value):
    """Return a gallery as JSON would have it."""
    return json.loads(json.dumps(value, default=lambda v: v.tolist()))


@pytest.fixture(scope="module")
def done(source, tmp_path_factory):
    return run(source[0], tmp_path_factory.mktemp("gallery"))


def test_outcomes_and_groups(source, done):
    decisions = pq.read_table(done.out / "decisions.parquet").to_pylist()
    sizes = Counter((r["state"], r["operator"] or "", r["reason"] or "") for r in decisions)
    outcomes = done.gallery["outcomes"]
    assert {(o["state"], o["operator"], o["reason"]): o["size"] for o in outcomes} == dict(sizes)
    for one in outcomes:
        names = [
            r["id"]
            for r in decisions
            if (r["state"], r["reason"] or "") == (one["state"], one["reason"])
        ]
        luck = keyed_uniform(SALT, np.array(names, object))
        wanted = [names[i] for i in np.argsort(luck)[: 12 if one["state"] == "kept" else 6]]
        assert [r["id"] for r in one["rows"]] == wanted
        assert all(r["image"].startswith(str(source[0])) for r in one["rows"])
    duplicates = defaultdict(list)
    for r in decisions:
        if r["duplicate_of"]:
            duplicates[r["duplicate_of"]].append(r["id"])
    (groups,) = done.gallery["groups"]
    assert groups["size"] == len(duplicates) > 5
    names = np.array(sorted(duplicates), object)
    shown = [g["rows"][0]["id"] for g in groups["groups"]]
    assert shown == sorted(names[np.argsort(keyed_uniform(SALT, names))[:5]])
    for one in groups["groups"]:
        first, *others = [r["id"] for r in one["rows"]]
        assert one["size"] == 1 + len(duplicates[first])
        assert others == sorted(duplicates[first])[:3]


def test_entries_before_and_after(source, done):
    decisions = {r["id"]: r for r in pq.read_table(done.out / "decisions.parquet").to_pylist()}
    came = [
        r
        for r in source[1]
        if decisions[r["id"]]["state"] == "kept"
        or decisions[r["id"]]["operator"] == "balance_entries"
    ]
    before = Counter(w for r in came for w in set(r["text"].split()))
    after = Counter(
        w for r in came if decisions[r["id"]]["state"] == "kept" for w in set(r["text"].split())
    )
    entries = done.gallery["entries"]
    assert entries["seen"] == len(before)
    for one in (*entries["head"], *entries["tail"]):
        assert (one["before"], one["after"]) == (before[one["entry"]], after[one["entry"]])
        assert all(one["entry"] in r["preview"].split() for r in one["rows"])
    commonest = sorted(before, key=lambda w: (-before[w], WORDS.index(w)))[:6]
    assert [e["entry"] for e in entries["head"]] == commonest
    assert {e["before"] for e in entries["tail"]} == {min(before.values())}
    assert entries["curve"][:, 1].max() == max(before.values())


def test_the_map_is_the_plane_of_the_vectors(source, done):
    state = {r["id"]: r["state"] for r in pq.read_table(done.out / "decisions.parquet").to_pylist()}
    order = np.argsort(keyed_uniform(SALT, np.array([r["id"] for r in source[1]], object)))
    rows = [source[1][i] for i in order]
    there = done.gallery["map"]
    assert there["name"] == "vector"
    assert there["kept"].tolist() == [state[r["id"]] == "kept" for r in rows]
    x = np.array([r["vector"] for r in rows])
    x = x - x.mean(axis=0)
    values = np.linalg.eigvalsh(x.T @ x)[::-1][:2]
    np.testing.assert_allclose((there["xy"].astype(np.float64) ** 2).sum(axis=0), values, rtol=1e-5)


def test_the_plane_of_few_rows():
    assert plane(np.array([[3.0], [1.0]])).tolist() == [[1.0, 0.0], [-1.0, 0.0]]
    assert plane(np.ones((1, 5))).tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("partition_rows", [7, 30])
def test_the_same_however_it_is_cut(source, done, tmp_path, partition_rows):
    assert plain(run(source[0], tmp_path, partition_rows).gallery) == plain(done.gallery)


def test_a_recipe_that_reads_no_image_still_shows_them(source, tmp_path):
    out = curate([Entries(str(source[0] / "words.json"))], source[0] / "rows.jsonl", tmp_path)
    assert out.gallery["outcomes"][0]["rows"][0]["image"].endswith(".png")
    assert out.gallery["entries"] is None
    assert out.gallery["map"] is None


def test_text_has_no_gallery(tmp_path):
    (tmp_path / "in.jsonl").write_text('{"text": "a dog"}\n')
    (tmp_path / "words.json").write_text('["dog"]')
    assert (
        curate(
            [Entries(str(tmp_path / "words.json"))], tmp_path / "in.jsonl", tmp_path / "out"
        ).gallery
        is None
    )


def test_images_inside_containers(source, tmp_path):
    """Bytes in Parquet, places in a tar shard: what is shown can be decoded as it stands."""
    import tarfile

    import pyarrow as pa

    from coreset.scorers.image.decode import decode

    paths = [source[0] / f"{i}.png" for i in range(4)]
    pq.write_table(
        pa.table({"image": [p.read_bytes() for p in paths], "text": ["a"] * 4}),
        tmp_path / "a.parquet",
    )
    with tarfile.open(tmp_path / "b.tar", "w") as tar:
        for p in paths:
            tar.add(p, p.name)
    for name in ("a.parquet", "b.tar"):
        gallery = curate(
            [Images(), ReadableImage()], tmp_path / name, tmp_path / f"out-{name}"
        ).gallery
        rows = gallery["outcomes"][0]["rows"]
        assert [decode(r["image"]).status for r in rows] == ["ok"] * 4
