"""A small torchvision detection project that never imports our trainers: its files in, the next
batch out.
"""

import json

import numpy as np
import pytest
import torch
from torchvision.models import detection

from coreset import vision as tasks
from coreset.vision.coco import CocoPool


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    images = [
        {"id": 100 + i, "file_name": f"{i:03d}.jpg", "width": 64, "height": 64, "video_id": i // 4}
        for i in range(16)
    ]
    data = {
        "images": images,
        "annotations": [],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }
    (folder / "instances.json").write_text(json.dumps(data))
    (folder / "labeled.json").write_text(json.dumps({**data, "images": images[:3]}))
    torch.manual_seed(0)
    model = detection.fasterrcnn_mobilenet_v3_large_320_fpn(
        weights=None,
        weights_backbone=None,
        num_classes=3,
        box_score_thresh=0.3,
        box_detections_per_img=8,
    ).eval()
    g = torch.Generator().manual_seed(0)
    outputs = tasks.detect(model, [torch.rand(3, 64, 64, generator=g) for _ in range(13)])
    return folder, outputs


def test_score_aggregate_select_write_and_go_on(project):
    folder, outputs = project
    pool = CocoPool.from_coco(
        folder / "instances.json", labeled=folder / "labeled.json", groups="video_id"
    )
    detections = tasks.Detections.from_torchvision(outputs, pool.ids[pool.candidates], pool).align(
        pool
    )
    uncertain = tasks.aggregate(
        detections,
        tasks.box_scores(detections, "entropy"),
        "topk_mean",
        score_threshold=0.3,
        min_size=1,
        empty="quota:0.25",
    )
    boxes = np.maximum(1, tasks.expected_boxes(detections))
    chosen = tasks.select(
        pool,
        {"boxes": 20, "images": 6},
        scores=uncertain,
        costs={"boxes": boxes},
        max_per_group=2,
        allow_short=True,
    )
    assert 0 < len(chosen) <= 6
    assert boxes[chosen.indices].sum() <= 20
    assert not np.isin(chosen.ids, [100, 101, 102]).any()
    assert np.bincount(pool.groups[chosen.indices].astype(int)).max() <= 2
    ledger = tasks.Ledger(folder / "al.jsonl")
    ledger.commit(chosen)
    written = chosen.to_coco(folder / "round1.json", detections, 0.3)
    assert [
        image["id"] for image in json.loads(written.read_text())["images"]
    ] == chosen.ids.tolist()
    assert ledger.ingest(written, pool) == {"labeled": len(chosen), "pending": 0}
    later = ledger.pool(pool)
    assert len(later.candidates) == 13 - len(chosen)
    diverse = tasks.select(
        later,
        3,
        "kmedoids",
        scores=uncertain,
        distance=tasks.BoxSets.of(detections),
        expand=2,
        allow_short=True,
    )
    assert not np.isin(diverse.ids, chosen.ids).any()
    random = tasks.select(later, 3, "random", seed=1)
    assert len(random) == 3


def test_the_same_from_a_results_file(project):
    folder, outputs = project
    pool = CocoPool.from_coco(folder / "instances.json", labeled=folder / "labeled.json")
    rows = []
    for k, out in zip(pool.ids[pool.candidates].tolist(), outputs, strict=True):
        for (x, y, x2, y2), c, s in zip(
            out["boxes"].tolist(), out["labels"].tolist(), out["scores"].tolist(), strict=True
        ):
            rows.append(
                {"image_id": k, "category_id": c, "bbox": [x, y, x2 - x, y2 - y], "score": s}
            )
    (folder / "results.json").write_text(json.dumps(rows))
    a = tasks.Detections.from_coco_results(folder / "results.json", pool)
    b = tasks.Detections.from_torchvision(outputs, pool.ids[pool.candidates], pool).align(pool)
    np.testing.assert_allclose(a.boxes, b.boxes, atol=1e-9)
    assert a.offsets.tolist() == b.offsets.tolist()
    rules = {"score_threshold": 0.3, "min_size": 1, "empty": "last"}
    scores = [
        tasks.aggregate(d, tasks.box_scores(d, "binary_entropy"), "sum", **rules) for d in (a, b)
    ]
    picks = [tasks.select(pool, 5, scores=s).ids.tolist() for s in scores]
    assert picks[0] == picks[1]
