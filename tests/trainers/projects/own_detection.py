"""A detection project with its own dataset and module, in COCO's folder of stamps."""

import json
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytorch_lightning as pl
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Street(Dataset):
    """Images with boxes: what stands in the instances file, or what is set while the loop runs."""

    def __init__(self, root, name):
        self.root, about = Path(root), json.loads((Path(root) / name).read_text())
        self.images = sorted(about["images"], key=lambda image: -image["id"])  # in its own order
        self.ids = [image["id"] for image in self.images]
        self.boxes = {}
        for row in about["annotations"]:
            self.boxes.setdefault(row["image_id"], []).append(row)

    def __len__(self):
        return len(self.images)

    def set_label(self, position, annotations):
        self.boxes[self.ids[position]] = annotations

    def __getitem__(self, i):
        with Image.open(self.root / "images" / self.images[i]["file_name"]) as image:
            pixels = torch.tensor(np.asarray(image.convert("RGB"))).permute(2, 0, 1) / 255
        rows = self.boxes.get(self.ids[i], [])
        boxes = torch.tensor([row["bbox"] for row in rows]).reshape(-1, 4)
        return pixels, {
            "boxes": boxes,
            "kinds": torch.tensor([r["category_id"] for r in rows]),
            "id": self.ids[i],
        }


def collate(rows):
    return torch.stack([image for image, _ in rows]), [target for _, target in rows]


class StreetData(pl.LightningDataModule):
    def __init__(self, root, train="train.json"):
        super().__init__()
        self.root, self.name = root, train

    def setup(self, stage):
        self.train, self.test = Street(self.root, self.name), Street(self.root, "test.json")

    def train_dataloader(self):
        return DataLoader(self.train, 2, shuffle=True, collate_fn=collate)

    def test_dataloader(self):
        return DataLoader(self.test, 5, collate_fn=collate)


class LitCount(pl.LightningModule):
    """How many objects there are: a detector's smallest cousin, which still needs the boxes."""

    seen: ClassVar[list] = []

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 4, 5, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()
        )
        self.head = nn.Linear(16, 1)

    def forward(self, images):
        return self.head(self.body(images))

    def loss(self, batch):
        counts = torch.tensor([[float(len(target["boxes"]))] for target in batch[1]])
        return nn.functional.mse_loss(self(batch[0]), counts)

    def training_step(self, batch, batch_idx):
        for target in batch[1]:
            LitCount.seen.append((target["id"], target["boxes"].tolist(), target["kinds"].tolist()))
        return self.loss(batch)

    def test_step(self, batch, batch_idx):
        self.log("test_error", self.loss(batch), batch_size=len(batch[0]))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.01)


class Outlines(Street):
    """The same with the number of pixels of every mask."""

    def __getitem__(self, i):
        pixels, target = super().__getitem__(i)
        shapes = [row["segmentation"] for row in self.boxes.get(self.ids[i], [])]
        return pixels, {**target, "areas": [area(s, *pixels.shape[1:]) for s in shapes]}


def area(shape, height, width):
    from pycocotools import mask as codec

    if isinstance(shape, list):
        shape = codec.merge(codec.frPyObjects(shape, height, width))
    elif isinstance(shape["counts"], list):
        shape = codec.frPyObjects(shape, height, width)
    return int(codec.decode(shape).sum())


class OutlinesData(StreetData):
    def setup(self, stage):
        self.train, self.test = Outlines(self.root, self.name), Outlines(self.root, "test.json")


class LitWrites(LitCount):
    """Writes down what each process trains on."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def training_step(self, batch, batch_idx):
        with (Path(self.folder) / f"seen-{self.global_rank}.jsonl").open("a") as file:
            for one in batch[1]:
                row = {"id": one["id"], "boxes": one["boxes"].tolist(), "areas": one["areas"]}
                file.write(json.dumps(row) + "\n")
        return self.loss(batch)
