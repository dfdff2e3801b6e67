"""The page in a browser: drawn, asked, at 400 pixels, in the dark, with the keyboard, without
script; and its size.
"""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from coreset.report.hands import curve_spec, sectioned
from coreset.report.page import write_report
from coreset.runs.curve import Curve, Point
from tests.browser import open_page, serious

CLASSES = ("cat", "dog", "bird </script><b>", "ship")


def gallery(path: Path, picks: int, seed: int) -> None:
    """Pictures of 32 x 32 with real structure, a map of 1,000 points."""
    rng = np.random.default_rng(seed)
    ledger = [json.loads(line) for line in (path / "ledger.jsonl").read_text().splitlines()]
    index = [i for e in ledger for i in e["indices"]][:picks]
    when = [e["round"] for e in ledger for _ in e["indices"]][:picks]
    label = np.array(index) % len(CLASSES)
    y, x = np.mgrid[:32, :32]
    waves = np.stack([np.sin(x / (3 + k) + y / (2 + k)) for k in range(len(CLASSES))])
    images = (
        (110 + 80 * waves[label][..., None] + rng.normal(0, 12, (len(index), 32, 32, 3)))
        .clip(0, 255)
        .astype(np.uint8)
    )
    size = max(1000, max(index) + 1)
    chosen = np.full(size, -1)
    chosen[index] = when
    labels = np.arange(size) % len(CLASSES)
    np.savez_compressed(
        path / "gallery.npz", thumbs=images, thumb_labels=label, thumb_scores=rng.random(len(index)), thumb_round=np.array(when),
        thumb_ids=np.array([f"id-{i}" for i in index]), map_xy=rng.normal(size=(size, 2)) + labels[:, None], map_label=labels, map_chosen=chosen,
        classes=np.array(CLASSES), pool_counts=np.bincount(labels), chosen_counts=np.bincount(label, minlength=len(CLASSES)),
    )  # fmt: skip


def run_folder(path: Path, name: str, seed: int, values: dict[int, float]) -> Path:
    """A run of 1,000 examples in the layout that training writes."""
    path.mkdir()
    order = np.random.default_rng([seed, len(name)]).permutation(1000)
    ledger, points, before = [], [], 0
    for number, (labels, value) in enumerate(values.items()):
        new = order[before:labels]
        ledger.append(
            {
                "round": number,
                "labels": labels,
                "ids": [f"id-{i}" for i in new],
                "indices": new.tolist(),
                "scores": None,
                "seconds": {"select": 0.5, "train": 2.0},
                "info": {},
            }
        )
        points.append(
            {
                "strategy": name,
                "seed": seed,
                "metric": "accuracy",
                "labels": labels,
                "share": labels / 1000,
                "value": value,
                "round": number,
                "extra": {},
            }
        )
        before = labels
    config = {
        "mode": "active",
        "strategy": {"_target_": f"x.{name}"},
        "strategy_name": name,
        "seed": seed,
        "data": {"name": "toy"},
        "model": {"name": "linear"},
        "fit": {"seed": seed},
    }
    (path / "config.json").write_text(json.dumps(config))
    (path / "state.json").write_text(
        json.dumps({"format": 1, "finished": True, "rounds": 3, "rounds_done": 3})
    )
    for file, rows in (("ledger.jsonl", ledger), ("curve.jsonl", points)):
        (path / file).write_text("".join(json.dumps(r) + "\n" for r in rows))
    gallery(path, 200, seed)
    return path


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    paths = [
        run_folder(
            folder / f"{name}{seed}",
            name,
            seed,
            {
                50: 0.5 + 0.02 * s + 0.003 * seed,
                100: 0.6 + 0.01 * seed,
                200: 0.7 + 0.02 * s - 0.002 * seed,
            },
        )
        for s, name in enumerate(("margin", "kcenter", "random"))
        for seed in range(5)
    ]
    return write_report(paths, folder / "out")


def test_three_strategies_five_seeds_and_200_picks_fit_in_three_megabytes(page_file: Path) -> None:
    html = page_file.read_text()
    assert len(html.encode()) <= 3 * 10**6
    assert html.count("<figure") >= 3 * 40
    allowed = re.search(r"script-src ([^;]*);", html)
    assert allowed is not None
    assert "unsafe" not in allowed[1]
    assert len(re.findall(r"<script>", html)) == allowed[1].count("sha256-") == 2
    assert "</b>" not in html.split("page-data")[1].split("</script>")[0]


