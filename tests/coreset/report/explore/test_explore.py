"""Every row of a run: the table, the server, the static site and the page in a browser."""

import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from coreset.cli.explore import fingerprint_of, make_table
from coreset.core.overrules import read_overrules
from coreset.core.selection import Selection
from coreset.curation.operators.dedup import ExactDuplicates
from coreset.curation.operators.threshold import Threshold
from coreset.curation.run import Settings, curate
from coreset.report.explore import coordinates, rows
from coreset.report.explore.coordinates import neighbors, places
from coreset.report.explore.server import export_site, file_overrules, make_app
from coreset.report.explore.table import COLUMNS, read_explore, write_explore
from coreset.report.explore.trained import write_rows
from coreset.scorers.length import Length
from tests.browser import open_page, serious

SETTINGS: dict[str, Any] = {
    "features": None, "ids": None, "images": None, "state": None, "columns": None, "projection": "pca", "neighbors": 3,
}  # fmt: skip


@pytest.fixture(scope="module")
def curated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explore")
    rng = np.random.default_rng(0)
    words = np.array([f"word{i}" for i in range(12)])
    texts = [
        " ".join(rng.choice(words[(i % 3) * 4 : (i % 3) * 4 + 4], rng.integers(3, 20)))
        for i in range(600)
    ]
    texts[517], texts[518] = texts[3], texts[3] + " <script>alert(1)</script>"
    (folder / "in.jsonl").write_text(
        "".join(json.dumps({"id": f"r{i}", "text": t}) + "\n" for i, t in enumerate(texts))
        + '{"id": "x"}\n'
    )
    return curate(
        [Length(), Threshold("text_words", low=6), ExactDuplicates()],
        folder / "in.jsonl",
        folder / "out",
    ).out


def test_the_table_of_a_curation_says_what_the_decisions_say(curated: Path) -> None:
    table, how = make_table({**SETTINGS, "run": str(curated)})
    decisions = pq.read_table(curated / "decisions.parquet").to_pylist()
    assert how == "pca of words"
    assert table.num_rows == 601
    lines = (curated.parent / "in.jsonl").read_text().splitlines()
    for row, decision in zip(table.to_pylist(), decisions, strict=True):
        assert row["decision"] == decision["state"]
        assert (row["operator"], row["reason"], row["duplicate_of"]) == (
            decision["operator"],
            decision["reason"],
            decision["duplicate_of"],
        )
        if decision["state"] != "rejected":
            assert row["id"] == decision["id"]
            assert row["text"] == json.loads(lines[row["row"]])["text"]
        if row["duplicate_row"] is not None:
            assert table["id"][row["duplicate_row"]].as_py() == row["duplicate_of"]
    assert table["duplicate_row"][517].as_py() == 3
    assert rows.score_names(table) == ["text_words"] or "text_words" in rows.score_names(table)


def test_rows_of_several_files_and_partitions_keep_their_texts(tmp_path: Path) -> None:
    texts = [f"row {i} " + "é🙂" * (1200 if i == 4 else i % 7) for i in range(31)]
    for k, name in enumerate(("b.jsonl", "a.jsonl")):
        part = texts[k * 17 : (k + 1) * 17]
        (tmp_path / name).write_text("".join(json.dumps({"text": t}) + "\n" for t in part))
    out = curate(
        [Length(), ExactDuplicates()],
        [tmp_path / "b.jsonl", tmp_path / "a.jsonl"],
        tmp_path / "out",
        settings=Settings(partition_rows=5),
    ).out
    table, _ = make_table({**SETTINGS, "run": str(out)})
    given = {f"{n}:{i}": t for k, n in enumerate(("b.jsonl", "a.jsonl")) for i, t in enumerate(texts[k * 17 : (k + 1) * 17], 1)}  # fmt: skip
    decisions = pq.read_table(out / "decisions.parquet").to_pylist()
    for row, decision in zip(table.to_pylist(), decisions, strict=True):
        want = given[f"{decision['file']}:{decision['line']}"]
        assert row["text"] == (want if len(want) <= 2000 else want[:2000] + "…")
        assert row["slice"] == decision["file"]


