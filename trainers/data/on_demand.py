"""Images of any number, size and shape, decoded when they are asked for: of a folder, of
WebDataset shards, or of a stream of Hugging Face.

For what does not fit in memory as small squares: LightningDataModules for `LightningLearner`, with
pipelines of torchvision.transforms.v2 from the configuration.
"""

from __future__ import annotations

import copy
import os
import warnings
from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from coreset.scorers.image.decode import upright
from coreset.scorers.image.files import open_image
from coreset.trainers.data.folder import SUFFIXES
from coreset.trainers.data.shards import check_apart, class_numbers, index
from coreset.trainers.data.streamed import LABEL, classes_of, stream

Transform = Callable[[Any], Any]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet


class ImageRows(Dataset[tuple[Tensor, int]]):
    """Images by position with their class numbers, -1 = unknown. on_corrupt: `error` raises naming
    the image; `skip` gives a gray image in its place and a warning.
    """

    ids: NDArray[np.bytes_]
    targets: NDArray[np.int64]
    classes: list[str]

    def __init__(self, transform: Transform, on_corrupt: str) -> None:
        if on_corrupt not in ("error", "skip"):
            raise ValueError(f"on_corrupt: expected error or skip, got {on_corrupt!r}")
        self.transform, self.on_corrupt = transform, on_corrupt

    @abstractmethod
    def source(self, i: int) -> Path | str | bytes:
        """Return an image as `coreset.scorers.image.files.open_image` takes it."""

    def title(self, i: int) -> str:
        """Return what an image is called in messages."""
        return str(self.source(i))

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        source = self.source(i)
        try:
            with open_image(source) as opened:
                image = upright(opened).convert("RGB")
        except Exception as error:  # decoders raise almost anything on a broken file
            if self.on_corrupt == "error":
                raise ValueError(
                    f"{self.title(i)} cannot be read: {type(error).__name__}: {error}; repair or"
                    " remove it, or set on_corrupt=skip"
                ) from error
            warnings.warn(
                f"{self.title(i)} cannot be read ({error}); a gray image stands for it",
                stacklevel=2,
            )
            image = Image.new("RGB", (64, 64), (128, 128, 128))
        return self.transform(image), int(self.targets[i])


class ImageFiles(ImageRows):
    """Images below a folder with one sub-folder per class, or below `unlabeled` with label -1.

    The names are kept as bytes in one array, the folders' class numbers in another: 1.28 million
    take about 60 MB. classes: of the folders, default their sorted names.
    """

    def __init__(
        self,
        root: str | Path,
        transform: Transform,
        classes: Sequence[str] | None = None,
        labeled: bool = True,
        on_corrupt: str = "error",
    ) -> None:
        super().__init__(transform, on_corrupt)
        self.root = Path(root)
        if not self.root.is_dir():
            raise FileNotFoundError(f"{root}: no such folder")
        if labeled:
            folders = sorted(e.name for e in os.scandir(self.root) if e.is_dir())
            self.classes = list(classes or folders)
            strange = sorted(set(folders) - set(self.classes))
            if strange and classes is None:
                raise ValueError(f"{root}: {strange[0]!r} is no class")
            folders = [f for f in folders if f in self.classes]
        else:
            self.classes, folders = list(classes or ()), ["."]
        names, numbers = [], []
        for folder in folders:
            inside = sorted(_names(self.root / folder))
            names += [os.fsencode(n if folder == "." else f"{folder}/{n}") for n in inside]
            number = self.classes.index(folder) if labeled else -1
            numbers.append(np.full(len(inside), number, np.int64))
        if not names:
            raise ValueError(f"{root}: expected images, found none")
        self.ids: NDArray[np.bytes_] = np.array(names)
        self.targets = np.concatenate(numbers)

    def source(self, i: int) -> Path:
        """Return the file."""
        return self.root / os.fsdecode(self.ids[i])


class ImageShards(ImageRows):
    """Images inside WebDataset shards, indexed once; see `coreset.trainers.data.shards`. content:
    16 hex digits that change when a shard does.
    """

    def __init__(
        self,
        root: str | Path,
        transform: Transform,
        classes: Sequence[str] | None = None,
        labeled: bool = True,
        on_corrupt: str = "error",
        label: str = "cls",
        cache: str = ".cache/coreset",
    ) -> None:
        super().__init__(transform, on_corrupt)
        self.rows = index(root, label, cache)
        names: Sequence[str] = list(classes or ())
        self.targets = np.full(len(self.rows), -1)
        if labeled:
            self.targets, names = class_numbers(self.rows, label, classes)
        self.classes, self.ids, self.content = list(names), self.rows.ids, self.rows.key

    def source(self, i: int) -> str | bytes:
        """Return the part of the shard, of a store its bytes. Raises ValueError where the shard has
        changed, StoreError where the store does not give it: neither is a broken image.
        """
        return self.rows.image(i)

    def title(self, i: int) -> str:
        """Return shard and key."""
        return self.rows.title(i)


def _names(folder: Path) -> list[str]:
    """Return the images below a folder, relative to it."""
    names, below = [], [""]
    while below:
        start = below.pop()
        with os.scandir(folder / start) as entries:
            for entry in entries:
                name = f"{start}{entry.name}"
                if entry.name.lower().endswith(SUFFIXES):
                    names.append(name)
                elif entry.is_dir():
                    below.append(f"{name}/")
    return names


