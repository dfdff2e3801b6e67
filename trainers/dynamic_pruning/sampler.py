"""Selection that changes while training, for any LightningModule with any DataLoader: a sampler and
a callback that share a plan.

plan = InfoBatch().over(len(dataset)) sampler = EpochSampler(plan) loader = DataLoader(dataset,
batch_size=128, sampler=sampler, num_workers=4)      # its batches are dicts that hold `index`
pl.Trainer(callbacks=[Sampling(sampler)], max_epochs=200).fit(module, loader)     # training_step
multiplies each loss by batch["weight"]
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DistributedSampler

from coreset.core.signals import Signals
from coreset.trainers.dynamic_pruning.epoch_plans import Adaptive, EpochPlan
from coreset.trainers.dynamic_pruning.stream import losses_of


def _rank() -> tuple[int, int]:
    ready = dist.is_available() and dist.is_initialized()
    return (dist.get_rank(), dist.get_world_size()) if ready else (0, 1)


class EpochSampler(DistributedSampler[Any]):
    """The rows of the plan's current epoch, for one rank: every world-size-th, filled up from the
    beginning so that all ranks have as many.

    `set_epoch` begins an epoch; under DDP all ranks must call it (Lightning does). Without it epoch
    0 is used. Lightning puts no sampler of its own around this one.
    """

    def __init__(
        self, plan: EpochPlan
    ) -> None:  # not super().__init__: rank and world size are asked for when they are known
        self.plan = plan
        self.epoch = 0
        self.skip = 0  # samples of this epoch that were trained on before a restart
        self.before: Callable[[int], float] | None = (
            None  # called with the epoch's number before it begins; returns the progress
        )

    def set_epoch(self, epoch: int) -> None:
        """Begin epoch `epoch`; asked again for the same one it stays where it is."""
        if epoch != self.epoch:
            self.skip = 0
        progress = self.before(epoch) if self.before is not None else 0.0
        self.epoch = epoch
        self.plan.epoch(epoch, progress)

    def _slice(self) -> NDArray[np.int64]:
        rank, world = _rank()
        if self.plan.number != self.epoch:
            self.set_epoch(self.epoch)
        rows = self.plan.epoch(self.epoch)[0]
        return np.resize(rows, -(-len(rows) // world) * world)[rank::world]

    def __len__(self) -> int:
        return len(self._slice())

    def __iter__(self) -> Iterator[int]:
        rows, skip = self._slice(), self.skip
        self.skip = 0
        return iter(rows[skip:].tolist())

    def __getstate__(self) -> dict[str, Any]:
        # the callback puts itself back when a training begins
        return {**self.__dict__, "before": None}


class Sampling(pl.Callback):
    """Record losses, put `weight` (B,) into every batch that is a dict, choose anew when it is
    time, go on in mid-epoch after a restart.

    sampler: the one of the training DataLoader. signals: for a plan in which a strategy chooses;
    given the module it returns what the module says of the whole dataset (Signals). A batch is a
    dict with `index` (B,), positions in the dataset; `training_step` returns per-example losses as
    `losses`, or `logits` where the batch holds `label`. The restart needs the same number of
    processes and the same batch size.
    """

    def __init__(
        self, sampler: EpochSampler, signals: Callable[[pl.LightningModule], Signals] | None = None
    ) -> None:
        if sampler.plan.by_strategy and signals is None:
            raise ValueError(
                "signals: this plan lets a strategy choose; give a function from the module to its"
                " Signals"
            )
        self.sampler, self.signals = sampler, signals
        self._seen = self._steps = 0
        self._over = self._resumed = False

    @property
    def plan(self) -> EpochPlan:
        """The plan of the sampler."""
        return self.sampler.plan

    def weights(self, index: Tensor) -> Tensor:
        """Return the weights (B,) float32 of positions in this epoch, on their device: for batches
        that are no dicts.
        """
        return torch.from_numpy(self.plan.weights_of(index.cpu().numpy())).float().to(index.device)

    def _progress(self, trainer: pl.Trainer, epoch: int) -> float:
        if trainer.max_steps > 0:
            return self._steps / trainer.max_steps
        if not trainer.max_epochs or trainer.max_epochs < 0:
            raise ValueError(
                "Trainer: give max_epochs or max_steps, selection while training must know how much"
                " of it is done"
            )
        return epoch / trainer.max_epochs * self.plan.stretch

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Bind the sampler to this training; after a restart at the end of an epoch begin the next
        one, before workers ask for it.
        """

        def before(epoch: int) -> float:
            progress = self._progress(trainer, epoch)
            if (
                epoch != self.plan.number
                and isinstance(self.plan, Adaptive)
                and self.plan.due(epoch, progress)
            ):
                assert self.signals is not None
                self.plan.choose(epoch, self.signals(pl_module))
            return progress

        self.sampler.before = before
        if self._resumed:
            self.sampler.epoch, self.sampler.skip = max(self.plan.number, 0), self._seen
            if self._over:
                self.sampler.set_epoch(self.sampler.epoch + 1)
                self._seen, self._over = 0, False
            self._resumed = False

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Tell Lightning how long this epoch is: it keeps the first one's length, and would
        validate and step by it.
        """
        self._seen, self._over = 0, False
        loop = trainer.fit_loop
        length = len(trainer.train_dataloader)  # type: ignore[arg-type]
        if isinstance(trainer.limit_train_batches, int):
            length = min(length, trainer.limit_train_batches)
        elif trainer.limit_train_batches != 1.0:
            raise ValueError(
                "Trainer: limit_train_batches must be a count or 1.0, epochs differ in length"
            )
        loop.max_batches = length
        if (
            isinstance(trainer.val_check_interval, float)
            and trainer.check_val_every_n_epoch is not None
        ):
            trainer.val_check_batch = max(1, int(length * trainer.val_check_interval))

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Add the weights."""
        if not (isinstance(batch, dict) and "index" in batch):
            raise ValueError(
                "batch: expected a dict that holds `index`, the positions of its examples in the"
                " dataset"
            )
        batch["weight"] = self.weights(batch["index"])

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Record the losses."""
        with torch.no_grad():
            self.plan.update(batch["index"], losses_of(outputs, batch))
        self._seen += len(batch["index"])
        self._steps, self._over = trainer.global_step, bool(trainer.is_last_batch)

    def state_dict(self) -> dict[str, Any]:
        """Return the plan and the place in the epoch for Lightning's checkpoint; under DDP all
        ranks take part, as `Trainer.save_checkpoint` asks of them.
        """
        return {
            "plan": self.plan.state_dict(),
            "seen": self._seen,
            "steps": self._steps,
            "over": self._over,
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.plan.load_state_dict(state_dict["plan"])
        self._seen, self._steps, self._over = (
            int(state_dict["seen"]),
            int(state_dict["steps"]),
            bool(state_dict["over"]),
        )
        self._resumed = True
