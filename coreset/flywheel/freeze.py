"""Version 1, and what every later version is judged on: frozen once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from coreset.core.store import write_atomic
from coreset.flywheel.data import FROZEN, FlywheelData
from coreset.flywheel.leaks import find_leaks
from coreset.flywheel.slices import propose
from coreset.flywheel.tables import table_bytes
from coreset.flywheel.versions import Version

LEAKS = ("stop", "drop")


@dataclass(frozen=True)
class Freeze:
    """Make version 1 of the examples of role `train` and freeze the rest.

    leaks: what a training example does that shares a group with a frozen one or nearly copies it:
    `stop` refuses to begin, `drop` leaves it out of version 1; either way every flag is in
    `leaks.parquet`, and an allowlist lets single ids pass. near: see `coreset.flywheel.leaks`.
    clusters: number of k-means clusters of the development set that become slices, 0 for none.
    """

    leaks: str = "stop"
    near: float = 0.25
    clusters: int = 20

    def __post_init__(self) -> None:
        if self.leaks not in LEAKS:
            raise ValueError(f"leaks: expected {' or '.join(LEAKS)}, got {self.leaks!r}")

    def run(
        self, data: FlywheelData, folder: Path, allowed: Iterable[str], seed: int
    ) -> tuple[dict[str, Any], dict[str, dict[str, Any]], Version]:
        """Return the frozen facts, tables to write and version 1."""
        train = data.at("train")
        if (data.labels[train] < 0).any():
            bare = data.ids[train][data.labels[train] < 0]
            raise ValueError(
                f"labels: {len(bare)} training examples have none, first {str(bare[0])!r}"
            )
        leaked = find_leaks(data, train, self.near, allowed)
        flagged = [i for i, ok in zip(leaked["id"], leaked["allowed"], strict=True) if not ok]
        if flagged and self.leaks == "stop":
            path = write_atomic(folder / "leaks.parquet", table_bytes(leaked))
            at = leaked["id"].index(flagged[0])
            raise ValueError(
                f"{len(flagged)} training examples leak from the frozen ones, first"
                f" {flagged[0]!r}: {leaked['why'][at]} of {leaked['frozen_id'][at]!r}"
                f" ({leaked['frozen_role'][at]}); all are in {path}. Remove them, drop them with"
                " leaks=drop, or list the ids that are no leaks in the file allowed="
            )
        rows = train[~np.isin(data.ids[train], flagged)]
        size = len(rows)
        version = Version(
            1, data.ids[rows], data.labels[rows], np.full(size, "start"), np.zeros(size, np.int64)
        )
        facts = {
            "counts": {role: len(data.at(role)) for role in ("train", "pool", *FROZEN)},
            "classes": list(data.classes),
            "fingerprints": self.fingerprints(data),
            "leaks": {"flagged": len(leaked["id"]), "dropped": len(flagged), "near": self.near},
            "slices": propose(data, self.clusters, seed),
            "version": version.name,
        }
        return facts, {"leaks": leaked}, version

    @staticmethod
    def fingerprints(data: FlywheelData) -> dict[str, str]:
        """Return the hash of the frozen examples by role, training examples among them."""
        return {role: data.fingerprint(role) for role in ("train", *FROZEN)}
