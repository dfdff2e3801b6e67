"""timm with torchvision's transforms.v2, a Hugging Face classifier, a segmentation module."""

import numpy as np
import pytorch_lightning as pl
import timm
import torch
import torchmetrics
from PIL import Image
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2


class Photos(Dataset):
    """Images of Pillow of varying sizes."""

    def __init__(self, rows, transform):
        self.classes = [f"digit {i}" for i in range(10)]
        digits = load_digits()
        self.images, self.targets = digits.images[rows], digits.target[rows].tolist()
        self.transform = transform

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        pixels = (self.images[i] * 15.9).astype(np.uint8)
        image = Image.fromarray(pixels).resize((24 + i % 5, 24 + i % 7)).convert("RGB")
        return self.transform(image), self.targets[i]


class PhotoData(pl.LightningDataModule):
    def setup(self, stage=None):
        norm = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5], [0.5])]
        train = v2.Compose([v2.RandomResizedCrop(32), v2.RandAugment(1), *norm])
        plain = v2.Compose([v2.Resize((32, 32)), *norm])
        self.train = Photos(slice(0, 300), train)
        self.view, self.test = Photos(slice(0, 300), plain), Photos(slice(300, 500), plain)

    def train_dataloader(self):
        return DataLoader(self.train, 16, shuffle=True, num_workers=0, drop_last=True)

    def predict_dataloader(self):
        return DataLoader(self.view, 64)

    def test_dataloader(self):
        return DataLoader(self.test, 64)


class LitTimm(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.model = timm.create_model("mobilenetv3_small_050", num_classes=10, drop_rate=0.1)
        self.metrics = torchmetrics.MetricCollection(
            {"acc": torchmetrics.classification.MulticlassAccuracy(10, average="micro")},
            prefix="test/",
        )

    def forward(self, x):
        return self.model(x)

    def training_step(self, batch, batch_idx):
        return nn.functional.cross_entropy(self(batch[0]), batch[1], label_smoothing=0.1)

    def test_step(self, batch, batch_idx):
        self.metrics.update(self(batch[0]), batch[1])

    def on_test_epoch_end(self):
        self.log_dict(self.metrics.compute())
        self.metrics.reset()

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


class LitHuggingFace(pl.LightningModule):
    def __init__(self):
        super().__init__()
        from transformers import ViTConfig, ViTForImageClassification

        self.model = ViTForImageClassification(
            ViTConfig(
                hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
                image_size=32, patch_size=8, num_labels=10, hidden_dropout_prob=0.1,
            )
        )  # fmt: skip

    def forward(self, **batch):
        return self.model(**batch)

    def training_step(self, batch, batch_idx):
        return self(**batch).loss

    def test_step(self, batch, batch_idx):
        right = self(**batch).logits.argmax(-1) == batch["labels"]
        self.log("test_accuracy", right.float().mean(), batch_size=len(right))

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


def hf_collate(rows):
    return {
        "pixel_values": torch.stack([image for image, _ in rows]),
        "labels": torch.tensor([label for _, label in rows]),
    }


class HuggingFaceData(PhotoData):
    def train_dataloader(self):
        return DataLoader(self.train, 16, shuffle=True, collate_fn=hf_collate)

    def predict_dataloader(self):
        return DataLoader(self.view, 64, collate_fn=hf_collate)

    def test_dataloader(self):
        return DataLoader(self.test, 64, collate_fn=hf_collate)


class Masks(Dataset):
    """Bright pixels of digits as a mask."""

    def __init__(self, rows):
        self.images = torch.tensor(load_digits().images[rows] / 16.0, dtype=torch.float32)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        image = self.images[i]
        return image[None], (image > 0.5).long()


class MaskData(pl.LightningDataModule):
    def setup(self, stage):
        self.train, self.test = Masks(slice(0, 200)), Masks(slice(200, 260))

    def train_dataloader(self):
        return DataLoader(self.train, 8, shuffle=True)

    def test_dataloader(self):
        return DataLoader(self.test, 30)


class LitSegmentation(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU())
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, x):
        return self.head(self.encoder(x))

    def pixel_entropy(self, batch):
        p = self(batch[0]).softmax(1)
        return -(p * p.clamp_min(1e-9).log()).sum(1).mean((1, 2))

    def training_step(self, batch, batch_idx):
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def test_step(self, batch, batch_idx):
        hit = self(batch[0]).argmax(1)
        both, either = (hit & batch[1]).sum(), (hit | batch[1]).sum()
        self.log("test_iou", both / either.clamp_min(1), batch_size=len(hit))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.05)
