"""`coreset-select coco=...`: the settings, and the command as a process."""

import json
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from coreset import Selection
from coreset.vision import (
    BoxSets,
    Detections,
    Ledger,
    aggregate,
    box_scores,
    expected_boxes,
    object_frequency,
    select,
)
from coreset.vision.coco import CocoPool
from coreset.vision.command import choose, summary
from tests import processes

ROOT = Path(__file__).parent.parent.parent.parent
N, QUALITY = 30, {1: 0.2, 2: 0.9}


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    images = [
        {"id": 100 + i, "file_name": f"{i:03d}.jpg", "width": 64, "height": 48, "video_id": i // 5}
        for i in range(N)
    ]
    data = {
        "images": images,
        "annotations": [],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }
    (tmp_path / "instances.json").write_text(json.dumps(data))
    (tmp_path / "labeled.json").write_text(json.dumps({**data, "images": images[:4]}))
    rows = []
    for i in range(N - 3):  # three images in which nothing was found
        for _ in range(int(rng.integers(1, 5))):
            x, y, s = rng.uniform(0, 30), rng.uniform(0, 20), rng.uniform(0.1, 1)
            rows.append(
                {
                    "image_id": 100 + i,
                    "category_id": int(rng.integers(1, 3)),
                    "bbox": [x, y, 20, 20],
                    "score": s,
                    "tilt": s / 2,
                }
            )
    (tmp_path / "results.json").write_text(json.dumps(rows))
    np.save(tmp_path / "f.npy", rng.normal(size=(len(rows), 4)).astype(np.float32))
    (tmp_path / "quality.json").write_text(json.dumps(QUALITY))
    return tmp_path


def settings(folder, **change):
    cfg = OmegaConf.to_container(OmegaConf.load(ROOT / "conf/coco/select_coco.yaml"))
    cfg |= {
        "coco": str(folder / "instances.json"),
        "results": str(folder / "results.json"),
        "labeled": str(folder / "labeled.json"),
    }
    for key, value in change.items():
        cfg[key] = (
            {**cfg[key], **value}
            if isinstance(cfg.get(key), dict) and isinstance(value, dict)
            else value
        )
    return cfg


def test_it_is_the_three_verbs(folder):
    got = choose(settings(folder, budget={"boxes": 12}))
    pool = CocoPool.from_coco(folder / "instances.json", labeled=folder / "labeled.json")
    detections = Detections.from_coco_results(folder / "results.json", pool)
    scores = aggregate(
        detections,
        box_scores(detections, "binary_entropy"),
        "sum",
        score_threshold=0.05,
        min_size=0,
        empty="quota:0.05",
    )
    want = select(pool, {"boxes": 12}, scores=scores, costs={"boxes": expected_boxes(detections)})
    assert got.ids.tolist() == want.ids.tolist()
    assert expected_boxes(detections)[got.indices].sum() <= 12
    assert not np.isin(got.ids, [100, 101, 102, 103]).any()
    assert summary(got, "p.csv").startswith(f"{len(got)} of 26 candidates chosen: ")
    assert f"of 12 boxes (slack {got.info['slack']['boxes']:,.6g}) -> p.csv" in summary(
        got, "p.csv"
    )


@pytest.mark.parametrize("unit", ["images", "boxes", "pixels", "seconds"])
@pytest.mark.parametrize(
    "strategy", ["uncertainty", "random", "random_stratified", "random_foreground"]
)
def test_no_budget_is_overrun(folder, unit, strategy):
    limit = {"images": 7, "boxes": 9, "pixels": 20000, "seconds": 99}[unit]
    cost = {"score_threshold": 0.3, "seconds_per_image": 4, "seconds_per_box": 7}
    got = choose(settings(folder, budget={unit: limit}, cost=cost, strategy=strategy))
    detections = Detections.from_coco_results(
        folder / "results.json", CocoPool.from_coco(folder / "instances.json")
    )
    boxes = np.maximum(1, np.bincount(detections.image[detections.scores >= 0.3], minlength=N))[
        got.indices
    ].sum()
    spent = {
        "images": len(got),
        "boxes": boxes,
        "pixels": len(got) * 64 * 48,
        "seconds": 4 * len(got) + 7 * boxes,
    }[unit]
    assert spent <= limit
    assert got.info["slack"][unit] == limit - spent


def test_ppal_from_the_shell(folder):
    cfg = settings(
        folder, budget={"images": 5}, score="dcus", quality=str(folder / "quality.json"), strategy="kmedoids", distance="ccms", box_features=str(folder / "f.npy"),
        expand=3, empty="last", min_size=16,
    )  # fmt: skip
    got = choose(cfg)
    from coreset.vision import dcus

    pool = CocoPool.from_coco(folder / "instances.json", labeled=folder / "labeled.json")
    detections = Detections.from_coco_results(
        folder / "results.json", pool, features=folder / "f.npy"
    )
    want = select(
        pool,
        5,
        "kmedoids",
        scores=dcus(detections, QUALITY, empty="last"),
        distance=BoxSets.of(detections, "ccms", 0.05),
        expand=3,
    )
    assert got.ids.tolist() == want.ids.tolist()


def test_files_and_ledger(folder):
    to = {
        "coco": str(folder / "n.json"),
        "yolo": str(folder / "yolo"),
        "label_studio": str(folder / "t.json"),
        "cvat": str(folder / "c.xml"),
    }
    cfg = settings(
        folder,
        budget={"images": 4},
        to=to,
        prelabels=0.5,
        ledger=str(folder / "al.jsonl"),
        groups="video_id",
        max_per_group=1,
    )
    first = choose(cfg)
    assert [
        i["id"] for i in json.loads((folder / "n.json").read_text())["images"]
    ] == first.ids.tolist()
    assert all(Path(p).exists() for p in to.values())
    # the labeled ones have taken group 0
    assert len({(k - 100) // 5 for k in first.ids.tolist()}) == 4
    second = choose({**cfg, "max_per_group": 2})
    assert not np.isin(second.ids, first.ids).any()
    assert Ledger(folder / "al.jsonl").ids("pending") == [*first.ids.tolist(), *second.ids.tolist()]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({}, ValueError, r"budget: expected at least one of budget.images, budget.boxes"),
        (
            {"budget": {"seconds": 9}},
            ValueError,
            "set cost.seconds_per_image and cost.seconds_per_box",
        ),
        (
            {"budget": {"boxes": 9}, "results": None},
            ValueError,
            "results: strategy=uncertainty and expand need the detections",
        ),
        (
            {"budget": {"boxes": 9}, "results": None, "strategy": "random"},
            ValueError,
            "budget.boxes: needs the detections",
        ),
        ({"budget": {"images": 9}, "score": "dcus"}, ValueError, "quality goes with score=dcus"),
        (
            {"budget": {"images": 9}, "distance": "ccms", "strategy": "kmedoids"},
            ValueError,
            "need the features of every box",
        ),
        (
            {"budget": {"images": 9}, "prelabels": 0.5},
            ValueError,
            "prelabels: nothing is written that could hold them",
        ),
        (
            {"budget": {"images": 9}, "score": "blur"},
            ValueError,
            r"results.json: entry 0 \(image 100\) has no 'blur'",
        ),
        ({"budget": {"images": 9}, "strategy": "nearest"}, KeyError, "nearest"),
        (
            {"budget": {"images": 9}, "max_per_group": 2, "coco": "gone.json"},
            ValueError,
            "max_per_group: groups holds",
        ),
        ({"budget": {"images": 99}}, ValueError, "budget.images: expected a count from 1 to 30"),
        ({"budget": {"images": 28}}, ValueError, "only 24 of 26 candidates can be had"),
    ],
)
def test_bad_settings(folder, change, error, message):
    with pytest.raises(error, match=message):
        choose(settings(folder, **change))


def test_a_labeled_file_calibrates_and_the_console_says_so(folder):
    data = json.loads((folder / "labeled.json").read_text())
    drawn = [
        {"id": i, "image_id": 100 + i % 4, "category_id": 1, "bbox": [0, 0, 9, 9]}
        for i in range(40)
    ]
    plain = summary(choose(settings(folder, budget={"boxes": 30})), "p.csv").splitlines()
    assert plain[1].startswith("cost in boxes: expected boxes, not calibrated")
    (folder / "labeled.json").write_text(json.dumps({**data, "annotations": drawn}))
    got = choose(settings(folder, budget={"boxes": 30}))
    pool = CocoPool.from_coco(folder / "instances.json", labeled=folder / "labeled.json")
    cost = expected_boxes(Detections.from_coco_results(folder / "results.json", pool))
    assert cost[pool.selected].sum() == pytest.approx(40)
    assert got.info["cost"]["boxes"] == pytest.approx(cost[got.indices].sum())
    assert got.info["costs"]["boxes"]["calibrated_on"] == 4
    line = summary(got, "p.csv").splitlines()[1]
    assert line.startswith("cost in boxes: expected boxes, calibrated on 4 labeled images (")
    assert line.endswith("x sum of scores), at least 1 per image")


def test_what_a_ledger_began_with_is_not_bought_when_only_new_labels_are_given(folder):
    cfg = settings(
        folder,
        budget={"images": 5},
        ledger=str(folder / "al.jsonl"),
        strategy="random",
        empty="last",
    )
    first = choose(cfg)
    data = json.loads((folder / "instances.json").read_text())
    new = [image for image in data["images"] if image["id"] in first.ids.tolist()]
    (folder / "new.json").write_text(json.dumps({**data, "images": new}))
    Ledger(folder / "al.jsonl").ingest(folder / "new.json")
    second = choose(
        {**cfg, "labeled": str(folder / "new.json"), "budget": {**cfg["budget"], "images": 21}}
    )
    assert sorted([*first.ids.tolist(), *second.ids.tolist(), 100, 101, 102, 103]) == list(
        range(100, 130)
    )


def test_object_frequency_from_the_shell(folder):
    got = choose(settings(folder, budget={"images": 5}, score="object_frequency", empty="last"))
    pool = CocoPool.from_coco(folder / "instances.json", labeled=folder / "labeled.json")
    table = Detections.from_coco_results(folder / "results.json", pool)
    scores = object_frequency(table, score_threshold=0.05, min_size=0, empty="last")
    assert got.ids.tolist() == select(pool, 5, scores=scores).ids.tolist()


def test_a_column_of_the_results_and_no_results_at_all(folder):
    assert len(choose(settings(folder, budget={"images": 3}, score="tilt", aggregate="max"))) == 3
    assert len(choose(settings(folder, budget={"images": 3}, results=None, strategy="random"))) == 3


@pytest.mark.slow
def test_as_a_process(folder):
    def run(*arguments):
        script = ROOT / "scripts" / "choose.py"
        return processes.script(script, "coco=instances.json", *arguments, cwd=folder)

    ran = run("results=results.json", "budget.boxes=12", "strategy=random", "seed=3")
    assert ran.returncode == 0, ran.stderr
    assert "candidates chosen" in ran.stderr
    assert "slack" in ran.stderr
    assert Selection.load(folder / "picked.parquet").info["budget"] == {"boxes": 12}
    ran = run("results=gone.json", "budget.boxes=12")
    assert ran.returncode == 1
    assert ran.stderr.startswith("error: ")
    assert "gone.json" in ran.stderr
    assert "Traceback" not in ran.stderr
