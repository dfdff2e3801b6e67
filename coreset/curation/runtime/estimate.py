"""Estimators through an engine: a state per partition, states merged as a tree by tasks, and the
fitted operator made by the last of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from coreset.core.engine import Engine
from coreset.core.store import write_atomic
from coreset.curation.operators.base import Estimator, Operator
from coreset.curation.operators.contract import finished
from coreset.curation.operators.estimator_state import dump_state, has_state, read_state
from coreset.curation.runtime.checkpoint import Partition, Stage, remove_folder
from coreset.curation.runtime.steps import FitPartition, Pipeline, named

_FAN_IN = 16  # states merged by one task


def fitted(
    engine: Engine, chain: Pipeline, stage: Stage, partitions: Sequence[Partition]
) -> Operator | None:
    """Return the operator that a fit to all rows becomes, None when no row is left to fit."""
    paths = [p for p in engine.map(FitPartition(chain, stage), partitions) if p is not None]
    folder, level = chain.work.root / stage.place / "merged", 0
    while len(paths) > 1:
        parts = [paths[i : i + _FAN_IN] for i in range(0, len(paths), _FAN_IN)]
        items = [(folder / f"{level}-{i:05d}.npz", part) for i, part in enumerate(parts)]
        paths, level = list(engine.map(MergeStates(stage), items)), level + 1
    operator = next(engine.map(Finish(stage), paths)) if paths else None
    remove_folder(folder)
    return operator


@dataclass(frozen=True)
class MergeStates:
    """Merge the states of some files into one."""

    stage: Stage

    def __call__(self, item: tuple[Any, Sequence[Any]]) -> Any:
        """Return where the merged state is."""
        path, parts = item
        operator = self.stage.operator
        assert isinstance(operator, Estimator)
        if has_state(path):
            return path
        with named(self.stage):
            state = operator.from_state(read_state(parts[0]))
            for part in parts[1:]:
                state = operator.merge(state, operator.from_state(read_state(part)))
            data = dump_state(operator.to_state(state))
        write_atomic(path, data)
        return path


@dataclass(frozen=True)
class Finish:
    """Make the operator of a merged state."""

    stage: Stage

    def __call__(self, path: Any) -> Operator:
        """Return the operator of the state at `path`."""
        operator = self.stage.operator
        assert isinstance(operator, Estimator)
        with named(self.stage):
            return finished(operator, operator.from_state(read_state(path)))
