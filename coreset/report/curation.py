"""The page of a curation: the funnel, the scores of what was kept and what was not, and rows of
every outcome to read.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from matplotlib.figure import Figure

from coreset.core.places import read_table, table_schema
from coreset.core.store import write_atomic
from coreset.report.css import CSS
from coreset.report.decided import STYLE as DECIDED
from coreset.report.decided import decided_html
from coreset.report.document import document
from coreset.report.funnel import funnel_figure, funnel_list, stages
from coreset.report.hands import Hands, sectioned, style
from coreset.report.histogram import plot_histogram
from coreset.report.pictures import STYLE, pictures_html
from coreset.report.theme import figure, png, svg
from coreset.report.words import count, counted, share, text

_SHOWN = 6  # rows of an outcome
_REJECTS = 4  # rows of a reason
_PLOTS = 9  # shown at once
_HIDDEN = (
    "id",
    "file",
    "line",
    "state",
    "operator",
    "reason",
    "duplicate_of",
    "preview",
    "rank",
    "gain",
    "gain_status",
)
_STYLE = """
.cards{display:grid;gap:14px;grid-template-columns:repeat(auto-fill,minmax(300px,1fr));margin:6px 0 18px}
.cards article{background:var(--sunk);border-radius:8px;padding:12px 14px;font-size:13px;line-height:1.45;min-width:0;overflow-wrap:anywhere}
.cards p{margin:0;white-space:pre-wrap;display:-webkit-box;-webkit-line-clamp:9;-webkit-box-orient:vertical;overflow:hidden}
.cards p.asked{color:var(--muted);-webkit-line-clamp:5;margin-bottom:6px}
.cards footer{margin-top:8px;color:var(--muted);font-size:11.5px;font-variant-numeric:tabular-nums}
.cards footer b{font-weight:600;color:var(--ink)}
.funnel{margin-top:26px;overflow-x:auto}.funnel svg{min-width:680px}
.stages{display:none;list-style:none;padding:0;margin:26px 0 0;font-size:14px}.stages li{margin:0 0 12px;overflow-wrap:anywhere}
.stages small{color:var(--muted)}.stages i{display:block;height:10px;margin-top:3px;background:var(--s0)}
@media(max-width:740px){.funnel{display:none}.stages{display:block}}
code{font-size:12px;overflow-wrap:anywhere}
"""


def write_curation_report(
    out: Path,
    manifest: Mapping[str, Any],
    samples: Mapping[str, Sequence[Mapping[str, Any]]],
    gallery: Mapping[str, Any] | None = None,
    state: Path | None = None,
) -> Path:
    """Write `report.html` into the folder of a run, and its plots into `plots/` as PNG and SVG;
    return the page's path.

    manifest: what `manifest.json` holds; samples: rows by outcome ("kept", "dropped by <operator>",
    "rejected by <operator>"), each with its decision and a `preview`. Scores are read from
    `decisions.parquet`, a column at a time. The same run gives the same bytes. gallery: of a run
    over images (see `pictures_html`), shown in the place of the samples. state: the folder of the
    run's state (default: out/state), where the texts of rows are.
    """
    steps = stages(manifest)
    plots: dict[str, Figure] = {"funnel": funnel_figure(steps)}
    parts = [
        _head(manifest),
        f'<div class="funnel">{svg(plots["funnel"], "funnel")}</div>{funnel_list(steps)}',
        _scores(out / "decisions.parquet", plots),
        _samples(samples, manifest) if gallery is None else pictures_html(gallery, plots),
        decided_html(out, manifest, out / "state" if state is None else state),
        _rejects(out / "rejects.jsonl", manifest["rejects"]),
        _recipe(manifest),
        _about(manifest),
    ]
    for name, plot in plots.items():
        write_atomic(out / "plots" / f"{name}.png", png(plot))
        write_atomic(out / "plots" / f"{name}.svg", svg(plot, name, alone=True))
    title = text(f"{_input(manifest)}: curation report")
    css = f"{CSS}{_STYLE}{STYLE if gallery else ''}{DECIDED}{style()}"
    body = sectioned("\n".join(p for p in parts if p))
    page = document(title, css, body, Hands().scripts())
    return write_atomic(out / "report.html", page)


def _input(manifest: Mapping[str, Any]) -> str:
    files = manifest["input"]
    return str(files[0]["file"]) if len(files) == 1 else counted(len(files), "file")


def _head(manifest: Mapping[str, Any]) -> str:
    counts = manifest["counts"]
    kicker = (
        f"{_input(manifest)}, {manifest['schema']['kind']} rows,"
        f" {counted(len(manifest['operators']), 'operator')}"
    )
    kept = (
        f"{count(counts['kept'])} of {counted(counts['rows'], 'row')} kept,"
        f" {share(counts['kept'] / max(counts['rows'], 1))}"
    )
    under = (
        f"{count(counts['dropped'])} dropped, each with its reason; {count(counts['rejected'])}"
        " rejected as unusable; together all that were read."
    )
    broken = [f["file"] for f in manifest["input"] if f.get("broken")]
    if broken:
        under += (
            f" {counted(len(broken), 'file')} could not be read to the end:"
            f" {', '.join(broken[:3])}{', …' if len(broken) > 3 else ''}."
        )
    return (
        "<header><p"
        f' class="kicker">{text(kicker)}</p><h1>{text(kept)}</h1><p>{text(under)}</p></header>'
    )


def _scores(path: Path, plots: dict[str, Figure]) -> str:
    """Return a histogram of every column of numbers that differ."""
    cells, same = [], []
    schema = table_schema(path)
    kept = np.array([s == "kept" for s in read_table(path, ["state"])["state"].to_pylist()], bool)
    names = [
        f.name
        for f in schema
        if f.name not in _HIDDEN and (pa.types.is_floating(f.type) or pa.types.is_integer(f.type))
    ]
    for i, name in enumerate(names):
        values = read_table(path, [name])[name].to_numpy().astype(np.float64)
        finite = np.isfinite(values)
        if not finite.any() or values[finite].min() == values[finite].max():
            same.append(f"{name} {values[finite][0]:g}" if finite.any() else f"{name} undefined")
            continue
        fig, ax = figure(3.4, 1.7)
        ax.set_position((0.02, 0.2, 0.96, 0.68))
        plot_histogram(values[finite], kept[finite], ax)
        plots[f"score-{re.sub(r'[^A-Za-z0-9_.=-]+', '_', name)}"] = fig
        note = _undefined(path, schema, name) or f"{count(int(finite.sum()))} rows"
        cells.append(
            f"<div><h3>{text(name)} <small>{text(note)}</small></h3>{svg(fig, f'score{i}')}</div>"
        )
    if not cells and not same:
        return ""
    note = (
        "Grey: every row that has the score; blue: the rows kept. The ends hold what lies beyond."
    )
    note += f" The same for all rows: {', '.join(same)}." if same else ""
    head = f'<h2>What was scored</h2><p class="note">{text(note)}</p>'
    first, more = (
        f'<div class="grid" style="--least:270px">{"".join(c)}</div>'
        for c in (cells[:_PLOTS], cells[_PLOTS:])
    )
    return (
        head
        + first
        + (
            "<details><summary>more"
            f" scores<small>{len(cells) - _PLOTS}</small></summary>{more}</details>"
            if cells[_PLOTS:]
            else ""
        )
    )


def _undefined(path: Path, schema: pa.Schema, name: str) -> str:
    """Return in words how many rows have no value, and why."""
    status = f"{name}_status"
    if status not in schema.names:
        return ""
    statuses = read_table(path, [status])[status].to_pylist()
    words = Counter(w for w in statuses if w not in (None, "ok"))
    return ", ".join(f"{count(n)} {w}" for w, n in sorted(words.items()))


def _samples(
    samples: Mapping[str, Sequence[Mapping[str, Any]]], manifest: Mapping[str, Any]
) -> str:
    sizes = {"kept": manifest["counts"]["kept"]}
    for one in [{"name": "input", "counts": {"dropped": 0, "rejected": 0}}, *manifest["operators"]]:
        for end in ("dropped", "rejected"):
            sizes[f"{end} by {one['name']}"] = one.get("counts", {}).get(end, 0)
    blocks = []
    for i, outcome in enumerate(sorted(samples, key=list(sizes).index)):
        cards = "".join(_card(row) for row in samples[outcome][:_SHOWN])
        size = f"<small>{counted(sizes[outcome], 'row')}</small>" if sizes[outcome] else ""
        blocks.append(
            f"<details{' open' if i < 2 else ''}><summary>{text(outcome)}{size}</summary><div"
            f' class="cards">{cards}</div></details>'
        )
    note = "Some rows of every outcome, chosen by a hash of their ids."
    return (
        f'<h2>What was kept, what was dropped</h2><p class="note">{text(note)}</p>{"".join(blocks)}'
        if blocks
        else ""
    )


def _card(row: Mapping[str, Any]) -> str:
    asked, separator, answer = str(row["preview"]).partition("\x1e")
    body = (
        f'<p class="asked">{text(asked)}</p><p>{text(answer)}</p>'
        if separator
        else f"<p>{text(asked)}</p>"
    )
    facts = [f"<b>{text(row['reason'])}</b>"] if row.get("reason") else []
    facts += [f"duplicate_of {text(row['duplicate_of'])}"] if row.get("duplicate_of") else []
    numbers = {
        k: v
        for k, v in row.items()
        if k not in _HIDDEN and type(v) in (int, float) and v and v == v
    }
    facts += [f"{text(k)}\u00a0{v:.4g}" for k, v in list(numbers.items())[:4]]
    facts.append(text(f"{row['file']}, line {row['line']}"))
    return f"<article>{body}<footer>{' · '.join(facts)}</footer></article>"


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for one in sorted(path.glob("*.jsonl")) if path.is_dir() else [path]:
        with one.open(encoding="utf-8") as file:
            for line in file:
                yield json.loads(line)


def _rejects(path: Path, reasons: Mapping[str, int]) -> str:
    if not reasons:
        return ""
    shown: dict[str, list[dict[str, Any]]] = {reason: [] for reason in reasons}
    for one in _lines(path):
        if len(shown[one["reason"]]) < _REJECTS:
            shown[one["reason"]].append(one)
    rows = []
    for reason, examples in sorted(shown.items(), key=lambda r: (-reasons[r[0]], r[0])):
        for i, one in enumerate(examples):
            name = f"{text(reason)} <small>{count(reasons[reason])}</small>" if i == 0 else ""
            place = text(one["file"] + (f", line {one['line']}" if one["line"] else ""))
            rows.append(
                f'<tr><td>{name}</td><td class="left">{place}</td><td'
                f' class="left">{text(one["why"])}</td><td'
                f' class="left"><code>{text(str(one.get("row", ""))[:120])}</code></td></tr>'
            )
    heads = (
        '<th>reason</th><th class="left">where</th><th class="left">what is wrong</th><th'
        ' class="left">the row</th>'
    )
    return (
        f'<h2>What could not be used</h2><p class="note">The first {_REJECTS} of every reason; all'
        " of them are in rejects.jsonl.</p>"
        '<div class="scroll"><table'
        f' class="numbers"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _recipe(manifest: Mapping[str, Any]) -> str:
    rows = []
    for one in manifest["operators"]:
        options = {
            k: v
            for k, v in one.items()
            if k not in ("name", "kind", "_target_", "hash", "counts", "version", "resources")
        }
        described = ", ".join(
            f"{k} {_plain(v)}" for k, v in options.items() if v not in (None, {}, [])
        )
        counts = one.get("counts")
        numbers = [count(counts[k]) for k in ("in", "kept", "dropped")] if counts else ["–"] * 3
        cells = "".join(f"<td>{n}</td>" for n in numbers)
        rows.append(
            f'<tr><td>{text(one["name"])}</td><td class="left">{text(described)}</td>{cells}</tr>'
        )
    heads = (
        '<th>operator</th><th class="left">settings</th><th>in</th><th>kept</th><th>dropped</th>'
    )
    return (
        '<h2>The recipe</h2><div class="scroll"><table'
        f' class="numbers"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        name = str(value.get("_target_", "")).rpartition(".")[2]
        inside = ", ".join(
            f"{k} {_plain(v)}" for k, v in value.items() if k != "_target_" and v is not None
        )
        return f"{name}({inside})" if name else f"{{{inside}}}"
    return f"[{', '.join(map(_plain, value))}]" if isinstance(value, list) else str(value)


def _about(manifest: Mapping[str, Any]) -> str:
    files = [
        f"{f['file']}: {counted(f['rows'], 'row')}, sha256 {f['sha256'][:16]}"
        for f in manifest["input"][:8]
    ]
    written = [
        f"{f['file']}: {counted(f['rows'], 'row')}, sha256 {f['sha256'][:16]}"
        for f in manifest["output"]["data"][:8]
    ]
    schema = manifest["schema"]
    facts = {
        "input": "; ".join(files) + ("; …" if len(manifest["input"]) > 8 else ""),
        "output": "; ".join(written) + ("; …" if len(manifest["output"]["data"]) > 8 else ""),
        "rows are named by": (
            f"their field {schema['id']}" if schema["id"] else "a hash of their content"
        ),
        "versions": ", ".join(f"{k} {v}" for k, v in manifest["versions"].items()),
    }
    return (
        "<h2>How it was run</h2><dl>"
        + "".join(f"<dt>{text(k)}</dt><dd>{text(v)}</dd>" for k, v in facts.items())
        + "</dl>"
    )
