"""The page of a curation: its numbers are those of the manifest, it is whole in itself, and the
same run gives the same bytes.
"""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from coreset.curation.operators.select import Select
from coreset.curation.operators.threshold import Threshold
from coreset.curation.run import Settings, curate
from coreset.registry import strategy
from coreset.report.curation import write_curation_report
from coreset.report.funnel import Stage, funnel_figure, stages
from coreset.report.histogram import bins, plot_histogram
from coreset.report.theme import figure
from coreset.report.words import count
from coreset.scorers.length import Length
from tests.browser import open_page
from tests.pages import without_scripts


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    rows = [
        {"instruction": f"Say <b>{n}</b> & more", "output": " ".join(["word"] * n)}
        for n in range(1, 80)
    ]
    rows += [{"instruction": "no answer", "output": ""}, {"instruction": 7, "output": "x"}]
    (folder / "in.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    recipe = [
        Length("response"),
        Threshold("response_words", low=20),
        Select(strategy("top_k", {"signal": "response_words"}), 10),
    ]
    return curate(recipe, folder / "in.jsonl", folder / "out", settings=Settings(partition_rows=30))


class Checker(HTMLParser):
    """Every tag that is opened is closed in order."""

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "br", "path", "use", "rect", "link", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in self.open:
            assert self.open.pop() == tag


def test_the_page(done, tmp_path):
    page = write_curation_report(done.out, done.manifest, done.samples)
    html = page.read_text()
    checker = Checker()
    checker.feed(html)
    assert not checker.open
    assert not re.search(r'(?:src|href)="(?!#|data:)', html)  # nothing from elsewhere
    without_scripts(html)
    assert "10 of 81\u00a0rows kept" in html or "10 of 81 rows kept" in html
    for words in (
        "What was scored",
        "response_words",
        "dropped by threshold",
        "What could not be used",
        "empty_answer",
        "wrong_type",
        "Say &lt;b&gt;",
        "not among the 10 chosen",
        "in.jsonl, line 80",
    ):
        assert words in html, words
    assert not re.search(r"<b>\d+</b> &amp; more", html)
    assert sorted(p.name for p in (done.out / "plots").iterdir()) == [
        "funnel.png",
        "funnel.svg",
        "score-response_words.png",
        "score-response_words.svg",
    ]
    assert write_curation_report(done.out, done.manifest, done.samples).read_text() == html


def test_stages_are_the_counts(done):
    assert stages(done.manifest) == [
        Stage("read", 81, 79, {"empty_answer": 1, "wrong_type": 1}),
        Stage("threshold", 79, 60, {"response_words below 20": 19}),
        Stage("select", 60, 10, {"not among the 10 chosen": 50}),
    ]
    counts = {"in": 9, "kept": 4, "reasons": {"a; b": 2, "b": 3}}
    read = stages(
        {
            "counts": {"rows": 9},
            "rejects": {},
            "operators": [{"name": "both", "kind": "filter", "counts": counts}],
        }
    )
    assert read[1].reasons == {"b": 5, "a": 2}
    people = {"keep": 3, "drop": 0, "restored": 2, "who": ["ana"]}
    last = stages({**done.manifest, "overrules": people})[-1]
    kept = done.manifest["counts"]["kept"]
    assert last == Stage("restored", kept + 2, kept + 2, {"kept by overrule": 2})
    fig = funnel_figure([Stage("read", 5, 0, {f"reason {i} that is long": 1 for i in range(5)})])
    texts = [t.get_text() for t in fig.axes[0].texts]
    assert texts[0] == "0"
    assert texts[1] == "0 % of all; 1 reason 0 that is long and 4 more"


def test_a_narrow_page_lists_the_funnel(done):
    with open_page(400, 900) as page:
        page.goto(write_curation_report(done.out, done.manifest, done.samples).as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
        assert not page.locator(".funnel").is_visible()
        shown = page.locator(".stages li").all_inner_texts()
        for line, stage in zip(shown, stages(done.manifest), strict=True):
            assert line.startswith(f"{stage.name} {count(stage.left)} ")
            assert all(reason in line for reason in list(stage.reasons)[:1])
        page.set_viewport_size({"width": 1280, "height": 900})
        assert page.locator(".funnel").is_visible()
        assert not page.locator(".stages").is_visible()
        assert page.problems == []


def test_a_run_with_nothing_kept_and_no_scores(tmp_path):
    (tmp_path / "in.jsonl").write_text('{"text": "a", "n": 1}\n{"text": "b", "n": 2}\n')
    done = curate([Threshold("n", low=5)], tmp_path / "in.jsonl", tmp_path / "out")
    html = write_curation_report(done.out, done.manifest, done.samples).read_text()
    assert "0 of 2\u00a0rows kept" in html or "0 of 2 rows kept" in html
    assert "What was scored" not in html
    assert "What could not be used" not in html


def test_bins():
    assert len(bins(np.random.default_rng(0).normal(size=500))[0]) == 41
    edges, by_ratio = bins(np.random.default_rng(0).lognormal(0, 2, size=500))
    assert by_ratio
    assert (np.diff(edges) > 0).all()
    assert bins(np.array([2.5, 2.5]))[0][[0, -1]].tolist() == [2.0, 3.0]
    _, ax = figure(3, 2)
    plot_histogram(
        np.array([1.5, 1.5, 1.5, 9.5, 30.0]), np.array([True, False, True, True, True]), ax
    )
    assert ax.get_title(loc="left") == "rows, tallest bar 3"
