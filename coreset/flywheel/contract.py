"""What every stage must leave for those after it, whoever wrote it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from coreset.flywheel.stage import Artifact

_ROWS = ("id", "label", "reason", "turn")
FACTS: Mapping[str, tuple[str, ...]] = {
    "diagnose": ("weak",),
    "mine": ("candidates",),
    "choose": ("reserve",),
    "label": ("cost",),
    "version": ("unchanged", "added", "relabeled"),
    "retrain": ("arms",),
    "gate": ("promoted", "why", "delta", "versus_control"),
    "decide": ("stop", "next_budget", "tied_in_a_row"),
    "watch": ("compared", "alarms"),
}
TABLES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "observe": {"observations": ("id", "correction")},
    "mine": {"candidates": ("id", "slice", "score", "why"), "clean": ("id",)},
    "choose": {"batch": ("id", "slice", "reason", "score"), "control": ("id",)},
    "label": {
        "batch": ("id", "slice", "reason", "score", "label", "status"),
        "control": ("id", "label"),
        "second": ("id", "old", "new", "new_row"),
    },
    "version": {"candidate": _ROWS, "control": _ROWS},
    "gate": {
        "comparisons": ("name", "role", "rows", "before", "after", "gain", "low", "high", "holds")
    },
}


def check_artifact(
    name: str, stage: Any, artifact: Artifact, slices: Sequence[Mapping[str, Any]]
) -> None:
    """Raise ValueError where a stage leaves less than the stages after it read: a fact, a table, a
    column, or a weak slice that is none of the frozen `slices`; TypeError for no Artifact.
    """
    who = f"stage {name} ({type(stage).__module__}.{type(stage).__qualname__})"
    if not isinstance(artifact, Artifact):
        raise TypeError(f"{who}: expected an Artifact, got {type(artifact).__name__}")
    for fact in FACTS.get(name, ()):
        if fact not in artifact.facts:
            have = ", ".join(artifact.facts) or "none"
            raise ValueError(f"{who}: expected the fact {fact!r}, it left {have}")
    for table, columns in TABLES.get(name, {}).items():
        if table not in artifact.tables:
            have = ", ".join(artifact.tables) or "none"
            raise ValueError(f"{who}: expected the table {table!r}, it left {have}")
        got = artifact.tables[table]
        missing = [c for c in columns if c not in got]
        if missing:
            raise ValueError(
                f"{who}: expected a column {missing[0]!r} in the table {table!r}, it has"
                f" {', '.join(got) or 'none'}"
            )
        sizes = {c: len(np.asarray(got[c])) for c in got}
        if len(set(sizes.values())) > 1:
            raise ValueError(f"{who}: the columns of the table {table!r} differ in length: {sizes}")
    if name == "diagnose":
        _check_weak(who, artifact.facts["weak"], {s["name"] for s in slices})


def _check_weak(who: str, weak: Sequence[Mapping[str, Any]], names: set[str]) -> None:
    for one in weak:
        missing = [k for k in ("name", "excess", "rows") if k not in one]
        if missing:
            raise ValueError(f"{who}: expected {missing[0]!r} of every weak slice, got {dict(one)}")
        if one["name"] not in names:
            raise ValueError(
                f"{who}: {one['name']!r} is no slice that was frozen at init; those are in"
                " flywheel.json"
            )
