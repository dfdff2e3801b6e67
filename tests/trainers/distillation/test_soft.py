"""Training on soft labels: what a batch shows and is told, the loss, whom an online label comes
from.
"""

from functools import partial

import numpy as np
import pytest
import torch

from coreset.core.store import Store
from coreset.distillation import Synthetic, Teacher
from coreset.distillation.nn.convnet import convnet, random_net
from coreset.distillation.soft import crop_labels, fixed_labels, online_labels
from coreset.distillation.views import Views, look
from coreset.runs.run_folder import RunFolder
from coreset.strategies.baseline.random import Random
from coreset.strategies.distill.rded import Rded
from coreset.strategies.distill.soft_labels import SoftLabels, choose
from coreset.strategies.distill.sre2l import Sre2l
from coreset.trainers.data.batches import TrainStream
from coreset.trainers.data.sources import digits
from coreset.trainers.distillation.round import DistilledTask, fit_distilled, source_of
from coreset.trainers.distillation.soft import LitSoft, Soft
from coreset.trainers.distillation.teacher import Teachers
from coreset.trainers.learners.fit import Fitter, TrainingConfig
from coreset.trainers.loops.gallery import write_gallery
from coreset.trainers.loops.in_memory import assemble, context_of
from coreset.trainers.loops.plan import make_plan
from coreset.trainers.loops.rounds import run
from coreset.trainers.oracles import HiddenLabels
from coreset.trainers.tasks.features import ModelFeatures
from coreset.trainers.tasks.models import small_cnn

DATA = digits()
ASKED = {"network": None, "epoch": None}


def teacher(classes=DATA.classes):
    return Teacher(random_net(convnet(10, 1, 8, width=8), 3), classes)


def synthetic(decode=1):
    return Synthetic(
        DATA.images[:20].transpose(0, 3, 1, 2),
        DATA.labels[:20],
        DATA.classes,
        DATA.mean,
        DATA.std,
        "pixels",
        decode,
    )


def batches(one, steps=9, augment=True, asked=None):
    soft = Soft.of(one, asked)
    assert soft is not None
    task = DistilledTask(one.pixels(), one.temperature, soft)
    n = len(one.pixels())
    shape = {"steps": steps, "batch_size": 8, "seed": 5, "augment": augment}
    return soft, task.train(DATA, soft.labels, np.arange(n), None, **shape)


def test_labels_of_crops_come_with_the_crop_they_are_of():
    one = crop_labels(
        synthetic(), teacher(), Views((0.3, 1.0)), 2, seed=0, temperature=4.0, mix=0.25
    )
    x = torch.from_numpy(one.normalized())
    seen_epochs = set()
    _, stream = batches(one)
    assert len(stream) == 9
    for batch in stream:
        rows, e = batch["index"].numpy(), int(batch["epoch"])
        seen_epochs.add(e)
        want = look(x, one.views[e % 2], rows)
        got = (batch["image"].permute(0, 3, 1, 2) / 255 - DATA.mean[0]) / DATA.std[0]
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)
        z = one.labels[e % 2][rows].astype(np.float64) / 4
        np.testing.assert_allclose(
            batch["label"], np.exp(z) / np.exp(z).sum(1, keepdims=True), rtol=1e-5
        )
        assert batch["truth"].tolist() == DATA.labels[rows].tolist()
        assert "shift" not in batch
        # what a student that is the teacher would lose: the labels' own entropy, and the hard part
        again = teacher().logits(want) / 4
        torch.testing.assert_close(again.softmax(1), batch["label"], rtol=1e-2, atol=1e-3)
    assert seen_epochs == {0, 1, 2}


def test_an_online_teacher_is_asked_about_what_the_student_sees():
    one = online_labels(synthetic(), teacher(), Views((0.3, 1.0)), ASKED, 20.0, mix=0.1)
    soft, stream = batches(one, asked=teacher())
    lit = LitSoft(
        small_cnn(10, 1, 8), DATA.mean, DATA.std, soft=soft, steps=1, lr=0.1, weight_decay=0.0
    )
    before = [p.clone() for p in teacher().model.parameters()]
    views = []
    for batch in stream:
        views.append(batch["image"])
        logits = torch.randn(len(batch["truth"]), 10, generator=torch.Generator().manual_seed(0))
        x = (batch["image"].permute(0, 3, 1, 2).double() / 255 - DATA.mean[0]) / DATA.std[0]
        p = np.exp(teacher().model.double()(x).detach().numpy() / 20)
        p /= p.sum(1, keepdims=True)
        q = logits.double().numpy()
        log_t = q / 20 - np.log(np.exp(q / 20).sum(1, keepdims=True))
        log_1 = q - np.log(np.exp(q).sum(1, keepdims=True))
        want = 0.9 * -(p * log_t).sum(1) + 0.1 * -log_1[np.arange(len(q)), batch["truth"]]
        np.testing.assert_allclose(lit.losses(batch, logits).numpy(), want, rtol=1e-4)
    again = [b["image"] for b in batches(one, asked=teacher())[1]]
    assert all(torch.equal(a, b) for a, b in zip(views, again, strict=True))
    assert not any("asked" in name for name in lit.state_dict())
    assert all(
        torch.equal(a, b) for a, b in zip(before, soft.teacher.model.parameters(), strict=True)
    )
    _, plain = batches(one, augment=False, asked=teacher())
    for batch in plain:
        torch.testing.assert_close(
            batch["image"], torch.from_numpy(DATA.images[batch["index"].numpy()]).float()
        )


