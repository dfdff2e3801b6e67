"""Rounds through tools with a database of their own: FiftyOne, LightlyStudio."""

from __future__ import annotations

import json
from pathlib import Path

from coreset.vision.handoff import fiftyone as fiftyone_file
from coreset.vision.handoff import lightly as lightly_file
from scripts.benchmarks.handoff_rounds.case import Case, Round, same_objects
from tests.tools.envs import TOOLS, run_tool
from tests.tools.mongo import database


def fiftyone(case: Case, python: str, folder: Path) -> list[Round]:
    """Predictions accepted as labels, every fourth image tagged, in FiftyOne."""
    with database(python, folder) as home:
        return [] if home is None else [_fiftyone(case, python, folder, home)]


def _fiftyone(case: Case, python: str, folder: Path, home: dict[str, str]) -> Round:
    one = case.begin("FiftyOne 1.22", "boxes and tags", "its Python API", "ids", "order")
    rows, script = case.chosen.to_rows(case.files, case.boxes, 0.0), Path(fiftyone_file.__file__)
    with one.clock():
        (folder / "fiftyone.json").write_text(json.dumps(rows))
        run_tool(python, script, "load", folder / "fiftyone.json", "round", **home)
        run_tool(python, TOOLS / "fiftyone_edit.py", "round", **home)
        run_tool(python, script, "dump", "round", folder / "fiftyone_back.json", **home)
        back = json.loads((folder / "fiftyone_back.json").read_text())
    place, expected = case.pool.files, case.objects
    got = {place[r["file_name"]]: r for r in back}
    priority = {place[r["file_name"]]: r["priority"] for r in rows}
    one.edits = sum(p % 4 == 0 for p in priority.values())

    def same(i: int) -> bool:
        objects = [(b["label"], tuple(b["box"])) for b in got[i]["boxes"]]
        return got[i]["tags"] == _tags(priority[i]) and same_objects(objects, expected[i], 1e-6)

    return one.count(range(case.pool.size), got, same)


def lightly(case: Case, python: str, folder: Path) -> list[Round]:
    """Every fourth image tagged in LightlyStudio."""
    one = case.begin("LightlyStudio 1.2", "tags", "its Python API", "ids", "order")
    rows = case.chosen.to_rows(case.files)
    with one.clock():
        (folder / "lightly.json").write_text(json.dumps(rows))
        run_tool(
            python, TOOLS / "lightly_round.py", lightly_file.__file__, folder / "lightly.json",
            folder / "lightly_back.json", PWD=str(folder),
        )  # fmt: skip
        back = json.loads((folder / "lightly_back.json").read_text())
    place = case.pool.files
    got = {place[r["file_name"]]: r["tags"] for r in back}
    priority = {place[r["file_name"]]: r["priority"] for r in rows}
    one.edits = sum(p % 4 == 0 for p in priority.values())
    return [one.count(range(case.pool.size), got, lambda i: got[i] == _tags(priority[i]))]


def _tags(priority: int) -> list[str]:
    return ["chosen", "drop"] if priority % 4 == 0 else ["chosen"]
