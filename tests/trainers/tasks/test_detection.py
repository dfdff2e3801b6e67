"""A real torchvision detector in the loops, on cut-outs pasted on photographs."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from coreset.core.store import Store
from coreset.registry import strategy as by_name
from coreset.runs.run_folder import RunFolder
from coreset.trainers.data.coco import coco_folder
from coreset.trainers.learners.fit import Fitter, TrainingConfig
from coreset.trainers.loops.gallery import write_gallery
from coreset.trainers.loops.in_memory import assemble, context_of
from coreset.trainers.loops.plan import make_plan
from coreset.trainers.loops.rounds import run
from coreset.trainers.oracles import HiddenLabels
from coreset.trainers.tasks.detection import (
    Detection,
    DetectionBatches,
    LitDetector,
    detector,
    same_size,
)
from coreset.trainers.tasks.features import ModelFeatures
from coreset.vision import Detections, aggregate, box_scores

TINY = {
    "min_size": 72, "max_size": 96, "box_batch_size_per_image": 16, "rpn_batch_size_per_image": 32, "rpn_pre_nms_top_n_train": 60, "rpn_post_nms_top_n_train": 30,
    "rpn_pre_nms_top_n_test": 60, "rpn_post_nms_top_n_test": 30, "box_detections_per_img": 10,
}  # fmt: skip
MODEL = partial(detector, options=TINY)


@pytest.fixture(scope="module")
def data(stamps_folder, tmp_path_factory):
    return coco_folder(str(stamps_folder), cache=str(tmp_path_factory.mktemp("cache")))


def job(data, tmp_path, name, mode, budget, options=None, task=None, folder="run"):
    task = task or Detection(score_threshold=0.0)
    strategy = task.wrap(by_name(name, options))
    plan = make_plan(strategy, budget, len(data.images), mode, 6, model=task.signals)
    recipe = TrainingConfig(steps=2, batch_size=2, precision="32")
    fitter = Fitter(data, MODEL, {"accelerator": "cpu"}, False, False, task)
    record = RunFolder(tmp_path / folder, {"n": name}, plan.rounds, name, 0, task.metric)
    store = Store(tmp_path / "store")
    project = assemble(strategy, fitter, recipe, recipe, ModelFeatures(), store)
    return context_of(project, plan, HiddenLabels(data.labels), store, record, 0)


@pytest.mark.slow
def test_active_and_prune_are_the_same_loops(data, tmp_path):
    j = job(data, tmp_path, "top_k", "active", [10, 14], {"signal": "uncertainty"})
    run(j)
    entries = [
        json.loads(line) for line in (j.folder.path / "ledger.jsonl").read_text().splitlines()
    ]
    assert [e["labels"] for e in entries] == [6, 10, 14]
    rows = [i for e in entries for i in e["indices"]]
    assert len(set(rows)) == 14
    assert j.folder.curve.metric == "mAP"
    assert all(0 <= p.value <= 1 for p in j.folder.points)
    write_gallery(j)
    with np.load(j.folder.path / "gallery.npz") as g:
        assert g["thumbs"].shape == (14, 64, 64, 3)
    again = job(
        data, tmp_path, "top_k", "active", [10, 14], {"signal": "uncertainty"}, folder="again"
    )
    run(again)
    assert again.folder.points == j.folder.points
    p = job(data, tmp_path, "kcenter", "prune", [5], folder="prune")
    run(p)
    assert len(p.folder.ledger[0]["indices"]) == 5


@pytest.mark.slow
def test_it_learns(data):
    torch.manual_seed(0)
    module = LitDetector(
        MODEL(num_classes=4, in_channels=3, image_size=64),
        metric="mAP",
        classes=4,
        steps=24,
        lr=0.001,
        weight_decay=0.0,
    )
    module.log = lambda *_, **__: None
    stream = DetectionBatches(data.part, np.arange(8), 4, steps=24, seed=0)
    adam = torch.optim.Adam(module.parameters(), lr=1e-3)
    losses = []
    for batch in stream:
        loss = module.training_step(batch, 0)["loss"]
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(loss.item())
    assert np.mean(losses[-4:]) < 0.8 * np.mean(losses[:4])


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(1)
    return MODEL(num_classes=4, in_channels=3, image_size=64).eval()


def test_what_is_measured_is_what_the_library_says_of_the_outputs(data, model):
    rows = np.array([5, 2, 9, 0])
    task = Detection(score="entropy", aggregate="topk_mean", k=2, score_threshold=0.0)
    ask = {"device": torch.device("cpu"), "members": 0, "seed": 0, "bf16": False}
    got = task.measure(model, data, rows, ["uncertainty", "features", "empty"], **ask)
    single = replace(task, batch_size=1).measure(
        model, data, rows, ["uncertainty", "features"], **ask
    )
    np.testing.assert_allclose(got["uncertainty"], single["uncertainty"], rtol=1e-4)  # any batching
    np.testing.assert_allclose(got["features"], single["features"], rtol=1e-3, atol=1e-5)
    from coreset.vision import detect

    for place, at in enumerate(rows):
        out = detect(
            model,
            [torch.from_numpy(np.array(data.part.image(at).transpose(2, 0, 1))).float() / 255],
        )
        detections = Detections.from_torchvision(out, [0], outside="clip")
        want = aggregate(
            detections,
            box_scores(detections, "entropy"),
            "topk_mean",
            k=2,
            score_threshold=0.0,
            min_size=0,
            empty="last",
        )
        assert got["uncertainty"][place] == pytest.approx(want.values[0], rel=1e-4)
    assert not got["empty"].any()
    none = replace(task, score_threshold=0.999).measure(
        model, data, rows, ["uncertainty", "empty"], **ask
    )
    assert none["empty"].all()


def test_flips_move_the_boxes_with_the_image(data):
    at = next(i for i in range(30) if len(data.part.boxes(i)[0]))
    plain = next(iter(DetectionBatches(data.part, np.array([at]), 1)))
    seen = [
        b
        for b in DetectionBatches(data.part, np.array([at]), 1, steps=12, seed=0, augment=True)
        if not torch.equal(b["images"][0], plain["images"][0])
    ]
    assert seen
    for batch in seen:
        assert torch.equal(batch["images"][0].flip(2), plain["images"][0])
        flipped = plain["targets"][0]["boxes"].clone()
        flipped[:, [0, 2]] = 96 - flipped[:, [2, 0]]
        assert torch.equal(batch["targets"][0]["boxes"], flipped)


def test_weights_draw_images_in_proportion(data):
    batches = DetectionBatches(
        data.part, np.arange(4), 4, steps=300, seed=0, weights=np.array([0.0, 1.0, 1.0, 2.0])
    )
    batches._batch = lambda rows, rng: rows
    share = np.bincount(np.concatenate(list(batches)), minlength=4) / 1200
    np.testing.assert_allclose(share, [0, 0.25, 0.25, 0.5], atol=0.05)
    assert [b.tolist() for b in same_size(np.array([[1, 2], [3, 4], [1, 2], [1, 2]]), 2)] == [
        [0, 2],
        [3],
        [1],
    ]


def test_the_metric_is_that_of_pycocotools(data):
    """Boxes of known overlap, a crowd that takes a false positive, against COCOeval called by hand."""
    import contextlib
    import io

    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth = [
        [(0, 0, 40, 40, 1, 0), (50, 0, 80, 30, 2, 0)],
        [(10, 10, 60, 60, 1, 0), (60, 0, 90, 70, 3, 1)],
        [],
    ]
    predictions = [
        [(0, 0, 40, 30, 1, 0.9), (52, 0, 80, 30, 2, 0.8), (0, 40, 9, 60, 1, 0.7)],
        [(62, 5, 80, 60, 2, 0.95), (10, 10, 60, 58, 1, 0.6)],
        [(5, 5, 30, 30, 1, 0.3)],
    ]
    module = LitDetector(
        torch.nn.Linear(1, 1), metric="mAP", classes=4, steps=1, lr=0.1, weight_decay=0.0
    )

    def output(rows):
        t = torch.tensor(rows).reshape(-1, 6).float()
        return {"boxes": t[:, :4], "labels": t[:, 4].long(), "scores": t[:, 5]}

    class Known(torch.nn.Module):
        def forward(self, images):
            return [output(r) for r in predictions]

    module.model = Known()
    targets = []
    for rows in truth:
        t = torch.tensor(rows).reshape(-1, 6)
        keep = t[:, 5] == 0
        targets.append(
            {
                "boxes": t[keep, :4].float(),
                "labels": t[keep, 4].long(),
                "crowd": t[~keep, :4].float(),
            }
        )
    module._count({"images": [None] * 3, "targets": targets})
    logged = {}
    module.log = lambda name, value: logged.update({name: float(value)})
    module._log("test")
    annotations = []
    for i, rows in enumerate(truth):
        for x, y, x2, y2, c, crowd in rows:
            for label in [1, 2, 3] if crowd else [c]:
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": i,
                        "category_id": label,
                        "bbox": [x, y, x2 - x, y2 - y],
                        "area": (x2 - x) * (y2 - y),
                        "iscrowd": crowd,
                    }
                )
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": i} for i in range(3)],
            "annotations": annotations,
            "categories": [{"id": c} for c in (1, 2, 3)],
        }
        coco.createIndex()
        results = coco.loadRes([
            {"image_id": i, "category_id": c, "bbox": [x, y, x2 - x, y2 - y], "score": s} for i, rows in enumerate(predictions) for x, y, x2, y2, c, s in rows
        ])  # fmt: skip
        by_hand = COCOeval(coco, results, "bbox")
        by_hand.evaluate()
        by_hand.accumulate()
        by_hand.summarize()
    assert 0.3 < by_hand.stats[0] < 1
    assert logged["test/mAP"] == pytest.approx(by_hand.stats[0], abs=1e-6)


def test_bad_input(data):
    with pytest.raises(ValueError, match="torchvision has no detector 'yolo'"):
        detector(3, 3, 64, "yolo")
    with pytest.raises(ValueError, match="task.metric: expected mAP or mAP50"):
        Detection(metric="accuracy")
    with pytest.raises(ValueError, match="how: expected one of max"):
        Detection(aggregate="median")
    with pytest.raises(ValueError, match="empty: expected exclude"):
        Detection(empty="never")
    with pytest.raises(ValueError, match="label_smoothing"):
        Detection().module(
            torch.nn.Linear(1, 1), data, label_smoothing=0.1, steps=1, lr=0.1, weight_decay=0.0
        )
    from coreset.trainers.data.sources import digits

    with pytest.raises(
        TypeError, match=r"task=detection learns from CocoData \(data=coco_folder\), got ImageData"
    ):
        Detection().check(digits())
    with pytest.raises(ValueError, match="Margin needs probs, which nothing in this run gives"):
        make_plan(by_name("margin"), [5], 30, "active", 2, model=Detection.signals)
    with pytest.raises(ValueError, match="expected at least one image"):
        DetectionBatches(data.part, np.empty(0, np.int64), 2)


def test_object_frequency_is_a_score_of_the_task():
    table = Detections([1, 2], [0, 0, 1], [[0, 0, 9, 9]] * 3, [0.9, 0.8, 0.7], [1, 2, 1])
    assert Detection(score="object_frequency")._score(table).values.tolist() == [1.0, 0.9]
