"""What notebooks show."""

import io
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

import coreset
from coreset.core.html import bars, png_uri
from coreset.core.pool import Pool
from coreset.core.selection import Selection
from coreset.runs.curve import Curve, Point


class Read(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.images: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "img":
            self.images.append(dict(attrs)["src"])
        if tag not in ("img", "br", "circle", "polyline"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_a_selection_is_a_table_in_order_and_harmless() -> None:
    evil = np.array(["<script>x</script>", *"bcdefghijkl"], object)
    chosen = Selection(np.arange(12)[::-1], scores=np.linspace(0, 1, 12), ids=evil)
    read = Read(chosen._repr_html_())
    assert "script" not in read.tags
    assert "<script>x</script>" in read.text
    assert "and 2 more" in read.text
    assert read.tags.count("tr") == 11


def test_pictures_are_the_chosen_ones_in_order() -> None:
    import base64

    images = np.random.default_rng(0).integers(0, 255, (9, 5, 7, 3), np.uint8)
    read = Read(Selection([4, 1]).sheet(images)._repr_html_())
    got = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(u.split(",")[1])))) for u in read.images
    ]
    np.testing.assert_array_equal(got, images[[4, 1]])
    gray = np.asarray(
        Image.open(io.BytesIO(base64.b64decode(png_uri(images[0, ..., :1]).split(",")[1])))
    )
    np.testing.assert_array_equal(gray, images[0, ..., 0])
    with pytest.raises(ValueError, match="uint8"):
        png_uri(images.astype(float)[0])


def test_pool_curve_and_curation() -> None:
    assert "pool of 4" in Read(Pool(4, selected=[1])._repr_html_()).text
    read = Read(
        Curve("margin", 0, [Point(10, 0.1, 0.5), Point(40, 0.4, float("nan"))])._repr_html_()
    )
    assert read.tags.count("circle") == 1
    assert "no points yet" in Curve("margin", 0, [])._repr_html_()
    rows = [{"text": "one two"}, {"text": "three"}, {"text": "one two"}]
    steps = ["length", {"threshold": {"column": "text_words", "low": 2}}, "exact_duplicates"]
    text = Read(coreset.curate(steps, rows)._repr_html_()).text
    assert "1 of 3 rows kept" in text
    assert "text_words below 2" in text
    assert "after exact_duplicates" in text


def test_bars_are_as_long_as_their_counts() -> None:
    html = bars({"a": 100, "b": 50, "c": 0}, width=200)
    assert [int(p.split("px")[0]) for p in html.split("width:")[1:]] == [200, 100, 0]


def test_a_curve_says_the_ends_of_its_axes() -> None:
    curve = Curve("margin", 0, [Point(10, 0.1, 0.5), Point(40, 0.4, 0.75), Point(90, 0.9, 0.625)])
    drawn = Read(curve._repr_html_().split("<table")[0].split("<br>")[1])
    assert drawn.text == "0.750.51090"
    one = Read(
        Curve("margin", 0, [Point(10, 0.1, 0.5)])._repr_html_().split("<table")[0] + "</div>"
    )
    assert one.text.endswith("0.510")


def test_nothing_heavy_is_loaded() -> None:
    code = "import sys; from coreset.core.selection import Selection; Selection([1])._repr_html_(); print([m for m in ('torch','pandas','PIL','matplotlib') if m in sys.modules])"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )
