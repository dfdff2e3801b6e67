"""Versions of a training set: v n+1 = v n + added + removed + relabeled, a reason for every row.

A version is a Parquet file (id, label, reason, turn), sorted by id, named by its number and the
hash of its content; a JSON file beside it names its parent and counts what changed. Plain files:
git, DVC and Hugging Face's `load_dataset("parquet", ...)` read them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset.core.files import read_json
from coreset.core.store import to_json, write_atomic
from coreset.flywheel.tables import read_table, table_bytes


@dataclass(frozen=True, eq=False)
class Version:
    """One training set. number: 1, 2, ...; parent: key of the version before, "" for the first.

    ids (n,) sorted, labels (n,) int64, reasons (n,) why a row is in or has its label, turns (n,)
    the turn that said so.
    """

    number: int
    ids: NDArray[np.str_]
    labels: NDArray[np.int64]
    reasons: NDArray[np.str_]
    turns: NDArray[np.int64]
    parent: str = ""

    def __post_init__(self) -> None:
        order = np.argsort(self.ids, kind="stable")
        for name, dtype in (("ids", str), ("labels", np.int64), ("reasons", str), ("turns", int)):
            object.__setattr__(self, name, np.asarray(getattr(self, name)).astype(dtype)[order])
        if len(np.unique(self.ids)) != len(self.ids):
            raise ValueError("version: an id stands there twice")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def key(self) -> str:
        """16 hex digits of the ids and labels: two versions that train the same have the same."""
        digest = hashlib.sha256()
        for name, label in zip(self.ids.tolist(), self.labels.tolist(), strict=True):
            digest.update(f"{len(name.encode())} {name} {label}\n".encode())
        return digest.hexdigest()[:16]

    @property
    def name(self) -> str:
        """Number and key, as the file is named: `v002-0123456789abcdef`."""
        return f"v{self.number:03d}-{self.key}"

    def changed(
        self,
        turn: int,
        *,
        added: Mapping[str, tuple[int, str]] | None = None,
        removed: Sequence[str] = (),
        relabeled: Mapping[str, tuple[int, str]] | None = None,
    ) -> Version:
        """Return the next version. added, relabeled: id to (label, reason).

        Raises ValueError for rows added that are in, or removed or relabeled that are not.

        >>> v1 = Version(1, ["a", "b"], [0, 1], ["start", "start"], [0, 0])
        >>> v2 = v1.changed(1, added={"c": (1, "weak: class=x")}, removed=["a"])
        >>> v2.ids.tolist(), v2.number, v2.parent == v1.key
        (['b', 'c'], 2, True)
        """
        added, relabeled = added or {}, relabeled or {}
        have = dict(zip(self.ids.tolist(), range(len(self)), strict=True))
        twice = [i for i in added if i in have]
        missing = [i for i in [*removed, *relabeled] if i not in have]
        if twice or missing:
            what = f"{twice[0]!r} is in already" if twice else f"{missing[0]!r} is not in"
            raise ValueError(f"version {self.number + 1}: {what}")
        gone = set(removed)
        rows: list[tuple[str, int, str, int]] = [
            (i, int(self.labels[at]), str(self.reasons[at]), int(self.turns[at]))
            for i, at in have.items()
            if i not in gone and i not in relabeled
        ]
        for part in (added, relabeled):
            rows += [(i, int(label), why, turn) for i, (label, why) in part.items()]
        ids, labels, reasons, turns = zip(*rows, strict=True)
        return Version(self.number + 1, ids, labels, reasons, turns, self.key)  # type: ignore[arg-type]

    def difference(self, other: Version) -> dict[str, list[str]]:
        """Return the ids that `other` adds to, removes from and labels otherwise than this one."""
        mine = dict(zip(self.ids.tolist(), self.labels.tolist(), strict=True))
        theirs = dict(zip(other.ids.tolist(), other.labels.tolist(), strict=True))
        return {
            "added": [i for i in theirs if i not in mine],
            "removed": [i for i in mine if i not in theirs],
            "relabeled": [i for i in theirs if i in mine and mine[i] != theirs[i]],
        }

    def save(self, folder: Path, before: Version | None = None) -> Path:
        """Write the files of a version; the JSON file last.
        The same version gives the same bytes.
        """
        columns = {
            "id": self.ids,
            "label": self.labels,
            "reason": self.reasons,
            "turn": self.turns,
        }
        data = table_bytes(columns)
        write_atomic(folder / f"{self.name}.parquet", data)
        changes = {} if before is None else before.difference(self)
        about = {
            "number": self.number,
            "key": self.key,
            "parent": self.parent,
            "rows": len(self),
            **{name: len(ids) for name, ids in changes.items()},
            "sha256": hashlib.sha256(data).hexdigest(),
        }
        return write_atomic(folder / f"{self.name}.json", to_json(about, indent=1))

    @classmethod
    def load(cls, folder: Path, name: str) -> Version:
        """Read a version by its name. Raises ValueError when the files do not fit each other."""
        about = read_json(folder / f"{name}.json")
        columns = read_table(folder / f"{name}.parquet", ("id", "label", "reason", "turn"))
        version = cls(
            about["number"],
            columns["id"],
            columns["label"],
            columns["reason"],
            columns["turn"],
            about["parent"],
        )
        if version.name != name:
            raise ValueError(f"{folder / name}.parquet: its rows hash to {version.key}: changed")
        return version


def history(folder: Path, name: str) -> list[dict[str, Any]]:
    """Return all that happened to one id, version by version: the answer to "why is it in?".

    An id that no version holds has an empty history.
    """
    events: list[dict[str, Any]] = []
    last: tuple[Any, ...] | None = None
    names = (p for p in sorted(folder.glob("v*.json")) if "." not in p.stem)
    for path in names:
        version = Version.load(folder, path.stem)
        at = np.flatnonzero(version.ids == name)
        now = (
            (int(version.labels[at[0]]), str(version.reasons[at[0]]), int(version.turns[at[0]]))
            if len(at)
            else None
        )
        if now != last:
            label, reason, turn = now or (None, "removed", version.number - 1)
            events.append(
                {"version": version.number, "label": label, "reason": reason, "turn": turn}
            )
        last = now
    return json.loads(to_json(events))  # type: ignore[no-any-return]