def test_text_vectors_in_parts_are_those_of_the_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice([f"word{i}" for i in range(5)], 9)) for _ in range(45)]
    monkeypatch.setattr(coordinates, "_AXES_FROM", 20)
    got = coordinates.text_vectors(texts)
    plain = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit(texts)
    bare = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, vocabulary=plain.vocabulary_).fit(
        texts[::2]
    )
    few = bare.transform(texts[::2])
    x = TruncatedSVD(22, random_state=0).fit(few).transform(bare.transform(texts))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    # the same angles between texts, whatever the signs of the axes
    np.testing.assert_allclose(got @ got.T, x @ x.T, atol=1e-5)
    whole = pa.chunked_array([pa.array(texts[:7]), pa.array([*texts[7:43], None, texts[44]])])
    again = coordinates.text_vectors(whole)
    np.testing.assert_allclose(np.delete(again, 43, 0), np.delete(got, 43, 0), atol=1e-5)
    assert not again[43].any()


def test_the_file_documents_its_columns(curated: Path, tmp_path: Path) -> None:
    table, how = make_table({**SETTINGS, "run": str(curated)})
    path = write_explore(table, tmp_path / "explore.parquet", {"map": how})
    about = json.loads(pq.read_schema(path).metadata[b"coreset"])
    assert about["columns"] == {n: COLUMNS[n][1] for n in table.column_names if n in COLUMNS}
    back, metadata = read_explore(path)
    assert metadata["map"] == how
    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "other.parquet")
    with pytest.raises(ValueError, match="needs row, decision"):
        read_explore(tmp_path / "other.parquet")
    (tmp_path / "no.parquet").write_text("id")
    with pytest.raises(ValueError, match="not a Parquet file"):
        read_explore(tmp_path / "no.parquet")
    assert back.schema.field("neighbors").type == COLUMNS["neighbors"][0]


def test_a_table_is_made_anew_when_something_has_changed(curated: Path, tmp_path: Path) -> None:
    given = {**SETTINGS, "run": [str(curated)]}
    key = fingerprint_of(given)
    assert fingerprint_of({**given, "open": False, "port": 7}) == key
    assert fingerprint_of({**given, "projection": "tsne"}) != key
    shutil.copytree(curated, tmp_path / "c")
    again = {**given, "run": [str(tmp_path / "c")]}
    before = fingerprint_of(again)
    os.utime(tmp_path / "c" / "manifest.json", (1, 1))
    assert fingerprint_of(again) != before


def test_nearest_rows_are_those_of_plain_distances() -> None:
    x = np.random.default_rng(0).normal(size=(40, 5))
    x[7] = np.nan
    nearest = neighbors(x, 4)
    assert nearest is not None
    assert nearest[7] is None
    for i, one in enumerate(nearest):
        if one is not None:
            far = np.linalg.norm(
                x.astype(np.float32).astype(np.float64) - x[i].astype(np.float32), axis=1
            )
            far[i] = np.inf
            assert (
                one["ids"]
                == np.argsort(np.where(np.isnan(far), np.inf, far), kind="stable")[:4].tolist()
            )
    xy, how = places(x, "auto")
    assert how == "tsne"
    assert np.isnan(xy[7]).all()
    assert np.isfinite(np.delete(xy, 7, 0)).all()


def test_several_strategies_lie_side_by_side(write_run: Callable[..., Path]) -> None:
    one = write_run("a", "margin", 0, {10: 0.5, 20: 0.6})
    two = write_run("b", "entropy", 1, {10: 0.5, 20: 0.6})
    table, _ = make_table({**SETTINGS, "run": [str(one), str(two)], "features": None})
    ledger = [json.loads(line) for line in (two / "ledger.jsonl").read_text().splitlines()]
    order = [i for e in ledger for i in e["indices"]]
    rank = table["rank:entropy:1"].to_numpy()
    assert [int(np.flatnonzero(rank == r)[0]) for r in range(20)] == order
    assert (rank < 0).sum() == table.num_rows - 20
    assert rows.orders(table) == ["rank:margin:0", "rank:entropy:1"]


def test_budgets_of_pruning_are_one_order(write_run: Callable[..., Path]) -> None:
    run = write_run("a", "margin", 0, {10: 0.5, 20: 0.6}, mode="prune")
    table, _ = make_table({**SETTINGS, "run": [str(run)]})
    ledger = [json.loads(line) for line in (run / "ledger.jsonl").read_text().splitlines()]
    assert {i for i in range(100) if table["round"][i].as_py() == 0} == set(ledger[0]["indices"])
    assert {i for i in range(100) if table["rank"][i].as_py() is not None} == set(
        ledger[1]["indices"]
    )