def test_sections_fold_and_are_listed() -> None:
    html = sectioned("<header>x</header><p>a</p><h2>One &amp; two</h2><p>b</p><h2>Three</h2>")
    assert html.count("<details") == html.count("</details>") == 2
    assert '<a href="#part-0">One &amp; two</a>' in html
    assert html.index("<nav") < html.index("<p>a</p>")


def test_the_chart_holds_the_means_of_the_curves() -> None:
    curves = [
        Curve("a", s, [Point(10, 0.1, 0.5 + 0.1 * s), Point(20, 0.2, float("nan") if s else 0.9)])
        for s in range(2)
    ]
    spec = curve_spec(curves, 0.95)
    json.dumps(spec, allow_nan=False)
    means = spec["layer"][3]["data"]["values"]
    assert (
        means == [{"s": "a", "n": 10, "v": 55.0, "lo": 55 - 7.071, "hi": 55 + 7.071}]
        or means[0]["v"] == 55.0
    )
    assert [v["v"] for v in spec["layer"][1]["data"]["values"]] == [50.0, 90.0, 60.0]


@pytest.mark.slow
def test_the_page_is_drawn_and_answers(page_file: Path) -> None:
    with open_page(accept_downloads=True) as page:
        page.goto(page_file.as_uri())
        page.wait_for_selector("body[data-ready]")
        paint = page.evaluate(
            "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0"
        )
        print("first contentful paint, ms:", paint)
        assert page.locator(".chart .live svg").count() == 4
        assert page.locator(".chart .still:visible").count() == 0
        marks = page.locator(
            "#chart-curve .live svg path[aria-roledescription='line mark'], #chart-curve .live .mark-line path"
        )
        before = marks.count()
        assert before == 3
        box = page.get_by_label("kcenter", exact=True)
        box.focus()
        page.keyboard.press("Space")  # with the keyboard alone
        page.wait_for_function(
            "document.querySelectorAll('#chart-curve .live .mark-line path').length === 2"
        )
        assert not page.locator("details[data-strategy=kcenter]").is_visible()
        page.get_by_label("every seed").check()
        page.wait_for_function(
            "document.querySelectorAll('#chart-curve .live .mark-line path').length === 2 + 10"
        )
        slider = page.get_by_label("Budget in labels")
        slider.focus()
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("ArrowLeft")
        assert "50 labels" in page.locator("output").first.inner_text()
        block = page.locator("details[data-strategy=margin]")
        if block.get_attribute("open") is None:
            block.locator("summary").click()
        late = block.locator("figure[data-round='2']")
        assert late.count() > 0
        assert late.first.is_hidden()
        with page.expect_download() as saved:
            block.get_by_role("button", name="Ids as CSV").click()
        lines = Path(saved.value.path()).read_text().splitlines()
        assert lines[0] == "id,rank,round,label,score"
        assert {line.split(",")[2] for line in lines[1:]} == {'"0"'}
        page.get_by_label("cat", exact=True).uncheck()
        assert block.locator("figure[data-class='0']:visible").count() == 0
        block.locator("figure:visible button").first.click()
        assert page.locator("dialog[open] img").is_visible()
        page.keyboard.press("Escape")
        assert page.locator("dialog[open]").count() == 0
        point = "#chart-curve .live .mark-symbol path >> nth=0"
        page.hover(point, force=True)  # the drawing lies over its points and asks which is near
        assert page.problems == []
        assert [u for u in page.asked if not u.startswith(("file:", "data:", "blob:"))] == []
        assert serious(page) == []
        assert page.evaluate("document.querySelectorAll('b').length") == page.evaluate(
            "document.querySelectorAll('.numbers b').length"
        )


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_400_pixels_light_and_dark(page_file: Path, scheme: str) -> None:
    with open_page(400, 900, color_scheme=scheme) as page:
        page.goto(page_file.as_uri())
        page.wait_for_selector("body[data-ready]")
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
        wide = page.evaluate(
            "[...document.querySelectorAll('.chart .live svg')].filter(s => s.getBoundingClientRect().right > innerWidth + 1).length"
        )
        assert wide == 0
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (paper == "rgb(255, 255, 255)") == (scheme == "light")
        page.screenshot(path=str(page_file.parent / f"400-{scheme}.png"))
        assert serious(page) == []


@pytest.mark.slow
def test_it_reads_without_script(page_file: Path) -> None:
    with open_page(java_script_enabled=False) as page:
        page.goto(page_file.as_uri())
        assert page.locator(".still svg").first.is_visible()
        assert page.locator(".numbers").first.is_visible()
        page.locator("details.section > summary").first.click()
        assert not page.locator(".numbers").first.is_visible()
        assert page.locator("nav a").count() >= 5
