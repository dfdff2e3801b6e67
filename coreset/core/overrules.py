"""Decisions of people over those of a run: one JSON line each, with who and when."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from coreset.core.places import place

ACTIONS = ("keep", "drop", "relabel", "pin")
_KEYS = {"id", "action", "who", "when", "why", "label"}


@dataclass(frozen=True)
class Overrule:
    """One decision about the row `id`, by `who` at `when` (ISO 8601), with a reason `why`.

    action: `drop`: the row is out before anything else looks at it. `keep`: it is in the result,
    on top of the budget, whatever drops it. `pin`: it is in the result, taken before all others,
    and counts in the budget. `relabel`: its label is `label`; whether it is chosen stays open.
    Raises ValueError for another action, a relabeling without a label, or no name of a person.

    >>> Overrule("517", "drop", "ana", "2026-11-29T08:00:00Z", "a duplicate").said
    'drop by ana: a duplicate'
    """

    id: str
    action: str
    who: str
    when: str
    why: str = ""
    label: str | None = None

    def __post_init__(self) -> None:
        for name in ("id", "who", "when", "why"):
            value: Any = getattr(self, name)
            if not isinstance(value, str) or (name != "why" and not value.strip()):
                raise ValueError(f"{name}: expected a text that is not empty, got {value!r:.80}")
        if self.action not in ACTIONS:
            raise ValueError(f"action: expected {', '.join(ACTIONS)}, got {self.action!r:.80}")
        if (self.action == "relabel") != (isinstance(self.label, str) and bool(self.label)):
            raise ValueError("label: goes with action 'relabel', which needs it")

    @property
    def said(self) -> str:
        """The decision in a few words."""
        to = f" to {self.label}" if self.label else ""
        return f"{self.action}{to} by {self.who}" + (f": {self.why}" if self.why else "")


@dataclass(frozen=True)
class Overrules(Mapping[str, Overrule]):
    """The decisions that hold, by id: of one row that about its place, the last of keep, drop and
    pin; a relabeling stands beside it in `labels`.
    """

    places: Mapping[str, Overrule]
    labels: Mapping[str, str]
    source: str = ""

    def __getitem__(self, key: str) -> Overrule:
        return self.places[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)

    @property
    def ids(self) -> list[str]:
        """Every id that is named, in the order first met."""
        return list(dict.fromkeys([*self.places, *self.labels]))

    def of(self, *actions: str) -> list[str]:
        """Return the ids whose decision is one of `actions`, in order."""
        return [k for k, one in self.places.items() if one.action in actions]


def now() -> str:
    """Return this moment in UTC, as ISO 8601 to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def read_overrules(path: str | Path) -> Overrules:
    """Return the decisions of a file of JSON lines; a later line about a row replaces an earlier
    one of its kind.

    Raises ValueError naming file and line for a line that is no decision, FileNotFoundError where
    there is no file.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "overrules.jsonl"
    >>> add_overrule(file, Overrule("a", "keep", "ana", now()))
    >>> add_overrule(file, Overrule("a", "drop", "bo", now(), "a face"))
    >>> read_overrules(file)["a"].said
    'drop by bo: a face'
    """
    places: dict[str, Overrule] = {}
    labels: dict[str, str] = {}
    file = place(path)
    if not file.is_file():
        raise FileNotFoundError(f"overrules: there is no file {path}; coreset-explore writes one")
    for number, line in enumerate(file.read_text(encoding="utf-8").split("\n"), 1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
            if not isinstance(fields, dict) or set(fields) - _KEYS:
                raise ValueError(f"expected an object with the keys {', '.join(sorted(_KEYS))}")
            one = Overrule(**fields)
        except (ValueError, TypeError, RecursionError) as error:
            raise ValueError(f"{path}, line {number}: no overrule ({error})") from error
        if one.action == "relabel":
            labels[one.id] = str(one.label)
        else:
            places.pop(one.id, None)
            places[one.id] = one
    return Overrules(places, labels, str(path))


def add_overrule(path: str | Path, one: Overrule) -> None:
    """Add a decision to a file of JSON lines, which is made where it is not there."""
    row = {k: v for k, v in asdict(one).items() if v not in (None, "")}
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
