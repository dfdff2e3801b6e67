"""Write METHODS.md, the table of all strategies, from the strategies themselves: see `--help`."""

from __future__ import annotations

import argparse
import importlib
import inspect
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from coreset.core.catalog import COLUMNS
from coreset.core.store import write_atomic
from coreset.core.strategy import Strategy
from coreset.distillation.distiller import distiller
from coreset.registry import load, names, strategy

PAGE = Path(__file__).parent.parent / "METHODS.md"
FAMILIES = (
    "baseline",
    "uncertainty",
    "coverage",
    "submodular",
    "gradient",
    "dynamics",
    "instruction",
    "combine",
)
HEAD = """# Methods

Made from the strategies themselves by `python scripts/methods.py`: do not edit. A name is what `strategy=<name>` and `coreset.select("<name>", ...)` take;
options are `strategy.<option>=<value>` and `options={"<option>": value}`. Needs are the columns read at the candidates, by default; what they hold
and where they come from stands under [Columns](#columns).
"""

COLUMN_HEAD = """## Columns

What strategies read, one row per example. `coreset-train` and `coreset-curate` compute what they can; in a loop of your own, or for `coreset.select`, get a column as
its last cell says, or bring an array of your own under that name.

| column | shape | what a row holds | where it comes from |
| --- | --- | --- | --- |
"""

DISTILLATION = """## Distillation

These make images instead of choosing them: `strategy=distill/<name>`,
`coreset.distillation.distill("<name>", ipc, images=..., labels=...)`. A distilled set consumes
every label of the pool, whatever its size, so its curve says so and has no place on an axis of
labels spent.
"""


def escape(text: str) -> str:
    """Return text as one Markdown table cell: code in backticks stays code, all else is taken
    literally, arXiv numbers become links.
    """
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()))
    for i in range(0, len(parts), 2):
        parts[i] = re.sub(r"([\\*_<>\[\]~#])", r"\\\1", parts[i])
        parts[i] = re.sub(
            r"arXiv:(\d{4}\.\d{4,5})", r"[arXiv:\1](https://arxiv.org/abs/\1)", parts[i]
        )
    return "".join(parts).replace("|", r"\|")


def paper(module: str) -> str:
    """Return the paragraph of a module's docstring that cites: a quoted title and a year, else a
    year; empty when there is none.
    """
    paragraphs = (inspect.getdoc(importlib.import_module(module)) or "").split("\n\n")[1:]
    for pattern in (r'".*\b(19|20)\d\d\b', r"\b(19|20)\d\d\b"):
        for text in paragraphs:
            if re.search(pattern, text, re.DOTALL):
                return text
    return ""


def shown(value: Any) -> str:
    """Return a parameter's value as YAML writes it; a strategy by its name."""
    if isinstance(value, Strategy):
        return next((name for name in names() if load(name) is type(value)), type(value).__name__)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(shown, value))}]"
    return (
        "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    )


def row(name: str) -> str:
    """Return the table row of one strategy."""
    method = strategy(name)
    needs = [f"`{n}`" for n in sorted(method.needs)]
    needs += [f"`{n}` (of what is taken)" for n in sorted(method.needs_selected - method.needs)]
    options = [
        f"`{key}={shown(value)}`".replace("|", r"\|") for key, value in method.parameters().items()
    ]
    first = " ".join((inspect.getdoc(type(method)) or "").split("\n\n")[0].split())
    cells = [
        f"`{name}`",
        escape(first),
        ", ".join(needs),
        ", ".join(options),
        escape(paper(type(method).__module__)),
    ]
    return f"| {' | '.join(cells)} |"


def page() -> str:
    """Return METHODS.md: a table per family, in the order of FAMILIES, names sorted; strategies of
    other packages are left out.
    """
    families: dict[str, list[str]] = {}
    for name in names():
        module = load(name).__module__
        if module.startswith("coreset.strategies."):
            families.setdefault(module.split(".")[2], []).append(name)
    order = sorted(
        families, key=lambda f: (FAMILIES.index(f) if f in FAMILIES else len(FAMILIES), f)
    )
    parts = [HEAD, f"{sum(map(len, families.values()))} strategies in {len(families)} families.\n"]
    for family in order:
        table = [
            "| name | what it does | needs | options | paper |",
            "| --- | --- | --- | --- | --- |",
        ]
        parts.append(
            "\n".join([f"## {family.capitalize()}\n", *table, *map(row, families[family])]) + "\n"
        )
    return "\n".join([*parts, distillation(), columns()])


def columns() -> str:
    """Return the table of the columns: what each holds and where it comes from."""
    rows = [
        f"| `{name}` | {escape(c.shape)} | {escape(c.holds)} | {escape(c.source)} |\n"
        for name, c in COLUMNS.items()
    ]
    return COLUMN_HEAD + "".join(rows)


def distillation() -> str:
    """Return the table of the distillation methods, which make images instead of choosing them."""
    table = ["| name | what it does | needs | options | paper |", "| --- | --- | --- | --- | --- |"]
    for name in names("coreset.distillers"):
        method = distiller(name)
        module = type(method).__module__
        if module.startswith("coreset.strategies."):
            first = " ".join((inspect.getdoc(type(method)) or "").split("\n\n")[0].split())
            options = ", ".join(
                f"`{key}={shown(value)}`" for key, value in method.parameters().items()
            )
            needs = "`labels` of the whole pool" + ", a teacher" * method.wants_teacher
            table.append(
                f"| `distill/{name}` | {escape(first)} | {needs} | {options} |"
                f" {escape(paper(module))} |"
            )
    return "\n".join([DISTILLATION, *table]) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page, or with `--check` return 1 when it is not what would be written."""
    parser = argparse.ArgumentParser(description="Write METHODS.md from the strategies themselves.")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 when the page is stale"
    )
    parser.add_argument(
        "--out", type=Path, default=PAGE, help="the page (default: METHODS.md at the top)"
    )
    given = parser.parse_args(arguments)
    text = page()
    if not given.check:
        write_atomic(given.out, text)
    elif not given.out.exists() or given.out.read_text() != text:
        print(f"{given.out} is stale: run python scripts/methods.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
