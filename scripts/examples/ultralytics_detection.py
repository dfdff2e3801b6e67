"""Choose images for an ultralytics model and write the files its next training reads.

python scripts/stamps.py data/stamps --train 60 --test 10 --classes 3
python scripts/examples/ultralytics_detection.py data/stamps [weights.pt]
"""

import sys
from pathlib import Path

from ultralytics import YOLO

from coreset.vision import Detections, aggregate, box_scores, expected_boxes, select
from coreset.vision.coco import CocoPool


def main(folder: Path, weights: str = "yolo11n.yaml") -> None:
    pool = CocoPool.from_coco(folder / "train.json")
    model = YOLO(weights, task="detect", verbose=False)
    files = [str(folder / "images" / n) for n in pool.names]
    results = model.predict(
        files,
        conf=1e-6,
        max_det=5,
        imgsz=96,
        classes=list(range(len(pool.categories))),
        verbose=False,
    )
    # the model's class 0 is our first category
    categories = dict(enumerate(sorted(pool.categories)))
    detections = Detections.from_ultralytics(
        results, pool, categories=categories, outside="clip"
    ).align(pool)
    scores = aggregate(
        detections,
        box_scores(detections, "binary_entropy"),
        "topk_mean",
        score_threshold=0.0,
        min_size=0,
        empty="last",
    )
    chosen = select(
        pool,
        {"images": 10, "boxes": 50},
        scores=scores,
        costs={"boxes": expected_boxes(detections)},
    )
    print(
        f"{len(chosen)} images:", chosen.to_yolo(folder / "yolo", detections, score_threshold=0.25)
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:3])
