"""How the cost of strategies grows with the number of examples and with the budget: one thread, CPU
seconds, fitted exponents, one picture.

python scripts/benchmarks/scaling.py [--quick] writes results/strategies/scaling.json, scaling.png
and scaling.svg.
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[2])

from scripts.benchmarks.threads import single_thread  # noqa: E402

single_thread()

import argparse  # noqa: E402
import json  # noqa: E402
import statistics  # noqa: E402
from collections.abc import Sequence  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402
from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator  # noqa: E402

from coreset import select  # noqa: E402
from coreset.report.theme import INK, MUTED, STRATEGIES, png, quiet, svg  # noqa: E402
from scripts.benchmarks import harness  # noqa: E402
from scripts.benchmarks.inputs import linear_model, mixture  # noqa: E402

DIM, CLASSES = 128, 10
SIZES, BUDGETS = (2_000, 4_000, 8_000, 16_000, 32_000, 64_000), (50, 100, 200, 400, 800, 1_600)
AT_BUDGET, AT_SIZE = 200, 10_000
OPTIONS: dict[str, dict[str, Any]] = {
    "kcenter": {},
    "facility_location": {"neighbors": 32},
    "badge": {},
    "gradmatch": {"per_class": False},
    "herding": {},
    "maxherding": {},
}


def seconds(name: str, n: int, k: int, trials: int, columns: dict[str, Any]) -> float:
    """Return the median CPU seconds of choosing k of the first n examples."""
    needs = (
        {"features"}
        | ({"probs"} if name in ("badge", "gradmatch") else set())
        | ({"labels"} if name == "gradmatch" else set())
    )
    given = {column: columns[column][:n] for column in needs}
    times: list[float] = []
    for _ in range(trials):
        times.append(
            harness.clock(lambda budget: select(name, budget, options=OPTIONS[name], **given), k)[0]
        )
        if times[0] > 5:
            break
    return statistics.median(times)


def exponent(at: Sequence[float], cost: Sequence[float]) -> float:
    """Return the slope of the last four points on log-log paper: the first ones hold what does not
    depend on the size.
    """
    return (
        float(np.polyfit(np.log(at[-4:]), np.log(cost[-4:]), 1)[0]) if len(at) > 1 else float("nan")
    )


def series(
    name: str, axis: str, points: Sequence[int], limit: float, trials: int, columns: dict[str, Any]
) -> dict[str, Any]:
    """Measure one line, up to the first point that takes longer than `limit` seconds."""
    at: list[int] = []
    cost: list[float] = []
    for point in points:
        n, k = (point, AT_BUDGET) if axis == "n" else (AT_SIZE, point)
        if k > n or n > len(columns["features"]):
            continue
        at.append(point)
        cost.append(seconds(name, n, k, trials, columns))
        print(f"{name} {n:,} {k:,}: {cost[-1]:.3g} s", flush=True)
        if cost[-1] > limit:
            break
    return {"at": at, "cpu_s": cost, "exponent": exponent(at, cost)}


def plot(lines: dict[str, dict[str, Any]]) -> Figure:
    """Draw both panels, the lines named at their ends."""
    fig = Figure(figsize=(10, 4.2), dpi=100, layout="constrained")
    FigureCanvasAgg(fig)
    for panel, (axis, label, note) in enumerate(
        (("n", "examples", f"budget {AT_BUDGET:,}"), ("k", "budget", f"{AT_SIZE:,} examples"))
    ):
        ax = fig.add_subplot(1, 2, panel + 1)
        ax.set_xscale("log")
        ax.set_yscale("log")
        ends = []
        for color, (name, measures) in zip(STRATEGIES, lines.items(), strict=False):
            line = measures[axis]
            ax.plot(
                line["at"],
                line["cpu_s"],
                color=color,
                linewidth=1.8,
                marker="o",
                markersize=4,
                markeredgewidth=0,
            )
            ends.append(
                (
                    np.log10(line["cpu_s"][-1]),
                    line["at"][-1],
                    f"{name}  {line['exponent']:.2f}",
                    color,
                )
            )
        low, high = (np.log10(v) for v in ax.get_ylim())
        gap, last = (high - low) * 0.055, -np.inf
        for y, x, text, color in sorted(ends):
            last = max(y, last + gap)
            ax.annotate(text, (x, 10**y), (ax.get_xlim()[1] * 1.05, 10**last), color=color, fontsize=9, va="center", annotation_clip=False,
                        arrowprops={"arrowstyle": "-", "color": color, "linewidth": 0.5, "alpha": 0.5})  # fmt: skip
        quiet(ax)
        shown = (SIZES if axis == "n" else BUDGETS)[::2]
        ax.xaxis.set_major_locator(FixedLocator(shown))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.set_xlabel(label, color=MUTED, fontsize=9)
        ax.set_title(f"CPU seconds against {label} ({note})", loc="left", color=INK, fontsize=10)
    return fig


def draw(lines: dict[str, dict[str, Any]]) -> None:
    """Write the picture."""
    fig = plot(lines)
    (harness.RESULTS / "scaling.png").write_bytes(png(fig))
    (harness.RESULTS / "scaling.svg").write_text(svg(fig, "scaling", alone=True))


def main() -> None:
    """Measure and draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes, nothing written")
    parser.add_argument(
        "--plot", action="store_true", help="only draw the picture again from scaling.json"
    )
    parser.add_argument(
        "--limit",
        type=float,
        default=8.0,
        help="stop a line at the first point that takes longer, in seconds",
    )
    args = parser.parse_args()
    if args.plot:
        draw(json.loads((harness.RESULTS / "scaling.json").read_text())["lines"])
        return
    torch.set_num_threads(1)
    x, _ = mixture(5_000 if args.quick else max(SIZES), DIM)
    model = linear_model(x, CLASSES)
    columns = {"features": x, "probs": model.probs, "labels": model.labels}
    about = harness.about("python scripts/benchmarks/scaling.py " + " ".join(sys.argv[1:]))
    lines: dict[str, dict[str, Any]] = {}
    for name in OPTIONS:
        seconds(name, 2_000, 20, 1, columns)  # compile
        sizes, budgets = (SIZES[:2], BUDGETS[:2]) if args.quick else (SIZES, BUDGETS)
        lines[name] = {
            axis: series(name, axis, points, args.limit, 1 if args.quick else 3, columns)
            for axis, points in (("n", sizes), ("k", budgets))
        }
    if args.quick:
        return
    result = {
        "what": f"CPU seconds on one thread, {DIM} dimensions, {CLASSES} classes; exponents fitted to the last four points",
        "n": f"budget {AT_BUDGET}", "k": f"{AT_SIZE} examples", "options": OPTIONS, "lines": lines,
    }  # fmt: skip
    harness.write("scaling", result | about)
    draw(lines)


if __name__ == "__main__":
    main()
