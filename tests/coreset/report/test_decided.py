"""Decisions read by a person: cuts, duplicates, before and after, and what changed between runs."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from PIL import Image

from coreset.core.overrules import Overrule, add_overrule
from coreset.curation.operators.dedup import ExactDuplicates, ImageDuplicates, NearDuplicates
from coreset.curation.operators.select import Select
from coreset.curation.operators.threshold import Threshold
from coreset.curation.run import curate
from coreset.report.compare_curations import changes, write_comparison
from coreset.report.curation import write_curation_report
from coreset.report.decided_rows import before_after, cuts, duplicate_pairs, suspicious
from coreset.report.highlight import marked, overlap, repeated, shared, spans_of
from coreset.scorers.image.hashes import ImageHashes
from coreset.scorers.image.images import Images
from coreset.scorers.length import Length
from coreset.strategies.baseline.top_k import TopK
from coreset.trainers.app import compared


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    words = [f"word{i}" for i in range(400)]
    texts = [" ".join(rng.choice(words, n)) for n in rng.integers(4, 60, 120)]
    texts[50] = texts[7] = " ".join(words[:30])
    near = texts[9].split()
    near[2] = "changed"
    texts[60] = " ".join(near)
    texts[70] = "<script>alert(1)</script> " + texts[70]
    folder = tmp_path_factory.mktemp("decided")
    (folder / "in.jsonl").write_text(
        "".join(json.dumps({"id": f"r{i}", "text": t}) + "\n" for i, t in enumerate(texts))
    )
    return folder / "in.jsonl"


RECIPE = [
    Length(),
    Threshold("text_words", low=10),
    ExactDuplicates(),
    NearDuplicates(threshold=0.6),
    Select(TopK("text_words"), budget=40),
]


def test_around_a_cut_lie_the_nearest_rows(rows: Path, tmp_path: Path) -> None:
    done = curate(RECIPE, rows, tmp_path / "out")
    table = pq.read_table(done.out / "decisions.parquet")
    by_operator = {c.operator: c for c in cuts(table, done.manifest)}
    cut = by_operator["threshold"]
    length = {r["id"]: r["text_words"] for r in table.to_pylist()}
    gone = sorted(10 - v for v in length.values() if v < 10)[:3]
    stay = sorted(v - 10 for v in length.values() if v >= 10)[:3]
    assert [10 - r["text_words"] for r in cut.dropped] == gone
    assert [r["text_words"] - 10 for r in cut.kept] == stay
    assert [r["rank"] for r in by_operator["select"].kept] == [39, 38, 37]
    assert all(r["operator"] == "select" for r in by_operator["select"].dropped)


def test_the_page_quotes_the_twin_and_does_not_act(rows: Path, tmp_path: Path) -> None:
    done = curate(RECIPE, rows, tmp_path / "out")
    html = write_curation_report(done.out, done.manifest, done.samples).read_text()
    for head in (
        "Around every cut",
        "Duplicates beside what stands for them",
        "What you would train on",
        "Before and after",
    ):
        assert f"<h2>{head}</h2>" in html
    part = html.split("Duplicates beside what stands for them</h2>")[1].split("</details>")[0]
    assert part.index("r60") < part.index("r50")  # near before exact: the least alike first
    assert "<mark>" in part
    assert "<script>alert" not in html


def test_pairs_of_images_are_sorted_by_their_distance() -> None:
    table = pa.table(
        {
            "id": ["a", "b", "c"],
            "duplicate_of": [None, "a", "a"],
            "phash": ["0" * 16, "0" * 15 + "1", "0" * 15 + "7"],
        }
    )
    assert [(r["id"], d) for r, _, d in duplicate_pairs(table)] == [("c", 3.0), ("b", 1.0)]


def test_the_most_uncertain_of_all_pairs_comes_first_however_many_there_are() -> None:
    n = 2000  # pairs; more than are looked at
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 3, n)
    bits[[77, 1500]] = 4, 3
    names = [f"r{i}" for i in range(n)]
    columns = {
        "id": [*(f"twin of {k}" for k in names), *names, "text", "lone"],
        "duplicate_of": [*names, *[None] * n, "r0", "gone"],
        "reason": [*["near duplicate image"] * n, *[None] * n, "near duplicate", "duplicate"],
    }
    hashes = [f"{2**b - 1:016x}" for b in bits.tolist()]
    by_hash = pa.table({**columns, "phash": [*hashes, *["0" * 16] * n, None, None]})
    # a hash of another name: what the operator measured is left
    measured = pa.table({**columns, "image_distance": [*bits.tolist(), *[0] * n, 0, None]})
    for table in (by_hash, measured):
        pairs = duplicate_pairs(table)
        assert len(pairs) == 300
        assert [(r["id"], o["id"], d) for r, o, d in pairs[:2]] == [
            ("twin of r77", "r77", 4.0), ("twin of r1500", "r1500", 3.0),
        ]  # fmt: skip
        assert all(d == 2 for *_, d in pairs[2:])
        assert {r["id"]: o["id"] for r, o, _ in pairs} == {
            f"twin of {o['id']}": o["id"] for _, o, _ in pairs
        }
    few = duplicate_pairs(by_hash.filter(pc.invert(pc.starts_with(by_hash["id"], "twin"))))
    assert sorted((r["id"], o and o["id"], d) for r, o, d in few) == [
        ("lone", None, None), ("text", "r0", None)
    ]  # fmt: skip


def test_the_page_shows_both_images_of_a_pair_and_how_far_apart_they_are(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    lines = []
    for i in range(4):
        whole = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).resize((200, 200))
        for name, quality, side in ((f"a{i}", 95, 200), (f"b{i}", 12, 150 - 20 * i)):
            whole.resize((side, side)).save(tmp_path / f"{name}.jpg", quality=quality)
            lines.append(json.dumps({"id": name, "image": f"{name}.jpg"}) + "\n")
    (tmp_path / "in.jsonl").write_text("".join(lines))
    steps = [Images([ImageHashes()]), ImageDuplicates(radius=12, tolerance=96)]
    done = curate(steps, tmp_path / "in.jsonl", tmp_path / "out")
    table = pq.read_table(done.out / "decisions.parquet").to_pylist()
    far = {r["id"]: r["image_distance"] for r in table if r["duplicate_of"]}
    assert len(far) == 4
    assert len(set(far.values())) > 1
    html = write_curation_report(done.out, done.manifest, done.samples, done.gallery).read_text()
    part = html.split("Duplicates beside what stands for them</h2>")[1].split("</details>")[0]
    blocks = part.split('<div class="two">')[1:]
    assert len(blocks) == 4
    shown = [next(k for k in far if f'data-id="{k}"' in b) for b in blocks]
    assert [far[k] for k in shown] == sorted(far.values(), reverse=True)
    for name, block in zip(shown, blocks, strict=True):
        assert block.count('<img alt="" loading="lazy" src="data:image/') == 2
        assert f"{far[name]} bits apart" in block
        assert f'data-id="{name.replace("b", "a")}"' in block


def test_before_and_after_count_every_row(rows: Path, tmp_path: Path) -> None:
    done = curate(RECIPE, rows, tmp_path / "out")
    table = pq.read_table(done.out / "decisions.parquet")
    bins = before_after(table)["text words"]
    assert sum(n for _, n, _ in bins) == 120
    assert sum(k for *_, k in bins) == done.manifest["counts"]["kept"]
    uniform, odd = suspicious(table)
    assert all(r["state"] == "kept" for r in [*uniform, *odd])


def test_what_a_reason_is_about_is_marked() -> None:
    assert [
        ("buy now\nnews\nbuy now")[a:b]
        for a, b in spans_of("buy now\nnews\nbuy now", "repeated lines")
    ] == ["buy now", "buy now"]
    text = "a b c x y z a b c q a b c"
    assert [text[a:b] for a, b in repeated(text)] == ["a b c"] * 3
    assert spans_of("one two", "fewer than 50 words") == []
    assert marked("<b>" * 400, [(900, 903)]).count("<mark>") == 1
    assert "<b>" not in marked("<b>" * 400, [(900, 903)])
    assert shared("x a b c d e y", "q a b c d e") == [(2, 11)]
    assert overlap("a b c d e f", "a b c d e f") == 1
    assert overlap("a b c d e f", "g h i j k l") == 0


def test_what_changed_between_two_curations(rows: Path, tmp_path: Path, capsys) -> None:
    one = curate(RECIPE[:3], rows, tmp_path / "one").out
    other = [RECIPE[0], Threshold("text_words", low=20), RECIPE[2]]
    file = tmp_path / "o.jsonl"
    kept = [
        r["id"]
        for r in pq.read_table(one / "decisions.parquet").to_pylist()
        if r["state"] == "kept"
    ]
    short = next(r["id"] for r in pq.read_table(one / "decisions.parquet").to_pylist() if r["state"] == "dropped")  # fmt: skip
    add_overrule(file, Overrule(kept[0], "drop", "ana", "now", "a face"))
    add_overrule(file, Overrule(short, "keep", "ana", "now"))
    long = next(r["id"] for r in pq.read_table(one / "decisions.parquet").to_pylist() if r["id"] in kept[1:] and r["text_words"] >= 40)  # fmt: skip
    add_overrule(file, Overrule(long, "relabel", "ana", "now", "", "poem"))
    two = curate(other, rows, tmp_path / "two", overrules=file).out
    changed = changes(one, two)
    a, b = (
        {r["id"]: r for r in pq.read_table(p / "decisions.parquet").to_pylist()} for p in (one, two)
    )
    both = sum(a[k]["state"] == b[k]["state"] == "kept" for k in a)
    out = sum(a[k]["state"] == "kept" != b[k]["state"] for k in a)
    assert changed.counts == {
        "kept_in_both": both,
        "kept_only_in_first": out,
        "kept_only_in_second": sum(b[k]["state"] == "kept" != a[k]["state"] for k in a),
        "rows_only_in_first": 0,
        "rows_only_in_second": 0,
    }
    assert changed.ids["kept", "overruled: drop by ana: a face"] == [kept[0]]
    assert changed.ids["kept", "kept, relabeled poem"] == [long]
    assert ("kept", "kept") not in changed.ids
    page, _ = write_comparison(one, two, tmp_path)
    html = page.read_text()
    assert "low: 10 there, 20 now" in html
    assert "a face" in html
    assert "overrules in the second: 1 keep, 1 drop, 1 relabel, 1 would have been dropped" in html
    assert '<tr><td>1</td><td class="left">kept</td><td class="left">overruled: drop by ana' in html
    for wrong in ([one], [one, two, one], [one, tmp_path]):
        assert compared(list(map(str, wrong))) == 1
        assert "expected two curations" in " ".join(capsys.readouterr().err.split())
    (tmp_path / "x.jsonl").write_text('{"id": "zz", "text": "x"}\n')
    with pytest.raises(ValueError, match="no row in common"):
        changes(one, curate(RECIPE[:1], tmp_path / "x.jsonl", tmp_path / "three").out)
