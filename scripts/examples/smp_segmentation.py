"""Choose images for a network of segmentation_models_pytorch by the entropy of its maps, streamed:
no map is kept.

python scripts/stamps.py data/stamps --train 60 --test 10 --classes 3 --width 128 --height 96 python
scripts/examples/smp_segmentation.py data/stamps
"""

import sys
from pathlib import Path

import numpy as np
import segmentation_models_pytorch as smp
import torch

from coreset.scorers.image.files import open_image
from coreset.vision import SegmentationScorer, pixel_cost, select
from coreset.vision.coco import CocoPool


def pixels(path: Path) -> np.ndarray:
    with open_image(path) as image:
        return np.array(image.convert("RGB"))


def main(folder: Path) -> None:
    pool = CocoPool.from_coco(folder / "train.json")
    net = smp.Unet("resnet18", encoder_weights=None, classes=len(pool.categories) + 1).eval()
    scorer = SegmentationScorer("entropy", ["mean", "class_mean", "boundary_mean"])
    with torch.no_grad():
        for start in range(0, pool.size, 8):
            names = pool.names[start : start + 8].tolist()
            x = np.stack([pixels(folder / "images" / n) for n in names])
            scorer.update(
                pool.ids[start : start + 8],
                net(torch.from_numpy(x).permute(0, 3, 1, 2).float() / 255),
            )
    chosen = select(
        pool,
        {"pixels": 100_000},
        scores=scorer.scores("class_mean", empty="exclude"),
        costs={"pixels": pixel_cost(pool)},
    )
    print(
        f"{len(chosen)} images, {chosen.info['slack']['pixels']:.0f} pixels left of the budget:",
        chosen.to_coco(folder / "next.json"),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
