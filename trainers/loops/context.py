"""What one run works with: immutable, complete and checked before anything trains."""

from __future__ import annotations

import resource
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from coreset.core.learner import Learner
from coreset.core.signals import Signals
from coreset.core.store import Store, strict
from coreset.core.strategy import Oracle, Strategy
from coreset.distillation import Distiller
from coreset.runs.curve import Point
from coreset.runs.run_folder import RunFolder
from coreset.trainers.learners.trace import judged
from coreset.trainers.loops.plan import Plan
from coreset.trainers.oracles import Drawing

MOST_CLASSES = 200  # of a confusion matrix in the ledger
CHECKPOINT = "model.safetensors"
START, TRAINING, STRATEGY, MEMBERS, PROXY = range(5)  # random streams of a run, one each


class Method(Protocol):
    """How one budget of a pruning run is spent. unit: what the budgets count, for the progress."""

    unit: str

    def run(self, context: RunContext, number: int) -> None:
        """Choose (or make) the examples of round `number`, train on them, test, commit."""

    def gallery(self, context: RunContext) -> dict[str, NDArray[Any]] | None:
        """Return the arrays of `gallery.npz`, None where there is nothing to show."""


@dataclass(frozen=True, eq=False)
class Examples:
    """The pool as people see it: its name, a fingerprint of its content, labels (N,) known
    beforehand (-1 = unknown), and small pictures. labeled: whether all labels can be had.

    pictures: positions (n,) -> uint8 (n, S, S, C), None where the examples are no images.
    """

    name: str
    fingerprint: str
    labels: NDArray[np.int64]
    pictures: Callable[[NDArray[np.int64]], NDArray[np.uint8]] | None = None
    labeled: bool = True


@dataclass(frozen=True, eq=False)
class RunContext:
    """Everything one run needs.

    learner: trains on the selections; proxy: trains on the whole labeled pool for the signals of
    prune mode. members: trainings behind `gradient_norm`. columns: the user's own signals.
    features: computes the features of a fixed embedding, None where the model gives them.
    proxy_key: fingerprint of what the proxy's signals depend on, beside seed and members. start:
    who chooses the first batch of an active run, None = at random. confusion: of the last test.
    drawing: what people draw in the examples.
    """

    plan: Plan
    strategy: Strategy | Distiller
    method: Method
    learner: Learner
    proxy: Learner
    oracle: Oracle
    examples: Examples
    store: Store
    folder: RunFolder
    seed: int
    members: int = 10
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    features: Callable[[], NDArray[Any]] | None = None
    proxy_key: str = ""
    start: Strategy | None = None
    confusion: Callable[[], NDArray[Any] | None] = lambda: None
    drawing: Drawing | None = None
    progress: Callable[[int, str], None] = lambda _round, _what: None

    def signals(self) -> Signals:
        """Return the columns that need no model of this run: the user's own, and features of a
        fixed embedding when they are asked for.
        """
        columns = Signals(self.learner.size, **self.columns)
        asked = self.wanted | (self.start.needs if self.start else frozenset())
        if self.features and "features" in asked and "features" not in self.columns:
            columns.put("features", None, self.features())
        return columns

    @property
    def wanted(self) -> frozenset[str]:
        """Names of all signals the strategy reads."""
        return self.plan.needs | self.plan.needs_selected

    def rng(self, stream: int, number: int = 0) -> np.random.Generator:
        """Return the generator of one random stream."""
        return np.random.default_rng([self.seed, stream, number])

    def known(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return a label column (N,) that knows `indices` alone."""
        labels = np.full(self.learner.size, -1, np.int64)
        if len(indices):
            labels[indices] = self.oracle.label(indices)
        return labels


def commit(
    context: RunContext,
    number: int,
    chosen: Mapping[str, Any],
    fit: Mapping[str, Any],
    metrics: Mapping[str, float],
    seconds: Mapping[str, float],
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Write the current model, then the ledger, the curve and the state.

    chosen: what the ledger keeps of the examples; fit: a `FitResult.info`; metrics: of the test.
    """
    context.learner.save(context.folder.round(number) / CHECKPOINT)
    labels, value = context.plan.sizes[number], metrics.get(context.learner.metric, float("nan"))
    training = judged(fit.get("training"), value)
    confusion = context.confusion()
    small = confusion is not None and len(confusion) <= MOST_CLASSES
    entry = {
        "round": number,
        "labels": labels,
        **chosen,
        "accuracy": value,
        "metrics": dict(metrics),
        **{k: v for k, v in fit.items() if k != "training"},
        "training": training,
        **({"confusion": confusion.tolist()} if small and confusion is not None else {}),
        "seconds": {name: round(spent, 3) for name, spent in seconds.items()},
        "peak_mb": round(peak_mb(), 1),
    }
    more = dict(extra or {})
    if training is not None and training.get("on_slope"):
        more["on_slope"] = True
    point = Point(labels, labels / context.learner.size, value, number, more)
    context.folder.commit(strict(entry), point)


def peak_mb() -> float:
    """Return the peak memory of this process so far in MB (of the accelerator, where one is
    used).
    """
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
