"""Real annotations: tree crowns on aerial photographs (NEON, in the deepforest wheel) and masks of
nuclei (in the stardist package).
"""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from coreset import Pool
from coreset.vision import (
    Detections,
    ImageScores,
    SegmentationScorer,
    aggregate,
    box_cost,
    box_scores,
    select,
)
from coreset.vision.coco import CocoPool
from scripts.detection import crowns

SIDE = 100


@pytest.fixture(scope="module")
def trees(asset, tmp_path_factory):
    """The photographs cut into tiles of 100 pixels: images of a COCO file, with the crowns whose
    center lies in each.
    """
    folder, out = asset("tree_boxes") / "data", tmp_path_factory.mktemp("trees")
    names = ("OSBS_029", "SOAP_061", "2019_YELL_2_541000_4977000_image_crop")
    read = crowns(folder)
    tables = {f"{name}.png": read[f"{name}.png"] for name in names}
    images, rows = [], []
    for name, boxes in tables.items():
        width, height = Image.open(folder / name).size
        for x, y in np.ndindex(width // SIDE, height // SIDE):
            corner = np.array([x, y, x, y]) * SIDE
            images.append(
                {
                    "id": len(images),
                    "file_name": f"{len(images)}_{name}",
                    "width": SIDE,
                    "height": SIDE,
                    "site": name,
                }
            )
            center = (boxes[:, :2] + boxes[:, 2:]) / 2 // SIDE
            for box in np.clip(boxes[(center == [x, y]).all(axis=1)] - corner, 0, SIDE):
                x1, y1, x2, y2 = box.tolist()
                rows.append(
                    {
                        "id": len(rows),
                        "image_id": len(images) - 1,
                        "category_id": 1,
                        "bbox": [x1, y1, x2 - x1, y2 - y1],
                    }
                )
    path = out / "instances.json"
    path.write_text(
        json.dumps(
            {"images": images, "annotations": rows, "categories": [{"id": 1, "name": "tree"}]}
        )
    )
    return path, rows


def test_a_budget_of_crowns_is_never_overrun_and_random_costs_what_its_tiles_hold(trees):
    path, rows = trees
    pool = CocoPool.from_coco(path, groups="site")
    assert pool.size > 100
    assert len(rows) > 300
    truth = np.bincount([r["image_id"] for r in rows], minlength=pool.size).astype(float)
    rng = np.random.default_rng(0)
    detections = Detections.from_coco_results(
        [{**r, "score": float(rng.beta(4, 2))} for r in rows], pool
    ).align(pool)
    assert box_cost(detections, 0.0, floor=0).tolist() == truth.tolist()
    crowded = aggregate(
        detections,
        box_scores(detections, "binary_entropy"),
        "sum",
        score_threshold=0.05,
        min_size=0,
        empty="quota:0.05",
    )
    sparse = aggregate(
        detections,
        box_scores(detections, "binary_entropy"),
        "mean",
        score_threshold=0.05,
        min_size=0,
        empty="quota:0.05",
    )
    sizes = {}
    for name, scores in (("sum", crowded), ("mean", sparse)):
        got = select(pool, {"boxes": 200}, scores=scores, costs={"boxes": truth}, max_per_group=60)
        assert truth[got.indices].sum() <= 200
        assert got.info["slack"]["boxes"] == 200 - truth[got.indices].sum()
        assert np.unique(pool.groups[got.indices], return_counts=True)[1].max() <= 60
        sizes[name] = len(got)
    # a sum buys crowded tiles, so fewer of them for the same money
    assert sizes["sum"] < sizes["mean"]


def test_regions_of_real_nuclei(asset):
    folder = asset("nuclei_masks") / "stardist/data/images"
    image = np.asarray(Image.open(folder / "img2d.tif")).astype(np.float32)
    mask = np.asarray(Image.open(folder / "mask2d.tif")).astype(np.int64)
    z = (image - np.percentile(image, 80)) / image.std()
    logits = torch.from_numpy(np.stack([-z, z]))[None]
    scorer = SegmentationScorer(
        "entropy", ["region_mean", "region_max", "boundary_mean", "foreground"], keep_regions=True
    )
    scorer.update(["img2d"], logits, regions=(mask - 1)[None])
    p = 1 / (1 + np.exp(-2.0 * z.astype(np.float64)))
    entropy = -(p * np.log(np.clip(p, 1e-300, 1)) + (1 - p) * np.log(np.clip(1 - p, 1e-300, 1)))
    want = pd.Series(entropy[mask > 0]).groupby(mask[mask > 0]).agg(["mean", "size"])
    regions = scorer.regions()
    assert len(regions.ids) == len(want) > 100
    np.testing.assert_allclose(regions.values, want["mean"], atol=1e-5)
    assert regions.pixels.tolist() == want["size"].tolist()
    np.testing.assert_allclose(scorer.columns()["region_mean"], want["mean"].mean(), atol=1e-5)
    np.testing.assert_allclose(scorer.columns()["foreground"], (z > 0).mean())
    pool = Pool(len(regions.ids), ids=regions.ids)
    scores = ImageScores(regions.ids, regions.values, "exclude")
    got = select(
        pool, {"pixels": 5000}, scores=scores, costs={"pixels": regions.pixels}, fit="fill"
    )
    assert regions.pixels[got.indices].sum() <= 5000
    assert got.info["slack"]["pixels"] < regions.pixels.max()
