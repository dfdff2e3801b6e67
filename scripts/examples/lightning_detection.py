"""Active learning with a detection project of your own: a LightningModule around torchvision's
Faster R-CNN and a LightningDataModule of COCO files, neither written for this library.

    python scripts/stamps.py data/stamps --train 60 --test 10 --classes 3
    python scripts/examples/lightning_detection.py data/stamps

What the loop needs beside them: `signals={"uncertainty": "uncertainty"}` names the method that
scores an image, `features="model.backbone"` the layer that describes it.
"""

# ruff: noqa: D102
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchmetrics.detection import MeanAveragePrecision
from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn

import coreset.trainers
from coreset.scorers.image.files import open_image


class Boxes(Dataset[tuple[Tensor, dict[str, Tensor]]]):
    """Images of a COCO file with their boxes."""

    def __init__(self, root: Path, name: str) -> None:
        data = json.loads((root / name).read_text())
        self.files = [root / "images" / image["file_name"] for image in data["images"]]
        self.rows = [
            [a for a in data["annotations"] if a["image_id"] == image["id"]]
            for image in data["images"]
        ]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> tuple[Tensor, dict[str, Tensor]]:
        with open_image(self.files[i]) as image:
            pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1) / 255
        boxes = torch.tensor([a["bbox"] for a in self.rows[i]]).reshape(-1, 4).float()
        boxes[:, 2:] += boxes[:, :2]
        labels = torch.tensor([a["category_id"] for a in self.rows[i]]).long()
        return pixels, {"boxes": boxes, "labels": labels}


def collate(rows: Any) -> Any:
    return tuple(zip(*rows, strict=True))


class BoxData(pl.LightningDataModule):
    """The pool and the test set of a folder."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root

    def setup(self, stage: str) -> None:
        self.train, self.test = Boxes(self.root, "train.json"), Boxes(self.root, "test.json")

    def train_dataloader(self) -> Any:
        return DataLoader(self.train, 4, shuffle=True, collate_fn=collate)

    def test_dataloader(self) -> Any:
        return DataLoader(self.test, 4, collate_fn=collate)


class LitDetector(pl.LightningModule):
    """Faster R-CNN; an image is as uncertain as its detections are together."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.model = fasterrcnn_mobilenet_v3_large_320_fpn(
            weights=None, weights_backbone=None, num_classes=classes + 1, box_score_thresh=0.01,
            min_size=96, max_size=128,
        )  # fmt: skip
        self.map = MeanAveragePrecision()

    def forward(self, images: Any) -> Any:
        return self.model(list(images))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        images, targets = batch
        return torch.stack(list(self.model(list(images), list(targets)).values())).sum()

    def uncertainty(self, batch: Any) -> Tensor:
        """Return the sum of the binary entropies of the detections' scores, one per image."""
        out = []
        for detections in self(batch[0]):
            p = detections["scores"].clamp(1e-6, 1 - 1e-6)
            out.append(-(p * p.log() + (1 - p) * (1 - p).log()).sum())
        return torch.stack(out)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.map.update(self(batch[0]), list(batch[1]))

    def on_test_epoch_end(self) -> None:
        self.log("test_map", self.map.compute()["map"])
        self.map.reset()

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def main(folder: Path, budget: tuple[int, ...] = (12, 24), epochs: int = 4) -> None:
    pl.seed_everything(0)
    run = coreset.trainers.active(
        LitDetector(3),
        BoxData(folder),
        strategy={"top_k": {"signal": "uncertainty"}},
        budget=list(budget),
        signals={"uncertainty": "uncertainty"},
        features="model.backbone",
        metric="test_map",
        trainer={"max_epochs": epochs, "accelerator": "auto"},
    )
    print(f"mAP {run.curve.values.round(3).tolist()} at {run.curve.labels.tolist()} images")
    print(f"report: {run.report}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
