"""The pool of a LightningDataModule: the positions of its train dataset, looked at before anything
trains.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from lightning_utilities.core.overrides import is_overridden
from numpy.typing import NDArray
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    TensorDataset,
)

from coreset.core.store import fingerprint

LOOKED_AT = 8  # positions that are read twice before anything trains
LABEL_KEYS = ("label", "labels", "target", "targets", "y")


@dataclass(frozen=True, eq=False)
class LightningPool:
    """loader: the user's train loader, for batch size, collation and workers; train: its dataset;
    view: the same positions without augmentation; notes: what the ledger says about them;
    fingerprint: of the number of examples, of those that were looked at, and of the `content` that
    the dataset says it has, where it does.
    """

    loader: DataLoader[Any]
    train: Any
    view: Any
    notes: tuple[str, ...]
    fingerprint: str

    @property
    def size(self) -> int:
        """Number of examples."""
        return len(self.train)


def open_pool(datamodule: pl.LightningDataModule) -> LightningPool:
    """Return the pool after checking that its positions mean the same at every setup.

    Raises TypeError or ValueError for a DataModule without one train loader over a map-style
    dataset, with a sampler of its own, or whose positions change from setup to setup.
    """
    again = copy.deepcopy(datamodule)
    with seeded(1):
        loader = _train_loader(datamodule)
    with seeded(2):
        other = _train_loader(again)
    train, size = loader.dataset, _length(loader.dataset)
    places = sorted({int(i) for i in np.linspace(0, size - 1, min(size, LOOKED_AT))})
    first = [_hash(train, i, 1) for i in places]
    second = [] if _length(other.dataset) != size else [_hash(other.dataset, i, 1) for i in places]
    mine, theirs = labels_of(train), labels_of(other.dataset)
    same = mine is None or theirs is None or np.array_equal(mine, theirs)
    if first != second or not same:
        raise ValueError(
            f"{type(datamodule).__name__}: the positions of the train dataset differ between two"
            " setups, so a choice of positions means nothing; give the split (random_split,"
            " shuffle) a seed of its own"
        )
    view, notes = _view(datamodule, train, places)
    own = vars(train).get("content") if hasattr(train, "__dict__") else None
    content = [own] if isinstance(own, str) else []
    return LightningPool(loader, train, view, tuple(notes), fingerprint(size, first, *content))


def _train_loader(datamodule: pl.LightningDataModule) -> DataLoader[Any]:
    name = type(datamodule).__name__
    datamodule.prepare_data()
    datamodule.setup("fit")
    try:
        loader = datamodule.train_dataloader()
    except TypeError as error:
        if "has no len()" not in str(error):
            raise
        raise TypeError(
            f"{name}: train_dataloader fails, {error}: a dataset without length has no positions to"
            " choose; expected __len__ and __getitem__"
        ) from error
    if not isinstance(loader, DataLoader):
        raise TypeError(
            f"{name}: train_dataloader must return one torch DataLoader, got"
            f" {type(loader).__name__}"
        )
    if isinstance(loader.dataset, IterableDataset):
        raise TypeError(
            f"{name}: the train dataset is an IterableDataset, which has no length and no"
            " positions to choose; expected a dataset with __len__ and __getitem__"
        )
    if not isinstance(loader.sampler, RandomSampler | SequentialSampler):
        raise ValueError(
            f"{name}: the train loader has a sampler of its own"
            f" ({type(loader.sampler).__name__}); the loop chooses the examples, so use shuffle"
        )
    if loader.batch_size is None:
        raise ValueError(
            f"{name}: the train loader has a batch sampler of its own; expected batch_size"
        )
    return loader


def _length(dataset: Any) -> int:
    try:
        size = len(dataset)
    except TypeError as error:
        raise TypeError(
            f"{type(dataset).__name__}: a dataset without length has no positions to choose;"
            " expected __len__ and __getitem__"
        ) from error
    if size < 2:
        raise ValueError(f"{type(dataset).__name__}: expected at least 2 examples, got {size}")
    return size


def _view(
    datamodule: pl.LightningDataModule, train: Any, places: Sequence[int]
) -> tuple[Any, list[str]]:
    """Return the dataset that examples are measured on, and what is to be said about it.

    A predict_dataloader stands in where the train dataset augments, has as many examples and the
    same labels at the positions looked at.
    """
    name = type(datamodule).__name__
    view, origin = train, "the train dataset"
    if hasattr(datamodule, "pool_dataset"):
        own = datamodule.pool_dataset
        view, origin = (own() if callable(own) else own), "pool_dataset"
    elif _augments(train, places) and is_overridden(
        "predict_dataloader", datamodule, pl.LightningDataModule
    ):
        datamodule.setup("predict")
        loader = datamodule.predict_dataloader()
        dataset = loader.dataset if isinstance(loader, DataLoader) else None
        if dataset is not None and _same_labels(train, dataset, places):
            view, origin = dataset, "predict_dataloader"
    if _sized(view) != len(train):
        raise ValueError(
            f"{name}: {origin} has {_sized(view)} examples, the train dataset {len(train)}; the"
            " same positions must be the same examples"
        )
    for i in places if view is not train else ():
        mine, theirs = label_of(read(train, i)), label_of(read(view, i))
        if isinstance(mine, int) and isinstance(theirs, int) and mine != theirs:
            raise ValueError(
                f"{name}: position {i} has label {mine} in the train dataset and {theirs} in"
                f" {origin}; the same positions must be the same examples"
            )
    notes = [f"measured on {origin}"]
    if _augments(view, places):
        notes.append(
            f"{name}: {origin} augments at random and there is no other view of the pool, so"
            " signals are measured on one augmented view per example (drawn by its position);"
            " give pool_dataset() to measure without augmentation"
        )
    return view, notes


def _augments(dataset: Any, places: Sequence[int]) -> bool:
    return any(_hash(dataset, i, 1) != _hash(dataset, i, 2) for i in places)


def _same_labels(train: Any, other: Any, places: Sequence[int]) -> bool:
    """Return whether two datasets have as many examples, with the same known labels."""
    if _sized(other) != len(train):
        return False
    pairs = [(label_of(read(train, i)), label_of(read(other, i))) for i in places]
    return all(a is not None and a == b for a, b in pairs)


def _sized(dataset: Any) -> int:
    return len(dataset) if hasattr(dataset, "__len__") else -1


def read(dataset: Any, position: int) -> Any:
    """Return one example. Raises ValueError naming the position where the dataset cannot read
    it.
    """
    try:
        return dataset[position]
    except Exception as error:  # a user's dataset raises whatever its decoder raises
        raise ValueError(
            f"{type(dataset).__name__}: the example at position {position} cannot be read:"
            f" {type(error).__name__}: {error}"
        ) from error


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw from seeded generators of torch, numpy and Python; they go on as before afterwards."""
    state, python = np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            np.random.seed(seed)  # noqa: NPY002
            random.seed(seed)
            yield
    finally:
        np.random.set_state(state)  # noqa: NPY002
        random.setstate(python)