def test_hard_labels_mixed_in_at_a_share_of_one_are_hard_labels():
    fitter, recipe = (
        Fitter(DATA, small_cnn, {"accelerator": "cpu"}),
        TrainingConfig(steps=4, precision="32"),
    )
    hard = fit_distilled(fitter, recipe, synthetic(), (0, 1), test=False).model.state_dict()
    soft = fixed_labels(synthetic(), teacher(), temperature=5.0, mix=1.0)
    mixed = fit_distilled(fitter, recipe, soft, (0, 1), test=False).model.state_dict()
    half = fit_distilled(
        fitter,
        recipe,
        fixed_labels(synthetic(), teacher(), temperature=5.0, mix=0.5),
        (0, 1),
        test=False,
    ).model.state_dict()
    assert all(torch.allclose(hard[k].float(), mixed[k].float(), atol=1e-6) for k in hard)
    assert not all(torch.allclose(hard[k].float(), half[k].float(), atol=1e-6) for k in hard)


@pytest.mark.parametrize("decode", [1, 2])
def test_every_kind_trains(decode):
    fitter, recipe = Fitter(DATA, small_cnn, {"accelerator": "cpu"}), TrainingConfig(steps=3)
    t = teacher()
    for one in (
        fixed_labels(synthetic(decode), t),
        crop_labels(synthetic(decode), t, Views(), 2, seed=0),
        online_labels(synthetic(decode), t, Views(), ASKED),
    ):
        a, b = (fit_distilled(fitter, recipe, one, (0, 1), teacher=t) for _ in range(2))
        assert a.accuracy == b.accuracy


def test_online_labels_need_their_teacher():
    one = online_labels(synthetic(), teacher(), Views(), ASKED)
    with pytest.raises(ValueError, match="expected the teacher"):
        Soft.of(one)
    with pytest.raises(ValueError, match="another order"):
        Soft.of(one, teacher(DATA.classes[::-1]))
    assert Soft.of(synthetic()) is None
    assert Soft.of(fixed_labels(synthetic(), teacher())) is None
    assert isinstance(DistilledTask(synthetic().pixels()).train(DATA, DATA.labels, np.arange(20), None, steps=1, batch_size=4, seed=0, augment=False), TrainStream)  # fmt: skip


class Killed(BaseException):
    pass


def job(folder, store, options, stop=None):
    method = SoftLabels(**options)
    plan = make_plan(method, [10, 20], len(DATA.images))
    fitter, proxy = (
        Fitter(DATA, small_cnn, {"accelerator": "cpu"}),
        TrainingConfig(steps=None, epochs=2),
    )
    project = assemble(
        method, fitter, TrainingConfig(steps=6), proxy, ModelFeatures(), Store(store), 3
    )
    record = RunFolder(folder, {"n": 1}, plan.rounds, "soft", 0)

    def kill(number, what):
        if stop is not None and number == 1 and stop in what:
            raise Killed

    oracle = HiddenLabels(DATA.labels)
    return context_of(project, plan, oracle, Store(store), record, 0, members=3, progress=kill)


@pytest.mark.parametrize(
    ("options", "stop"),
    [
        ({"labels": "online", "epoch": 1}, "training"),
        ({"labels": "crops", "crops": 10, "base": Sre2l(steps=10)}, "step 10 of 10"),
        ({"labels": "fixed", "hard": 0.5, "base": "kcenter"}, "training"),
    ],
)
@pytest.mark.filterwarnings("ignore:Sre2l")
def test_a_run_that_was_killed_goes_on_to_the_same_curve(tmp_path, options, stop):
    whole = job(tmp_path / "whole", tmp_path / "store", options)
    run(whole)
    with pytest.raises(Killed):
        run(job(tmp_path / "killed", tmp_path / "store", options, stop))
    again = job(tmp_path / "killed", tmp_path / "store", options)
    run(again)
    for number in (0, 1):
        a, b = (Synthetic.load(j.folder.round(number) / "synthetic") for j in (whole, again))
        assert a.images.tobytes() == b.images.tobytes()
        assert a.labels.tobytes() == b.labels.tobytes()
    assert [p.value for p in whole.folder.points] == [p.value for p in again.folder.points]
    entry = again.folder.ledger[1]["synthetic"]
    assert entry["label_kind"] == b.kind
    assert entry["bytes"] == b.nbytes
    assert entry["labels_used"] == len(DATA.images)
    write_gallery(again)
    with np.load(again.folder.path / "gallery.npz") as g:
        assert g["thumbs"].shape == (30, 8, 8, 1)


@pytest.mark.slow
def test_on_digits_easy_crops_and_soft_labels_beat_random_images_and_shuffled_labels_teach_nothing(
    tmp_path,
):
    fitter = Fitter(DATA, partial(convnet, width=32), {"accelerator": "cpu"})
    recipe, value = TrainingConfig(steps=150), {}
    for labels in (DATA.labels, np.random.default_rng(0).permutation(DATA.labels)):
        make = Teachers(
            fitter, TrainingConfig(steps=None, epochs=5, batch_size=128), Store(tmp_path), 0, "c", torch.device("cpu"), labels
        )  # fmt: skip
        source = source_of(DATA, labels, teacher=make)
        easy = Rded(images=120)(source, 1, np.random.default_rng(0))
        if labels is not DATA.labels:
            value["shuffled"] = fit_distilled(fitter, recipe, easy, (0, 1)).accuracy
            continue
        plain = source.real(choose(Random(), source, make(), 1, 0))
        for name, one in (("random", plain), ("rded", easy)):
            soft = crop_labels(one, make(), Views(), 40, 0)
            value[name] = fit_distilled(fitter, recipe, one, (0, 1)).accuracy
            value[f"{name} soft"] = fit_distilled(fitter, recipe, soft, (0, 1)).accuracy
    assert value["rded"] > value["random"] + 0.05
    assert value["random soft"] > value["random"] + 0.08
    assert value["rded soft"] > 0.8
    assert value["shuffled"] < 0.2
