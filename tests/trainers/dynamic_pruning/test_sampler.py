"""The sampler and the callback with an ordinary module and an ordinary DataLoader."""

import pickle

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from coreset.core.signals import Signals
from coreset.registry import strategy
from coreset.trainers.dynamic_pruning.epoch_plans import RS2, Adaptive, InfoBatch
from coreset.trainers.dynamic_pruning.sampler import EpochSampler, Sampling
from tests.processes import CONTEXT

pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning:pytorch_lightning", "ignore:.*lr_scheduler.*"
)
N, EPOCHS = 50, 6


class Points(Dataset):
    def __len__(self):
        return N

    def __getitem__(self, i):
        x = np.random.default_rng(i).normal(size=4) + i % 3
        return {
            "x": torch.tensor(x, dtype=torch.float32),
            "label": torch.tensor(i % 3),
            "index": torch.tensor(i),
        }


class Plain(pl.LightningModule):
    """Any module: it multiplies its losses by batch["weight"], and remembers what it saw."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(4, 3)
        self.saw, self.validated = [], []

    def training_step(self, batch, batch_idx):
        self.saw.append((self.current_epoch, batch["index"].tolist(), batch["weight"].tolist()))
        loss = torch.nn.functional.cross_entropy(
            self.layer(batch["x"]), batch["label"], reduction="none"
        )
        return {"loss": (loss * batch["weight"]).mean(), "losses": loss.detach()}

    def validation_step(self, batch, batch_idx):
        self.validated.append(self.global_step)

    def configure_optimizers(self):
        return torch.optim.Adam(self.layer.parameters(), lr=0.05)


def signals(module):
    with torch.no_grad():
        x = torch.stack([Points()[i]["x"] for i in range(N)])
        return Signals(N, probs=module.layer(x).softmax(dim=1).numpy())


PLANS = {
    "infobatch": InfoBatch(),
    "rs2": RS2(),
    "adaptive": Adaptive(every=2, kappa=0.5, strategy=strategy("margin")),
}


def train(plan, *, ckpt=None, save=None, workers=0, validate=False, **trainer):
    sampler = EpochSampler(plan.over(N, k=20, seed=3))
    module = Plain()
    every = (
        []
        if save is None
        else [
            ModelCheckpoint(
                dirpath=save, save_top_k=-1, filename="{step}", **trainer.pop("checkpoint")
            )
        ]
    )
    fitter = pl.Trainer(
        callbacks=[Sampling(sampler, signals), *every], accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=bool(every), num_sanity_val_steps=0, **{"max_epochs": EPOCHS, **trainer},
    )  # fmt: skip
    loader = DataLoader(Points(), batch_size=8, sampler=sampler, num_workers=workers)
    fitter.fit(
        module, loader, DataLoader(Points(), batch_size=N) if validate else None, ckpt_path=ckpt
    )
    return module, sampler.plan


@pytest.mark.parametrize("name", PLANS)
def test_trains_on_what_the_plan_says_in_epochs_of_its_length(name):
    module, _ = train(PLANS[name], validate=True)
    lengths = [sum(1 for s in module.saw if s[0] == e) for e in range(EPOCHS)]
    rows = [[i for s in module.saw if s[0] == e for i in s[1]] for e in range(EPOCHS)]
    ends = np.cumsum(lengths).tolist()
    assert module.validated == ends  # Lightning would wait for the first epoch's length
    if name == "rs2":
        assert [len(r) for r in rows] == [20] * EPOCHS
        assert len(set(rows[0] + rows[1])) == 40
    elif name == "adaptive":
        # kappa E k / N = 1.2 epochs of all data
        assert [len(r) for r in rows] == [50, 50, 20, 20, 20, 20]
        assert set(rows[2]) == set(rows[3]) != set(rows[4])
    else:
        assert len(rows[0]) == 50 > max(map(len, rows[1:]))
    weights = np.array([w for s in module.saw for w in s[2]])
    assert set(weights.tolist()) == ({1.0, 2.0} if name == "infobatch" else {1.0})


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize("validate", [False, True])
def test_resumes_anywhere_with_exactly_the_batches_that_were_left(name, validate, tmp_path):
    whole, _ = train(
        PLANS[name], save=tmp_path, validate=validate, checkpoint={"every_n_train_steps": 1}
    )
    checkpoints = sorted(tmp_path.glob("*.ckpt"), key=lambda f: int(f.stem.split("=")[1]))
    assert len(checkpoints) == len(whole.saw)
    ends = set(whole.validated) | {3, 7, 12, 14}
    for file in checkpoints:
        step = int(file.stem.split("=")[1])
        if step % 4 != 1 and step not in ends:
            continue
        again, _ = train(PLANS[name], ckpt=str(file), validate=validate)
        assert again.saw == whole.saw[step:]
        assert torch.equal(again.layer.weight, whole.layer.weight)


@pytest.mark.slow
@pytest.mark.parametrize("name", PLANS)
def test_resumes_with_workers_and_from_the_end_of_an_epoch(name, tmp_path):
    whole, _ = train(
        PLANS[name],
        save=tmp_path,
        checkpoint={"save_on_train_epoch_end": True, "every_n_epochs": 1},
    )
    for file in sorted(tmp_path.glob("*.ckpt"))[:3]:
        step = int(file.stem.split("=")[1])
        for workers in (0, 2):
            again, _ = train(PLANS[name], ckpt=str(file), workers=workers)
            assert again.saw == whole.saw[step:]
    middle, _ = train(
        PLANS[name], save=tmp_path / "middle", workers=2, checkpoint={"every_n_train_steps": 5}
    )
    assert middle.saw == whole.saw
    again, _ = train(PLANS[name], ckpt=str(tmp_path / "middle" / "step=10.ckpt"), workers=2)
    assert again.saw == whole.saw[10:]


def test_accumulated_gradients_step_at_the_end_of_short_epochs():
    module, plan = train(InfoBatch(), accumulate_grad_batches=2)
    lengths = [sum(1 for s in module.saw if s[0] == e) for e in range(EPOCHS)]
    assert 5 in lengths
    assert module.trainer.global_step == sum(-(-n // 2) for n in lengths)
    assert plan.number == EPOCHS - 1


def test_max_steps_measure_progress():
    module, _ = train(PLANS["adaptive"], max_epochs=-1, max_steps=20)
    full = [
        s for s in module.saw if len({i for t in module.saw if t[0] == s[0] for i in t[1]}) > 20
    ]
    assert len(full) == 14  # two full epochs of 7 steps: 0, 7 < 0.5 * 20
    with pytest.raises(ValueError, match="max_epochs or max_steps"):
        train(InfoBatch(), max_epochs=-1)


def test_sampler_is_left_alone_by_lightning_and_pickles():
    sampler = EpochSampler(RS2().over(N, k=10))
    assert isinstance(sampler, DistributedSampler)
    sampler.set_epoch(3)
    again = pickle.loads(pickle.dumps(sampler))
    assert list(again) == list(sampler) == RS2().over(N, k=10).epoch(3)[0].tolist()
    assert len(again) == 10


def test_the_weights_of_batches_that_are_no_dicts():
    sampler = EpochSampler(InfoBatch(delta=1.0).over(4))
    callback = Sampling(sampler)
    callback.plan.update([0, 1, 2, 3], [0.0, 0.0, 1.0, 1.0])
    sampler.set_epoch(1)
    rows = torch.tensor(list(sampler))
    want = [2.0 if i < 2 else 1.0 for i in rows.tolist()]
    assert callback.weights(rows).tolist() == want


def test_wrong_use_is_named():
    with pytest.raises(ValueError, match="signals"):
        Sampling(EpochSampler(PLANS["adaptive"].over(N)))

    class Silent(Plain):
        def training_step(self, batch, batch_idx):
            return super().training_step(batch, batch_idx)["loss"]

    class NoIndex(Points):
        def __getitem__(self, i):
            return {k: v for k, v in super().__getitem__(i).items() if k != "index"}

    def fit(module, data):
        sampler = EpochSampler(RS2().over(N, k=20))
        fitter = pl.Trainer(
            max_epochs=1,
            callbacks=[Sampling(sampler)],
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            enable_checkpointing=False,
        )
        fitter.fit(module, DataLoader(data, batch_size=8, sampler=sampler))

    with pytest.raises(ValueError, match="training_step"):
        fit(Silent(), Points())
    with pytest.raises(ValueError, match="index"):
        fit(Plain(), NoIndex())


def _ddp(rank, port, folder, ckpt, queue):
    import os

    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "LOCAL_RANK": str(rank),
        "NODE_RANK": "0",
        "WORLD_SIZE": "2",
    }
    os.environ["RANK"] = str(rank)
    os.environ["TORCHELASTIC_RUN_ID"] = "test"
    torch.set_num_threads(1)
    module, plan = train(
        InfoBatch(), devices=2, strategy="ddp", ckpt=ckpt, save=folder if ckpt is None else None,
        **({"checkpoint": {"every_n_train_steps": 5}} if ckpt is None else {}),
    )  # fmt: skip
    queue.put((rank, module.saw, plan.losses.tolist()))


def two(folder, ckpt):
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    queue = CONTEXT.Queue()
    processes = [
        CONTEXT.Process(target=_ddp, args=(r, port, str(folder), ckpt, queue)) for r in range(2)
    ]
    for p in processes:
        p.start()
    got = sorted(queue.get(timeout=200) for _ in processes)
    for p in processes:
        p.join(60)
    return got


@pytest.mark.slow
def test_two_processes_under_ddp_share_every_epoch_and_resume_in_the_middle(tmp_path):
    (_, saw0, losses0), (_, saw1, losses1) = two(tmp_path, None)
    assert np.array_equal(losses0, losses1, equal_nan=True)
    for epoch in range(EPOCHS):
        a, b = ([i for s in saw if s[0] == epoch for i in s[1]] for saw in (saw0, saw1))
        assert len(a) == len(b)
        assert len(set(a) & set(b)) <= 1  # filled up by at most one
        if epoch == 0:
            assert set(a) | set(b) == set(range(N))
    for file in sorted(tmp_path.glob("*.ckpt")):
        step = int(file.stem.split("=")[1])
        (_, again0, _), (_, again1, _) = two(tmp_path, str(file))
        assert (again0, again1) == (saw0[step:], saw1[step:])
        break
