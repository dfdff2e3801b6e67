"""The report: one self-contained HTML page, no network, no script, the same bytes for the same
runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from coreset.certificates import in_words
from coreset.core.store import write_atomic
from coreset.report.balance import imbalance, plot_balance
from coreset.report.compare import Comparison, compare, flat
from coreset.report.css import CSS
from coreset.report.curves import curve_figure, hover, sentence
from coreset.report.distilled import distilled_html, is_distilled
from coreset.report.document import document
from coreset.report.hands import Hands, chart_place, curve_spec, map_spec, sectioned, style
from coreset.report.headline import headline
from coreset.report.load import Run, read_runs
from coreset.report.map import plot_map
from coreset.report.overlap import overlap, overlap_figure, overlap_html
from coreset.report.pairwise import wins_html
from coreset.report.sentence import seeds_of
from coreset.report.sheet import class_key, sheet_figure, sheet_html
from coreset.report.slopes import on_slope
from coreset.report.table import TARGET, Row, table
from coreset.report.theme import figure, png, strategy_styles, svg, var
from coreset.report.words import count, counted, duration, p_value, percent, points, share, text

_MOST_THUMBS = 2000
_MOST_BUDGETS = 5  # columns
_ONE_ROW = 15  # pictures


def write_report(runs: str | Path | Iterable[str | Path | Run], out: str | Path) -> Path:
    """Write the page, and its plots beside it as PNG and SVG (`curve.*`, the others in `plots/`);
    return the page's path.

    runs: runs, or paths with runs below them; out: an .html file, or a folder for `report.html`.
    Raises ValueError when the runs are of different tasks or have nothing to show.
    """
    given = [runs] if isinstance(runs, str | Path) else list(runs)
    paths = [item for item in given if not isinstance(item, Run)]
    read = [item for item in given if isinstance(item, Run)] + (read_runs(paths) if paths else [])
    if not read:
        raise ValueError("runs: expected at least one run or path")
    seen = compare(read)
    out = Path(out)
    page = out if out.suffix == ".html" else out / "report.html"
    fig = curve_figure(seen.curves, seen.full, seen.pool_size)
    rows = table(seen.curves, seen.full, seen.seconds)
    write_atomic(page.with_name("curve.png"), png(fig))
    write_atomic(page.with_name("curve.svg"), svg(fig, "curve", hover(seen.curves), alone=True))
    plots: dict[str, Figure] = {}
    order = sorted((row.strategy for row in rows), key=lambda name: name == "random")
    parts = [
        _head(seen),
        chart_place(
            "curve",
            f'<div class="curve">{svg(fig, "curve", hover(seen.curves))}</div>',
            f"Curve. {sentence(seen.curves, seen.full)}",
        ),
        _numbers(seen, rows),
        wins_html(seen.curves) if len(seen.runs) > 1 else "",
        *filter(None, [distilled_html(read)]),
        *_pictures(seen, order, plots),
        _standing(seen, order),
        _about(seen, read),
    ]
    for name, plot in plots.items():
        write_atomic(page.parent / "plots" / f"{name}.png", png(plot))
        write_atomic(page.parent / "plots" / f"{name}.svg", svg(plot, name, alone=True))
    title = text(f"{_task(seen)}: coreset report")
    hands = _hands(seen, order)
    body = sectioned("\n".join(parts)) + hands.data()
    return write_atomic(page, document(title, CSS + style(), body, hands.scripts()))


def _hands(seen: Comparison, order: Sequence[str]) -> Hands:
    """Return what the page can be asked: curve and maps as charts, strategies, budgets, classes."""
    charts: dict[str, Any] = {"curve": curve_spec(seen.curves, seen.full)}
    shown = _with_pictures(seen, order)
    charts |= {f"map{i}": map_spec(run) for i, run in enumerate(shown.values())}
    styles = strategy_styles(list(order))
    budgets = sorted({p.labels for c in seen.curves for p in c.points})
    classes = [str(c) for run in list(shown.values())[:1] for c in (run.gallery or {})["classes"]]
    return Hands(charts, {n: var(styles[n]["color"]) for n in order}, budgets, classes)


def _with_pictures(seen: Comparison, order: Sequence[str]) -> dict[str, Run]:
    """Return the first run of every strategy that has pictures."""
    first = {n: next((r for r in seen.runs[n] if r.gallery is not None), None) for n in order}
    return {name: run for name, run in first.items() if run is not None}


def _any(seen: Comparison) -> Run:
    return next(iter(seen.runs.values()))[0]


def _called(part: Any) -> str | None:
    """Return the name of a configured part: its `name`, else the last word of its target."""
    if not isinstance(part, Mapping):
        return None if part is None else str(part)
    name = part.get("name") or str(part.get("_target_", "")).rpartition(".")[2]
    return str(name) if name else None


def _task(seen: Comparison) -> str:
    config = _any(seen).config
    words = (_called(config.get("data")), _called(config.get("model")), config.get("mode"))
    return ", ".join(str(w) for w in words if w)


def _head(seen: Comparison) -> str:
    claim = headline(seen.curves, seen.full)
    means = f"By the means alone: {sentence(seen.curves, seen.full)}"
    under = "".join(f"<p>{text(line)}</p>" for line in (means, *on_slope(seen)))
    kicker = f'<p class="kicker">{text(_task(seen))}</p>'
    return f"<header>{kicker}<h1>{text(claim)}</h1>{under}</header>"


def _some(budgets: Sequence[int]) -> list[int]:
    """Return at most five budgets, evenly spaced in order, first and last among them."""
    keep = np.unique(
        np.linspace(0, len(budgets) - 1, min(len(budgets), _MOST_BUDGETS)).round().astype(int)
    )
    return [budgets[i] for i in keep.tolist()]


def _numbers(seen: Comparison, rows: Sequence[Row]) -> str:
    budgets = _some(sorted({n for row in rows for n in row.values}))
    at = {n: [row.values[n][0] for row in rows if n in row.values] for n in budgets}
    best = {n: max(values) if max(values) > min(values) else None for n, values in at.items()}
    styles = strategy_styles([row.strategy for row in rows])
    several = any(row.seeds > 1 for row in rows)
    uneven = len({row.seeds for row in rows}) > 1
    heads = ["strategy", *["seeds"] * uneven]
    heads += [
        f"{count(n)}<br>{text(share(n / seen.pool_size)) if seen.pool_size else 'labels'}"
        for n in budgets
    ]
    heads += [
        "area<br>log labels",
        "labels to<br>95\u00a0% of full",
        "area −<br>random’s",
        "p<br>Holm",
        "select",
        "train",
    ]
    body = []
    for row in rows:
        color = var(styles[row.strategy]["color"])
        cells = [
            f'<i class="dot" style="background:{color}"></i>{text(row.strategy)}',
            *[str(row.seeds)] * uneven,
        ]
        for n in budgets:
            if n not in row.values:
                cells.append("–")
                continue
            mean, sd = row.values[n]
            value = f"{100 * mean:.1f}"
            value = f"<b>{value}</b>" if mean == best[n] else value
            cells.append(f"{value} <small>± {100 * sd:.1f}</small>" if row.seeds > 1 else value)
        cells.append("–" if row.area is None else f"{100 * row.area:.1f}")
        reach = "–" if row.reach is None else ("≤ " if row.at_first else "") + count(row.reach)
        if row.reach is not None and seen.pool_size:
            reach += f" <small>{text(share(row.reach / seen.pool_size))}</small>"
        cells += [
            reach,
            points(row.difference),
            p_value(row.p).replace("<", "&lt;"),
            duration(row.select),
            duration(row.train),
        ]
        kind = ' class="random"' if row.strategy == "random" else ""
        body.append(f"<tr{kind}>{''.join(f'<td>{c}</td>' for c in cells)}</tr>")
    note = f"Test {seen.metric} in %" + (", mean ± sd over seeds" if several else "")
    note += (
        ", at labels spent. Area: mean height of the curve over log labels. p: paired t-test on the"
        " areas by seed, two-sided. Seconds of a whole run."
    )
    if seen.full is not None:
        note += (
            f" All labels reach {percent(seen.full)}, 95 % of that is"
            f" {percent(TARGET * seen.full)}."
        )
    left = "".join(f'<p class="note">{text(line)}</p>' for line in seen.left_out)
    return (
        f'<h2>The numbers</h2><p class="note">{text(note)}</p>{left}<div class="scroll"><table'
        ' class="numbers"><thead><tr>'
        f"{''.join(f'<th>{h}</th>' for h in heads)}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def _pictures(seen: Comparison, order: Sequence[str], plots: dict[str, Figure]) -> list[str]:
    """Return contact sheets, maps, class balance and overlap: what the runs have of them; figures
    are left in `plots`.
    """
    shown = _with_pictures(seen, order)
    parts = []
    if shown:
        parts += [_sheets(shown, plots), _maps(shown, plots), _balances(seen, shown, plots)]
    if len(seen.runs) > 1:
        names, matrix = overlap({name: seen.runs[name] for name in order})
        if np.isfinite(matrix[~np.eye(len(names), dtype=bool)]).any():
            plots["overlap"] = overlap_figure(names, matrix)
            parts.append(
                '<h2>How much they share</h2><p class="note">Jaccard overlap of the final sets in'
                " per cent, mean over seeds: 100 = the same examples.</p><div"
                f' class="scroll">{overlap_html(names, matrix)}</div>'
            )
    return parts


def _sheets(shown: Mapping[str, Run], plots: dict[str, Figure]) -> str:
    each = _MOST_THUMBS // len(shown)
    blocks = []
    for i, (name, run) in enumerate(shown.items()):
        gallery = run.gallery
        assert gallery is not None
        labels = {int(r["round"]): int(r["labels"]) for r in run.rounds}
        noun = "made image" if is_distilled(run) else "label"
        per_round = each // max(1, len(np.unique(gallery["thumb_round"])))
        sheet = sheet_html(
            gallery, labels, min(per_round, _ONE_ROW) if len(shown) > 1 else per_round, noun
        )
        opened = " open" if i == 0 else ""
        plots[_file("sheet", name)] = sheet_figure(gallery)
        blocks.append(
            f'<details{opened} data-strategy="{text(name)}"><summary>{text(name)}<small>seed'
            f" {run.seed}</small></summary>{sheet}</details>"
        )
    first = f"The first {_ONE_ROW} choices" if len(shown) > 1 else "The first choices"
    classes = next(iter(shown.values())).gallery
    assert classes is not None
    return (
        f'<h2>What they picked</h2><p class="note">{first} of every round, in order. '
        "Border: class; below: the score it was chosen by; hover for id and class.</p>"
        f"{class_key(classes['classes'])}{''.join(blocks)}"
    )


def _file(kind: str, strategy: str) -> str:
    """Return a name that any file system takes."""
    return f"{kind}-{re.sub(r'[^A-Za-z0-9_.=-]+', '_', strategy).strip('_')}"


def _grid(cells: Sequence[str], least: int) -> str:
    one = " one" if len(cells) == 1 else ""
    return (
        f'<div class="grid{one}"'
        f' style="--least:{least}px">{"".join(f"<div>{cell}</div>" for cell in cells)}</div>'
    )


def _maps(shown: Mapping[str, Run], plots: dict[str, Figure]) -> str:
    cells = []
    for i, (name, run) in enumerate(shown.items()):
        assert run.gallery is not None
        fig, ax = figure(3.4, 3.4)
        ax.set_position((0.0, 0.0, 1.0, 1.0))
        plot_map(run.gallery, ax)
        plots[_file("map", name)] = fig
        still = chart_place(f"map{i}", svg(fig, f"map{i}"), f"Map of the choices of {name}")
        cells.append(f"<h3>{text(name)} <small>seed {run.seed}</small></h3>{still}")
    return (
        '<h2>Where they lie</h2><p class="note">Features in two dimensions; the pool faint, the'
        " chosen ringed, colored by class.</p>" + _grid(cells, 270)
    )


def _balances(seen: Comparison, shown: Mapping[str, Run], plots: dict[str, Figure]) -> str:
    cells = []
    styles = strategy_styles(list(seen.runs))
    for i, (name, run) in enumerate(shown.items()):
        gallery = run.gallery
        assert gallery is not None
        pool, classes = gallery["pool_counts"], [str(c) for c in gallery["classes"]]
        if not classes:  # labels that are no classes
            continue
        counts = [r.class_counts for r in seen.runs[name]]
        shares = [c / max(c.sum(), 1) for c in counts if c is not None and len(c) == len(pool)]
        chosen = np.mean(shares, axis=0) if shares else gallery["chosen_counts"]
        fig, ax = figure(3.4, 0.62 + (0.19 * len(classes) if len(classes) <= 24 else 2.4))
        height = fig.get_figheight()
        longest = max((len(c) for c in classes), default=1) if len(classes) <= 24 else 0
        left = (0.12 + 0.075 * min(longest, 16)) / 3.4
        ax.set_position((left, 0.46 / height, 0.97 - left, 1 - 0.5 / height))
        plot_balance(pool, chosen, classes, ax, styles[name]["color"])
        plots[_file("balance", name)] = fig
        off = f"{percent(imbalance(pool, 1e6 * np.asarray(chosen, np.float64)), 0)} off the pool"
        cells.append(f"<h3>{text(name)} <small>{text(off)}</small></h3>{svg(fig, f'balance{i}')}")
    if not cells:
        return ""
    return (
        '<h2>Which classes</h2><p class="note">Bar: share of the final set, mean over seeds; line:'
        " share of the pool. Off the pool: what part of the set would have to change class to match"
        " it.</p>" + _grid(cells, 270)
    )


def _standing(seen: Comparison, order: Sequence[str]) -> str:
    """Return one line of certificates per strategy, the mean over the runs that have them; nothing
    when none has.
    """
    lines = {}
    for name in order:
        measures = [run.certificates for run in seen.runs[name]]
        names = sorted(
            {
                key
                for one in measures
                for key, value in one.items()
                if isinstance(value, int | float)
            }
        )
        lines[name] = in_words(
            {key: float(np.mean([one[key] for one in measures if key in one])) for key in names}
        )
    if not any(lines.values()):
        return ""
    return (
        '<h2>How well the final sets stand for the pool</h2><p class="note">From the columns each'
        " strategy read: largest distance to the nearest chosen example, mean largest similarity to"
        " one, squared MMD, relative error of the weighted gradient, classes that would have to"
        " change; mean over seeds.</p>" + _list(lines)
    )


def _about(seen: Comparison, read: Sequence[Run]) -> str:
    runs = [run for group in seen.runs.values() for run in group]
    main = [run for run in runs if not run.baseline] or runs
    trainings = sum(len(run.rounds) for run in runs) + sum(
        len(run.rounds) for run in seen.full_runs
    )
    trials = f"{counted(len(seen.runs), 'strategy')}, {seeds_of(seen.curves)}; "
    trials += (
        f"{counted(trainings, 'training')} in {counted(len(runs) + len(seen.full_runs), 'run')}"
    )
    if seen.full_runs:
        trials += f", {len(seen.full_runs)} of them on all data"
    versions: dict[str, set[str]] = {}
    for run in read:
        for key, value in (run.state.get("versions") or {}).items():
            versions.setdefault(str(key), set()).add(str(value))
    facts = {
        "trials": trials,
        "hardware": " / ".join(
            sorted({str(run.state["hardware"]) for run in read if run.state.get("hardware")})
        ),
        "versions": ", ".join(
            f"{key} {' / '.join(sorted(distinct))}" for key, distinct in sorted(versions.items())
        ),
    }
    values: dict[str, list[str]] = {}
    for run in main:
        for key, value in flat(run.config).items():
            if str(value) not in values.setdefault(key, []):
                values[key].append(str(value))
    settings = {key: " / ".join(distinct) for key, distinct in values.items()}
    return (
        f"<h2>How it was run</h2>{_list(facts)}<details><summary>Configuration<small>what differs"
        f" between runs is separated by /</small></summary>{_list(settings)}</details>"
    )


def _list(pairs: Mapping[str, str]) -> str:
    return (
        "<dl>"
        + "".join(f"<dt>{text(k)}</dt><dd>{text(v)}</dd>" for k, v in pairs.items() if v)
        + "</dl>"
    )
