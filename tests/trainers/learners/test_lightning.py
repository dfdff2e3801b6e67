"""LightningLearner with projects that were not written for it."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.demos.boring_classes import BoringDataModule, BoringModel
from torch import nn
from torch.utils.data import DataLoader

sys.path.append(str(Path(__file__).parents[1] / "projects"))  # processes of DDP import them too

import own_digits
import own_vision

import coreset.trainers
from coreset.core.learner import Learner
from coreset.trainers.learners.lightning import LightningLearner

CPU = {"accelerator": "cpu", "max_epochs": 2}
pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:pytorch_lightning"),
    pytest.mark.filterwarnings("ignore:.*lr_scheduler.step:UserWarning"),
]


def ledger(run):
    return [json.loads(line) for line in (run.folder / "ledger.jsonl").read_text().splitlines()]


def digits(**options):
    pl.seed_everything(0, verbose=False)
    return LightningLearner(
        own_digits.LitDigits(), own_digits.DigitsData(), **{"trainer": CPU, **options}
    )


def fit(learner, rows=range(100), seed=(0, 1), **options):
    return learner.fit(np.array(rows), None, seed=seed, **options)


def test_it_is_a_learner_and_finds_its_way():
    learner = digits()
    learner.check()
    assert isinstance(learner, Learner)
    assert learner.size == 1300
    assert learner.metric == "test_acc"
    assert learner.classes == tuple("0123456789")
    assert learner.available == {"features", "logits", "probs", "member_probs"}


def test_signals_are_the_modules_own_in_any_batching():
    learner = digits(members=4)
    fit(learner)
    rows = np.array([5, 900, 17, 3])
    columns = learner.signals(rows, ["features", "logits", "probs", "member_probs"], seed=3)
    module = learner._models[0].eval()
    x = own_digits.tensors("train")[0][rows]
    with torch.no_grad():
        hidden = module.net[:2](x)
        logits = module.net[3](hidden)
    np.testing.assert_allclose(columns["features"], hidden, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(columns["logits"], logits, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(columns["probs"], logits.softmax(1), rtol=1e-5)
    assert columns["member_probs"].shape == (4, 4, 10)
    assert columns["member_probs"].std(axis=1).max() > 1e-3
    again = learner.signals(rows[::-1].copy(), ["member_probs"], seed=3)["member_probs"][::-1]
    np.testing.assert_allclose(again, columns["member_probs"], rtol=1e-4, atol=1e-6)


def test_a_training_is_the_users_own_fit_on_a_subset():
    """The same weights as Trainer.fit by hand on the same subset at the same seed."""
    learner, rows = digits(), np.arange(0, 1300, 13)
    fit(learner, rows, seed=(4, 2))
    pl.seed_everything(0, verbose=False)
    module, data = own_digits.LitDigits(), own_digits.DigitsData()
    data.setup("fit")
    pl.seed_everything(
        int(np.random.default_rng([4, 2]).integers(2**31)), workers=True, verbose=False
    )
    loader = DataLoader(torch.utils.data.Subset(data.train, rows.tolist()), 32, shuffle=True)
    pl.Trainer(**CPU, logger=False, enable_checkpointing=False, enable_progress_bar=False).fit(
        module, loader
    )
    for name, value in module.state_dict().items():
        assert torch.equal(value, learner._models[0].state_dict()[name]), name


class Pairs(own_digits.LitRows):
    """Two heads: what is counted is the one of as many classes as the logits have."""

    def __init__(self):
        super().__init__()
        self.parity = nn.Linear(8 * 64, 2)

    def test_step(self, batch, batch_idx):
        x = self.body(batch["image"]).flatten(1)
        logits, _ = self.head(x), self.parity(x)
        right = (logits.argmax(dim=1) == batch["label"]).float().mean()
        self.log("accuracy", right, batch_size=len(x))


class Unlabeled(own_digits.LitDigits):
    def on_after_batch_transfer(self, batch, dataloader_idx):
        return [batch[0], batch[1].float()] if self.trainer.testing else batch

    def test_step(self, batch, batch_idx):
        self.log("test_acc", (self(batch[0]).argmax(dim=1) == batch[1]).float().mean())


@pytest.mark.parametrize("module", [own_digits.LitDigits, own_digits.LitRows, Pairs, Unlabeled])
def test_the_confusion_matrix_is_that_of_the_test(module):
    pl.seed_everything(0, verbose=False)
    rows = issubclass(module, own_digits.LitRows)
    data = own_digits.RowsData() if rows else own_digits.DigitsData()
    options = {"logits": "scores"} if rows else {}
    learner = LightningLearner(module(), data, trainer=CPU, **options)
    assert learner.confusion is None
    fit(learner, range(200))
    value = learner.test()[learner.metric]
    if module is Unlabeled:  # labels that are no whole numbers
        assert learner.confusion is None
        return
    x, y = own_digits.tensors("test")
    model = learner._current()[0].eval()
    with torch.no_grad():
        logits = model.scores({"image": x.view(-1, 1, 8, 8)}) if rows else model(x)
    counts = np.zeros((10, 10), int)
    for true, predicted in zip(y.tolist(), logits.argmax(dim=1).tolist(), strict=True):
        counts[true, predicted] += 1
    np.testing.assert_array_equal(learner.confusion, counts)
    assert np.trace(counts) / counts.sum() == pytest.approx(value, abs=0.02)
    again = learner.confusion
    learner.test()
    np.testing.assert_array_equal(learner.confusion, again)  # counted anew
    assert not model._forward_hooks


def test_every_round_starts_from_the_same_copy_and_warm_start_goes_on():
    cold, warm = digits(), digits(warm_start=True)
    states = []
    for learner in (cold, warm):
        fit(learner)
        first = learner._models[0].state_dict()
        first = {k: v.clone() for k, v in first.items()}
        fit(learner)
        states.append((first, learner._models[0].state_dict()))
    (a, b), (c, d) = states
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert all(torch.equal(a[k], c[k]) for k in a)
    assert not torch.equal(c["net.0.weight"], d["net.0.weight"])


def test_measuring_leaves_the_modes_of_training():
    """Lightning trains a module in the modes that it finds: a warm start must not find eval."""
    learner = digits(warm_start=True)
    fit(learner)
    module = learner._models[0]
    module.net[1].eval()  # the user's own choice
    learner.signals(np.arange(5), ["probs"])
    learner.test()
    assert [m.training for m in module.net] == [True, False, True, True]


def test_a_factory_makes_another_module_at_another_seed():
    learner = LightningLearner(own_digits.LitDigits, own_digits.DigitsData(), trainer=CPU)
    weights = [learner._fresh(s).state_dict()["net.0.weight"] for s in ((1,), (1,), (2,))]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_an_ensemble_gives_members(tmp_path):
    learner = digits(ensemble=3)
    fit(learner)
    rows = np.arange(20)
    members = learner.signals(rows, ["member_probs"])["member_probs"]
    assert members.shape == (20, 3, 10)
    learner.save(tmp_path / "m.safetensors")
    other = digits(ensemble=3)
    other.load(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(other.signals(rows, ["member_probs"])["member_probs"], members)


@pytest.mark.parametrize("key", [None, "weight"])
def test_weights_are_drawn_by_or_read_from_the_batch(key):
    learner = LightningLearner(
        own_digits.LitRows(), own_digits.RowsData(), trainer=CPU, logits="scores", weight_key=key
    )
    weights = np.array([0.0, 1.0, 3.0] * 20)
    result = fit(learner, range(60), weights=weights)
    if key is None:
        assert result.info["fit"]["weights"] == "weighted sampling"
        assert learner._models[0].seen == []
    else:
        assert result.info["fit"]["weights"] == "batch entry 'weight'"
        assert set(np.round(learner._models[0].seen, 6)) == {0.0, 0.75, 2.25}


def test_weighted_sampling_draws_in_proportion():
    from coreset.trainers.learners.lightning.chosen import loader_over

    data = own_digits.DigitsData()
    data.setup("fit")
    weights = np.array([0.0, 1.0, 3.0] * 200)
    loader = loader_over(data.train_dataloader(), np.arange(600), weights=weights)
    torch.manual_seed(0)
    drawn = np.concatenate([list(loader.sampler) for _ in range(30)])
    counts = np.bincount(drawn, minlength=600).reshape(-1, 3).sum(axis=0)
    assert counts[0] == 0
    assert counts[2] / counts[1] == pytest.approx(3, rel=0.1)


def test_augmented_pools_are_measured_on_the_plain_view_or_said_aloud():
    module = own_digits.LitRows()
    noisy = LightningLearner(
        module, own_digits.RowsData(0.5), trainer=CPU, logits="scores", metric="accuracy"
    )
    with pytest.warns(UserWarning, match="augments at random .* give pool_dataset"):
        noisy.check()
    rows = np.arange(10)
    once, twice = (noisy.signals(rows, ["logits"])["logits"] for _ in range(2))
    np.testing.assert_array_equal(once, twice)  # drawn by position
    clean = LightningLearner(
        module, own_digits.RowsDataWithView(0.5), trainer=CPU, logits="scores", metric="accuracy"
    )
    clean.check()
    plain = LightningLearner(module, own_digits.RowsData(), trainer=CPU, logits="scores")
    a, b = (m.signals(rows, ["logits"])["logits"] for m in (clean, plain))
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert np.abs(a - once).max() > 0.01


@pytest.mark.parametrize("mode", ["active", "prune"])
def test_the_door_in_python(tmp_path, mode):
    pl.seed_everything(0, verbose=False)
    run = getattr(coreset.trainers, mode)(
        own_digits.LitDigits(),
        own_digits.DigitsData(),
        strategy="uherding",
        budget=[40, 80],
        trainer={"accelerator": "cpu", "max_epochs": 10},
        folder=tmp_path / "run",
    )
    assert [p.labels for p in run.curve.points] == [40, 80]
    assert run.curve.metric == "test_acc"
    assert 0.2 < run.curve.points[-1].value <= 1
    assert len(set(run.selection.indices.tolist())) == 80
    assert run.report.exists()
    entries = ledger(run)
    assert set(entries[0]["metrics"]) == {"test_acc", "test_loss"}
    assert entries[0]["fit"]["start"] == "a copy of the module as given"
    labels = own_digits.tensors("train")[1].numpy()
    histogram = np.bincount(labels[entries[0]["indices"]], minlength=10).tolist()
    assert entries[0]["class_histogram"] == histogram
    assert (run.folder / "baseline" / "random" / "curve.jsonl").exists()


def test_an_interrupted_run_goes_on_to_the_same_bytes(tmp_path, monkeypatch):
    def run(folder):
        return coreset.trainers.active(
            own_digits.LitDigits(), own_digits.DigitsData(), strategy="margin", budget=[30, 60, 90],
            trainer=CPU, folder=folder, baseline=(),
        )  # fmt: skip

    pl.seed_everything(0, verbose=False)
    whole = run(tmp_path / "whole")
    calls = []
    original = own_digits.LitDigits.training_step

    def stop(self, *args):
        calls.append(1)
        if len(calls) == 4:
            raise RuntimeError("killed")
        return original(self, *args)

    monkeypatch.setattr(own_digits.LitDigits, "training_step", stop)
    pl.seed_everything(0, verbose=False)
    with pytest.raises(RuntimeError, match="killed"):
        run(tmp_path / "cut")
    monkeypatch.undo()
    pl.seed_everything(99, verbose=False)  # another module is made: the run has kept its own
    again = run(tmp_path / "cut")
    assert (whole.folder / "curve.jsonl").read_bytes() == (
        again.folder / "curve.jsonl"
    ).read_bytes()


def test_the_first_batch_by_a_strategy(tmp_path):
    run = coreset.trainers.active(
        own_digits.LitDigits(), own_digits.DigitsData(), strategy="margin", budget=[20, 40],
        start_strategy="typiclust", trainer=CPU, folder=tmp_path / "run", baseline=(),
    )  # fmt: skip
    info = ledger(run)[0]["info"]
    assert info["start_strategy"] == "TypiClust"
    assert info["start_signals"] == "the model before any training"


def test_lightnings_own_boring_model(tmp_path):
    """Its predict_dataloader has as many other examples: they are not taken for the pool's."""
    data = BoringDataModule()
    learner = LightningLearner(BoringModel(), data, trainer=CPU)
    rows = np.array([3, 60])
    features = learner.signals(rows, ["features"])["features"]
    np.testing.assert_array_equal(features, data.random_full.data[rows])
    with pytest.warns(UserWarning, match="there is no test"):
        learner.check()
    assert learner.classes == ()


