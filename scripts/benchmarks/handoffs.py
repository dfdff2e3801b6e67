"""Every hand-off out, edited in the real tool, and back: images lost and misassigned.

    make tools TOOLS="label-studio datumaro fiftyone lightly-studio"
    python scripts/benchmarks/handoffs.py [--images 1000] [--only datumaro ...] [--out results/look]

Small images with permuted ids; the tools number, rename and reorder them as they do. Content (boxes,
masks, classes) is random, so that an image with another's labels does not pass. Writes
handoffs.json and its section of table.md; with --only, what is there of the other tools stays. A
tool whose environment is not there is left out, and named.
"""

from __future__ import annotations

import sys
from pathlib import Path

# this file's own folder would hide packages
sys.path[0] = str(Path(__file__).parents[2])

import argparse  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import tempfile  # noqa: E402
from collections.abc import Callable  # noqa: E402
from dataclasses import asdict  # noqa: E402
from typing import Any  # noqa: E402

from coreset.core.store import to_json, write_atomic  # noqa: E402
from coreset.runs.run_folder import hardware, versions  # noqa: E402
from scripts.benchmarks.handoff_rounds import (  # noqa: E402
    files,
    label_studio,
    stores,
    ultralytics,
)
from scripts.benchmarks.handoff_rounds.case import Case, Round, make_case  # noqa: E402
from scripts.benchmarks.sections import write_section  # noqa: E402
from tests.tools.envs import PLACE  # noqa: E402
from tests.tools.label_studio import server  # noqa: E402

HEAD = "## Hand-offs out and back"


def _label_studio(case: Case, python: str, folder: Path) -> list[Round]:
    with server(python, folder / "server") as client:
        return label_studio.rounds(case, client, folder)


IN_ENVIRONMENTS: dict[str, Callable[[Case, str, Path], list[Round]]] = {
    "label-studio": _label_studio,
    "datumaro": files.datumaro,
    "fiftyone": stores.fiftyone,
    "lightly-studio": stores.lightly,
}
HERE: dict[str, Callable[[Case, Path], list[Round]]] = {
    "supervision": files.supervision,
    "datasets": files.datasets,
    "ultralytics": ultralytics.ultralytics,
}
NAMES = [*IN_ENVIRONMENTS, *HERE]


def measure(tool: str, case: Case, folder: Path) -> list[Round]:
    """Return the rounds of one tool; none where it is not installed or does not start here."""
    folder.mkdir()
    if tool in HERE:
        return HERE[tool](case, folder)
    python = PLACE / tool / "bin" / "python"
    return IN_ENVIRONMENTS[tool](case, str(python), folder) if python.exists() else []


def table(measured: dict[str, Any]) -> str:
    """Return the rounds as a section in Markdown."""
    lines = [
        HEAD, "",
        f"{measured['images']:,} images, ids permuted; one round each. Lost: labeled in the tool and"
        " not back. Misassigned: back with another content than in the tool, or not labeled there."
        " ultralytics writes no file for an image without a box: such an image is not labeled.",
        "`python scripts/benchmarks/handoffs.py` makes this again.", "",
        "| tool | what | edited by | it changes | out | edited | skipped | back | lost | misassigned | seconds |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    rounds = [r for name in NAMES for r in measured["rounds"].get(name, ())]
    left_out = [name for name in NAMES if not measured["rounds"].get(name)]
    lines += [
        f"| {r['tool']} | {r['form']} | {r['by']} | {', '.join(r['changed'])} | {r['out']:,} | {r['edits']:,}"
        f" | {r['skipped']:,} | {r['back']:,} | {r['lost']:,} | {r['misassigned']:,} | {r['seconds']:.0f} |"
        for r in rounds
    ]  # fmt: skip
    if left_out:
        lines += ["", f"Not measured here: {', '.join(left_out)}; `tests/coreset/vision/test_handoff_tools.py` has their rounds."]  # fmt: skip
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and write handoffs.json and its section of table.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--only", nargs="*", choices=NAMES, default=NAMES)
    parser.add_argument("--out", type=Path, default=Path("results/look"))
    args = parser.parse_args()
    file = args.out / "handoffs.json"
    before = json.loads(file.read_text()) if file.exists() else {}
    kept = before.get("rounds", {}) if before.get("images") == args.images else {}
    about = {"hardware": hardware(), "versions": versions(), "images": args.images}
    measured: dict[str, Any] = {**about, "rounds": kept}
    with tempfile.TemporaryDirectory() as name:
        case = make_case(args.images, Path(name) / "images")
        for tool in args.only:
            rounds = measure(tool, case, Path(name) / tool)
            print(*rounds, sep="\n", flush=True)
            load = os.getloadavg()[0]
            measured["rounds"][tool] = [{**asdict(r), "load": load} for r in rounds]
            write_atomic(file, to_json(measured, indent=1) + "\n")
    write_section(args.out / "table.md", table(measured))
    print(table(measured))


if __name__ == "__main__":
    main()
