import numpy as np
import pytest
from matplotlib.colors import to_hex

from coreset.report.curves import curve_figure, hover, plot_curves
from coreset.report.theme import RANDOM, figure, png, strategy_styles, svg
from coreset.runs.curve import Curve, Point


def curves(names, seeds=3, labels=(10, 20, 40, 80)):
    rng = np.random.default_rng(0)
    return [
        Curve(
            name,
            s,
            [Point(n, n / 400, 0.6 + 0.1 * i + 0.01 * rng.random()) for i, n in enumerate(labels)],
        )
        for name in names
        for s in range(seeds)
    ]


def drawn(ax, names):
    """Return line by name, and the texts of the names."""
    lines = {line.get_gid(): line for line in ax.lines if line.get_gid()}
    texts = {t.get_text(): t for t in ax.texts}
    return {n: lines[f"curve-{i}"] for i, n in enumerate(sorted(names))}, {
        n: texts[n] for n in names
    }


def test_means_in_per_cent_random_in_gray_names_at_the_ends():
    names = ["margin", "random"]
    given = curves(names)
    _, ax = figure(6, 4)
    assert plot_curves(given, ax, full=0.95, pool_size=400) is ax
    lines, texts = drawn(ax, names)
    mean = np.mean([c.values for c in given if c.strategy == "margin"], axis=0)
    np.testing.assert_allclose(lines["margin"].get_ydata(), 100 * mean)
    assert to_hex(lines["random"].get_color()) == RANDOM
    assert to_hex(lines["margin"].get_color()) != RANDOM
    assert all(t.get_color() == lines[n].get_color() for n, t in texts.items())
    assert ax.get_xscale() == "log"
    assert ax.get_legend() is None
    labels = [t.get_text() for t in ax.texts]
    assert all(
        words in labels for words in ("all 400 labels: 95.0 %", "95 % of it", "2.5 %", "20 %")
    )
    assert len(ax.collections) == 2  # a band each


def test_one_seed_has_no_band_and_says_so():
    _, ax = figure(6, 4)
    plot_curves(curves(["margin"], seeds=1), ax)
    assert len(ax.collections) == 0
    assert ax.get_title(loc="left") == "test accuracy, % (one seed)"


@pytest.mark.parametrize("count", [2, 12, 40])
def test_names_never_overlap_each_other(count):
    names = [f"strategy_{i:02d}" for i in range(count - 1)] + ["random"]
    fig = curve_figure(curves(names), 0.99, 400)
    _, texts = drawn(fig.axes[0], names)
    boxes = sorted((t.get_window_extent() for t in texts.values()), key=lambda b: b.y0)
    for low, high in zip(boxes, boxes[1:], strict=False):
        assert (low.y0 + low.y1) / 2 + 0.5 * low.height < (
            high.y0 + high.y1
        ) / 2 + 0.5 * high.height
        middle = (high.y0 + high.y1 - low.y0 - low.y1) / 2
        assert middle >= 0.8 * max(t.get_fontsize() for t in texts.values()) * fig.dpi / 72
    assert all(b.x0 >= 0 and b.x1 <= fig.bbox.x1 and b.y1 <= fig.bbox.y1 for b in boxes)


def test_twelve_strategies_differ_in_color_or_dash():
    names = [f"s{i}" for i in range(12)]
    styles = strategy_styles(names)
    assert len({(s["color"], str(s["linestyle"])) for s in styles.values()}) == 12
    assert RANDOM not in {s["color"] for s in styles.values()}


def test_one_point_and_an_unfinished_line_are_drawn():
    _, ax = figure(6, 4)
    plot_curves([*curves(["margin"], 1, (10,)), *curves(["kcenter"], 1)], ax)
    _, texts = drawn(ax, ["margin", "kcenter"])
    # named where it ends
    assert texts["kcenter"].get_position()[0] > 1 > texts["margin"].get_position()[0]
    plot_curves(curves(["margin"], 1, (10,)), figure(6, 4)[1], full=0.9)
    with pytest.raises(ValueError, match="at least one"):
        plot_curves([], ax)


def test_svg_is_text_follows_the_page_and_is_the_same_again():
    names = ["a & <b> $x$", "random", "lr=0.123456"]
    given = curves(names)

    def draw():
        return svg(curve_figure(given, 0.97, 400), "curve", hover(given))

    text = draw()
    assert text == draw()
    assert "a &amp; &lt;b&gt; $x$</text>" in text
    assert "lr=0.123456</text>" in text
    assert "<title>random, 3 seeds\n10 labels: 60." in text
    assert "var(--ink)" in text
    assert "var(--random)" in text
    assert "#000000" not in text
    assert 'id="curve-curve-0"' in text
    alone = svg(curve_figure(given), "curve", alone=True)
    assert alone.startswith("<?xml")
    assert "prefers-color-scheme:dark" in alone
    assert png(curve_figure(given)) == png(curve_figure(given))