def _hash(dataset: Any, position: int, seed: int) -> str:
    with seeded(seed):
        return fingerprint(_plain(read(dataset, position)))


def _plain(item: Any) -> Any:
    """Return an example as nested plain data that has a fingerprint."""
    if isinstance(item, Mapping):
        return {str(k): _plain(v) for k, v in item.items()}
    if isinstance(item, list | tuple):
        return [_plain(v) for v in item]
    if item is None or isinstance(item, str | bytes | int | float | np.ndarray | np.generic):
        return item
    if isinstance(item, torch.Tensor):
        return item.detach().cpu().numpy()
    try:
        return np.asarray(item)  # an image of Pillow
    except (TypeError, ValueError):
        return repr(type(item))


def labels_in(batch: Any) -> NDArray[np.int64] | None:
    """Return the class numbers (B,) of a collated batch, found as in `label_of`; None where its
    entry holds no whole numbers, one per example.
    """
    value: Any = None
    if isinstance(batch, Mapping):
        value = next((batch[k] for k in LABEL_KEYS if k in batch), None)
    elif isinstance(batch, tuple | list) and len(batch) > 1:
        value = batch[1]
    whole = isinstance(value, torch.Tensor) and value.ndim == 1 and "int" in str(value.dtype)
    return value.cpu().numpy().astype(np.int64) if whole else None


def label_of(item: Any) -> int | None:
    """Return the class number of an example: its second entry, or that called label(s), target(s)
    or y; None where that is no whole number.
    """
    value: Any = None
    if isinstance(item, Mapping):
        value = next((item[k] for k in LABEL_KEYS if k in item), None)
    elif isinstance(item, tuple | list) and len(item) > 1:
        value = item[1]
    if isinstance(value, torch.Tensor | np.ndarray | np.generic):
        whole = "int" in str(value.dtype) and value.ndim == 0
        return int(value) if whole else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def labels_of(dataset: Any) -> NDArray[np.int64] | None:
    """Return the class numbers (N,) where a dataset knows them without reading its examples:
    `targets` or `labels`, the last of a TensorDataset, a column of Hugging Face; of subsets and
    concatenations too. None elsewhere.
    """
    if isinstance(dataset, Subset):
        inner = labels_of(dataset.dataset)
        return None if inner is None else inner[np.asarray(dataset.indices, np.int64)]
    if isinstance(dataset, ConcatDataset):
        parts = [labels_of(part) for part in dataset.datasets]
        return None if any(p is None for p in parts) else np.concatenate(parts)  # type: ignore[arg-type]
    values: Any = None
    if isinstance(dataset, TensorDataset):
        values = dataset.tensors[-1] if len(dataset.tensors) > 1 else None
    elif hasattr(dataset, "column_names"):
        name = next((k for k in LABEL_KEYS if k in dataset.column_names), None)
        values = None if name is None else dataset[name][:]
    else:
        named = (
            vars(dataset).get(k) for k in ("targets", "labels") if hasattr(dataset, "__dict__")
        )
        values = next((v for v in named if v is not None), None)
    if values is None:
        return None
    array = np.asarray(values)
    whole = array.dtype.kind in "iu" and array.shape == (len(dataset),)
    return array.astype(np.int64) if whole else None
