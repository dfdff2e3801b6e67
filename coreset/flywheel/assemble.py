"""The two training sets of a turn: the candidate for the next version, and its control."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from coreset.core.budget import Budget
from coreset.flywheel.overruled import SLICE
from coreset.flywheel.stage import Artifact, Turn, decided
from coreset.flywheel.versions import Version


@dataclass(frozen=True)
class Assemble:
    """Candidate: the version in force with the batch added, wrong labels corrected and people's
    decisions about its rows. Control: the version in force with random rows for what the batch, the
    repeated and the second labels cost. With children, which the candidate then holds, two more:
    `without` them, and `real`, with as many random rows (of the control's) in their place.
    """

    def run(self, turn: Turn) -> Artifact:
        """Return both as tables, with what changed."""
        data, version = turn.data, turn.version
        assert data.costs is not None
        batch = turn.table("label", "batch")
        added: dict[str, tuple[int, str]] = {}
        for name, label, where, why, status in zip(
            batch["id"],
            batch["label"],
            batch["slice"],
            batch["reason"],
            batch["status"],
            strict=True,
        ):
            if not status:
                named = not where or where == SLICE or where in why
                reason = why if named else f"{why}, weak slice {where}"
                added[str(name)] = (int(label), str(reason))
        second = turn.table("label", "second")
        relabeled = {
            str(i): (int(n), f"label looked wrong, was {data.classes[int(o)]}")
            for i, o, n, new in zip(
                second["id"], second["old"], second["new"], second["new_row"], strict=True
            )
            if o != n and not new and i not in turn.overruled.dropped
        }
        base = decided(turn)
        candidate = replace(
            base.changed(turn.number, added=added, relabeled=relabeled), parent=version.key
        )
        changes = version.difference(candidate)
        without, children = candidate, _children(turn)
        if children:
            candidate = replace(without.changed(turn.number, added=children), parent=version.key)
            candidate = replace(candidate, number=without.number)
        drawn = turn.table("label", "control")
        costs = data.costs[data.where(drawn["id"])]
        budget = Budget({"costs": turn.facts("label")["cost"] + 1e-9})
        kept, _ = budget.walk({"costs": costs}, "fill")
        rows = {str(drawn["id"][i]): (int(drawn["label"][i]), "control") for i in kept.tolist()}
        control = version.changed(turn.number, added=rows)
        facts = {
            "candidate": candidate.key,
            "control": control.key,
            "added": len(added),
            "relabeled": len(changes["relabeled"]),
            "removed": len(changes["removed"]),
            "control_added": len(rows),
            "unchanged": candidate.key == version.key,
        }
        tables = {"candidate": columns(candidate), "control": columns(control)}
        if children:
            spare = [k for k in drawn["id"].tolist() if k not in set(without.ids.tolist())]
            given = dict(zip(drawn["id"].tolist(), drawn["label"].tolist(), strict=True))
            real = {str(k): (int(given[k]), "in place of a child") for k in spare[: len(children)]}
            facts["children"], facts["real"] = len(children), len(real)
            tables["without"] = columns(without)
            tables["real"] = columns(without.changed(turn.number, added=real))
        return Artifact(facts, tables)


def _children(turn: Turn) -> dict[str, tuple[int, str]]:
    """Return the children that the stage `synthesize` has taken: id to label and reason."""
    if not turn.facts("synthesize").get("children"):
        return {}
    table = turn.table("synthesize", "children")
    rows = zip(table["id"], table["label"], table["parents"], table["reason"], strict=True)
    return {str(i): (int(v), f"child of {p}") for i, v, p, why in rows if not why}


def columns(version: Version) -> dict[str, Any]:
    """Return the rows of a version as a table."""
    return {
        "id": version.ids,
        "label": version.labels,
        "reason": version.reasons,
        "turn": version.turns,
    }


def arm(turn: Turn, name: str) -> Version:
    """Return an arm of a turn: `current`, `candidate`, `control`, or another table of the stage
    `version`.
    """
    if name == "current":
        return turn.version
    rows = turn.table("version", name)
    return Version(
        turn.version.number + 1,
        rows["id"].astype(str),
        rows["label"],
        rows["reason"].astype(str),
        rows["turn"],
        turn.version.key,
    )


def arms(turn: Turn) -> list[str]:
    """Return the names of the arms that are trained, in order."""
    extra = sorted(p.stem.removeprefix("version-") for p in turn.folder.glob("version-*.parquet"))
    return [
        "current",
        "candidate",
        "control",
        *(n for n in extra if n not in ("candidate", "control")),
    ]
