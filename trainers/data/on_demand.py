"""A folder of images of any number, size and shape, decoded when they are asked for.

For what does not fit in memory as small squares: a LightningDataModule for `LightningLearner`, with
pipelines of torchvision.transforms.v2 from the configuration.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from coreset.scorers.image.decode import upright
from coreset.scorers.image.files import open_image
from coreset.trainers.data.folder import SUFFIXES

Transform = Callable[[Any], Any]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet


class ImageFiles(Dataset[tuple[Tensor, int]]):
    """Images below a folder with one sub-folder per class, or below `unlabeled` with label -1.

    The names are kept as bytes in one array, the folders' class numbers in another: 1.28 million
    take about 60 MB. classes: of the folders, default their sorted names. on_corrupt: `error`
    raises naming the file; `skip` gives a gray image in its place and a warning.
    """

    def __init__(
        self,
        root: str | Path,
        transform: Transform,
        classes: Sequence[str] | None = None,
        labeled: bool = True,
        on_corrupt: str = "error",
    ) -> None:
        if on_corrupt not in ("error", "skip"):
            raise ValueError(f"on_corrupt: expected error or skip, got {on_corrupt!r}")
        self.root, self.transform, self.on_corrupt = Path(root), transform, on_corrupt
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

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        path = self.root / os.fsdecode(self.ids[i])
        try:
            with open_image(path) as opened:
                image = upright(opened).convert("RGB")
        except Exception as error:  # decoders raise almost anything on a broken file
            if self.on_corrupt == "error":
                raise ValueError(
                    f"{path} cannot be read: {type(error).__name__}: {error}; repair or remove it,"
                    " or set on_corrupt=skip"
                ) from error
            warnings.warn(
                f"{path} cannot be read ({error}); a gray image stands for it", stacklevel=2
            )
            from PIL import Image

            image = Image.new("RGB", (64, 64), (128, 128, 128))
        return self.transform(image), int(self.targets[i])


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
        self.pool = ImageFiles(pool, self.train_transform, self.classes, labeled, self.on_corrupt)
        if self.test_root is not None:
            names = self.classes or self.pool.classes
            self.test = ImageFiles(
                self.test_root, self.view_transform, names, on_corrupt=self.on_corrupt
            )

    def pool_dataset(self) -> ImageFiles:
        """Return the pool without augmentation."""
        view = ImageFiles.__new__(ImageFiles)
        view.__dict__.update({**vars(self.pool), "transform": self.view_transform})
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
