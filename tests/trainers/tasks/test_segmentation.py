"""A real segmentation network in the loops, on cut-outs pasted on photographs."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from coreset.core.store import Store
from coreset.registry import strategy as by_name
from coreset.runs.run_folder import RunFolder
from coreset.trainers.data.coco import coco_folder
from coreset.trainers.learners.fit import Fitter, TrainingConfig
from coreset.trainers.loops.in_memory import assemble, context_of
from coreset.trainers.loops.plan import make_plan
from coreset.trainers.loops.rounds import run
from coreset.trainers.oracles import HiddenLabels
from coreset.trainers.tasks.features import ModelFeatures
from coreset.trainers.tasks.segmentation import (
    LitSegmenter,
    Segmentation,
    SegmentationBatches,
    _inside,
    logits_of,
    segmenter,
)

TASK = Segmentation(size=(72, 96), batch_size=4)


@pytest.fixture(scope="module")
def data(stamps_folder, tmp_path_factory):
    return coco_folder(str(stamps_folder), cache=str(tmp_path_factory.mktemp("cache")))


def small(num_classes, in_channels, image_size):
    """A network of the user's own: no backbone, no mapping, half the resolution."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, 1, 1),
        nn.ReLU(),
        nn.Conv2d(8, num_classes, 1),
    )


def job(data, tmp_path, name, mode, budget, options=None, model=small, steps=6):
    strategy = by_name(name, options)
    plan = make_plan(strategy, budget, len(data.images), mode, 6, model=TASK.signals)
    recipe = TrainingConfig(steps=steps, batch_size=4, precision="32", lr=0.003)
    fitter = Fitter(data, model, {"accelerator": "cpu"}, False, False, TASK)
    record = RunFolder(tmp_path / f"{name}_{mode}", {"n": name}, plan.rounds, name, 0, TASK.metric)
    store = Store(tmp_path / "store")
    project = assemble(strategy, fitter, recipe, recipe, ModelFeatures(), store)
    return context_of(project, plan, HiddenLabels(data.labels), store, record, 0)


def test_a_network_of_the_users_own_in_both_loops(data, tmp_path):
    j = job(data, tmp_path, "top_k", "active", [10, 14], {"signal": "uncertainty"})
    run(j)
    entries = [
        json.loads(line) for line in (j.folder.path / "ledger.jsonl").read_text().splitlines()
    ]
    assert [e["labels"] for e in entries] == [6, 10, 14]
    assert j.folder.curve.metric == "mIoU"
    assert all(0 <= p.value <= 1 for p in j.folder.points)
    p = job(data, tmp_path, "kcenter", "prune", [5])
    run(p)
    assert len(p.folder.ledger[0]["indices"]) == 5


@pytest.mark.slow
def test_lraspp_learns(data):
    torch.manual_seed(0)
    module = TASK.module(segmenter(4, 3, 64), data, steps=40, lr=0.003, weight_decay=0.0)
    module.log = lambda *_, **__: None
    adam = torch.optim.Adam(module.parameters(), lr=3e-3)
    losses = []
    for batch in TASK.train(
        data, data.labels, np.arange(24), None, steps=40, batch_size=4, seed=0, augment=True
    ):
        loss = module.training_step(batch, 0)["loss"]
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(loss.item())
    assert np.mean(losses[-6:]) < 0.5 * np.mean(losses[:3])
    with (
        torch.no_grad()
        # batch norm as in training: from nothing, its running averages need more steps than a test
        # has
    ):
        for batch in TASK.test(data):
            module.test_step(batch, 0)
    logged = {}
    module.log = lambda name, value: logged.update({name: float(value)})
    module.on_test_epoch_end()
    assert 0.2 < logged["test/mIoU"] <= 1


def test_the_metric_counts_all_images_together_and_no_ignored_pixel():
    rng = np.random.default_rng(0)
    module = LitSegmenter(
        nn.Conv2d(3, 4, 1), (0.5,) * 3, (0.2,) * 3, classes=4, steps=1, lr=0.1, weight_decay=0.0
    )
    confusion = np.zeros((4, 4))
    for _ in range(3):
        # class 3 never occurs, but may be predicted
        target = torch.from_numpy(rng.choice([0, 1, 2, 255], (2, 5, 7)))
        batch = {
            "image": torch.from_numpy(rng.random((2, 3, 5, 7)).astype(np.float32)),
            "target": target,
        }
        with torch.no_grad():
            predicted = module(batch).argmax(dim=1).numpy()
        module.test_step(batch, 0)
        seen = target.numpy() != 255
        np.add.at(confusion, (target.numpy()[seen], predicted[seen]), 1)
    union = confusion.sum(0) + confusion.sum(1) - np.diag(confusion)
    logged = {}
    module.log = lambda name, value: logged.update({name: float(value)})
    module.on_test_epoch_end()
    assert logged["test/mIoU"] == pytest.approx(
        (np.diag(confusion)[union > 0] / union[union > 0]).mean(), abs=1e-6
    )


