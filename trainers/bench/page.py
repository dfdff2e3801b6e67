"""The page of a suite: the answer in a sentence, the picture, the table, who beats whom, how it was
run. Files in, files out: it reads what `coreset.trainers.bench.results` wrote.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from coreset.core.store import write_atomic
from coreset.report.css import css
from coreset.report.curves import curve_figure, hover
from coreset.report.document import document
from coreset.report.evidence import Line, answer, best_fair, lines, markdown
from coreset.report.pairwise import wins_html
from coreset.report.render import render
from coreset.report.shapes import header, table
from coreset.report.theme import png, svg
from coreset.report.words import count, counted
from coreset.runs.statistics import LEVEL, Panel, panel
from coreset.trainers.bench.results import curves_of, full_value, read
from coreset.trainers.bench.suite import PRUNE

ORACLE = "oracle"
TAUGHT = "features that each pool taught without labels"
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
    ranked = lines(
        data,
        about["reads_labels"],
        ORACLE,
        cost.mean().to_dict(),
        peak.to_dict(),
    )
    claim = answer(ranked, data, metric.replace("_", " "))
    words = markdown(ranked, data, metric.replace("_", " "), full)
    title = f"{about['suite']}: {about['data']}"
    head = f"# {title}\n\n{claim}\n\n"
    write_atomic(folder / "table.md", head + words + "\n" + _how_run(about, data) + "\n")
    shown = _shown(ranked)
    drawn = [c for c in curves if c.strategy in shown and c.seed in set(data.replicates)]
    fig = curve_figure(drawn, full, None, LEVEL)
    write_atomic(folder / "curve.png", png(fig))
    write_atomic(folder / "curve.svg", svg(fig, "curve", hover(drawn), alone=True))
    parts = [
        _head(title, claim),
        render("curve.html", figure=svg(fig, "curve", hover(drawn))),
        _table(words),
        wins_html([c for c in curves if c.seed in set(data.replicates)]),
        _about(about, data),
    ]
    page = write_atomic(
        folder / "report.html", document(title, css("base"), Markup("\n").join(parts))
    )
    return page, claim


def _shown(table: Sequence[Line]) -> set[str]:
    """Return the names in the picture: random, oracle,
    the best and the last of those that label.
    """
    fair = [line.name for line in table if line.fair and line.name != "random"]
    names = {"random", ORACLE, *fair[: _SHOWN - 3], *fair[-1:]}
    best = best_fair(table)
    return names | ({best.name} if best else set())


def _head(title: str, claim: str) -> Markup:
    """Return the answer as a headline, with its test below."""
    short, opened, test = claim.partition(" (mean ")
    return header(title, short, [(opened + test).strip()] if test else [])


def _table(words: str) -> Markup:
    """Return the Markdown table as HTML, its note above."""
    note, *below = words.splitlines()
    rows = [line.strip("|").split("|") for line in below if line.startswith("|")]
    cells = [[cell.strip() for cell in row] for row in rows]
    return table("The numbers", cells[0], cells[2:], [note])


def features_words(config: Mapping[str, Any]) -> str:
    """Return what a head read, in words, of the configuration of a suite.

    >>> features_words({"features": "x.npy"})
    'features of x.npy'
    >>> name = "coreset.trainers.tasks.features.Pretrained"
    >>> features_words({"features": None, "embedding": {"_target_": name, "name": "resnet18"}})
    'frozen features of resnet18'
    """
    if config["features"]:
        return f"features of {Path(config['features']).name}"
    embedding = config["embedding"]
    kind = embedding["_target_"].rpartition(".")[2]
    if kind == "Pixels":
        return "pixels"
    if kind == "SelfSupervised":
        return f"{TAUGHT} ({embedding['method']})"
    return f"frozen features of {embedding['name']}"


def _how_run(about: Mapping[str, Any], data: Panel) -> str:
    """Return how a table came about in a sentence or two."""
    p, failed = about["protocol"], about["failed"]
    versions = ", ".join(f"{k} {v}" for k, v in about["versions"].items())
    query = "one query" if p["queries"] == 1 else f"{p['queries']} queries"
    asked = f"{query} per budget"
    if p.get("mode") == PRUNE:
        asked = "labels known, each budget one choice by what a training on the whole pool tells"
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
        f" start and test set, the same for every row; {asked}; a {learner['head']} head"
        f" on {features_words(about['config'])}, refitted and tuned by cross-validation on the labeled examples at"
        f" every budget. {about['hardware']}; {versions}."
    )
    if about["missing"]:
        out += f" {counted(about['missing'], 'cell')} not finished."
    for name, error in failed.items():
        out += f"\n\nFailed: {name}: {error}"
    return out


def _about(about: Mapping[str, Any], data: Panel) -> Markup:
    size = f"{count(about['examples'])} examples, {len(about['classes'])} classes"
    rows = {name: str(config) for name, config in about["rows"].items()}
    facts = {"data": f"{about['data']}, {size}", **rows}
    return render("bench/about.html", notes=_how_run(about, data).split("\n\n"), facts=facts)
