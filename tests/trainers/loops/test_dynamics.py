"""RecordDynamics in a training that is not this project's: any module, an ordinary DataLoader."""

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from coreset.numerics.dynamics import DynamicsRecorder
from coreset.trainers.loops.dynamics import RecordDynamics

N, EPOCHS = 24, 4
RNG = np.random.default_rng(0)
X = torch.tensor(RNG.normal(size=(N, 5)), dtype=torch.float32)
Y = torch.tensor(RNG.integers(0, 3, N))


class Module(pl.LightningModule):
    """A linear classifier that notes the logits of every sighting."""

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(5, 3)
        self.sightings = []

    def training_step(self, batch, batch_idx):
        logits = self.net(batch["x"])
        self.sightings.append((batch["index"].tolist(), logits.detach().double().numpy()))
        return {"loss": nn.functional.cross_entropy(logits, batch["label"]), "logits": logits}

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=2.0)


class Rows(torch.utils.data.Dataset):
    def __init__(self, **more):
        self.more = more

    def __len__(self):
        return N

    def __getitem__(self, i):
        return {"x": X[i], "label": Y[i], "index": i, **self.more}


def fit(rows, epochs=EPOCHS, **options):
    torch.manual_seed(0)
    module, recorder = Module(), DynamicsRecorder(N, ["forgetting", "el2n", "losses"])
    pl.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=[RecordDynamics(recorder)],
    ).fit(module, torch.utils.data.DataLoader(rows, batch_size=6, shuffle=True, **options))  # fmt: skip
    return module, recorder.finish()


@pytest.mark.parametrize("more", [{}, {"epoch": 0}, {"epoch": torch.tensor(3)}])
def test_an_ordinary_loader_gives_what_the_logits_say(more):
    """Reference: Toneva's count and the error norm, by hand from the logits of every epoch."""
    module, columns = fit(Rows(**more))
    logits = np.full((EPOCHS, N, 3), np.nan)
    for step, (rows, z) in enumerate(module.sightings):
        logits[step * 6 // N, rows] = z
    y = Y.numpy()
    p = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    right = logits.argmax(axis=2) == y
    forgotten = (right[:-1] & ~right[1:]).sum(axis=0)
    forgotten = np.where(right.any(axis=0), forgotten, EPOCHS + 1)
    error = np.linalg.norm(p - np.eye(3)[y], axis=2).mean(axis=0)
    assert columns["losses"].shape == (N, EPOCHS)
    np.testing.assert_array_equal(columns["forgetting"], forgotten)
    np.testing.assert_allclose(columns["el2n"], error, rtol=1e-5)
    assert right.any(axis=0).sum() > 3


def test_batches_that_lack_what_is_recorded_are_named():
    class Bare(Rows):
        def __getitem__(self, i):
            return {k: v for k, v in super().__getitem__(i).items() if k != "index"}

    recorder = RecordDynamics(DynamicsRecorder(N, ["el2n"]))
    out = {"logits": torch.zeros(2, 3)}
    with pytest.raises(ValueError, match="without index: let the dataset return"):
        recorder.on_train_batch_end(None, None, out, {"label": Y[:2]}, 0)
    with pytest.raises(ValueError, match="got a list without index and label"):
        recorder.on_train_batch_end(None, None, out, [X, Y], 0)
    with pytest.raises(ValueError, match="'logits'"):
        recorder.on_train_batch_end(None, None, torch.tensor(1.0), {}, 0)
