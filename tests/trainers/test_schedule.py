"""The published evaluation of a distilled set: step decay, against torch's own optimizers and
schedulers.
"""

from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from coreset.build import build
from coreset.trainers.learners.config import TrainingConfig
from coreset.trainers.tasks.module import Scheduled

N, D = 40, 6
RNG = np.random.default_rng(0)
X = torch.tensor(RNG.normal(size=(N, D)), dtype=torch.float32)
Y = torch.tensor(RNG.normal(size=(N, 1)), dtype=torch.float32)


class Regression(Scheduled):
    """The schedule under test on a linear model; notes the rate of every step."""

    def __init__(self, **recipe):
        super().__init__(nn.Sequential(nn.Linear(D, 3), nn.Tanh(), nn.Linear(3, 1)), **recipe)
        self.rates = []

    def training_step(self, batch, batch_idx):
        self.rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])
        return nn.functional.mse_loss(self.model(X[batch]), Y[batch])


class Batches:
    """Rows of every step; a list would be many loaders to Lightning."""

    def __init__(self, steps):
        self.steps = steps

    def __len__(self):
        return self.steps

    def __iter__(self):
        order = np.random.default_rng(1)
        for _ in range(self.steps):
            yield torch.tensor(order.permutation(N)[:8])


def trained(steps, **recipe):
    torch.manual_seed(0)
    lit = Regression(steps=steps, **recipe)
    pl.Trainer(
        max_steps=steps, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    ).fit(lit, Batches(steps))  # fmt: skip
    return lit


def test_step_decay_is_a_new_optimizer_at_a_tenth():
    """Reference: the released loop, which makes a new SGD after epoch E // 2 + 1 of E + 1."""
    steps, drop, lr, decay = 30, 17, 0.1, 0.02
    lit = trained(
        steps,
        lr=lr,
        weight_decay=decay,
        optimizer="sgd_plain",
        warmup=0.0,
        schedule="step",
        drop=drop,
    )
    torch.manual_seed(0)
    model = Regression(steps=1, lr=1, weight_decay=0).model

    def sgd(rate):
        return torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9, weight_decay=decay)

    optimizer = sgd(lr)
    for step, batch in enumerate(Batches(steps)):
        if step == drop:
            optimizer = sgd(lr * 0.1)
        loss = nn.functional.mse_loss(model(X[batch]), Y[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(lit.model.state_dict()[name], value, rtol=0, atol=1e-6)


@pytest.mark.parametrize("drop", [None, 4, 19])
def test_rates_are_those_of_torchs_multistep(drop):
    steps = 20
    options = {} if drop is None else {"drop": drop}
    lit = trained(steps, lr=0.5, weight_decay=0, warmup=0.0, schedule="step", **options)
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.5)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [10 if drop is None else drop], 0.1)
    wanted = []
    for _ in range(steps):
        wanted.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    np.testing.assert_allclose(lit.rates, wanted, rtol=1e-9)


def test_cosine_is_torchs_after_the_rise():
    steps, rise = 40, 4
    lit = trained(steps, lr=0.3, weight_decay=0, warmup=0.1)
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.3)
    parts = [
        torch.optim.lr_scheduler.LinearLR(optimizer, 1 / rise, 1.0, total_iters=rise - 1),
        torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps - rise),
    ]
    schedule = torch.optim.lr_scheduler.SequentialLR(optimizer, parts, [rise])
    wanted = []
    for _ in range(steps):
        wanted.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    np.testing.assert_allclose(lit.rates, wanted, rtol=1e-6, atol=1e-12)


def test_the_published_recipe_drops_where_the_released_code_does():
    """evaluate_synset: epochs 0 .. E, lr_schedule = [E // 2 + 1], the new rate after that epoch."""
    from omegaconf import OmegaConf

    config = OmegaConf.to_container(OmegaConf.load(Path("conf/fit/published_distillation.yaml")))
    recipe = build(config, TrainingConfig)
    last = 300
    assert recipe.epochs == last + 1
    for examples in (10, 100, 500, 5000):
        per_epoch = len(range(0, examples, 256))
        epoch_of = [e for e in range(last + 1) for _ in range(per_epoch)]
        low = [step for step, epoch in enumerate(epoch_of) if epoch > last // 2 + 1]
        assert recipe.drop(examples) == low[0]
        assert recipe.total_steps(examples) == len(epoch_of)
    assert (recipe.lr, recipe.weight_decay, recipe.batch_size) == (0.01, 0.0005, 256)