def test_a_run_that_wrote_its_rows_shows_all_of_them(write_run: Callable[..., Path]) -> None:
    run = write_run("a", "margin", 0, {10: 0.5, 20: 0.6})
    rng = np.random.default_rng(0)
    x, images = rng.normal(size=(100, 6)), rng.integers(0, 255, (100, 8, 8, 1), np.uint8)
    write_rows(run, [f"id-{i}" for i in range(100)], ["cat", None] * 50, images, x)
    table, how = make_table({**SETTINGS, "run": [str(run)]})
    assert how == "pca of vectors"
    assert table["label"][:2].to_pylist() == ["cat", None]
    near = table["neighbors"][5].as_py()["ids"]
    far = np.linalg.norm(x - x[5], axis=1)
    assert near == np.argsort(far)[1:4].tolist()


def test_a_selection_and_its_columns(tmp_path: Path) -> None:
    path = Selection([4, 1], scores=np.array([2.0, 1.0])).save(tmp_path / "picked.parquet")
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(30, 4)))
    np.save(tmp_path / "i.npy", np.random.default_rng(0).integers(0, 255, (30, 8, 8, 3), np.uint8))
    given = {
        **SETTINGS,
        "run": str(path),
        "features": str(tmp_path / "x.npy"),
        "images": str(tmp_path / "i.npy"),
    }
    table, how = make_table(given)
    assert how == "pca of vectors"
    assert [table["rank"][i].as_py() for i in (4, 1, 0)] == [0, 1, None]
    assert table["thumbnail"][0].as_py()["bytes"][:4] == b"\x89PNG"
    with pytest.raises(ValueError, match="how many rows"):
        make_table({**SETTINGS, "run": str(path)})


def test_points_and_columns_are_aligned(curated: Path) -> None:
    table, _ = make_table({**SETTINGS, "run": str(curated)})
    xy = np.frombuffer(rows.points(table), np.float32).reshape(2, -1)
    assert xy.shape == (2, table.num_rows)
    assert np.nanmax(np.abs(xy)) <= 1
    names = rows.about(table, "t")["colors"]["decision"]
    got = np.frombuffer(rows.column(table, "decision"), np.float32).astype(int)
    assert [names[i] for i in got] == table["decision"].to_pylist()
    assert rows.search(table, "r517")[0] == 517
    assert rows.search(table, "517")[0] == 517
    assert rows.chunk(table, 5)[17]["id"] == "r517"


def test_texts_of_few_values_are_colors_too(curated: Path) -> None:
    table, _ = make_table({**SETTINGS, "run": str(curated)})
    n = table.num_rows
    site = [("north", "south", None)[i % 3] for i in range(n)]
    table = table.append_column("site", pa.array(site)).append_column(
        "note", pa.array([f"note {i}" for i in range(n)])
    )
    colors = rows.about(table, "t")["colors"]
    assert "note" not in colors
    got = np.frombuffer(rows.column(table, "site"), np.float32).astype(int)
    assert [colors["site"][i] for i in got] == [s or "–" for s in site]


def test_a_page_cannot_file_decisions_about_nothing(tmp_path: Path) -> None:
    asked = {"ids": ["a", "b"], "action": "drop", "who": "ana"}
    with pytest.raises(ValueError, match="no row has the id 'b'"):
        file_overrules(asked, pa.chunked_array([["a"]]), tmp_path / "o.jsonl")
    assert not (tmp_path / "o.jsonl").exists()
    assert file_overrules(asked, pa.chunked_array([["a", "b"]]), tmp_path / "o.jsonl") == 2


@pytest.fixture(scope="module")
def site(curated: Path) -> Iterator[tuple[str, Path]]:
    pytest.importorskip("embedding_atlas")
    import uvicorn

    table, _ = make_table({**SETTINGS, "run": str(curated)})
    overrules = curated / "overrules.jsonl"
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    app = make_app(table, "out", overrules, ("localhost", "127.0.0.1"))
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}", overrules
    server.should_exit = True
    thread.join(10)


@pytest.mark.slow
def test_other_pages_cannot_reach_the_server(site: tuple[str, Path]) -> None:
    import httpx

    assert (
        httpx.get(site[0] + "/api/about.json", headers={"host": "evil.example"}).status_code == 400
    )
    assert (
        httpx.post(
            site[0] + "/api/overrule",
            content='{"ids": ["r0"], "action": "drop", "who": "x"}',
            headers={"content-type": "text/plain"},
        ).status_code
        == 415
    )
    assert not site[1].exists()


