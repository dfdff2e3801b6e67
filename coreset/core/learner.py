"""What a loop needs of a training: fit on some examples, signals of others, test."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class FitResult:
    """What one training cost and told. seconds: wall seconds of training; info: what belongs in the
    ledger (steps, epochs, how weights were used, the course of the loss), JSON values only.
    """

    seconds: float
    info: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class Learner(Protocol):
    """A training that the loops of `coreset.trainers` and the flywheel can hold.

    Indices are positions in the whole pool. The model of the last `fit` (or `load`) is the current
    one: `signals`, `test` and `save` speak of it.
    """

    @property
    def size(self) -> int:
        """Number of examples in the pool."""

    @property
    def ids(self) -> NDArray[Any]:
        """Ids (N,) of the pool's examples, unique and stable between runs."""

    @property
    def classes(self) -> Sequence[str]:
        """Class names, in the order of the label numbers; empty where labels are no classes."""

    @property
    def metric(self) -> str:
        """Name of the metric on the curve, one of `test`'s."""

    @property
    def available(self) -> frozenset[str]:
        """Names of the signals that `signals` can measure."""

    def fit(
        self,
        indices: NDArray[Any],
        labels: NDArray[Any],
        *,
        weights: NDArray[Any] | None = None,
        seed: Sequence[int],
        callbacks: Sequence[Any] = (),
    ) -> FitResult:
        """Train a fresh model on the examples `indices` (n,) alone.

        labels: column (N,) over the whole pool, -1 where unknown; weights (n,): importance of the
        chosen examples, in their order; seed: entropy of this training alone.
        """

    def signals(
        self, indices: NDArray[Any], names: Iterable[str], *, seed: int = 0
    ) -> dict[str, NDArray[Any]]:
        """Return the columns `names`, all in `available`, at `indices`, first axis len(indices)."""

    def test(self) -> dict[str, float]:
        """Return the metrics on the held-out test set."""

    def save(self, path: Path) -> None:
        """Write the current model to `path` as safetensors, atomically."""

    def load(self, path: Path) -> None:
        """Make the model that `save` wrote the current one."""
