"""Navigation of the site, as a hook of MkDocs: known pages in a fixed order, all others after them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

FIRST = (
    "index.md",
    "tutorials/arrays.md",
    "tutorials/images.md",
    "tutorials/text.md",
    "which-method.md",
    "architecture.md",
    "reference/api.md",
    "reference/api-extend.md",
)
SECTIONS = {"": None, "tutorials": "Tutorials", "how-to": "How-to", "reference": "Reference"}


def navigation(pages: list[str]) -> list[Any]:
    """Return MkDocs' `nav` for these pages (paths below docs/): tutorials, how-to pages and
    reference as sections, single pages between; within each, FIRST and then by name.

    >>> navigation(["reference/files.md", "scale.md", "index.md", "tutorials/text.md"])
    ['index.md', {'Tutorials': ['tutorials/text.md']}, 'scale.md', {'Reference': ['reference/files.md']}]
    """
    ranked = sorted(pages, key=lambda p: (FIRST.index(p) if p in FIRST else len(FIRST), p))
    rooms: dict[str, list[str]] = {}
    for page in ranked:
        rooms.setdefault(page.split("/")[0] if "/" in page else "", []).append(page)
    alone = rooms.pop("", [])
    out: list[Any] = [p for p in alone if p == "index.md"]
    for name in ("tutorials", "how-to"):
        if name in rooms:
            out.append({SECTIONS[name]: rooms.pop(name)})
    out += [p for p in alone if p != "index.md"]
    return out + [{SECTIONS.get(name) or name.capitalize(): rooms[name]} for name in sorted(rooms)]


def on_config(config: Any) -> Any:
    """Give MkDocs the navigation of all pages that are there."""
    root = Path(config["docs_dir"])
    config["nav"] = navigation([p.relative_to(root).as_posix() for p in root.rglob("*.md")])
    return config
