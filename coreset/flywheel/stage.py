"""The interface of a stage, and what a stage sees: the turn."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from coreset.core.files import read_json
from coreset.core.store import strict
from coreset.core.strategy import Oracle
from coreset.flywheel.data import FlywheelData
from coreset.flywheel.measure import Measure
from coreset.flywheel.overruled import Overruled
from coreset.flywheel.tables import read_table
from coreset.flywheel.trainings import Trainings
from coreset.flywheel.versions import Version

STAGES = (
    "observe", "diagnose", "mine", "choose", "label", "synthesize", "version", "retrain", "gate",
    "decide", "watch",
)  # fmt: skip


@dataclass(frozen=True)
class Artifact:
    """What a stage leaves: facts (JSON values) and tables (name to columns of one length)."""

    facts: Mapping[str, Any]
    tables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@runtime_checkable
class Stage(Protocol):
    """One stage of a turn. A frozen dataclass, whose fields are its YAML keys, is remembered with
    its settings; any object with `run` will do.

    `run` must depend on the turn alone (random numbers from `turn.rng`), so that a turn that was
    killed gives the same bytes.
    """

    def run(self, turn: Turn) -> Artifact:
        """Do the work and return what it came to."""


@dataclass(frozen=True, eq=False)
class Turn:
    """What a stage sees. number: 1, 2, ...; version: the training set that is in force; folder: of
    the turn, where the earlier stages' files lie; earlier: facts of the finished turns by stage;
    budget: cost that may be spent on labels; observed: paths of observations; now: ISO time at
    which the turn was opened; allowed: ids that a person has declared no leak; overruled: what
    people have decided about single examples.
    """

    number: int
    data: FlywheelData
    measure: Measure
    oracle: Oracle
    version: Version
    trainings: Trainings
    folder: Path
    budget: float
    seeds: Sequence[int]
    seed: int = 0
    slices: Sequence[Mapping[str, Any]] = ()
    earlier: Sequence[Mapping[str, Any]] = ()
    observed: Sequence[str] = ()
    now: str = ""
    allowed: frozenset[str] = frozenset()
    known: Mapping[str, int] = field(default_factory=dict)
    overruled: Overruled = field(default_factory=Overruled)

    def rng(self, stage: str, *more: int) -> np.random.Generator:
        """Return the random numbers of one stage of this turn."""
        return np.random.default_rng([self.seed, self.number, zlib.crc32(stage.encode()), *more])

    def facts(self, stage: str) -> dict[str, Any]:
        """Return the facts of an earlier stage of this turn."""
        return dict(read_json(self.folder / f"{stage}.json")["facts"])

    def table(self, stage: str, name: str) -> dict[str, Any]:
        """Return a table of an earlier stage of this turn."""
        return read_table(self.folder / f"{stage}-{name}.parquet")

    def train_rows(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Return the positions of the version in force."""
        return self.data.where(self.version.ids)


def decided(turn: Turn) -> Version:
    """Return the version in force as people have overruled it: without what they dropped, with
    their labels; the same version where they said nothing about its rows.
    """
    have = dict(zip(turn.version.ids.tolist(), turn.version.labels.tolist(), strict=True))
    told = turn.overruled
    gone = [k for k in have if k in told.dropped]
    new = {
        k: (v, told.said[k])
        for k, v in told.labels.items()
        if k in have and k not in told.dropped and have[k] != v
    }
    if not gone and not new:
        return turn.version
    version = turn.version.changed(turn.number, removed=gone, relabeled=new)
    return replace(version, number=turn.version.number, parent=turn.version.parent)


def settings_of(stage: Any) -> dict[str, Any]:
    """Return class and settings of a stage, as the turn remembers them."""
    cls = type(stage)
    options: dict[str, Any] = {}
    if is_dataclass(stage) and not isinstance(stage, type):
        options = {f.name: _plain(getattr(stage, f.name)) for f in fields(stage)}
    return {"class": f"{cls.__module__}.{cls.__qualname__}", "settings": strict(options)}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        items = [_plain(v) for v in value]
        return sorted(items, key=str) if isinstance(value, set | frozenset) else items
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return settings_of(value)
