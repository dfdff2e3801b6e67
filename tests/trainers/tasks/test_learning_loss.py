"""The loss-prediction module: its loss by hand, its levels, its gradient, and a whole run on
digits.
"""

import copy
import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from coreset.core.store import Store
from coreset.distillation.nn.layers import last_linear
from coreset.registry import strategy as by_name
from coreset.runs.run_folder import RunFolder
from coreset.trainers.data.sources import digits
from coreset.trainers.learners.fit import Fitter, TrainingConfig
from coreset.trainers.loops.in_memory import assemble, context_of
from coreset.trainers.loops.plan import make_plan
from coreset.trainers.loops.rounds import run
from coreset.trainers.oracles import HiddenLabels
from coreset.trainers.tasks.features import ModelFeatures
from coreset.trainers.tasks.learning_loss import PredictsLoss, ranking_loss
from coreset.trainers.tasks.measure import measure
from coreset.trainers.tasks.models import linear, mlp, small_cnn, timm_model

DATA = digits()


def by_hand(predicted, losses, margin=1.0):
    total, pairs = 0.0, len(losses) // 2
    for i in range(pairs):
        j = len(losses) - 1 - i
        sign = 1 if losses[i] > losses[j] else -1
        total += max(0.0, -sign * (predicted[i] - predicted[j]) + margin)
    return total / pairs if pairs else 0.0


@pytest.mark.parametrize("size", [1, 2, 3, 8, 9])
def test_ranking_loss_by_hand(size):
    rng = np.random.default_rng(size)
    predicted, losses = rng.normal(size=size), rng.gamma(1.0, size=size)
    if size > 3:
        losses[0] = losses[-1]  # a tie counts as smaller
    got = ranking_loss(torch.tensor(predicted), torch.tensor(losses))
    assert got.item() == pytest.approx(by_hand(predicted, losses), abs=1e-12)
    assert ranking_loss(torch.tensor(predicted), torch.tensor(losses), 0.3).item() == pytest.approx(
        by_hand(predicted, losses, 0.3), abs=1e-12
    )


def test_levels_are_averaged_and_read_side_by_side():
    torch.manual_seed(0)
    model = PredictsLoss(small_cnn(10, 1, 8), torch.zeros(1, 1, 8, 8)).eval()
    x = torch.randn(5, 1, 8, 8)
    seen = {}
    for n in (1, 5, 10):  # what ends each resolution: 8 x 8, 4 x 4 (norms, pooled), 2 x 2 (a ReLU)
        model.model[n].register_forward_hook(
            lambda _, a, out, n=n: seen.update({n: out.detach().double().numpy()})
        )
    logits = model(x)
    assert torch.equal(logits, model.model(x))
    got = model.predicted().detach().numpy()
    parts = []
    for layer, n in zip(model.layers, (1, 5, 10), strict=True):
        pooled = np.maximum(seen[n], 0).mean(axis=(2, 3))
        parts.append(
            np.maximum(
                pooled @ layer.weight.detach().double().numpy().T
                + layer.bias.detach().double().numpy(),
                0,
            )
        )
    want = (
        np.concatenate(parts, axis=1) @ model.last.weight.detach().double().numpy().T
        + model.last.bias.item()
    )
    np.testing.assert_allclose(got, want[:, 0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "count"),
    [
        (small_cnn, 3),
        (mlp, 1),
        (linear, 1),
        (lambda *a: timm_model(*a, name="resnet18", stem="cifar"), 4),
        (lambda *a: timm_model(*a, name="vit_tiny_patch16_224"), None),
    ],
)
def test_any_model(make, count):
    torch.manual_seed(0)
    size = 32
    inner = make(4, 3, size)
    state = copy.deepcopy(inner.state_dict())
    model = PredictsLoss(inner, torch.zeros(1, 3, size, size))
    # looking at the model changed nothing
    assert all(torch.equal(v, inner.state_dict()[k]) for k, v in state.items())
    assert inner.training
    assert last_linear(model) is last_linear(inner)
    model(torch.randn(2, 3, size, size))
    assert model.predicted().shape == (2,)
    if count is not None:
        assert len(model.layers) == count
    again = pickle.loads(pickle.dumps(copy.deepcopy(model)))
    with torch.no_grad():
        for p in again.parameters():
            p.zero_()
    model.eval()(torch.ones(2, 3, size, size))
    assert model.predicted().abs().sum() > 0  # hooks of the copy are its own
    again.eval()(torch.ones(2, 3, size, size))
    assert again.predicted().abs().sum() == 0