@pytest.mark.slow
def test_why_row_517_was_dropped_is_one_search_away(site: tuple[str, Path]) -> None:
    with open_page() as page:
        page.goto(site[0])
        page.wait_for_selector("body[data-ready]")
        page.evaluate(
            "(window.clicks = 0, addEventListener('click', e => { if (e.detail) clicks++ }, true))"
        )
        page.click("#q")
        page.keyboard.type("r517")
        page.get_by_role("button", name="Find").click()
        page.wait_for_selector("#row h2")
        assert page.evaluate("clicks") <= 3
        box = page.locator("#row .why").bounding_box()
        assert box["y"] + box["height"] <= 900, "the reason is seen without scrolling"
        shown = page.inner_text("#row")
        assert "dropped, by exact_duplicates" in shown
        assert "Kept for it: r3" in shown
        lit = page.evaluate(
            "(() => {const c=document.getElementById('map'); const g=document.createElement('canvas'); g.width=c.width; g.height=c.height; const x=g.getContext('2d'); x.drawImage(c,0,0); const d=x.getImageData(0,0,g.width,g.height).data; let n=0; for(let i=0;i<d.length;i+=4) if(d[i+3]>0 && d[i]+d[i+1]+d[i+2]<600) n++; return n})()"
        )
        assert lit > 500  # points are drawn without WebGPU
        page.fill("#q", "r518")
        page.press("#q", "Enter")
        page.wait_for_function("document.querySelector('#row h2').textContent.includes('r518')")
        assert "<script>" in page.inner_text("#row pre")
        assert page.problems == []
        assert serious(page) == []
        assert all(u.startswith((site[0], "data:", "blob:")) for u in page.asked)


@pytest.mark.slow
def test_decisions_of_the_page_land_in_the_file(site: tuple[str, Path]) -> None:
    with open_page() as page:
        page.goto(site[0])
        page.wait_for_selector("body[data-ready]")
        for number, action in enumerate(["keep", "drop", "pin", "relabel", "keep"]):
            page.fill("#q", f"r{500 + number}")
            page.press("#q", "Enter")
            page.wait_for_function(
                f"document.querySelector('#row h2')?.textContent.includes('r{500 + number}')"
            )
            page.fill("#who", "ana")
            page.fill("#label", "good")
            page.click(f"[data-action={action}]")
            page.wait_for_selector(".overruled")
    overrules = read_overrules(site[1])
    assert {k: overrules[k].action for k in ("r500", "r501", "r502", "r504")} == {
        "r500": "keep",
        "r501": "drop",
        "r502": "pin",
        "r504": "keep",
    }
    assert overrules.labels == {"r503": "good"}
    assert {o.who for o in overrules.values()} == {"ana"}


@pytest.mark.slow
def test_the_page_fits_400_pixels_and_the_table_is_there(site: tuple[str, Path]) -> None:
    with open_page(400, 800) as page:
        page.goto(site[0])
        page.wait_for_selector("body[data-ready]")
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
    with open_page() as page:
        page.goto(site[0])
        page.wait_for_selector("body[data-ready]")
        page.click("#atlas summary")
        frame = page.frame_locator("#atlas iframe")
        frame.get_by_text("exact duplicate").first.wait_for(timeout=30_000)


@pytest.mark.slow
def test_the_static_site_needs_no_server(curated: Path, tmp_path: Path) -> None:
    pytest.importorskip("embedding_atlas")
    import functools
    import http.server

    table, _ = make_table({**SETTINGS, "run": str(curated)})
    export_site(table, "out", tmp_path / "site")
    handler = functools.partial(
        http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "site")
    )
    handler.log_message = lambda *a: None  # type: ignore[attr-defined]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with open_page() as page:
            page.goto(f"http://127.0.0.1:{server.server_port}/")
            page.wait_for_selector("body[data-ready]")
            page.fill("#q", "r517")
            page.press("#q", "Enter")
            page.wait_for_selector("#row h2")
            assert "Kept for it: r3" in page.inner_text("#row")
            page.fill("#who", "bo")
            page.click("[data-action=keep]")
            page.wait_for_selector(".overruled")
            with page.expect_download() as saved:
                page.click("#saved")
            overrules = read_overrules(saved.value.path())
            assert overrules["r517"].said == "keep by bo"
            assert page.problems == []
        server.shutdown()
