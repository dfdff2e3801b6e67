"""Synthetic children of chosen rows: optional, capped, each with its parent and its acceptance."""

from __future__ import annotations

from dataclasses import dataclass

from coreset.flywheel.stage import Artifact, Turn


@dataclass(frozen=True)
class NoSynthesis:
    """Make nothing: the default."""

    def run(self, turn: Turn) -> Artifact:
        """Return no children."""
        return Artifact({"children": 0, "why": "no generator is configured"})