def test_lightnings_own_autoencoder(tmp_path):
    with pytest.warns(UserWarning, match="there is no test"):
        run = coreset.trainers.active(
            own_digits.LitAutoEncoder(), own_digits.DigitsData(), strategy="kcenter", budget=[20, 40],
            features="encoder", trainer=CPU, folder=tmp_path / "run", baseline=(),
        )  # fmt: skip
    assert np.isnan(run.curve.values).all()
    assert run.report is None
    assert len(run.selection.indices) == 40


@pytest.mark.parametrize(
    ("module", "data", "metric", "strategy"),
    [
        (own_vision.LitTimm, own_vision.PhotoData, "test/acc", "entropy"),
        (own_vision.LitHuggingFace, own_vision.HuggingFaceData, "test_accuracy", "badge"),
    ],
)
def test_vision_projects(tmp_path, module, data, metric, strategy):
    run = coreset.trainers.active(
        module(), data(), strategy=strategy, budget=[20, 40], trainer={**CPU, "max_epochs": 1},
        folder=tmp_path / "run", baseline=(),
    )  # fmt: skip
    assert run.curve.metric == metric
    assert len(run.curve.points) == 2
    assert np.shape(ledger(run)[-1]["confusion"]) == (10, 10)
    with np.load(run.folder / "gallery.npz") as gallery:
        assert gallery["thumbs"].shape == (40, 64, 64, 3)
        assert gallery["classes"][3] == "digit 3"


