import numpy as np
import pytest
import torch
from torch import nn

from coreset.trainers.data.sources import digits
from coreset.trainers.learners.fit import Fitter, TrainingConfig
from coreset.trainers.tasks.models import small_cnn
from coreset.trainers.tasks.module import LitClassifier

CPU = {"accelerator": "cpu"}


@pytest.fixture(scope="module")
def fitter():
    return Fitter(digits(), small_cnn, CPU)


def test_the_same_seed_gives_the_same_weights_and_no_other_does(fitter):
    rows, labels = np.arange(60), fitter.data.labels
    one, two, three = (
        fitter.fit(TrainingConfig(steps=5), labels, rows, seed=s) for s in ((1, 2), (1, 2), (1, 3))
    )
    first = {k: v for k, v in one.model.state_dict().items() if v.is_floating_point()}
    assert all(torch.equal(v, two.model.state_dict()[k]) for k, v in first.items())
    assert not all(torch.equal(v, three.model.state_dict()[k]) for k, v in first.items())
    assert one.accuracy == two.accuracy


def test_learns_digits(fitter):
    got = fitter.fit(
        TrainingConfig(steps=150),
        fitter.data.labels,
        np.arange(len(fitter.data.images)),
        seed=(0, 1),
    )
    assert got.accuracy > 0.95
    right = got.accuracy * len(fitter.data.test_labels)
    assert right == pytest.approx(round(right), abs=1e-9)  # an exact fraction


def test_weights_change_the_loss_as_the_formula_says(fitter):
    torch.manual_seed(0)
    lit = LitClassifier(
        small_cnn(10, 1, 8).eval(), (0.5,), (0.25,), steps=1, lr=0.1, weight_decay=0
    )
    lit.log = lambda *a, **k: None
    image, label = (
        torch.from_numpy(fitter.data.images[:6]),
        torch.from_numpy(fitter.data.labels[:6]),
    )
    weight = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 1.0])
    out = lit.training_step({"image": image, "label": label, "weight": weight}, 0)
    x = (fitter.data.images[:6].transpose(0, 3, 1, 2) / 255 - 0.5) / 0.25
    z = lit.model(torch.tensor(x, dtype=torch.float32)).detach().double().numpy()
    losses = np.log(np.exp(z).sum(1)) - z[np.arange(6), label.numpy()]
    assert out["loss"].item() == pytest.approx(float((losses * weight.numpy()).mean()), rel=1e-5)


def test_validation_labels_come_from_the_selection_and_count(fitter, tmp_path):
    rows = np.arange(50)
    got = fitter.fit(
        TrainingConfig(steps=20, val_share=0.2),
        fitter.data.labels,
        rows,
        seed=(0, 0),
        scratch=tmp_path,
    )
    assert got.val_accuracy is not None
    # 10 of the 50
    assert (got.val_accuracy * 10) == pytest.approx(round(got.val_accuracy * 10), abs=1e-6)
    assert not list(tmp_path.glob("*.ckpt"))


def test_starts_from_given_weights(fitter):
    rows, labels = np.arange(40), fitter.data.labels
    first = fitter.fit(TrainingConfig(steps=30), labels, rows, seed=(0, 0)).model.state_dict()
    again = fitter.fit(
        TrainingConfig(steps=1, lr=1e-12), labels, rows, seed=(5, 5), start=first
    ).model.state_dict()
    assert torch.allclose(again["0.weight"], first["0.weight"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"epochs": 2}, "either steps or epochs"),
        ({"steps": 0}, "^steps: "),
        ({"steps": "many"}, "^steps: .* or auto"),
        ({"optimizer": "adam"}, "^optimizer: expected adamw, sgd, sgd_plain, got 'adam'"),
        ({"schedule": "linear"}, "^schedule: expected cosine, step"),
        ({"lr": 0}, "^lr: "),
        ({"lr": float("nan")}, "^lr: "),
        ({"warmup": 1.0}, "^warmup: "),
        ({"augment": "yes"}, "^augment: expected true, false, auto"),
        ({"precision": "8"}, "precision"),
        ({"val_share": 1.0}, "val_share"),
        ({"batch_size": 1.5}, "batch_size"),
    ],
)
def test_wrong_recipes_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        TrainingConfig(**options)


def test_steps_by_rule_grow_with_the_examples():
    """15 sqrt(n), at least 400, at least 8 passes, by another formula than the code's."""
    recipe, last = TrainingConfig(), 0
    for n in (1, 100, 494, 1297, 6000, 18_000, 60_000, 200_000, 1_281_167):
        batches = int(np.ceil(n / 128))
        steps = recipe.total_steps(n)
        assert steps == max(400, int(np.rint((225 * n) ** 0.5)), 8 * batches)
        assert steps >= last
        assert recipe.total_epochs(n) == pytest.approx(steps / batches)
        last = steps


def test_what_the_second_half_gained_is_recorded_and_changes_nothing(fitter, monkeypatch):
    """Two epochs more or less do not matter where 400 steps were; one step of ten is a slope."""
    rows, labels = np.arange(300), fitter.data.labels
    short = fitter.fit(TrainingConfig(steps=12), labels, rows, seed=(0, 0))
    assert short.trace.steps == 12
    assert short.trace.passes == 12 / 3
    assert short.trace.on_slope
    assert short.trace.final == short.accuracy
    assert short.trace.gain == short.accuracy - short.trace.half > 0.02
    long = fitter.fit(TrainingConfig(steps=300), labels, rows, seed=(0, 0))
    assert not long.trace.on_slope
    assert 0.5 < long.trace.half <= 1
    assert len(long.trace.losses) == 20
    assert long.trace.losses[0] > 5 * long.trace.losses[-1]
    monkeypatch.setattr("coreset.trainers.learners.trace.RecordTrace._average", lambda *a: None)
    plain = fitter.fit(TrainingConfig(steps=12), labels, rows, seed=(0, 0)).model.state_dict()
    assert all(torch.equal(v, plain[k]) for k, v in short.model.state_dict().items())


def test_epochs_become_steps():
    assert TrainingConfig(steps=None, epochs=3, batch_size=64).total_steps(130) == 9


def test_any_module_trains(fitter):
    def plain(num_classes, in_channels, image_size):
        return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * image_size**2, num_classes))

    got = Fitter(fitter.data, plain, CPU).fit(
        TrainingConfig(steps=40, optimizer="sgd", lr=0.1),
        fitter.data.labels,
        np.arange(200),
        seed=(0, 0),
    )
    assert got.accuracy > 0.6
