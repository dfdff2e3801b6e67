"""Active learning with a segmentation project of your own: a LightningModule around torchvision's
LR-ASPP and a LightningDataModule of COCO masks, neither written for this library.

    python scripts/stamps.py data/stamps --train 60 --test 10 --classes 3
    python scripts/examples/lightning_segmentation.py data/stamps
"""

# ruff: noqa: D102
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pycocotools import mask as codec
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.models.segmentation import lraspp_mobilenet_v3_large

import coreset.trainers
from coreset.scorers.image.files import open_image


class Masks(Dataset[tuple[Tensor, Tensor]]):
    """Images of a COCO file with a class for every pixel, 0 = background."""

    def __init__(self, root: Path, name: str) -> None:
        data = json.loads((root / name).read_text())
        self.images = data["images"]
        self.root = root / "images"
        self.rows = [
            [a for a in data["annotations"] if a["image_id"] == image["id"]]
            for image in self.images
        ]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        image = self.images[i]
        with open_image(self.root / image["file_name"]) as opened:
            pixels = torch.from_numpy(np.array(opened.convert("RGB"))).permute(2, 0, 1) / 255
        height, width = image["height"], image["width"]
        classes = np.zeros((height, width), np.int64)
        for row in self.rows[i]:
            shape = row["segmentation"]
            if isinstance(shape, list):
                shape = codec.merge(codec.frPyObjects(shape, height, width))
            elif isinstance(shape["counts"], list):
                shape = codec.frPyObjects(shape, height, width)
            classes[codec.decode(shape).astype(bool)] = row["category_id"]
        return pixels, torch.from_numpy(classes)


class MaskData(pl.LightningDataModule):
    """The pool and the test set of a folder."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root

    def setup(self, stage: str) -> None:
        self.train, self.test = Masks(self.root, "train.json"), Masks(self.root, "test.json")

    def train_dataloader(self) -> Any:
        return DataLoader(self.train, 4, shuffle=True)

    def test_dataloader(self) -> Any:
        return DataLoader(self.test, 4)


class LitSegmenter(pl.LightningModule):
    """LR-ASPP; an image is as uncertain as its pixels are on average."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.model = lraspp_mobilenet_v3_large(
            weights=None, weights_backbone=None, num_classes=classes + 1
        )
        self.classes = classes + 1
        self.register_buffer("both", torch.zeros(self.classes), persistent=False)
        self.register_buffer("either", torch.zeros(self.classes), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(images)["out"]
        return logits

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def pixel_entropy(self, batch: Any) -> Tensor:
        p = self(batch[0]).softmax(dim=1)
        entropy: Tensor = -(p * p.clamp_min(1e-9).log()).sum(dim=1)
        return entropy.mean(dim=(1, 2))

    def test_step(self, batch: Any, batch_idx: int) -> None:
        predicted = self(batch[0]).argmax(dim=1)
        for c in range(self.classes):
            a, b = predicted == c, batch[1] == c
            self.both[c] += (a & b).sum()  # type: ignore[index, operator]
            self.either[c] += (a | b).sum()  # type: ignore[index, operator]

    def on_test_epoch_end(self) -> None:
        seen = self.either > 0  # type: ignore[operator]
        self.log("test_iou", (self.both[seen] / self.either[seen]).mean())  # type: ignore[index]
        self.both.zero_()  # type: ignore[operator]
        self.either.zero_()  # type: ignore[operator]

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def main(folder: Path, budget: tuple[int, ...] = (12, 24), epochs: int = 4) -> None:
    pl.seed_everything(0)
    run = coreset.trainers.active(
        LitSegmenter(3),
        MaskData(folder),
        strategy={"top_k": {"signal": "uncertainty"}},
        budget=list(budget),
        signals={"uncertainty": "pixel_entropy"},
        features="model.backbone",
        trainer={"max_epochs": epochs, "accelerator": "auto"},
    )
    print(f"IoU {run.curve.values.round(3).tolist()} at {run.curve.labels.tolist()} images")
    print(f"report: {run.report}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
