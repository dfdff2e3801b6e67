"""Active learning around a torchvision detector and a training loop of your own: score, aggregate,
select, label, train again.

    python scripts/stamps.py data/stamps --train 60 --test 10 --classes 3
    python scripts/examples/torchvision_detection.py data/stamps

Labels are known here, so that it runs by itself; in a project `to_label_studio` hands the chosen
images over, and the ledger takes back what was labeled.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn

from coreset.scorers.image.files import open_image
from coreset.vision import Detections, Ledger, aggregate, box_cost, box_scores, detect, select
from coreset.vision.coco import CocoPool

SMALL = {
    "min_size": 96,
    "max_size": 128,
    "box_batch_size_per_image": 32,
    "rpn_post_nms_top_n_train": 60,
    "rpn_post_nms_top_n_test": 60,
}


def pixels(path: Path) -> np.ndarray:
    with open_image(path) as image:
        return np.array(image.convert("RGB"))


def load(folder: Path, name: str) -> torch.Tensor:
    return torch.from_numpy(pixels(folder / "images" / name).transpose(2, 0, 1)).float() / 255


def train(
    model: torch.nn.Module,
    images: list[torch.Tensor],
    targets: list[dict[str, torch.Tensor]],
    steps: int,
) -> None:
    model.train()
    adam = torch.optim.Adam(model.parameters(), lr=1e-3)
    rng = np.random.default_rng(0)
    for _ in range(steps):
        rows = rng.integers(0, len(images), 2)
        loss = torch.stack(
            list(model([images[i] for i in rows], [targets[i] for i in rows]).values())
        ).sum()
        adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call, unused-ignore]
        adam.step()
    model.eval()


def main(folder: Path, rounds: int = 2, steps: int = 4, boxes_per_round: int = 4) -> None:
    torch.manual_seed(0)
    data = json.loads((folder / "train.json").read_text())
    pool = CocoPool.from_coco(folder / "train.json")
    ledger = Ledger(folder / "al.jsonl")
    if not ledger.started:
        ledger.start(
            pool.ids[:8]
        )  # in a project: CocoPool.from_coco(..., labeled="labeled.json") says it
    known: list[int] = ledger.ids("start") + ledger.ids("labeled")
    first = ledger.batches  # run again on the same folder, it goes on where it stopped
    model = fasterrcnn_mobilenet_v3_large_320_fpn(
        weights=None,
        weights_backbone=None,
        num_classes=len(pool.categories) + 1,
        box_score_thresh=0.01,
        **SMALL,
    )
    for number in range(first, first + rounds):
        images = [load(folder, str(pool.names[pool.places[k]])) for k in known]
        targets = []
        for k in known:
            rows = [a for a in data["annotations"] if a["image_id"] == k]
            box = torch.tensor([a["bbox"] for a in rows]).reshape(-1, 4).float()
            box[:, 2:] += box[:, :2]
            targets.append(
                {"boxes": box, "labels": torch.tensor([a["category_id"] for a in rows]).long()}
            )
        train(model, images, targets, steps)
        now = ledger.pool(pool)
        ids = now.ids[now.candidates]
        outputs = [
            detect(model, [load(folder, str(pool.names[pool.places[k]]))])[0] for k in ids.tolist()
        ]
        detections = Detections.from_torchvision(outputs, ids, pool, outside="clip").align(
            pool, missing="empty"
        )
        scores = aggregate(
            detections,
            box_scores(detections, "entropy"),
            "sum",
            score_threshold=0.02,
            min_size=2,
            empty="last",
        )
        chosen = select(
            now,
            {"boxes": boxes_per_round},
            scores=scores,
            costs={"boxes": box_cost(detections, 0.3)},
            max_per_group=4,
            groups=pool.ids // 5,
        )
        ledger.commit(chosen)
        chosen.to_label_studio(folder / f"round{number}.json", detections, score_threshold=0.3)
        chosen.to_coco(
            folder / f"round{number}_labeled.json", annotations=data["annotations"]
        )  # what an annotator would send back
        print(
            f"round {number}: {len(chosen)} images, boxes left in the budget:"
            f" {chosen.info['slack']['boxes']:.1f}",
            ledger.ingest(folder / f"round{number}_labeled.json", pool),
        )
        known = [*known, *chosen.ids.tolist()] if chosen.ids is not None else known


if __name__ == "__main__":
    main(Path(sys.argv[1]))
