"""The images on the page of a curation: small, inlined, framed by what became of them; a box with
the reason where there is no image.
"""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from coreset.report.map import plot_kept
from coreset.report.pictures import pictures_html
from coreset.report.theme import figure


@pytest.fixture
def gallery(tmp_path):
    rng = np.random.default_rng(0)

    def row(name, state="kept", reason=None, size=(300, 200)):
        if size:
            Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(
                tmp_path / f"{name}.png"
            )
        image = str(tmp_path / f"{name}.png")
        return {
            "id": name,
            "image": image,
            "preview": f"<b>{name}</b>",
            "state": state,
            "reason": reason,
        }

    a, b, c = row("a"), row("b", "dropped", "copy"), row("c", "dropped", "image missing file", None)
    entry = {"entry": "<dog>", "before": 9000, "after": 20, "rows": [a, b]}
    return {
        "outcomes": [
            {"state": "kept", "operator": "", "reason": "", "size": 7, "rows": [a]},
            *(
                {
                    "state": "dropped",
                    "operator": f"op{i}",
                    "reason": f"why {i}",
                    "size": 3,
                    "rows": [b, c],
                }
                for i in range(13)
            ),
        ],
        "groups": [{"operator": "exact", "size": 4, "groups": [{"size": 9, "rows": [a, b]}]}],
        "entries": {
            "seen": 2,
            "curve": np.array([[1.0, 9000, 20], [2, 3, 3]]),
            "head": [entry],
            "tail": [entry],
        },
        "map": {
            "name": "image_embedding",
            "xy": rng.normal(size=(50, 2)),
            "kept": np.arange(50) < 20,
        },
    }


def test_the_pictures(gallery):
    plots = {}
    html = pictures_html(gallery, plots)
    assert sorted(plots) == ["entries", "map"]
    for words in (
        "why 0",
        "3 more reasons",
        "missing file",
        "and 7 more",
        "1 of 4 groups",
        "&lt;dog&gt;",
        "kept 20",
        "dropped 30",
    ):
        assert words in html, words
    assert "<b>" not in html
    assert "why 12" not in html
    assert html.count('class="kept"') == 1 + 1 + 2
    uris = set(re.findall(r'src="data:image/jpeg;base64,([^"]+)"', html))
    assert len(uris) == 2  # a and b, wherever they stand
    for uri in uris:
        assert max(Image.open(io.BytesIO(base64.b64decode(uri))).size) == 96
    assert html.count('class="none"') == 10
    assert pictures_html(gallery, {}) == html


def test_without_groups_entries_and_a_map(gallery):
    plots = {}
    html = pictures_html({**gallery, "groups": [], "entries": None, "map": None}, plots)
    assert not plots
    assert html.count("<h2>") == 1


def test_kept_and_dropped_on_the_map():
    _, ax = figure(3, 3)
    xy = np.random.default_rng(0).normal(size=(9, 2))
    assert len(plot_kept(xy, np.arange(9) < 5, ("#000000", "#ff0000"), ax).patches) == 8
    assert not plot_kept(xy[:0], np.zeros(0, bool), ("#000000", "#ff0000"), figure(3, 3)[1]).patches
    with pytest.raises(ValueError, match=r"xy, kept: expected \(P, 2\)"):
        plot_kept(xy, np.ones(3, bool), ("#000000", "#ff0000"), ax)
