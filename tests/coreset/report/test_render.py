"""Templates: values are text unless they are Markup, a missing one is an error; hostile words in
what pages share and on the page of two curations.
"""

import json
import re

import pytest
from jinja2 import PackageLoader, UndefinedError
from markupsafe import Markup

from coreset.core.overrules import Overrule, add_overrule
from coreset.curation import curate
from coreset.curation.operators.threshold import Threshold
from coreset.report.compare_curations import write_comparison
from coreset.report.highlight import marked
from coreset.report.render import render
from coreset.report.shapes import Cell, header, key, table
from coreset.scorers.length import Length
from tests.coreset.report.test_document import HOSTILE, Page, check

LOADER = PackageLoader("coreset.report")
SHAPES = (lambda h: table(h, [h, [h, h]], [[h, Cell(h, h, bold=True)]], [h]),
          lambda h: table(h, [h], [[Cell(h, h, code=True, dot=h)], [h]], left=(0,), tied=False),
          lambda h: header(h, h, [h, h]), lambda h: key([(h, h)]), lambda h: marked(h, [(0, 4)]))  # fmt: skip


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("shape", SHAPES)
def test_what_pages_share_escapes(shape, hostile):
    tame, page = Page(str(shape("a"))), Page(str(shape(hostile)))
    assert [(t, set(a)) for t, a in page.tags if t != "mark"] == [(t, set(a)) for t, a in tame.tags if t != "mark"]  # fmt: skip
    assert not re.search("[\x00-\x08\x1b\x9f\u202a-\u202e\u2066-\u2069]", str(shape(hostile)))


def test_html_is_passed_as_markup_and_nothing_is_left_out():
    assert "&lt;svg&gt;" in render("curve.html", figure="<svg>")
    assert "<svg>" in render("curve.html", figure=Markup("<svg>"))
    with pytest.raises(UndefinedError, match="'figure' is undefined"):
        render("curve.html")


@pytest.mark.parametrize("name", LOADER.list_templates())
def test_no_template_turns_escaping_off(name):
    from jinja2 import Environment

    source = LOADER.get_source(Environment(), name)[0]
    assert not re.search(r"\|\s*safe|autoescape|xmlattr", source)
    assert not re.search(r"=\s*'?\{\{", source)  # a value of an attribute stands in double quotes
    assert "<script" not in source or name in ("document.html", "data.html")


def test_the_page_of_two_curations(tmp_path):
    rows = [{"id": f"{i} {h}", "text": h * (1 + i % 2)} for i, h in enumerate(HOSTILE)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    for row, hostile in zip(rows, HOSTILE, strict=True):
        add_overrule(tmp_path / "o.jsonl", Overrule(row["id"], "drop", hostile, "now", hostile))
    recipe = [Length("text", "characters"), Threshold("text_characters", low=5)]
    one = curate(recipe, tmp_path / "in.jsonl", tmp_path / "1 <img src=x>").out
    overruled = tmp_path / "2 <img src=x>"
    two = curate(recipe, tmp_path / "in.jsonl", overruled, overrules=tmp_path / "o.jsonl").out
    page, changed = write_comparison(one, two, tmp_path)
    assert len(changed.moves) >= len(HOSTILE)
    html = check(page)
    assert "1 &lt;img src=x&gt; → 2 &lt;img" in html
