"""Contact sheet, map, class balance, overlap."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from coreset.report.balance import imbalance, plot_balance
from coreset.report.load import read_run
from coreset.report.map import plot_map
from coreset.report.overlap import jaccard, overlap, overlap_html
from coreset.report.sheet import class_key, data_uri, sheet_html
from coreset.report.theme import class_color, figure, svg

VALUES = {10: 0.5, 20: 0.6, 40: 0.8}


def decoded(uri):
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


@pytest.mark.parametrize(
    ("shape", "mode", "kind"),
    [
        ((8, 8, 1), "L", "PNG"),
        ((32, 20, 3), "RGB", "PNG"),
        ((200, 100, 3), "RGB", "JPEG"),
        ((64, 64, 1), "L", "JPEG"),
    ],
)
def test_thumbs_gray_and_color(shape, mode, kind):
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    image = decoded(data_uri(pixels))
    assert (image.mode, image.format) == (mode, kind)
    assert max(image.size) <= 96
    if kind == "PNG":
        np.testing.assert_array_equal(np.asarray(image).reshape(shape), pixels)


def test_thumbs_of_another_kind_are_refused():
    with pytest.raises(ValueError, match=r"thumbs: .*\(8, 8\)"):
        data_uri(np.zeros((8, 8), np.uint8))
    with pytest.raises(ValueError, match="float64"):
        data_uri(np.zeros((8, 8, 3)))


def test_sheet_shows_rounds_in_order_with_scores_and_escaped_names(write_run):
    run = read_run(
        write_run("r", "margin", 0, VALUES, gallery="gray", classes=("<b>cat</b>", 'a "dog" & co'))
    )
    html = sheet_html(run.gallery, {0: 10, 1: 20}, 7)
    assert html.count('<div class="round">') == 3
    assert html.count("<img") == 21
    assert "10 labels<span>round 0</span>" in html
    assert "<h4>round 2</h4>" in html  # nobody said how many labels
    ids = re.findall(r'<figure title="(id-\d+),', html)
    first = run.rounds[0]["ids"][:7]
    assert ids[:7] == first
    assert html.count("<figcaption>0.25</figcaption>") == 9  # every second one has a score
    assert "<b>" not in html
    assert "&lt;b&gt;cat" in html
    assert class_color(0) in html
    assert "&lt;b&gt;cat" in class_key(run.gallery["classes"])
    assert class_key(np.array(["c"] * 30)) == ""


def test_map_draws_the_pool_faint_and_rings_the_chosen(write_run):
    run = read_run(write_run("r", "margin", 0, VALUES, gallery=True))
    fig, ax = figure(3, 3)
    plot_map(run.gallery, ax)
    faint = [p for p in ax.patches if p.get_alpha() < 1]
    assert sum(len(p.get_path()) // 2 for p in faint) == 60
    assert sum(len(p.get_path()) // 2 for p in ax.patches) == 60 + 2 * 40  # a ring and a disc each
    assert "var(--ink)" in svg(fig, "map")
    _, ax = figure(3, 3)
    plot_map(run.gallery, ax, most=10)
    assert sum(len(p.get_path()) // 2 for p in ax.patches if p.get_alpha() < 1) == 10
    with pytest.raises(ValueError, match=r"map_xy.*\(3, 2\)"):
        plot_map({**run.gallery, "map_xy": np.zeros((3, 2))}, ax)


def test_map_of_one_point_and_of_unknown_classes():
    gallery = {"map_xy": np.zeros((1, 2)), "map_label": np.array([-1]), "map_chosen": np.array([0])}
    fig, ax = figure(3, 3)
    plot_map(gallery, ax)
    svg(fig, "map")


def test_balance_bars_are_shares():
    _, ax = figure(3, 3)
    plot_balance([50, 30, 20], [1, 1, 2], ["a", "$b$", "c" * 40], ax)
    np.testing.assert_allclose([p.get_width() for p in ax.patches], [25, 25, 50])
    np.testing.assert_allclose([s[0, 0] for s in ax.collections[0].get_segments()], [50, 30, 20])
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "$b$", "c" * 15 + "…"]
    _, ax = figure(3, 3)
    plot_balance(np.arange(100), np.ones(100), [str(i) for i in range(100)], ax)
    widths = [s[0, 0] for s in ax.collections[0].get_segments()]
    assert widths == sorted(widths, reverse=True)
    with pytest.raises(ValueError, match="3, 2 and 3"):
        plot_balance([1, 2, 3], [1, 2], ["a", "b", "c"], ax)


def test_imbalance_by_hand():
    assert imbalance([1, 1], [3, 3]) == 0
    assert imbalance([1, 0], [0, 5]) == 1
    assert imbalance([50, 30, 20], [25, 25, 50]) == pytest.approx(0.3)


def test_jaccard_by_hand():
    assert jaccard([1, 2], [2, 3]) == pytest.approx(1 / 3)
    assert jaccard([5, 5, 1], [1, 5]) == 1
    assert np.isnan(jaccard([], []))


@pytest.mark.parametrize("mode", ["prune", "active"])
def test_overlap_is_the_mean_over_shared_seeds(write_run, mode):
    runs = {
        n: [read_run(write_run(f"{n}{s}", n, s, VALUES, mode=mode)) for s in seeds]
        for n, seeds in (("a", (0, 1, 2)), ("b", (0, 1)), ("c", (9,)))
    }

    def final(run):
        return (
            set(run.rounds[-1]["indices"])
            if mode == "prune"
            else {i for r in run.rounds for i in r["indices"]}
        )

    names, got = overlap(runs)
    expected = np.mean(
        [
            len(final(x) & final(y)) / len(final(x) | final(y))
            for x, y in zip(runs["a"], runs["b"], strict=False)
        ]
    )
    assert names == ["a", "b", "c"]
    assert got[0, 1] == got[1, 0] == pytest.approx(expected)
    assert np.isnan(got[0, 2])
    np.testing.assert_allclose(np.diag(got), 1)
    html = overlap_html(["<a>", "b", "c"], got)
    assert "<a>" not in html
    assert "<td>–</td>" in html


def test_sets_of_different_size_are_not_compared(write_run):
    runs = {
        "a": [read_run(write_run("a", "a", 0, VALUES))],
        "b": [read_run(write_run("b", "b", 0, {10: 0.5}))],
    }
    assert np.isnan(overlap(runs)[1][0, 1])
