"""The page of a suite: the answer in a sentence, the picture, the table, who beats whom, how it was
run. Files in, files out: it reads what `coreset.trainers.bench.results` wrote.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from coreset.core.store import write_atomic
from coreset.report.css import CSS
from coreset.report.curves import curve_figure, hover
from coreset.report.document import document
from coreset.report.evidence import Line, answer, best_fair, lines, markdown
from coreset.report.pairwise import wins_html
from coreset.report.theme import png, svg
from coreset.report.words import count, counted, text
from coreset.runs.statistics import LEVEL, Panel, panel
from coreset.trainers.bench.results import curves_of, full_value, read

ORACLE = "oracle"
_SHOWN = 6  # lines of the picture


def write_page(folder: Path) -> tuple[Path, str]:
    """Write table.md, curve.png, curve.svg and report.html from curves.csv and about.json; return
    the page's path and the answer.

    Rows whose every replicate failed are named on the page; only replicates that all other rows
    have are compared.
    """
    frame, about = read(folder)
    metric = str(about["protocol"]["metric"])
    curves, full = curves_of(frame, metric), full_value(frame, metric)
    data = panel(curves)
    cost = frame.groupby(["strategy", "replicate"])["select_seconds"].sum().groupby("strategy")
    peak = frame.groupby("strategy")["peak_mb"].max()
    table = lines(
        data,
        about["reads_labels"],
        ORACLE,
        cost.mean().to_dict(),
        peak.to_dict(),
    )
    claim = answer(table, data, metric.replace("_", " "))
    words = markdown(table, data, metric.replace("_", " "), full)
    title = f"{about['suite']}: {about['data']}"
    head = f"# {title}\n\n{claim}\n\n"
    write_atomic(folder / "table.md", head + words + "\n" + _how_run(about, data) + "\n")
    shown = _shown(table)
    drawn = [c for c in curves if c.strategy in shown and c.seed in set(data.replicates)]
    fig = curve_figure(drawn, full, None, LEVEL)
    write_atomic(folder / "curve.png", png(fig))
    write_atomic(folder / "curve.svg", svg(fig, "curve", hover(drawn), alone=True))
    body = [
        f'<header><p class="kicker">{text(title)}</p>{_answer_html(claim)}</header>',
        f'<div class="curve">{svg(fig, "curve", hover(drawn))}</div>',
        f"<h2>The numbers</h2>{_table_html(words)}",
        wins_html([c for c in curves if c.seed in set(data.replicates)]),
        _about_html(about, data),
    ]
    page = write_atomic(folder / "report.html", document(text(title), CSS, "\n".join(body)))
    return page, claim


def _shown(table: Sequence[Line]) -> set[str]:
    """Return the names in the picture: random, oracle,
    the best and the last of those that label.
    """
    fair = [line.name for line in table if line.fair and line.name != "random"]
    names = {"random", ORACLE, *fair[: _SHOWN - 3], *fair[-1:]}
    best = best_fair(table)
    return names | ({best.name} if best else set())


def _answer_html(claim: str) -> str:
    """Return the answer as a headline, with its test below."""
    short, opened, test = claim.partition(" (mean ")
    return f"<h1>{text(short)}</h1>" + (f"<p>{text((opened + test).strip())}</p>" if test else "")


def _table_html(words: str) -> str:
    """Return the Markdown table as HTML, its note above."""
    rows = [line for line in words.splitlines() if line.startswith("|")]
    note = text(words.splitlines()[0])
    cells = [[text(c.strip()) for c in row.strip("|").split("|")] for row in rows]
    head = "".join(f"<th>{c}</th>" for c in cells[0])
    body = "".join(f"<tr>{''.join(f'<td>{c}</td>' for c in row)}</tr>" for row in cells[2:])
    return (
        f'<p class="note">{note}</p><div class="scroll"><table class="numbers"><thead><tr>{head}'
        f"</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _how_run(about: Mapping[str, Any], data: Panel) -> str:
    """Return how a table came about in a sentence or two."""
    p, failed = about["protocol"], about["failed"]
    versions = ", ".join(f"{k} {v}" for k, v in about["versions"].items())
    query = "one query" if p["queries"] == 1 else f"{p['queries']} queries"
    stress = [
        f"largest class {p['imbalance']:g} times the smallest" if p["imbalance"] > 1 else "",
        f"{100 * p['noise']:g} % wrong labels" if p["noise"] else "",
        f"{100 * p['duplicates']:g} % near-duplicates" if p["duplicates"] else "",
        f"{100 * p['outside']:g} % of the classes not asked for" if p["outside"] else "",
    ]
    pool = f"{p['pool']:g} examples" if p["pool"] >= 1 else f"{100 * p['pool']:g} % of the data"
    pool = ", ".join([pool, *filter(None, stress)])
    learner = about["learner"]
    out = (
        f"{counted(len(data.replicates), 'replicate')} compared, each with its own pool ({pool}),"
        f" start and test set, the same for every row; {query} per budget; a {learner['head']} head"
        " on frozen features, refitted and tuned by cross-validation on the labeled examples at"
        f" every budget. {about['hardware']}; {versions}."
    )
    if about["missing"]:
        out += f" {counted(about['missing'], 'cell')} not finished."
    for name, error in failed.items():
        out += f"\n\nFailed: {name}: {error}"
    return out


def _about_html(about: Mapping[str, Any], data: Panel) -> str:
    rows = {
        "data": f"{about['data']}, {count(about['examples'])} examples, {len(about['classes'])} classes",
        **{name: str(config) for name, config in about["rows"].items()},
    }
    listed = "".join(f"<dt>{text(k)}</dt><dd>{text(v)}</dd>" for k, v in rows.items())
    notes = "".join(
        f'<p class="note">{text(part)}</p>' for part in _how_run(about, data).split("\n\n")
    )
    return f"<h2>How it was run</h2>{notes}<dl>{listed}</dl>"
