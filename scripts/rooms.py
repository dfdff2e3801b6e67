"""Draw the rooms and who imports whom, from the imports themselves: python scripts/rooms.py
writes docs/assets/rooms.svg; with --check it exits 1 when the committed picture is another.

An arrow that points down is a solid gray line; one that pointed up would be red, and `lint-imports`
would refuse it.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from pathlib import Path

import grimp

from coreset.core.store import write_atomic

PICTURE = Path(__file__).parent.parent / "docs" / "assets" / "rooms.svg"
FLOORS: tuple[tuple[str, ...], ...] = (  # top to bottom
    ("trainers", "strategies"),
    ("cli",),
    ("flywheel", "curation", "vision", "report"),
    ("scorers", "distillation"),
    ("runs",),
    ("numerics",),
    ("core",),
)
WORDS = {
    "trainers": "training, loops, commands",
    "strategies": "columns in, indices out",
    "cli": "select, score, curate, explore",
    "flywheel": "observe to retrain",
    "curation": "recipes over rows",
    "vision": "boxes and masks",
    "report": "pages and figures",
    "scorers": "rows in, columns out",
    "distillation": "synthetic sets",
    "runs": "folder, ledger, curve",
    "numerics": "primitives of two or more users",
    "core": "Pool, Signals, Selection, Strategy, Budget: numpy only",
}
WIDTH, HIGH, GAP, BOX = 920, 52, 44, 190


def arrows() -> dict[tuple[str, str], int]:
    """Return {(room, room it imports): number of files that do}, lazy imports included."""
    graph = grimp.build_graph("coreset", include_external_packages=False, cache_dir=None)
    pairs: dict[tuple[str, str], set[str]] = defaultdict(set)
    known = {room for floor in FLOORS for room in floor}
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            a, b = _room(module), _room(imported)
            if a != b and a in known and b in known:
                pairs[a, b].add(module)
    return {pair: len(files) for pair, files in sorted(pairs.items())}


def rooms() -> set[str]:
    """Return the folders of the library that are rooms."""
    graph = grimp.build_graph("coreset", cache_dir=None)
    return {
        _room(m)
        for m in graph.modules
        if any(other.startswith(f"{m}.") for other in graph.modules) and m.count(".") == 1
    }


def _room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def places(present: set[str]) -> dict[str, tuple[float, int]]:
    """Return the middle of every room's top edge: floors from top to bottom, rooms side by side."""
    out = {}
    floors = [[r for r in floor if r in present] for floor in FLOORS]
    for level, floor in enumerate([f for f in floors if f]):
        step = WIDTH / len(floor)
        for i, room in enumerate(floor):
            out[room] = (step * (i + 0.5), 20 + level * (HIGH + GAP))
    return out


def picture(pairs: dict[tuple[str, str], int], present: set[str]) -> str:
    """Return the SVG: one box a room, one line a pair of rooms; no line for what is not there."""
    at = places(present)
    height = max(y for _, y in at.values()) + HIGH + 20
    lines, boxes = [], []
    for a, b in pairs:
        if a not in at or b not in at:
            continue
        (x1, y1), (x2, y2) = at[a], at[b]
        up = y2 < y1 or (y2 == y1 and {a, b} != {"trainers", "strategies"})
        color = "#c62828" if up else "#9aa5b1"
        y1, y2 = (y1, y2 + HIGH) if y2 < y1 else (y1 + HIGH, y2)
        bend = (y1 + y2) / 2
        lines.append(
            f'<path d="M{x1:.0f},{y1} C{x1:.0f},{bend:.0f} {x2:.0f},{bend:.0f} {x2:.0f},{y2}" '
            f'stroke="{color}" fill="none" marker-end="url(#tip)"><title>{a} imports {b}</title>'
            "</path>"
        )
    for room, (x, y) in at.items():
        width = max(BOX, len(WORDS[room]) * 6.4 + 24)
        boxes.append(
            f'<rect x="{x - width / 2:.0f}" y="{y}" width="{width:.0f}" height="{HIGH}" rx="6" '
            f'fill="#f4f6f8" stroke="#455a64"/>'
            f'<text x="{x:.0f}" y="{y + 22}" class="n">{room}</text>'
            f'<text x="{x:.0f}" y="{y + 40}">{WORDS[room]}</text>'
        )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
            'aria-label="Rooms of the library, an arrow for every import between two of them; '
            'all arrows point down">',
            "<style>text{font:12px sans-serif;text-anchor:middle;fill:#263238}"
            ".n{font-weight:bold;font-size:14px}</style>",
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
            'markerHeight="7" orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="#78909c"/></marker>'
            "</defs>",
            *lines,
            *boxes,
            "</svg>",
            "",
        ]
    )


def main() -> int:
    """Write the picture, or compare it."""
    parser = argparse.ArgumentParser(description="Draw the rooms from their imports.")
    parser.add_argument("--check", action="store_true", help="exit 1 when the picture is stale")
    given = parser.parse_args()
    text = picture(arrows(), rooms())
    if not given.check:
        write_atomic(PICTURE, text)
    elif not PICTURE.exists() or PICTURE.read_text() != text:
        print(f"{PICTURE} is stale: run python scripts/rooms.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
