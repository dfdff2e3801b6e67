"""Run folders read back: configuration, state, ledger, curves and pictures of every run below some
paths.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset.core.pool import Indices
from coreset.runs.curve import Curve, read_curves

_CONFIGS = ("config.yaml", "config.json")
_RECORDS = {"state.json", "ledger.jsonl", "curve.jsonl"}


@dataclass(frozen=True, eq=False)
class Run:
    """One run as its folder tells it; an unfinished one with what it has.

    rounds: the lines of the ledger in order, one a round; curves: as written, usually one.
    """

    path: Path
    config: Mapping[str, Any]
    state: Mapping[str, Any]
    rounds: Sequence[Mapping[str, Any]]
    curves: Sequence[Curve]

    @property
    def baseline(self) -> bool:
        """Whether the run lies in `baseline/` of another: `random` or `full`."""
        return self.path.parent.name == "baseline"

    @property
    def strategy(self) -> str:
        """Name of the strategy: the folder's for a baseline, else the configured one; `auto` was
        settled in the curve.
        """
        if self.baseline:
            return self.path.name
        name = str(self.config["strategy_name"])
        return self.curves[0].strategy if name == "auto" and self.curves else name

    @property
    def seed(self) -> int:
        """Seed of the run."""
        return int(self.config["seed"])

    @property
    def finished(self) -> bool:
        """Whether the run came to its end."""
        return bool(self.state.get("finished", False))

    @property
    def chosen(self) -> Indices:
        """The final set: in prune mode the selection of the last round, in active mode all rounds
        together, in the order chosen.
        """
        parts = self.rounds[-1:] if self.config.get("mode") == "prune" else self.rounds
        return np.array([i for r in parts for i in r.get("indices", ())], np.int64)

    @property
    def class_counts(self) -> Indices | None:
        """How many of each class the final set holds, (C,); None when the ledger does not say."""
        parts = self.rounds[-1:] if self.config.get("mode") == "prune" else self.rounds
        rows = [r["class_histogram"] for r in parts if r.get("class_histogram")]
        return np.sum(rows, axis=0).astype(np.int64) if rows else None

    @property
    def certificates(self) -> Mapping[str, Any]:
        """What the ledger certifies of everything taken at the end; empty when it certifies
        nothing.
        """
        info = self.rounds[-1].get("info") if self.rounds else None
        return dict((info or {}).get("certificates") or {})

    def seconds(self, what: str) -> float | None:
        """Return the seconds spent on `what` (select, train, measure, test) over all rounds; None
        when the ledger does not say.
        """
        spent = [r["seconds"][what] for r in self.rounds if what in (r.get("seconds") or {})]
        return float(sum(spent)) if spent else None

    @cached_property
    def gallery(self) -> Mapping[str, NDArray[Any]] | None:
        """Pictures, map and class names; None when the run has none. Read when first asked for."""
        path = self.path / "gallery.npz"
        if not path.exists():
            return None
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return dict(arrays)
        except (OSError, ValueError) as error:
            raise ValueError(f"{path}: not a readable gallery ({error})") from error


def find_runs(paths: str | Path | Iterable[str | Path]) -> list[Path]:
    """Return the run folders below some paths, any depth, baselines too, sorted and each once.

    A run folder has `config.yaml` or `config.json`, and one of `state.json`, `ledger.jsonl`,
    `curve.jsonl`. Raises FileNotFoundError for a path that is no folder and ValueError when a path
    has no run below it.
    """
    folders: dict[Path, None] = {}
    for path in [paths] if isinstance(paths, str | Path) else paths:
        root = Path(path)
        if not root.is_dir():
            raise FileNotFoundError(f"{root}: expected a run folder or a folder of run folders")
        before = 0
        for folder, below, files in os.walk(root):
            below[:] = sorted(d for d in below if not d.startswith(".") and d != "rounds")
            if set(_CONFIGS) & set(files) and _RECORDS & set(files):
                folders[Path(folder).resolve()] = None
                before += 1
        if not before:
            raise ValueError(
                f"{root}: no run below it; a run folder has config.yaml or config.json, and one of"
                f" {', '.join(sorted(_RECORDS))}"
            )
    return sorted(folders)


def _config(folder: Path) -> Mapping[str, Any]:
    from omegaconf import OmegaConf

    path = next(folder / name for name in _CONFIGS if (folder / name).exists())
    try:
        whole = path.suffix == ".json"
        config = (
            json.loads(path.read_text())
            if whole
            else OmegaConf.to_container(OmegaConf.load(path), resolve=True)
        )
    except Exception as error:  # YAML, JSON and interpolation errors share no base class
        raise ValueError(f"{path}: not a readable configuration ({error})") from error
    missing = [
        key
        for key in ("strategy_name", "seed")
        if not isinstance(config, dict) or config.get(key) is None
    ]
    if missing:
        raise ValueError(
            f"{path}: expected the keys strategy_name and seed, missing {', '.join(missing)}"
        )
    return {str(k): v for k, v in config.items()}


def _ledger(path: Path) -> list[Mapping[str, Any]]:
    # a round written again after a resume replaces the earlier one
    rounds: dict[int, Mapping[str, Any]] = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        try:
            row = json.loads(line)
            rounds[int(row["round"])] = row
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path}, line {number}: not a round of a ledger ({error!r})"
            ) from error
    return [rounds[n] for n in sorted(rounds)]


def read_run(path: str | Path) -> Run:
    """Read one run folder. Raises ValueError with file, and line where there is one, for what
    cannot be read.
    """
    path = Path(path).resolve()
    state: Mapping[str, Any] = {}
    if (path / "state.json").exists():
        try:
            state = dict(json.loads((path / "state.json").read_text()))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path / 'state.json'}: not a state ({error})") from error
    rounds = _ledger(path / "ledger.jsonl") if (path / "ledger.jsonl").exists() else []
    curves = read_curves([path / "curve.jsonl"]) if (path / "curve.jsonl").exists() else []
    return Run(path, _config(path), state, rounds, curves)


def read_runs(paths: str | Path | Iterable[str | Path]) -> list[Run]:
    """Read every run below some paths, sorted by path."""
    return [read_run(path) for path in find_runs(paths)]
