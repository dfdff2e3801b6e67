"""Observations from production: what a deployed version was asked, said, and was told about it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from coreset.flywheel.stage import Artifact, Turn
from coreset.flywheel.tables import read_table

NEEDED = ("id", "model", "time", "output")
OPTIONAL = ("input", "scores", "verdict", "correction", "workload")
VERDICTS = ("", "right", "wrong")
WITHHELD = "(withheld)"  # stands for an id that is personal data
PRIVATE = {  # what must not stand in a text that is kept
    "e-mail address": re.compile(r"[\w.+-]+@[\w-]+\.[\w.]+"),
    "telephone number": re.compile(r"(?<![\d-])(?!\d{4}-\d\d-\d\d)(?:\+\d{1,3}[ -]?)?(?:\(?\d{2,4}\)?[ -]){2,4}\d{2,5}(?!\d)"),
    "card number": re.compile(r"(?<!\d)(?:\d[ -]?){13,19}(?!\d)"),
}  # fmt: skip


@dataclass(frozen=True)
class Observe:
    """Read observation files (Parquet) and keep the rows that can be used, each other with a
    reason.

    Columns: id, model (key of the version that answered), time (ISO 8601), output (class name or
    text); input (reference or text), scores, verdict (right, wrong or empty), correction (class
    name), workload. Refused: an id that is not in the data, another model than the version in
    force, the same (id, model, time) twice, a time after the turn was opened, an unknown verdict or
    class, rows of one id whose verdicts or corrections contradict, and, with `private`, a text that
    holds an e-mail address, a telephone or a card number. Rows in = kept + rejected.

    Raises ValueError where files have rows and none of them can be used: the turn would go on as if
    production had said nothing.
    """

    private: bool = True

    def run(self, turn: Turn) -> Artifact:
        """Return the kept rows and the rejected ones with their reasons."""
        kept: list[dict[str, str]] = []
        rejected: list[dict[str, str]] = []
        seen: set[tuple[str, str, str]] = set()
        files = []
        for path in sorted(map(str, turn.observed)):
            columns = read_table(Path(path), NEEDED)
            size = len(columns["id"])
            files.append({"file": Path(path).name, "rows": size})
            names = [n for n in (*NEEDED, *OPTIONAL) if n in columns]
            texts = {n: _texts(columns[n]) for n in names}
            for i in range(size):
                row = {n: texts[n][i] if n in texts else "" for n in (*NEEDED, *OPTIONAL)}
                why = self._why_not(row, turn, seen)
                if why:
                    rejected.append({"id": row["id"], "file": Path(path).name, "reason": why})
                else:
                    kept.append({**row, "file": Path(path).name})
        torn = _contradicting(kept)
        why = "verdicts or corrections of the id contradict"
        rejected += [{**r, "reason": why} for r in kept if r["id"] in torn]
        kept = [r for r in kept if r["id"] not in torn]
        counts: dict[str, int] = {}
        for row in rejected:
            counts[row["reason"]] = counts.get(row["reason"], 0) + 1
            if self.private and PRIVATE["e-mail address"].search(row["id"]):
                row["id"] = WITHHELD
        if rejected and not kept:
            reasons = ", ".join(f"{n} {why}" for why, n in sorted(counts.items()))
            raise ValueError(
                f"observations: none of {len(rejected)} rows can be used: {reasons}; the version in"
                f" force is {turn.version.name}, nothing was bought"
            )
        facts = {
            "files": files,
            "rows": len(kept) + len(rejected),
            "kept": len(kept),
            "rejected": dict(sorted(counts.items())),
            "wrong": sum(r["verdict"] == "wrong" for r in kept),
            "corrected": sum(bool(r["correction"]) for r in kept),
        }
        names = [*NEEDED, *OPTIONAL]
        tables = {
            "observations": {n: np.array([r[n] for r in kept], str) for n in names},
            "rejected": {
                n: np.array([r[n] for r in rejected], str) for n in ("id", "file", "reason")
            },
        }
        return Artifact(facts, tables)

    def _why_not(self, row: dict[str, str], turn: Turn, seen: set[tuple[str, str, str]]) -> str:
        """Return why a row cannot be used, or "" when it can."""
        classes = turn.data.classes
        when = _time(row["time"])
        key = (row["id"], row["model"], row["time"])
        if not turn.data.knows([row["id"]])[0]:
            return "unknown id"
        if row["model"] not in (turn.version.key, turn.version.name):
            return "of another model"
        if when is None:
            return "time is not ISO 8601"
        if when > _opened(turn.now):
            return "from the future"
        if key in seen:
            return "given twice"
        if row["verdict"] not in VERDICTS:
            return "verdict is neither right nor wrong"
        if row["correction"] and row["correction"] not in classes:
            return "correction is no class"
        if row["verdict"] == "right" and row["correction"] not in ("", row["output"]):
            return "right and corrected"
        if self.private:
            texts = ("input", "output", "correction", "workload")
            what = next((w for w in map(_private, (row[n] for n in texts)) if w), "")
            if what:
                return f"holds a {what}" if what[0] != "e" else f"holds an {what}"
        seen.add(key)
        return ""


def observation_files(given: str | Path | Sequence[str | Path]) -> list[Path]:
    """Return the files of one path or several, in which `*`, `?` and `[...]` stand for any names.

    Raises FileNotFoundError for a path or a pattern without a file.
    """
    out: list[Path] = []
    for one in [given] if isinstance(given, str | Path) else given:
        path = Path(one)
        root, pattern = Path(path.anchor), str(path.relative_to(path.anchor))
        files = [path] if path.exists() else sorted(root.glob(pattern))
        if not files:
            raise FileNotFoundError(2, "observations: no such file", str(one))
        out += files
    return out


def _private(text: str) -> str:
    """Return what personal data a text holds, "" for none."""
    return next((what for what, pattern in PRIVATE.items() if pattern.search(text)), "")


def _contradicting(rows: Sequence[dict[str, str]]) -> set[str]:
    """Return the ids that rows call right and wrong, or correct to more than one class."""
    said: dict[str, dict[str, set[str]]] = {}
    for row in rows:
        one = said.setdefault(row["id"], {"verdict": set(), "correction": set()})
        for name, values in one.items():
            values |= {row[name]} - {""}
    return {k for k, one in said.items() if any(len(values) > 1 for values in one.values())}


def _texts(column: Any) -> list[str]:
    return ["" if v is None or v != v else str(v) for v in np.asarray(column, object).tolist()]


def _time(text: str) -> datetime | None:
    """Return a time without its zone: one without zone is taken as UTC."""
    try:
        when = datetime.fromisoformat(text)
        if when.tzinfo is not None:
            when = (when - when.utcoffset()).replace(tzinfo=None)  # type: ignore[operator]
    except (ValueError, OverflowError):
        return None
    return when


def _opened(text: str) -> datetime:
    when = _time(text)
    if when is None:
        raise ValueError(f"now: expected an ISO 8601 time, got {text!r}")
    return when
