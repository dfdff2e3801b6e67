"""A Lightning project as its owner wrote it: torchmetrics, tuples, hyperparameters, no coreset."""

import pytorch_lightning as pl
import torch
import torchmetrics
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset


class LitDigits(pl.LightningModule):
    def __init__(self, lr=1e-2, width=32, dropout=0.2):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(
            nn.Linear(64, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, 10)
        )
        self.test_acc = torchmetrics.classification.MulticlassAccuracy(10, average="micro")

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = nn.functional.cross_entropy(self(x), y)
        self.log("train_loss", loss)
        return loss

    def test_step(self, batch, batch_idx):
        x, y = batch
        self.test_acc(self(x), y)
        self.log("test_acc", self.test_acc)
        self.log("test_loss", nn.functional.cross_entropy(self(x), y))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.hparams.lr)


def tensors(part):
    digits = load_digits()
    x = torch.tensor(digits.data / 16.0, dtype=torch.float32)
    y = torch.tensor(digits.target)
    return (x[:1300], y[:1300]) if part == "train" else (x[1300:], y[1300:])


class DigitsData(pl.LightningDataModule):
    def __init__(self, batch_size=32):
        super().__init__()
        self.batch_size = batch_size

    def setup(self, stage):
        self.train, self.test = TensorDataset(*tensors("train")), TensorDataset(*tensors("test"))

    def train_dataloader(self):
        return DataLoader(self.train, self.batch_size, shuffle=True)

    def test_dataloader(self):
        return DataLoader(self.test, 256)


class Rows(Dataset):
    """Examples as mappings, which may augment."""

    def __init__(self, part, noise=0.0):
        self.x, self.y = tensors(part)
        self.noise = noise

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        x = self.x[i]
        return {
            "image": (x + self.noise * torch.randn(x.shape)).view(1, 8, 8),
            "label": int(self.y[i]),
        }


class LitRows(pl.LightningModule):
    """Mappings in, weights read where they come, logits by a method of another name."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Linear(8 * 64, 10)
        self.seen = []

    def scores(self, batch):
        return self.head(self.body(batch["image"]).flatten(1))

    def forward(self, batch):
        return self.scores(batch).argmax(dim=1)

    def training_step(self, batch, batch_idx):
        losses = nn.functional.cross_entropy(self.scores(batch), batch["label"], reduction="none")
        if "weight" in batch:
            self.seen += batch["weight"].tolist()
        return (losses * batch.get("weight", 1.0)).mean()

    def test_step(self, batch, batch_idx):
        right = (self(batch) == batch["label"]).float().mean()
        self.log("accuracy", right, batch_size=len(batch["label"]))

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, 0.1, total_steps=self.trainer.estimated_stepping_batches
        )
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


class RowsData(pl.LightningDataModule):
    def __init__(self, noise=0.0, view=True):
        super().__init__()
        self.noise, self.view = noise, view

    def setup(self, stage):
        self.train, self.clean = Rows("train", self.noise), Rows("train")
        self.test = Rows("test")

    def train_dataloader(self):
        return DataLoader(self.train, 32, shuffle=True)

    def test_dataloader(self):
        return DataLoader(self.test, 256)


class RowsDataWithView(RowsData):
    def pool_dataset(self):
        return self.clean


class LitAutoEncoder(pl.LightningModule):
    """The autoencoder of Lightning's README."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 3))
        self.decoder = nn.Sequential(nn.Linear(3, 32), nn.ReLU(), nn.Linear(32, 64))

    def forward(self, x):
        return self.encoder(x)

    def training_step(self, batch, batch_idx):
        x, _ = batch
        x = x.view(x.size(0), -1)
        z = self.encoder(x)
        x_hat = self.decoder(z)
        loss = nn.functional.mse_loss(x_hat, x)
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-3)
