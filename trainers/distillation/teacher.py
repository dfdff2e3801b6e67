"""Teachers: networks trained on the whole labeled pool, as they were after every epoch; kept in the
store.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from coreset.core.store import Store, fingerprint, write_atomic
from coreset.distillation import Teacher
from coreset.distillation.nn.convnet import convnet
from coreset.trainers.learners.fit import Fitter, TrainingConfig

TEACHING = 4  # the random stream of a run's proxy, whose training this is


class KeepEpochs(pl.Callback):
    """Keep the weights after every epoch, counted from 1, of a training whose batches say which
    epoch they belong to.
    """

    def __init__(self) -> None:
        self.states: dict[int, dict[str, Tensor]] = {}
        self.epoch = 0

    def _keep(self, number: int, module: pl.LightningModule) -> None:
        model = module.model
        assert isinstance(model, nn.Module)
        self.states[number] = {
            k: v.detach().cpu().clone().contiguous() for k, v in model.state_dict().items()
        }

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Keep what the epoch before ended with."""
        now = int(batch["epoch"])
        if now > self.epoch:
            self._keep(now, pl_module)
            self.epoch = now

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the last."""
        self._keep(self.epoch + 1, pl_module)


@dataclass(frozen=True, eq=False)
class Teachers:
    """Make teachers for one run: the recipe is the run's proxy (fit@proxy), the network its model
    or a ConvNet with other parameters.
    """

    fitter: Fitter
    recipe: TrainingConfig
    store: Store
    seed: int
    model_key: str
    device: torch.device
    labels: NDArray[np.int64]

    def __call__(
        self, network: Mapping[str, Any] | None = None, epoch: int | None = None
    ) -> Teacher:
        """Return the teacher after `epoch` epochs (None: all), trained when the store does not have
        it.

        network: parameters of `coreset.distillation.nn.convnet.convnet`, as {"width": 64, "norm":
        "batch"}; None: the run's model. Raises ValueError for an epoch outside its training.
        """
        data = self.fitter.data
        last = max(1, int(np.ceil(self.recipe.total_epochs(len(data.images)))))
        epoch = last if epoch is None else epoch
        if not 1 <= epoch <= last:
            raise ValueError(
                f"epoch: the teacher trains for {last} epochs (proxy.epochs), expected 1 to {last},"
                f" got {epoch}"
            )
        model = self.fitter.model if network is None else partial(convnet, **network)
        fitter = replace(self.fitter, model=model, predict_loss=False)
        what = self.model_key if network is None else dict(network)
        key = fingerprint(data.fingerprint, what, vars(self.recipe), self.seed, self.labels)
        folder = Path(self.store.root) / f"teacher-{key}"
        if not (folder / "accuracy").exists():
            self._train(fitter, folder, last)
        from safetensors.torch import load_file

        with torch.random.fork_rng(devices=[]):  # the weights it draws are replaced
            net = fitter.new_model()
        net.load_state_dict(load_file(folder / f"{epoch:04d}.safetensors"))
        accuracy = float((folder / "accuracy").read_text()) if epoch == last else float("nan")
        return Teacher(
            net.to(self.device), data.classes, epoch, accuracy, f"{key}, epoch {epoch} of {last}"
        )

    def _train(self, fitter: Fitter, folder: Path, last: int) -> None:
        from safetensors.torch import save

        keep, everything = KeepEpochs(), np.arange(len(self.labels))
        fitted = fitter.fit(
            self.recipe,
            self.labels,
            everything,
            seed=(self.seed, TEACHING),
            callbacks=[keep],
            scratch=self.store.root,
        )
        keep.states[last] = keep.states[
            max(keep.states)
        ]  # what was tested, also where an epoch took a step less than planned
        for number, state in keep.states.items():
            write_atomic(folder / f"{number:04d}.safetensors", save(state))
        write_atomic(folder / "accuracy", repr(fitted.accuracy))
