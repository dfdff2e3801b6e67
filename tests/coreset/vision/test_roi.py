import numpy as np
import pytest
import torch
from torchvision.models import detection

from coreset.vision import BoxSets, Detections, box_scores
from coreset.vision.roi import detect, match


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    network = detection.fasterrcnn_mobilenet_v3_large_320_fpn(
        weights=None,
        weights_backbone=None,
        num_classes=4,
        box_score_thresh=0.2,
        box_detections_per_img=10,
    )
    return network.eval()


@pytest.fixture(scope="module")
def images():
    g = torch.Generator().manual_seed(1)
    return [torch.rand(3, 96, 128, generator=g), torch.rand(3, 80, 80, generator=g)]


def test_distributions_and_features_of_every_detection(model, images):
    with torch.no_grad():
        plain = model(images)
    outputs = detect(model, images)
    assert sum(len(o["boxes"]) for o in outputs) > 0
    for a, b in zip(plain, outputs, strict=True):
        for key in ("boxes", "labels", "scores"):
            assert torch.equal(a[key], b[key])
        assert b["probs"].shape == (len(b["boxes"]), 4)
        assert b["features"].shape == (len(b["boxes"]), 1024)
        assert torch.equal(b["probs"][torch.arange(len(b["labels"])), b["labels"]], b["scores"])
        # the predictor makes the same distribution of the features: they belong to the same
        # proposals
        again = model.roi_heads.box_predictor.cls_score(b["features"]).softmax(dim=-1)
        torch.testing.assert_close(again, b["probs"], atol=1e-6, rtol=1e-5)
    detections = Detections.from_torchvision(outputs, ["a", "b"])
    assert box_scores(detections, "entropy").shape == (len(detections),)
    assert BoxSets.of(detections).between([0]).shape == (1, 2)
    assert not model.roi_heads.box_predictor._forward_hooks
    assert not model.roi_heads.box_roi_pool._forward_pre_hooks


def test_hooks_go_even_when_the_model_fails(model):
    with pytest.raises(Exception, match="."):
        detect(model, [torch.rand(3, 3)])
    assert not model.roi_heads.box_predictor._forward_hooks


def test_two_detections_with_one_score_take_two_proposals():
    probs = torch.tensor([[0.5, 0.5], [0.5, 0.5], [0.1, 0.9]])
    assert match(probs, torch.tensor([1, 1]), torch.tensor([0.5, 0.5])).tolist() == [0, 1]
    with pytest.raises(ValueError, match="no proposal has probability"):
        match(probs, torch.tensor([1]), torch.tensor([0.7]))


def test_other_models_are_refused(model):
    with pytest.raises(TypeError, match="RetinaNet has no roi_heads"):
        detect(
            detection.retinanet_resnet50_fpn(weights=None, weights_backbone=None, num_classes=3), []
        )
    model.train()
    try:
        with pytest.raises(ValueError, match="evaluation mode"):
            detect(model, [])
    finally:
        model.eval()


def test_numpy_copies_do_not_change(model, images):
    detections = Detections.from_torchvision(detect(model, images), [1, 2])
    np.testing.assert_allclose(detections.probs.sum(axis=1), 1, atol=1e-5)
