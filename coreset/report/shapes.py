"""Shapes that several pages share: a table with its heading, a figure under its name."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from coreset.report.render import render


@dataclass(frozen=True)
class Cell:
    """A cell that is more than words. small: a remark after them; bold; code: in a fixed width;
    dot: a color, before them.
    """

    words: str
    small: str = ""
    bold: bool = False
    code: bool = False
    dot: str = ""


@dataclass(frozen=True)
class Named:
    """A figure with its name and a remark above."""

    name: str
    note: str
    figure: Markup


def header(kicker: str, claim: str, lines: Sequence[str]) -> Markup:
    """Return what leads a page: where it comes from, what it says, and lines below."""
    return render("header.html", kicker=kicker, claim=claim, lines=lines)


def table(
    title: str,
    heads: Sequence[str | Sequence[str]],
    rows: Sequence[Sequence[str | Cell]],
    notes: Sequence[str] = (),
    left: Collection[int] = (),
    tied: bool = True,
) -> Markup:
    """Return a section that is a table. heads: names of the columns, one of several lines as a
    list; notes: paragraphs above it; left: numbers of the columns that are words, not numbers;
    tied: numbers of a cell stay on one line with their signs.

    >>> "<td><b>2</b></td>" in table("Rows", ("n",), [[Cell("2", bold=True)]])
    True
    """
    values = {"title": title, "heads": heads, "rows": rows, "notes": notes}
    return render("table.html", **values, left=left, tied=tied)


def key(chips: Sequence[tuple[str, str]]) -> Markup:
    """Return what the colors mean: each with its words."""
    return render("key.html", chips=chips)
