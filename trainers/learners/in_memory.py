"""The fast path as a `Learner`: uint8 images in memory, our own modules, a number of steps."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import nn

from coreset.core.learner import FitResult
from coreset.core.store import write_atomic
from coreset.numerics.full_gradients import GRADIENT_NORM
from coreset.trainers.learners.config import TrainingConfig
from coreset.trainers.learners.fit import Fitted, Fitter
from coreset.trainers.learners.gradient_norm import image_gradient_norms


@dataclass(eq=False)
class InMemoryLearner:
    """A `coreset.core.learner.Learner` of one task on one `ImageData`.

    fitter: data, model factory, task and Lightning's own arguments; config: how it trains. members:
    passes of MC dropout. halfway: also test averaged weights at half-time, for the ledger's
    `training` (where the task is classification). confusion: of the last test (true, predicted).
    """

    fitter: Fitter
    config: TrainingConfig
    members: int = 10
    halfway: bool = True
    confusion: NDArray[np.int64] | None = field(default=None, init=False, repr=False)
    _model: nn.Module | None = field(default=None, repr=False)
    _labels: NDArray[np.int64] | None = field(default=None, repr=False)

    @property
    def size(self) -> int:
        """Number of images in the pool."""
        return len(self.fitter.data.images)

    @property
    def ids(self) -> NDArray[Any]:
        """Ids (N,) of the data."""
        return self.fitter.data.ids

    @property
    def classes(self) -> Sequence[str]:
        """Class names of the data."""
        return self.fitter.data.classes

    @property
    def metric(self) -> str:
        """The task's metric."""
        return self.fitter.task.metric

    @property
    def available(self) -> frozenset[str]:
        """Signals of the task's models."""
        return self.fitter.task.signals

    @property
    def device(self) -> torch.device:
        """Where models are measured."""
        cuda = torch.cuda.is_available() and self.fitter.trainer.get("accelerator") != "cpu"
        return torch.device("cuda" if cuda else "cpu")

    def fit(
        self,
        indices: NDArray[np.int64],
        labels: NDArray[np.int64],
        *,
        weights: NDArray[np.float64] | None = None,
        seed: Sequence[int],
        callbacks: Sequence[Any] = (),
    ) -> FitResult:
        """Train a fresh model, or go on from the current one where `config.warm_start` says so."""
        begin = time.perf_counter()
        warm = self.config.warm_start and self._model is not None
        with tempfile.TemporaryDirectory() as scratch:
            fitted = self.fitter.fit(
                self.config,
                labels,
                indices,
                seed=seed,
                weights=weights,
                start=self._model.state_dict() if warm and self._model is not None else None,
                callbacks=callbacks,
                test=False,
                halfway=self.halfway,
                scratch=Path(scratch),
            )
        self.adopt(fitted.model, labels)
        return FitResult(time.perf_counter() - begin, fit_info(fitted))

    def adopt(self, model: nn.Module, labels: NDArray[np.int64] | None = None) -> None:
        """Make a model that was trained elsewhere the current one; labels (N,): it learned from."""
        self._model, self._labels = model, labels

    def signals(
        self, indices: NDArray[np.int64], names: Iterable[str], *, seed: int = 0
    ) -> dict[str, NDArray[Any]]:
        """Return columns of the current model from one pass; `gradient_norm` with the labels of the
        last training.
        """
        wanted = frozenset(names)
        out: dict[str, NDArray[Any]] = {}
        if GRADIENT_NORM in wanted:
            assert self._labels is not None, "gradient_norm is measured after a training"
            norms = image_gradient_norms(
                self._current(), self.fitter.data, self._labels, self.device
            )
            out[GRADIENT_NORM] = norms[indices]
        if wanted - {GRADIENT_NORM}:
            out |= self.fitter.task.measure(
                self._current(),
                self.fitter.data,
                indices,
                wanted - {GRADIENT_NORM},
                device=self.device,
                members=self.members,
                seed=seed,
                bf16=self.config.bf16,
            )
        return out

    def objects(self, indices: NDArray[np.int64]) -> list[list[dict[str, Any]]]:
        """Return the objects that the current model gives of each image at `indices`, as entries of
        a COCO results file.
        """
        task, data = self.fitter.task, self.fitter.data
        return task.objects(self._current(), data, indices, device=self.device)

    def test(self) -> dict[str, float]:
        """Return the task's metric on the test set."""
        value, self.confusion = self.fitter.test(self._current(), self.config.bf16)
        return {self.metric: value}

    def save(self, path: Path) -> None:
        """Write the current weights."""
        state = {  # copies: safetensors refuses tensors that share memory
            name: value.cpu().contiguous().clone()
            for name, value in self._current().state_dict().items()
        }
        write_atomic(path, safetensors.torch.save(state))

    def load(self, path: Path) -> None:
        """Read weights that `save` wrote."""
        model = self.fitter.new_model()
        model.load_state_dict(safetensors.torch.load_file(path))
        self.adopt(model.to(self.device, memory_format=torch.channels_last))  # type: ignore[call-overload]

    def _current(self) -> nn.Module:
        if self._model is None:
            raise ValueError("no current model: fit or load one first")
        return self._model


def fit_info(fitted: Fitted) -> dict[str, Any]:
    """Return what the ledger keeps of a training."""
    trace = None if fitted.trace is None else fitted.trace.record()
    return {"training": trace, "val_accuracy": fitted.val_accuracy}
