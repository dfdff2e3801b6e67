"""The run folder: configuration, ledger, curve and state, written so that a run killed at any
moment goes on where it was.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from coreset.core.locks import hold, sweep
from coreset.core.store import fingerprint, to_json, write_atomic
from coreset.runs.curve import Curve, Point

FORMAT = 1


def hardware() -> str:
    """Return the processor, its cores and the accelerator in a few words."""
    import torch

    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        name = next(
            (
                line.split(":", 1)[1].strip()
                for line in info.read_text().splitlines()
                if line.startswith("model name")
            ),
            name,
        )
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{name}, {os.cpu_count()} cores{gpu}"


@lru_cache
def _version(package: str) -> str | None:
    """Return the version of one package, read once: a file has to be parsed for it."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of Python and of installed packages.

    >>> sorted(versions("numpy"))
    ['numpy', 'python']
    """
    python = {"python": platform.python_version()}
    return python | {name: known for name in packages if (known := _version(name))}


def difference(old: Any, new: Any, path: str = "") -> list[str]:
    """Return the keys in which two nested configurations differ, with both values.

    >>> difference({"a": {"b": 1}}, {"a": {"b": 2}})
    ['a.b: 1 there, 2 now']
    """
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        out = []
        for key in [*old, *(k for k in new if k not in old)]:
            out += difference(old.get(key), new.get(key), f"{path}.{key}" if path else str(key))
        return out
    return [] if old == new else [f"{path}: {old!r} there, {new!r} now"]


class RunFolder:
    """One run on disk: `config.json`, `ledger.jsonl`, `curve.jsonl`, `rounds/`, and `state.json`,
    which is written last.

    Opening a folder that exists goes on with it: what was written after the last complete round is
    dropped, and so are files that a killed run left half written. The folder is held for this
    process as long as the object lives. Raises ValueError when it holds a run of another
    configuration or format, naming what differs, and when another process works in it.
    """

    def __init__(
        self,
        path: str | Path,
        config: Mapping[str, Any],
        rounds: int,
        strategy: str,
        seed: int,
        metric: str = "accuracy",
    ) -> None:
        self.path = Path(path)
        self.rounds, self.strategy, self.seed, self.metric = rounds, strategy, seed, metric
        self.key = fingerprint(config)
        self.ledger: list[dict[str, Any]] = []
        self.points: list[Point] = []
        self._hold = hold(self.path)
        sweep(self.path)
        state_file = self.path / "state.json"
        if state_file.exists():
            self._reopen(json.loads(state_file.read_text()), config)
        else:
            write_atomic(self.path / "config.json", to_json(config, indent=1))
            self._write()

    def _reopen(self, state: Mapping[str, Any], config: Mapping[str, Any]) -> None:
        if state.get("format") != FORMAT:
            raise ValueError(
                f"{self.path}: written in format {state.get('format')}, this version reads format"
                f" {FORMAT}"
            )
        if state["fingerprint"] != self.key:
            changed = difference(
                json.loads((self.path / "config.json").read_text()), json.loads(to_json(config))
            )
            raise ValueError(
                f"{self.path} holds a run of another configuration:"
                f" {'; '.join(changed) or 'its fingerprint differs'}"
            )
        done = int(state["rounds_done"])
        self.ledger = [
            json.loads(line)
            for line in (self.path / "ledger.jsonl").read_text().splitlines()[:done]
        ]
        lines = (self.path / "curve.jsonl").read_text().splitlines()[:done]
        self.points = [
            Point(
                **{
                    k: v
                    for k, v in json.loads(line).items()
                    if k not in ("strategy", "seed", "metric")
                }
            )
            for line in lines
        ]

    @property
    def done(self) -> int:
        """Number of complete rounds."""
        return len(self.ledger)

    @property
    def curve(self) -> Curve:
        """The curve so far."""
        return Curve(self.strategy, self.seed, self.points, self.metric)

    def round(self, number: int) -> Path:
        """Return the folder of one round."""
        folder = self.path / "rounds" / f"{number:04d}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def commit(self, entry: Mapping[str, Any], point: Point) -> None:
        """Add one complete round: ledger and curve first, the state last."""
        self.ledger.append(dict(entry))
        self.points.append(point)
        self._write()

    def _write(self) -> None:
        write_atomic(self.path / "ledger.jsonl", "".join(to_json(e) + "\n" for e in self.ledger))
        write_atomic(self.path / "curve.jsonl", self.curve.lines())
        state = {
            "format": FORMAT,
            "fingerprint": self.key,
            "rounds_done": self.done,
            "rounds": self.rounds,
            "finished": self.done == self.rounds,
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "hardware": hardware(),
            "versions": versions(
                "coreset-lightning",
                "torch",
                "pytorch-lightning",
                "torchvision",
                "timm",
                "numpy",
                "hydra-core",
            ),
        }
        write_atomic(self.path / "state.json", to_json(state, indent=1))
