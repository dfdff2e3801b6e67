"""Predictions of other tools: each convention against plain arithmetic and against the tool."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coreset.vision import CocoPool, Detections
from coreset.vision.adapters import (
    classification_probs,
    from_hugging_face,
    from_mmdetection,
    from_rows,
    segmentation_map,
    segmentation_probs,
)
from coreset.vision.conventions import CONVENTIONS, Convention

POOL = CocoPool(
    3,
    ids=np.array([11, 12, 13]),
    names=np.array(["a.jpg", "b.jpg", "c.jpg"]),
    sizes=np.array([[100, 50], [40, 80], [60, 60]]),
    categories={7: "cat", 2: "dog"},
)
TRUE = np.array([[10.0, 5.0, 30.0, 25.0], [0.0, 0.0, 40.0, 80.0]])
SIZES = np.array([[100, 50], [40, 80]])


def written(boxes: np.ndarray, how: Convention, sizes: np.ndarray) -> np.ndarray:
    """The same boxes as a tool of this convention writes them."""
    out = []
    for (x, y, x2, y2), (w, h) in zip(boxes, sizes, strict=True):
        if how.first == 1:
            x, y, x2, y2 = (
                (x + 1, y + 1, x2, y2) if how.form == "xyxy" else (x + 1, y + 1, x2 + 1, y2 + 1)
            )
        if how.normalized:
            x, x2, y, y2 = x / w, x2 / w, y / h, y2 / h
        out.append(
            {
                "xyxy": (x, y, x2, y2),
                "xywh": (x, y, x2 - x, y2 - y),
                "cxcywh": ((x + x2) / 2, (y + y2) / 2, x2 - x, y2 - y),
            }[how.form]
        )
    return np.array(out)


@pytest.mark.parametrize("name", CONVENTIONS)
def test_every_convention_gives_the_same_boxes(name: str) -> None:
    how = CONVENTIONS[name]
    np.testing.assert_allclose(how.corners(written(TRUE, how, SIZES), SIZES), TRUE, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["xyxy", "xywh", "cxcywh"]), st.booleans(), st.integers(0, 2**31))
def test_boxes_survive_any_convention(form: str, normalized: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(10, 500, (5, 2))
    low = rng.random((5, 2)) * 0.5
    boxes = np.concatenate([low, low + 0.05 + rng.random((5, 2)) * 0.4], 1) * np.tile(sizes, 2)
    how = Convention(form, 0, normalized)
    np.testing.assert_allclose(how.corners(written(boxes, how, sizes), sizes), boxes, rtol=1e-12)


def test_another_convention_is_recognized() -> None:
    with pytest.raises(ValueError, match="pixels"):
        CONVENTIONS["yolo"].corners(TRUE, SIZES)
    with pytest.raises(ValueError, match="normalized"):
        CONVENTIONS["torchvision"].corners(TRUE / 100, SIZES)
    with pytest.raises(ValueError, match="no box as xyxy"):
        CONVENTIONS["torchvision"].corners(
            written(np.array([[30.0, 30.0, 40.0, 40.0]]), CONVENTIONS["coco"], SIZES[:1]), SIZES[:1]
        )


def test_labels_are_named_numbered_or_ours() -> None:
    assert CONVENTIONS["ultralytics"].categories([1, 0], POOL, ["cat", "dog"]).tolist() == [2, 7]
    assert CONVENTIONS["hugging_face"].categories(["dog"], POOL, None).tolist() == [2]
    assert CONVENTIONS["torchvision"].categories([7], POOL, None).tolist() == [7]
    with pytest.raises(ValueError, match="names in order"):
        CONVENTIONS["mmdetection"].categories([0], POOL, None)
    for convention in ("coco", "mmdetection"):
        with pytest.raises(ValueError, match="are these names"):
            CONVENTIONS[convention].categories(["cat"], POOL, ["cat", "dog"])
    with pytest.raises(ValueError, match=r"numbers classes, got 0.5"):
        CONVENTIONS["coco"].categories([0.5], POOL, None)
    with pytest.raises(KeyError, match="model's 2"):
        CONVENTIONS["mmdetection"].categories([2], POOL, ["cat", "dog"])
    with pytest.raises(KeyError, match="bird"):
        CONVENTIONS["hugging_face"].categories(["bird"], POOL, None)


def same(a: Detections, b: Detections) -> None:
    a, b = a.align(POOL, "empty"), b.align(POOL, "empty")
    key_a, key_b = (np.lexsort((d.scores, d.image)) for d in (a, b))
    np.testing.assert_array_equal(a.image[key_a], b.image[key_b])
    np.testing.assert_allclose(a.boxes[key_a], b.boxes[key_b], atol=1e-4)
    np.testing.assert_array_equal(a.labels[key_a], b.labels[key_b])


def test_all_tools_say_the_same(tmp_path) -> None:
    import torch

    expected = Detections(POOL.ids, [0, 1], TRUE, [0.9, 0.5], [2, 7])
    preds = tmp_path / "preds"
    preds.mkdir()
    for name, box, score, label in (("a", TRUE[0], 0.9, 1), ("b", TRUE[1], 0.5, 0)):
        (preds / f"{name}.json").write_text(
            json.dumps({"bboxes": [box.tolist()], "scores": [score], "labels": [label]})
        )
    same(from_mmdetection(preds, POOL, ["cat", "dog"]), expected)
    box = [
        dict(zip(("xmin", "ymin", "xmax", "ymax"), b.astype(int).tolist(), strict=True))
        for b in TRUE
    ]
    same(
        from_hugging_face(
            [
                [{"score": 0.9, "label": "dog", "box": box[0]}],
                [{"score": 0.5, "label": "cat", "box": box[1]}],
            ],
            [11, 12],
            POOL,
        ),
        expected,
    )
    outputs = [
        {
            "boxes": torch.tensor(TRUE[i : i + 1]),
            "scores": torch.tensor([s]),
            "labels": torch.tensor([k]),
        }
        for i, (s, k) in enumerate([(0.9, 2), (0.5, 7)])
    ]
    same(Detections.from_torchvision(outputs, [11, 12], POOL), expected)
    rows = [
        {"boxes": [b.tolist()], "scores": [s], "labels": [k]}
        for b, s, k in zip(
            written(TRUE, CONVENTIONS["yolo"], SIZES), (0.9, 0.5), (1, 0), strict=True
        )
    ]
    same(from_rows(rows, ["a.jpg", "b.jpg"], POOL, "yolo", ["cat", "dog"]), expected)
    supervision = pytest.importorskip("supervision")
    sv = [
        supervision.Detections(
            xyxy=TRUE[i : i + 1], confidence=np.array([s]), class_id=np.array([k])
        )
        for i, (s, k) in enumerate([(0.9, 1), (0.5, 0)])
    ]
    same(Detections.from_supervision(sv, [11, 12], POOL, categories={0: 7, 1: 2}), expected)
    results = pytest.importorskip("ultralytics.engine.results")
    ul = [
        results.Results(
            np.zeros((h, w, 3), np.uint8),
            f"x/{n}.jpg",
            {0: "cat", 1: "dog"},
            boxes=torch.tensor([[*b, s, k]]),
        )
        for n, (w, h), b, s, k in zip("ab", SIZES, TRUE, (0.9, 0.5), (1, 0), strict=True)
    ]
    same(Detections.from_ultralytics(ul, POOL), expected)


def test_boxes_of_a_resized_image_are_no_boxes_at_its_edge() -> None:
    rows = [{"boxes": [[50.0, 20.0, 640.0, 480.0]], "scores": [0.5], "labels": [7]}]
    with pytest.raises(ValueError, match="outside the image"):
        from_rows(rows, [11], POOL, "torchvision")
    cut = from_rows(rows, [11], POOL, "torchvision", outside="clip")
    assert cut.boxes.tolist() == [[50.0, 20.0, 100.0, 50.0]]
    with pytest.raises(ValueError, match="error or clip"):
        from_rows(rows, [11], POOL, "torchvision", outside="ignore")


def test_files_that_run_code_are_refused(tmp_path) -> None:
    (tmp_path / "results.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(ValueError, match="runs code"):
        from_mmdetection(tmp_path / "results.pkl", POOL, ["cat", "dog"])


def test_pipeline_scores_become_probabilities() -> None:
    good = [[{"label": "b", "score": 0.6}, {"label": "a", "score": 0.4}]]
    assert classification_probs(good, ["a", "b"]).tolist() == [[0.4, 0.6]]
    with pytest.raises(ValueError, match="top_k"):
        classification_probs([good[0][:1]], ["a", "b"])
    with pytest.raises(ValueError, match="unknown"):
        classification_probs([[{"label": "z", "score": 1.0}]], ["a", "b"])


def test_a_real_pipeline_of_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    from PIL import Image

    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=32,
        patch_size=16,
        num_labels=3,
        id2label={0: "a", 1: "b", 2: "c"},
        label2id={"a": 0, "b": 1, "c": 2},
    )
    model = transformers.ViTForImageClassification(config).eval()
    processor = transformers.ViTImageProcessor(size={"height": 32, "width": 32})
    pipe = transformers.pipeline("image-classification", model=model, image_processor=processor)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8))
    got = classification_probs([pipe(image, top_k=3)], ["a", "b", "c"])
    logits = (
        model(**processor(image, return_tensors="pt")).logits[0].detach().numpy().astype(np.float64)
    )
    np.testing.assert_allclose(got[0], np.exp(logits) / np.exp(logits).sum(), atol=1e-5)


def test_segmentation_maps_from_files(tmp_path) -> None:
    from PIL import Image

    numbers = np.array([[0, 1, 255], [2, 2, 0]], np.uint8)
    Image.fromarray(numbers).save(tmp_path / "m.png")
    palette = Image.fromarray(numbers, "P")
    palette.putpalette([5, 6, 7] * 256)
    palette.save(tmp_path / "p.png")
    np.save(tmp_path / "m.npy", numbers)
    for name in ("m.png", "p.png", "m.npy"):
        assert segmentation_map(tmp_path / name, 3).tolist() == [[0, 1, -1], [2, 2, 0]]
    with pytest.raises(ValueError, match="there are 2"):
        segmentation_map(tmp_path / "m.png", 2)
    Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(tmp_path / "c.png")
    with pytest.raises(ValueError, match="one class number"):
        segmentation_map(tmp_path / "c.png", 3)
    probs = np.random.default_rng(0).dirichlet(np.ones(3), (4, 5)).astype(np.float32)
    np.save(tmp_path / "hwc.npy", probs)
    np.save(tmp_path / "chw.npy", np.moveaxis(probs, -1, 0))
    np.testing.assert_array_equal(
        segmentation_probs(tmp_path / "hwc.npy", 3), segmentation_probs(tmp_path / "chw.npy", 3)
    )
