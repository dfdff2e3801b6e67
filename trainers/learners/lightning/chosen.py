"""A DataModule that trains on chosen positions of another one's train dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from lightning_utilities.core.overrides import is_overridden
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, RandomSampler, WeightedRandomSampler

from coreset.trainers.learners.lightning.drawn import Annotations, put_labels
from coreset.trainers.learners.lightning.pool import LABEL_KEYS, read, seeded


@dataclass(frozen=True, eq=False)
class Chosen(Dataset[Any]):
    """Positions of a dataset. labels (n,): from somebody outside, in place of the dataset's own;
    weights (n,): go into every example as its entry `weight_key`.
    """

    dataset: Any
    indices: NDArray[np.int64]
    labels: NDArray[np.int64] | None = None
    weights: NDArray[np.float32] | None = None
    weight_key: str = "weight"
    by_position: bool = False  # random augmentation is drawn by the position

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, i: int) -> Any:
        position = int(self.indices[i])
        if self.by_position:
            with seeded(position):
                item = read(self.dataset, position)
        else:
            item = read(self.dataset, position)
        if self.labels is not None:
            item = with_label(item, int(self.labels[i]))
        if self.weights is not None:
            item = {**item, self.weight_key: torch.tensor(float(self.weights[i]))}
        return item


def with_label(item: Any, label: int) -> Any:
    """Return an example with another label. Raises TypeError where there is no place for one."""
    if isinstance(item, Mapping):
        key = next((k for k in LABEL_KEYS if k in item), LABEL_KEYS[0])
        return {**item, key: label}
    if isinstance(item, tuple | list) and len(item) > 1:
        return (item[0], label, *item[2:])
    raise TypeError(
        "labels from outside need examples that are (input, label) or mappings with 'label', got"
        f" {type(item).__name__}"
    )


class ChosenData(pl.LightningDataModule):
    """All of `inner`, but its train loader goes over `chosen` positions only.

    labels, weights: as in `Chosen`; weights without `weight_key` decide how often an example is
    drawn. batch_norm: leave out a last batch of one example, which batch norm cannot use. drawn:
    annotations by position, which the train dataset is given before each training.
    """

    def __init__(
        self,
        inner: pl.LightningDataModule,
        indices: NDArray[np.int64],
        labels: NDArray[np.int64] | None = None,
        weights: NDArray[np.float64] | None = None,
        weight_key: str | None = None,
        batch_norm: bool = False,
        drawn: Mapping[int, Annotations] | None = None,
    ) -> None:
        super().__init__()
        self.inner, self.indices, self.labels = inner, indices, labels
        self.drawn = drawn
        self.weights, self.weight_key, self.batch_norm = weights, weight_key, batch_norm
        self.prepare_data_per_node = inner.prepare_data_per_node

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "inner" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self.inner, name)  # what the user's module asks of its own DataModule

    def prepare_data(self) -> None:
        """Let the user's own prepare."""
        self.inner.trainer = self.trainer
        self.inner.prepare_data()

    def setup(self, stage: str) -> None:
        """Let the user's own set up."""
        self.inner.trainer = self.trainer
        self.inner.setup(stage)

    def teardown(self, stage: str) -> None:
        """Let the user's own tear down."""
        self.inner.teardown(stage)

    def train_dataloader(self) -> DataLoader[Any]:
        """Return the user's train loader over the chosen positions."""
        loader = self.inner.train_dataloader()
        if self.drawn is not None:  # `setup` may have made the dataset anew
            put_labels(loader.dataset, self.drawn)
        return loader_over(
            loader,
            self.indices,
            self.labels,
            self.weights,
            self.weight_key,
            self.batch_norm,
        )

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Return what the user's own makes of it."""
        owner = hook_owner("on_before_batch_transfer", self.inner, self._module)
        return owner.on_before_batch_transfer(batch, dataloader_idx)

    def transfer_batch_to_device(
        self, batch: Any, device: torch.device, dataloader_idx: int
    ) -> Any:
        """Return what the user's own makes of it."""
        owner = hook_owner("transfer_batch_to_device", self.inner, self._module)
        return owner.transfer_batch_to_device(batch, device, dataloader_idx)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Return what the user's own makes of it."""
        owner = hook_owner("on_after_batch_transfer", self.inner, self._module)
        return owner.on_after_batch_transfer(batch, dataloader_idx)

    @property
    def _module(self) -> pl.LightningModule:
        assert self.trainer is not None
        return self.trainer.lightning_module


