"""What a run trains and on what, however it was configured: the part of a run that differs between
our in-memory path, a user's Lightning project and a head on frozen features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from coreset.core.learner import Learner
from coreset.core.strategy import Oracle, Strategy
from coreset.distillation import Distiller
from coreset.trainers.loops.context import Examples, Method
from coreset.trainers.loops.plan import Plan
from coreset.trainers.oracles import Drawing


def _nothing(_: Any) -> None:
    return None


@dataclass(frozen=True, eq=False)
class Project:
    """strategy: as the task asks for it. method: how a budget of prune mode is spent. recorded:
    names of signals that a training of `proxy` on labeled data records. features: computes those of
    a fixed embedding, None where the model gives them. key: fingerprint of what the proxy's signals
    depend on. check: raises ValueError for a plan that the learner cannot serve. open: is told the
    run folder before anything trains. attach: hands over the run's logger. example_bytes: what one
    example costs under unit=bytes, 0 = not known. confusion: (C, C) of the last test, true class
    and predicted class, None where it is not known. untrained: signals that the learner gives
    before any training. oracle: who tells labels, None = those of `examples`. drawing: what people
    draw in the examples, None where they have one class each.
    """

    strategy: Strategy | Distiller
    learner: Learner
    proxy: Learner
    examples: Examples
    method: Method
    recorded: frozenset[str] = frozenset()
    features: Callable[[], NDArray[Any]] | None = None
    key: str = ""
    check: Callable[[Plan], None] = _nothing
    attach: Callable[[Any], None] = _nothing
    open: Callable[[Path], None] = _nothing
    confusion: Callable[[], NDArray[Any] | None] = lambda: None
    example_bytes: int = 0
    untrained: frozenset[str] = frozenset()
    oracle: Oracle | None = None
    drawing: Drawing | None = None
