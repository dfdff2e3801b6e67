"""Synthetic children of chosen rows: optional, capped, each with its parent and its acceptance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from coreset.flywheel.leaks import find_leaks, find_repeats
from coreset.flywheel.stage import Artifact, Turn
from coreset.numerics.random import keyed_order


@dataclass(frozen=True)
class NoSynthesis:
    """Make nothing: the default."""

    def run(self, turn: Turn) -> Artifact:
        """Return no children."""
        return Artifact({"children": 0, "why": "no generator is configured"})


@dataclass(frozen=True)
class AddChildren:
    """Take children (examples of role `child`) of the weak classes into the candidate, at most
    `most` a turn, in an order of chance.

    A child is refused whose parents are not all in the version in force or among this turn's
    labeled rows, that leaks from a frozen example, or that nearly copies a training row or a child
    before it (`near`: see `coreset.flywheel.leaks`); every child that was looked at is in the table
    with its parents and the reason. Beside the candidate
    two more arms are trained: the candidate without children, and with as many random rows, whose
    labels the control has paid for, in their place.
    """

    most: int = 100
    near: float = 0.25

    def __post_init__(self) -> None:
        if self.most < 1:
            raise ValueError(f"most: expected at least 1 child, got {self.most}")

    def run(self, turn: Turn) -> Artifact:
        """Return the table of children: id, label, parents, reason ("" for those taken)."""
        data = turn.data
        assert data.parents is not None
        names = {w["name"] for w in turn.facts("diagnose")["weak"]}
        weak = [c for s in turn.slices if s["name"] in names and s["kind"] == "class" for c in s["labels"]]  # fmt: skip
        rows = data.at("child")
        rows = rows[np.isin(data.labels[rows], weak) & ~np.isin(data.ids[rows], turn.version.ids)]
        rows = rows[keyed_order(turn.rng("synthesize"), data.ids[rows])]
        leaks = find_leaks(data, rows, self.near, turn.allowed)
        flagged = {i for i, ok in zip(leaks["id"], leaks["allowed"], strict=True) if not ok}
        batch = turn.table("label", "batch")
        there = {*turn.version.ids.tolist()}
        there |= {str(i) for i, s in zip(batch["id"], batch["status"], strict=True) if not s}
        table: dict[str, list[Any]] = {"id": [], "label": [], "parents": [], "reason": []}
        repeats = find_repeats(data, rows, data.where(sorted(there)), self.near)
        taken = 0
        for row in rows.tolist():
            name, parents = str(data.ids[row]), str(data.parents[row])
            why = ""
            if not there >= set(parents.split()):
                why = "a parent is not in the training set"
            elif name in flagged:
                why = "leaks from a frozen example"
            elif row in repeats:
                why = f"repeats {data.ids[repeats[row]]}"
            elif taken >= self.most:
                why = "more than the cap"
            taken += not why
            values = (name, int(data.labels[row]), parents, why)
            for column, value in zip(table, values, strict=True):
                table[column].append(value)
        short = ["repeats another" if r.startswith("repeats") else r for r in table["reason"]]
        facts = {
            "children": taken,
            "refused": {r: short.count(r) for r in sorted({*short} - {""})},
            "why": "" if taken else "no child of a weak class can be taken",
        }
        return Artifact(facts, {"children": table})