def hook_owner(name: str, data: pl.LightningDataModule, module: pl.LightningModule) -> Any:
    """Return whose hook on a batch counts, as Lightning chooses: the DataModule's where it has one
    of its own, else the module's.
    """
    return data if is_overridden(name, data, pl.LightningDataModule) else module


class ChosenDataWithValidation(ChosenData):
    """The same, of a DataModule that has validation data."""

    def val_dataloader(self) -> Any:
        """Return the user's own."""
        return self.inner.val_dataloader()


def chosen_data(inner: pl.LightningDataModule, *args: Any, **options: Any) -> ChosenData:
    """Return what trains on chosen positions of `inner`; arguments as of `ChosenData`.

    Lightning looks at the class for the hooks that a DataModule has.
    """
    validates = is_overridden("val_dataloader", inner, pl.LightningDataModule)
    return (ChosenDataWithValidation if validates else ChosenData)(inner, *args, **options)


def loader_over(
    loader: DataLoader[Any],
    indices: NDArray[np.int64],
    labels: NDArray[np.int64] | None = None,
    weights: NDArray[np.float64] | None = None,
    weight_key: str | None = None,
    batch_norm: bool = False,
) -> DataLoader[Any]:
    """Return a loader like the user's over some positions; weights without `weight_key` are drawn
    by: as many examples an epoch, with replacement, in proportion.
    """
    share = None if weights is None else (weights * (len(weights) / weights.sum()))
    inside = share is not None and weight_key is not None
    dataset = Chosen(
        loader.dataset,
        indices,
        labels,
        share.astype(np.float32) if share is not None and inside else None,
        weight_key or "weight",
    )
    shuffle = isinstance(loader.sampler, RandomSampler)
    sampler = None
    if share is not None and not inside:
        sampler, shuffle = WeightedRandomSampler(share.tolist(), len(indices)), False
    size = loader.batch_size or 1
    lonely = batch_norm and len(indices) > size and len(indices) % size == 1
    drop_last = (loader.drop_last and len(indices) >= size) or lonely
    return rebuilt(loader, dataset, shuffle, sampler, drop_last)


def rebuilt(
    loader: DataLoader[Any],
    dataset: Dataset[Any],
    shuffle: bool = False,
    sampler: Any = None,
    drop_last: bool = False,
    batch_size: int | None = None,
) -> DataLoader[Any]:
    """Return a loader of the same class with the same options over another dataset. Raises
    TypeError for a class that does not take DataLoader's own arguments.
    """
    workers = loader.num_workers
    options: dict[str, Any] = {
        "batch_size": batch_size or loader.batch_size,
        "shuffle": shuffle,
        "sampler": sampler,
        "num_workers": workers,
        "collate_fn": loader.collate_fn,
        "pin_memory": loader.pin_memory,
        "drop_last": drop_last,
        "timeout": loader.timeout,
        "worker_init_fn": loader.worker_init_fn,
        "generator": loader.generator,
    }
    if workers:
        options |= {
            "multiprocessing_context": loader.multiprocessing_context,
            "prefetch_factor": loader.prefetch_factor,
            "persistent_workers": loader.persistent_workers,
        }
    try:
        return type(loader)(dataset, **options)
    except TypeError as error:
        raise TypeError(
            f"{type(loader).__name__}: a loader of this class cannot be made over a part of its"
            f" dataset ({error}); use torch's DataLoader"
        ) from error
