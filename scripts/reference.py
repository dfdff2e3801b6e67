"""Write the reference pages of the site from the code itself: `python scripts/reference.py`.

strategies, scorers, operators, recipes: every registered name, with what it reads and gives;
columns: who gives each and who reads it; files: what a run leaves behind. The pages are made anew
with every build of the site and are not committed.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).parent))
import methods  # type: ignore[import-not-found]

from coreset.core.catalog import COLUMNS
from coreset.core.store import write_atomic
from coreset.curation.operators.base import Estimator, Filter, GroupBy, Selector
from coreset.registry import IMAGES, load, names
from coreset.report.explore import table as explored

ROOT = Path(__file__).parent.parent
PAGES = ROOT / "docs" / "reference"
KINDS = {Filter: "Filter", Estimator: "Estimator", GroupBy: "GroupBy", Selector: "Selector"}
TABLE = "| name | what it does | reads | gives | options |\n| --- | --- | --- | --- | --- |\n"


def first_sentence(cls: Any) -> str:
    """Return the first paragraph of a docstring, on one line."""
    return " ".join((inspect.getdoc(cls) or "").split("\n\n")[0].split())


def options(cls: Any) -> str:
    """Return the options of a part as `name=default`; a name alone is required."""
    out = []
    for name, p in inspect.signature(cls).parameters.items():
        default = p.default
        if type(default).__name__ == "_HAS_DEFAULT_FACTORY_CLASS":
            default = next(f for f in dataclasses.fields(cls) if f.name == name).default_factory()  # type: ignore[operator]
        text = name if p.default is p.empty else f"{name}={methods.shown(default)}"
        out.append(f"`{text}`".replace("|", r"\|"))
    return ", ".join(out)


def example(cls: Any) -> Any:
    """Return a part made with its defaults; None where it has options that must be given or reads
    files or a model to be made.
    """
    needed = [p for p in inspect.signature(cls).parameters.values() if p.default is p.empty]
    if needed:
        return None
    try:
        return cls()
    except (ValueError, TypeError, OSError, ImportError):
        return None


def columns_of(cls: Any, what: str) -> str:
    """Return the columns that a part `needs` or `gives`, or that they depend on its options."""
    part = example(cls)
    try:
        value = None if part is None else getattr(part, what)
    except (ValueError, TypeError, OSError, ImportError):
        value = None
    if not isinstance(value, frozenset):
        return "by its options"
    return ", ".join(f"`{n}`" for n in sorted(value))


def rows(group: str, kind: type | None = None) -> list[str]:
    """Return table rows of the parts of a group; with `kind`, those of that class."""
    out = []
    for name in names(group):
        cls = load(name, group)
        if kind is not None and not (inspect.isclass(cls) and issubclass(cls, kind)):
            continue
        cells = [f"`{name}`", methods.escape(first_sentence(cls))]
        cells += [columns_of(cls, "needs"), columns_of(cls, "gives"), options(cls)]
        out.append(f"| {' | '.join(cells)} |\n")
    return out


def strategies() -> str:
    """Return the page of the strategies: METHODS.md without its columns, which have a page."""
    page = methods.page().split("## Columns")[0]
    return page.replace("# Methods", "# Strategies", 1).replace("(#columns)", "(columns.md)")  # type: ignore[no-any-return]


def scorers() -> str:
    """Return the page of the scorers."""
    text = (
        "# Scorers\n\nA scorer reads fields or columns of a row and writes columns, the same in any"
        " batching: `coreset.score(name, rows)`, `coreset-score scorer=name`, or a line of a"
        " [recipe](recipes.md). Where a name says *by its options*, the columns depend on them.\n"
        "A scorer of images decodes every image once; several share one decoding as"
        " `images: {scorers: [...]}`.\n"
    )
    text += "\n## Text and rows\n\n" + TABLE + "".join(rows("coreset.scorers"))
    return text + "\n## Images, and images with their texts\n\n" + TABLE + "".join(rows(IMAGES))


def operators() -> str:
    """Return the page of the operators, a table per kind."""
    text = (
        "# Operators\n\nParts of a [recipe](recipes.md) beside the [scorers](scorers.md). A Filter"
        " decides row by row; an Estimator looks at all rows once and becomes one of the others; a"
        " GroupBy decides inside groups of rows that share a key; a Selector chooses among all rows"
        " under a budget. `coreset.curate([...], rows)` takes the names, or `{name: {options}}`.\n"
    )
    for kind, word in KINDS.items():
        text += f"\n## {word}\n\n" + TABLE + "".join(rows("coreset.operators", kind))
    listed = {name for kind in KINDS for name in _of(kind)}
    other = [r for r in rows("coreset.operators") if r.split("`")[1] not in listed]
    return text + ("\n## Of several kinds\n\n" + TABLE + "".join(other) if other else "")


def _of(kind: type) -> list[str]:
    return [r.split("`")[1] for r in rows("coreset.operators", kind)]


def recipe_parts(path: Path) -> list[str]:
    """Return the operators of a recipe, in order: a name, or the last word of a `_target_`."""
    steps = (yaml.safe_load(path.read_text()) or {}).get("operators") or []
    out = []
    for step in steps:
        if isinstance(step, dict):
            step = step["_target_"].split(".")[-1] if "_target_" in step else next(iter(step))
        out.append(str(step))
    return out


def recipes() -> str:
    """Return the page of the recipes: the comment on top of each file and its operators."""
    text = (
        "# Recipes\n\n`coreset-curate recipe=name input=... out=...`. A recipe is a list of"
        " operators by name; the files lie in `conf/recipe`, and a list of your own needs no more:"
        " [curate your text](../tutorials/text.md).\n"
    )
    for path in sorted((ROOT / "conf" / "recipe").glob("*.yaml")):
        lines = path.read_text().splitlines()
        head = []
        for line in lines:
            if not line.startswith("#"):
                break
            head.append(line.lstrip("# ").rstrip())
        steps = " → ".join(f"`{p}`" for p in recipe_parts(path))
        text += f"\n## {path.stem}\n\n{methods.escape(' '.join(head))}\n\n{steps}\n"
    return text


def columns() -> str:
    """Return the page of the columns: shape, meaning, who gives, who reads."""
    readers: dict[str, set[str]] = defaultdict(set)
    givers: dict[str, set[str]] = defaultdict(set)
    for group in ("coreset.strategies", "coreset.scorers", IMAGES, "coreset.operators"):
        for name in names(group):
            part = example(load(name, group))
            for what, side in (("needs", readers), ("needs_selected", readers), ("gives", givers)):
                try:
                    value = getattr(part, what)  # only strategies have needs_selected
                except (AttributeError, ValueError, TypeError, OSError, ImportError):
                    continue
                for column in value if isinstance(value, frozenset) else ():
                    side[column].add(name)
    text = (
        "# Columns\n\nA column is an array whose first axis is the dataset (N rows). Strategies"
        " read them by these names; any array of yours under one of them will do.\n\n"
        "| column | shape | what a row holds | who gives it | who reads it by default |\n"
        "| --- | --- | --- | --- | --- |\n"
    )
    for name, c in COLUMNS.items():
        by = ", ".join(f"`{n}`" for n in sorted(givers[name]))
        cells = [f"`{name}`", methods.escape(c.shape), methods.escape(c.holds)]
        cells += [methods.escape(c.source) + (f"; {by}" if by else "")]
        cells += [", ".join(f"`{n}`" for n in sorted(readers[name]))]
        text += f"| {' | '.join(cells)} |\n"
    text += (
        "\n## Columns of scorers and operators\n\nWritten by the named part with its default"
        " options; every one can be a strategy's signal, a threshold's column or a cost.\n\n"
        "| column | who gives it | who reads it by default |\n| --- | --- | --- |\n"
    )
    for name in sorted(set(givers) - set(COLUMNS)):
        by = ", ".join(f"`{n}`" for n in sorted(givers[name]))
        text += f"| `{name}` | {by} | {', '.join(f'`{n}`' for n in sorted(readers[name]))} |\n"
    return text


TRAINING = {  # path in the folder of a training run: what it holds
    "config.json": "the configuration as it was run; resuming under another is refused by name",
    "settings.json": "what `resume=` starts with again: trainer, logger, threads, store, report",
    "ledger.jsonl": "one line per round, see below",
    "curve.jsonl": "one line per point: `strategy`, `seed`, `round`, `labels`, `share`, `value` of"
    " `metric`, `extra`",
    "state.json": "rounds done, fingerprint, hardware, versions; written last",
    "rounds/NNNN/selection.parquet": "what the round chose, in order: `index`, `id`, and where the"
    " strategy gives them `score`, `weight`, `reason`",
    "rounds/NNNN/model.safetensors": "the model of the round",
    "start.safetensors": "with `learner=lightning`: the weights that every round begins from",
    "labels.csv": "with `oracle=file`: what to label, and the labels (`index`, `id`, `label`)",
    "baseline/NAME/": "the same files for random, full and what else stands beside",
    "metrics/metrics.csv": "what Lightning's CSV logger wrote",
    "rows.parquet": "what `coreset-explore` shows of every row of the pool",
    "gallery.npz": "what the pictures of the report are drawn from",
    "curve.png, curve.svg, plots/": "the figures of the report",
    "report.html": "the page: one file, nothing loaded from elsewhere",
}
CURATION = {  # path in the folder of a curation: what it holds
    "data/": "the rows kept, in the form and under the file names in which they came",
    "decisions.parquet": "one line per row read, see below",
    "rejects.jsonl": "rows that could not be read: `file`, `line`, `reason`, `why`, `row`",
    "manifest.json": "`counts`, `schema`, `input` with SHA-256, `operators` with options and counts,"
    " hardware and versions",
    "report.html": "the page: one file, nothing loaded from elsewhere",
    "plots/": "the figures of the report",
    "state/": "what a killed run goes on from; may be deleted",
}
LEDGER = {
    "round, labels": "number of the round; labels spent so far",
    "ids, indices": "what the round chose, in order: outside ids, positions in the train dataset",
    "scores": "the strategy's score of each, or null",
    "class_histogram": "the chosen by class",
    "info": "the strategy, its parameters, certificates and what it measured",
    "accuracy, metrics, val_accuracy": "on the held-out test set, and on a validation set",
    "training": "steps, passes, the course of the loss, whether it stopped on a slope",
    "seconds, peak_mb": "of choosing, measuring, training, testing; largest memory",
}
DECISIONS = {
    "id, file, line": "which row",
    "state": "kept, dropped or rejected",
    "operator, reason": "who dropped it and why, in words",
    "duplicate_of": "the id of the row that is kept instead",
    "overruled, new_label": "with `overrules=`: what a person decided",
    "every score": "one column per column that a scorer or operator gave, with its `_status`",
}
EXPLORE = {name: what for name, (_, what) in explored.COLUMNS.items()} | {
    "rank:NAME:SEED, round:NAME:SEED": "of several runs on the same rows",
    "anything else": "a score, NaN where it is undefined, or a column of metadata",
}
OVERRULES = {
    "id, action": "which row; `keep`, `drop`, `pin` or `relabel`, the last line about a row holds",
    "who, when": "name of the person, ISO 8601",
    "why, label": "the reason, where there is one; the new label of `relabel`",
}


def files() -> str:
    """Return the page of the files that a run leaves behind."""
    text = (
        "# Files of a run\n\nEvery file is written beside and renamed, the state last: a run killed"
        " at any moment goes on from the last complete round or partition and leaves the same"
        " bytes.\n"
    )
    for head, word, table in (
        ("A training run (`coreset-train`, `coreset.trainers.active`, `.prune`)", "file", TRAINING),
        ("A line of the ledger", "key", LEDGER),
        ("A curation (`coreset-curate`, `coreset.curation.curate`)", "file", CURATION),
        ("A row of the decisions", "column", DECISIONS),
        ("A row of `explore.parquet` (`coreset-explore`)", "column", EXPLORE),
        ("A line of `overrules.jsonl`", "key", OVERRULES),
    ):
        text += f"\n## {head}\n\n| {word} | what it holds |\n| --- | --- |\n"
        for name, what in table.items():
            text += f"| {', '.join(f'`{n}`' for n in name.split(', '))} | {what} |\n"
    return text + (
        "\n## A selection\n\n`Selection.save` and `coreset-select out=picked.parquet` write the"
        " columns of `selection.parquet` above; its metadata `coreset` holds strategy, parameters,"
        " seed and versions as JSON, and `Selection.load` reads it back.\n"
    )


PARTS = {
    "strategies": strategies,
    "scorers": scorers,
    "operators": operators,
    "recipes": recipes,
    "columns": columns,
    "files": files,
}


def main() -> int:
    """Write every page."""
    parser = argparse.ArgumentParser(description="Write the reference pages from the code.")
    parser.add_argument("--out", type=Path, default=PAGES, help="folder (default docs/reference)")
    given = parser.parse_args()
    for name, page in PARTS.items():
        write_atomic(given.out / f"{name}.md", page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