def test_a_segmentation_module(tmp_path):
    run = coreset.trainers.active(
        own_vision.LitSegmentation(), own_vision.MaskData(),
        strategy={"top_k": {"signal": "uncertainty"}}, signals={"uncertainty": "pixel_entropy"},
        budget=[10, 20], trainer=CPU, features="encoder", folder=tmp_path / "run", baseline=(),
    )  # fmt: skip
    assert run.curve.metric == "test_iou"
    assert ledger(run)[1]["class_histogram"] == []
    assert "confusion" not in ledger(run)[1]
    with pytest.raises(ValueError, match="Margin needs probs, but its logits are per position"):
        coreset.trainers.active(
            own_vision.LitSegmentation(), own_vision.MaskData(), strategy="margin",
            budget=[10, 20], trainer=CPU, folder=tmp_path / "no", baseline=(),
        )  # fmt: skip
    assert not (tmp_path / "no").exists()


@pytest.mark.slow
def test_two_processes_by_ddp(tmp_path):
    run = coreset.trainers.active(
        own_digits.LitDigits(), own_digits.DigitsData(), strategy="margin", budget=[40, 80],
        trainer={"accelerator": "cpu", "devices": 2, "strategy": "ddp", "max_epochs": 20},
        folder=tmp_path / "run", baseline=(),
    )  # fmt: skip
    assert run.curve.points[-1].value > 0.3
    # 20 epochs of 80 examples, 40 a process in batches of 32
    assert ledger(run)[1]["fit"]["steps"] == 40
