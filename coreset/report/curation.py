"""The page of a curation: the funnel, the scores of what was kept and what was not, and rows of
every outcome to read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure

from coreset.core.store import write_atomic
from coreset.report.css import css
from coreset.report.decided import decided_html
from coreset.report.document import document
from coreset.report.funnel import funnel_figure, funnel_list, stages
from coreset.report.hands import Hands, sectioned
from coreset.report.outcomes import outcomes
from coreset.report.pictures import pictures_html
from coreset.report.recipe import recipe, rejects
from coreset.report.render import render
from coreset.report.scores import scores
from coreset.report.shapes import header
from coreset.report.theme import png, svg
from coreset.report.words import count, counted, share


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
        render(
            "curation/funnel.html", figure=svg(plots["funnel"], "funnel"), stages=funnel_list(steps)
        ),
        scores(out / "decisions.parquet", plots),
        outcomes(samples, manifest) if gallery is None else pictures_html(gallery, plots),
        decided_html(out, manifest, out / "state" if state is None else state),
        rejects(out / "rejects.jsonl", manifest["rejects"]),
        recipe(manifest),
        _about(manifest),
    ]
    for name, plot in plots.items():
        write_atomic(out / "plots" / f"{name}.png", png(plot))
        write_atomic(out / "plots" / f"{name}.svg", svg(plot, name, alone=True))
    title = f"{_input(manifest)}: curation report"
    style = css("base", "curation", *["pictures"] * bool(gallery), "decided", "page")
    body = sectioned(Markup("\n").join(p for p in parts if p))
    page = document(title, style, body, Hands().scripts())
    return write_atomic(out / "report.html", page)


def _input(manifest: Mapping[str, Any]) -> str:
    files = manifest["input"]
    return str(files[0]["file"]) if len(files) == 1 else counted(len(files), "file")


def _head(manifest: Mapping[str, Any]) -> Markup:
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
    return header(kicker, kept, [under])


def _about(manifest: Mapping[str, Any]) -> Markup:
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
    return render("curation/about.html", facts=facts)
