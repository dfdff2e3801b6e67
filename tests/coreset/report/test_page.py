import json
import re
from html.parser import HTMLParser

import pytest

from coreset.report.load import read_runs
from coreset.report.page import text, write_report
from tests.pages import without_scripts

VALUES = {10: 0.5, 20: 0.6, 40: 0.8}
VOID = {"meta", "img", "br", "use"}


class Balanced(HTMLParser):
    """Every tag that opens closes, in order."""

    def __init__(self):
        super().__init__()
        self.open, self.ids = [], []

    def handle_starttag(self, tag, attrs):
        self.ids += [v for k, v in attrs if k == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.ids += [v for k, v in attrs if k == "id"]

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag, tag


def check(page):
    html = without_scripts(page.read_text())
    parser = Balanced()
    parser.feed(html)
    assert parser.open == []
    assert len(parser.ids) == len(set(parser.ids))
    assert "prefers-color-scheme:dark" in html
    outside = re.sub(r'xmlns(:\w+)?="[^"]*"', "", html)
    assert not re.search(r'(href|src)="(?!#|data:)|https?://|url\((?!#)', outside)
    assert page.with_name("curve.png").read_bytes()[:4] == b"\x89PNG"
    assert "<svg" in page.with_name("curve.svg").read_text()
    return html


def test_several_strategies_and_seeds_same_bytes_again(tmp_path, write_run):
    for seed in (0, 1):
        for name in ("margin", "kcenter"):
            write_run(
                f"runs/{name}{seed}",
                name,
                seed,
                VALUES,
                gallery="gray" if name == "margin" else True,
            )
            write_run(
                f"runs/{name}{seed}/baseline/random",
                "random",
                seed,
                {n: v - 0.05 for n, v in VALUES.items()},
            )
            write_run(f"runs/{name}{seed}/baseline/full", "full", seed, {100: 0.82})
    page = write_report(tmp_path / "runs", tmp_path / "one")
    html = check(page)
    assert page == tmp_path / "one/report.html"
    # the same difference at both seeds: a test finds no spread, and the means are no claim
    assert "<h1>Nothing is proven: over 2 seeds the differences to random do not vary</h1>" in html
    assert "By the means alone: kcenter reaches 95\u00a0% of full accuracy" in html
    assert "<h2>Who beats whom</h2>" in html
    for head in (
        "The numbers",
        "What they picked",
        "Where they lie",
        "Which classes",
        "How much they share",
        "How it was run",
    ):
        assert f"<h2>{head}</h2>" in html
    assert "3 strategies, 2 seeds; 20 trainings in 8 runs, 2 of them on all data" in html
    assert "a &lt;small&gt; machine" in html
    assert "torch 2.8" in html
    again = write_report(read_runs(tmp_path / "runs"), tmp_path / "two/x.html")
    for name in ("curve.png", "curve.svg"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert again.read_bytes() == page.read_bytes()


def test_one_unfinished_run_of_one_seed_without_gallery(tmp_path, write_run):
    path = write_run("r", "margin", 0, {10: 0.5}, finished=False, as_json=True)
    html = check(write_report([path], path))
    assert "one seed" in html
    assert "What they picked" not in html
    assert "How much they share" not in html
    assert "nan" not in html


def test_one_run_shows_all_its_pictures(tmp_path, write_run):
    html = check(write_report(write_run("r", "margin", 0, VALUES, gallery=True), tmp_path))
    assert html.count("<img") == 40


def test_names_with_html_in_them_stay_text(tmp_path, write_run):
    write_run(
        "r",
        "<i>x</i> & $y$",
        0,
        VALUES,
        gallery=True,
        classes=("<b>cat</b>", "$\\frac$"),
        metric="<acc>",
    )
    html = check(write_report(tmp_path / "r", tmp_path))
    for bad in ("<i>x", "<b>cat", "<acc>"):
        assert bad not in html


def test_twelve_strategies_stay_below_2000_pictures(tmp_path, write_run):
    many = {n: 0.5 + n / 1000 for n in range(5, 100, 1)}
    for i in range(12):
        write_run(f"runs/{i}", f"strategy_{i}", 0, many, gallery="gray")
    html = check(write_report(tmp_path / "runs", tmp_path / "out"))
    assert 0 < html.count("<img") <= 2000


def test_certificates_are_one_line_a_strategy_over_its_seeds(tmp_path, write_run):
    for seed, radius in ((0, 2.0), (1, 3.0)):
        path = write_run(f"kcenter{seed}", "kcenter", seed, VALUES)
        rows = [json.loads(line) for line in (path / "ledger.jsonl").read_text().splitlines()]
        rows[-1]["info"] = {
            "certificates": {"cover_radius": radius, "class_shares": {"0": 1.0}, "class_gap": 0.5}
        }
        (path / "ledger.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_run("margin", "margin", 0, VALUES)
    html = check(write_report(tmp_path, tmp_path / "out"))
    section = html.split("How well the final sets stand for the pool")[-1].split("</dl>")[0]
    assert "<dt>kcenter</dt><dd>cover radius 2.5, classes 50.0\u00a0% off the pool</dd>" in section
    assert "margin" not in section
    assert "class_shares" not in section


def test_what_is_left_out_is_said_and_nothing_is_refused(tmp_path, write_run):
    write_run("r/0", "margin", 0, VALUES)
    write_run("r/1", "margin", 1, {10: 0.5}, finished=False)
    assert "margin, seed 1: unfinished, 1 of 3 rounds, not in the averages" in check(
        write_report(tmp_path / "r", tmp_path)
    )
    with pytest.raises(ValueError, match="at least one run"):
        write_report([], tmp_path)


def test_text_keeps_signs_with_their_numbers():
    assert text("p < 0.05 & 7 %") == "p\u00a0&lt;\u00a00.05 &amp; 7\u00a0%"


def test_the_plots_lie_beside_the_page(tmp_path, write_run):
    for name in ("random", "a/b <x>"):
        write_run(f"r{len(name)}", name, 0, VALUES, gallery=True)
    write_report(sorted(tmp_path.glob("r*")), tmp_path / "out")
    names = {p.name for p in (tmp_path / "out" / "plots").iterdir()}
    assert {
        f"{kind}-{name}.{end}"
        for kind in ("sheet", "map", "balance")
        for name in ("random", "a_b_x")
        for end in ("png", "svg")
    } <= names
    assert {"overlap.png", "overlap.svg"} <= names


def test_plots_of_strategies_with_long_names_have_files_of_their_own(tmp_path, write_run):
    """Options are part of a name where they tell runs apart: longer than a file's name may be."""
    ends = ("one", "two")
    for end in ends:
        write_run(
            f"r{end}", "auto(" + "_target_=coreset.x, " * 30 + f"{end})", 0, VALUES, gallery=True
        )
    write_report([tmp_path / f"r{end}" for end in ends], tmp_path / "out")
    sheets = [p.name for p in (tmp_path / "out" / "plots").glob("sheet-auto*.png")]
    assert len(sheets) == 2
    assert max(map(len, sheets)) < 120