def test_the_loss_is_weighted_per_image_and_passes_over_ignored_pixels():
    module = LitSegmenter(
        nn.Conv2d(3, 2, 1), (0.0,) * 3, (1.0,) * 3, classes=2, steps=1, lr=0.1, weight_decay=0.0
    )
    module.log = lambda *_, **__: None
    x, target = torch.rand(2, 3, 2, 2), torch.tensor([[[0, 1], [255, 1]], [[255, 255], [0, 0]]])
    got = module.training_step(
        {"image": x, "target": target, "weight": torch.tensor([0.5, 1.5])}, 0
    )["loss"].item()
    logits = module.model(x).detach().numpy().astype(np.float64)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    first = -(log_p[0, 0, 0, 0] + log_p[0, 1, 0, 1] + log_p[0, 1, 1, 1]) / 3
    second = -(log_p[1, 0, 1, 0] + log_p[1, 0, 1, 1]) / 2
    assert got == pytest.approx((0.5 * first + 1.5 * second) / 2, rel=1e-5)


def test_masks_are_flipped_with_their_image_and_keep_their_classes(data):
    rows = np.arange(3)
    plain = next(iter(SegmentationBatches(data.part, rows, (72, 96), 3)))
    assert set(plain["target"].unique().tolist()) <= {0, 1, 2, 3}
    for at in rows:
        # the size is that of the images
        assert np.array_equal(plain["target"][at].numpy(), data.part.class_map(at))
    for batch in SegmentationBatches(data.part, rows, (72, 96), 3, steps=4, seed=1, augment=True):
        for i, at in enumerate(batch["index"].tolist()):
            same = torch.equal(batch["image"][i], plain["image"][at])
            assert same or torch.equal(batch["image"][i].flip(2), plain["image"][at])
            want = plain["target"][at] if same else plain["target"][at].flip(1)
            assert torch.equal(batch["target"][i], want)


def test_no_batch_of_one(data):
    assert [
        len(b["index"]) for b in SegmentationBatches(data.part, np.arange(5), (8, 8), 4, steps=2)
    ] == [5, 5]
    assert [
        len(b["index"]) for b in SegmentationBatches(data.part, np.arange(1), (8, 8), 4, steps=1)
    ] == [2]
    assert [len(b["index"]) for b in SegmentationBatches(data.part, np.arange(5), (8, 8), 4)] == [
        4,
        1,
    ]


def test_any_batching_measures_the_same(data):
    torch.manual_seed(0)
    model, rows = small(4, 3, 64), np.array([4, 1, 7, 2, 20])
    ask = {"device": torch.device("cpu"), "members": 0, "seed": 0, "bf16": False}
    one, two = (
        Segmentation((72, 96), batch_size=b).measure(
            model, data, rows, ["uncertainty", "features"], **ask
        )
        for b in (1, 3)
    )
    np.testing.assert_allclose(one["uncertainty"], two["uncertainty"], rtol=1e-5)
    np.testing.assert_allclose(one["features"], two["features"], rtol=1e-4, atol=1e-6)
    assert one["features"].shape == (5, 8)


def test_networks_in_use():
    net = segmenter(5, 3, 64).eval()
    with torch.no_grad():
        assert logits_of(net, torch.rand(1, 3, 40, 56)).shape == (1, 5, 40, 56)
        assert logits_of(small(5, 3, 64), torch.rand(1, 3, 40, 56)).shape == (1, 5, 40, 56)
    assert _inside(net) is net.backbone
    with pytest.raises(
        ValueError, match="expected a backbone, an encoder or at least two convolutions"
    ):
        _inside(nn.Conv2d(3, 2, 1))


def test_bad_input(data):
    with pytest.raises(ValueError, match="torchvision has no segmentation network 'unet'"):
        segmenter(3, 3, 64, "unet")
    with pytest.raises(ValueError, match="bald needs several members"):
        Segmentation(score="bald")
    with pytest.raises(ValueError, match="reduce: expected"):
        Segmentation(reduce="median")
    with pytest.raises(ValueError, match="task.size: expected height and width"):
        Segmentation(size=(3,))