def test_no_gradient_into_the_model_after_sixty_percent():
    torch.manual_seed(0)
    model = PredictsLoss(small_cnn(10, 1, 8), torch.zeros(1, 1, 8, 8))
    for progress, flows in ((0.0, True), (0.59, True), (0.6, False), (0.9, False)):
        model.zero_grad()
        model(torch.randn(6, 1, 8, 8))
        model.ranking_loss(torch.arange(6.0), progress).backward()
        assert (
            model.model[0].weight.grad is not None
            and bool(model.model[0].weight.grad.abs().sum() > 0)
        ) == flows
        assert model.last.weight.grad is not None
        model.zero_grad(set_to_none=True)


def test_training_begins_from_the_weights_of_the_plain_model():
    plain, predicting = (
        Fitter(DATA, small_cnn, {"accelerator": "cpu"}, predict_loss=p) for p in (False, True)
    )
    torch.manual_seed(3)
    a = plain.new_model().state_dict()
    torch.manual_seed(3)
    b = predicting.new_model().model.state_dict()
    assert all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.slow
def test_predicted_loss_ranks_the_true_losses():
    fitter = Fitter(DATA, small_cnn, {"accelerator": "cpu"}, predict_loss=True)
    fitted = fitter.fit(
        TrainingConfig(steps=250, lr=0.01), DATA.labels, np.arange(300), seed=(0, 0)
    )
    assert fitted.accuracy > 0.85
    rows = np.arange(300, len(DATA.images))
    columns = measure(
        fitted.model, DATA, rows, ["predicted_loss", "probs", "member_probs"], members=2
    )
    loss = -np.log(columns["probs"][np.arange(len(rows)), DATA.labels[rows]])
    rank = np.argsort(np.argsort(columns["predicted_loss"])), np.argsort(np.argsort(loss))
    assert np.corrcoef(*rank)[0, 1] > 0.3
    one = measure(fitted.model, DATA, rows[:7], ["predicted_loss"], batch_size=3)["predicted_loss"]
    np.testing.assert_allclose(one, columns["predicted_loss"][:7], rtol=1e-4, atol=1e-5)


def job(tmp_path, name, mode, folder="run", stop=False):
    strategy = by_name(name, {"epochs": 20} if name == "coregcn" else None)
    plan = make_plan(strategy, [30, 60], len(DATA.images), mode, 15)
    predicts = "predicted_loss" in plan.needs
    fitter = Fitter(DATA, small_cnn, {"accelerator": "cpu"}, predict_loss=predicts)
    store, proxy = Store(tmp_path / "store"), TrainingConfig(steps=None, epochs=1)
    project = assemble(strategy, fitter, TrainingConfig(steps=6), proxy, ModelFeatures(), store, 3)
    record = RunFolder(tmp_path / folder, {"n": name}, plan.rounds, name, 0)
    oracle = HiddenLabels(DATA.labels)
    return context_of(project, plan, oracle, store, record, 0, members=3)


@pytest.mark.parametrize(
    ("name", "mode"),
    [("learning_loss", "active"), ("coregcn", "active"), ("learning_loss", "prune")],
)
def test_whole_runs_and_resume(tmp_path, name, mode):
    whole = job(tmp_path, name, mode)
    run(whole)
    entries = [
        json.loads(line) for line in (whole.folder.path / "ledger.jsonl").read_text().splitlines()
    ]
    assert [e["labels"] for e in entries] == ([15, 30, 60] if mode == "active" else [30, 60])
    if mode == "active":
        rows = [i for e in entries for i in e["indices"]]
        assert len(rows) == len(set(rows)) == 60

    class Stop(Exception):
        pass

    cut = job(tmp_path, name, mode, "cut")

    def stop(number, what):
        if number == 1 and what == "training":
            raise Stop

    cut = replace(cut, progress=stop)
    with pytest.raises(Stop):
        run(cut)
    rest = job(tmp_path, name, mode, "cut")
    run(rest)
    assert (whole.folder.path / "curve.jsonl").read_bytes() == (
        rest.folder.path / "curve.jsonl"
    ).read_bytes()


def test_a_model_that_predicts_nothing_is_named():
    with pytest.raises(ValueError, match="predict_loss=True"):
        measure(small_cnn(10, 1, 8), DATA, np.arange(3), ["predicted_loss"])
    with pytest.raises(ValueError, match="found none"):
        PredictsLoss(nn.Flatten(), torch.zeros(1, 1, 4, 4))