class ImageFolderData(pl.LightningDataModule):
    """Images decoded on demand by `workers` processes.

    root: the labeled pool, or with `unlabeled` only what `test` and `classes` name; test: the test
    set's folder, None = no test. train_transform, view_transform: lists of transforms.v2 between
    decoding and normalizing; default a random resized crop with flip, and a resized center crop, of
    `size` pixels. mixup: strength of `v2.MixUp` on training batches, 0 = none.
    """

    def __init__(
        self,
        root: str,
        test: str | None = None,
        unlabeled: str | None = None,
        classes: Sequence[str] | None = None,
        size: int = 224,
        batch_size: int = 64,
        workers: int = 4,
        train_transform: Sequence[Transform] | None = None,
        view_transform: Sequence[Transform] | None = None,
        mixup: float = 0.0,
        on_corrupt: str = "error",
    ) -> None:
        super().__init__()
        if unlabeled is not None and len(classes or ()) < 2:
            raise ValueError("classes: an unlabeled pool needs the names of its classes")
        crop: list[Any] = [v2.RandomResizedCrop(size), v2.RandomHorizontalFlip()]
        plain: list[Any] = [v2.Resize(round(size * 8 / 7)), v2.CenterCrop(size)]
        end = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
        self.train_transform = v2.Compose([*(train_transform or crop), *end])
        self.view_transform = v2.Compose([*(view_transform or plain), *end])
        self.root, self.test_root, self.unlabeled = root, test, unlabeled
        self.classes, self.on_corrupt = list(classes) if classes else None, on_corrupt
        self.batch_size, self.workers, self.mixup = batch_size, workers, mixup

    def setup(self, stage: str) -> None:
        """List the files, once."""
        if hasattr(self, "pool"):
            return
        pool = self.unlabeled or self.root
        labeled = self.unlabeled is None
        self.pool = self.rows(pool, self.train_transform, self.classes, labeled)
        if self.test_root is not None:
            names = self.classes or self.pool.classes
            self.test = self.rows(self.test_root, self.view_transform, names, True)

    def rows(
        self, root: str, transform: Transform, classes: Sequence[str] | None, labeled: bool
    ) -> ImageRows:
        """Return the images of the pool or of the test set."""
        return ImageFiles(root, transform, classes, labeled, self.on_corrupt)

    def pool_dataset(self) -> ImageRows:
        """Return the pool without augmentation."""
        view = copy.copy(self.pool)
        view.transform = self.view_transform
        return view

    def train_dataloader(self) -> DataLoader[Any]:
        """Return the pool, augmented."""
        return DataLoader(
            self.pool, self.batch_size, shuffle=True, num_workers=self.workers,
            persistent_workers=False
        )  # fmt: skip

    def test_dataloader(self) -> Any:
        """Return the test set, nothing where there is none."""
        if self.test_root is None:
            return []
        return DataLoader(self.test, self.batch_size, num_workers=self.workers)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Mix training batches up, where asked."""
        if self.mixup and self.trainer is not None and self.trainer.training:
            mixed = v2.MixUp(alpha=self.mixup, num_classes=len(self.pool.classes))
            return list(mixed(*batch))
        return batch


class WebDatasetData(ImageFolderData):
    """The same of WebDataset shards: root, test and unlabeled are globs or folders of tar files,
    here or in a store, as `s3://bucket/train-{000..127}.tar`.

    label: the member with the class, or the field of the `.json` member; cache: the folder of the
    index. options: those of `ImageFolderData`.
    """

    def __init__(
        self, root: str, label: str = "cls", cache: str = ".cache/coreset", **options: Any
    ) -> None:
        super().__init__(root, **options)
        self.label, self.cache = label, cache

    def setup(self, stage: str) -> None:
        """Index the shards, once. Raises ValueError for one in the pool and in the test set."""
        super().setup(stage)
        if self.test_root is not None:
            assert isinstance(self.pool, ImageShards)
            assert isinstance(self.test, ImageShards)
            check_apart(self.pool.rows, self.test.rows)

    def rows(
        self, root: str, transform: Transform, classes: Sequence[str] | None, labeled: bool
    ) -> ImageRows:
        """Return the images of the pool or of the test set."""
        return ImageShards(
            root, transform, classes, labeled, self.on_corrupt, self.label, self.cache
        )


class StreamedData(WebDatasetData):
    """The same of a data set of the Hugging Face `datasets` library, streamed once into shards in
    `cache` (`coreset.trainers.data.streamed`).

    path: its name on the hub, or a folder that `load_dataset` reads; train, test: names of the
    splits, test None = none; image, label: names of the columns. options: those of
    `ImageFolderData`.
    """

    def __init__(
        self,
        path: str,
        train: str = "train",
        test: str | None = "test",
        image: str = "image",
        label: str = "label",
        cache: str = ".cache/coreset",
        **options: Any,
    ) -> None:
        super().__init__(path, LABEL, cache, test=test, **options)
        self.path, self.columns = path, (image, label)
        self.splits = [train] if test is None else [train, test]

    def prepare_data(self) -> None:
        """Read the streams as far as their shards are not there, once."""
        if self.root != self.path:
            return
        folders = [stream(self.path, name, *self.columns, self.cache) for name in self.splits]
        self.classes = self.classes or classes_of(folders[0]) or None
        places = [str(folder / "*.tar") for folder in folders]
        self.root, self.test_root = places[0], places[1] if len(places) > 1 else None
