"""Make a detection and segmentation data set with exact boxes and masks: cut-outs pasted on
photographs.

Cut-outs come from the Debian package tuxpaint-stamps-default (apt-get install
tuxpaint-stamps-default), photographs lie inside scikit-learn and scikit-image.

    python scripts/stamps.py data/stamps --train 400 --test 100 --imbalance 20

writes images/*.png, train.json and test.json (COCO instances with boxes and run-length masks): what
`data=coco_folder data.root=data/stamps` reads. Every image depends on the seed and its own number
alone, so that a larger set begins with the smaller one.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from coreset.scorers.image.files import open_image

STAMPS = Path("/usr/share/tuxpaint/stamps")
CLASSES = {
    "bird": "animals/birds/*.png", "fish": "animals/fish/*.png", "insect": "animals/insects/*.png", "bovine": "animals/mammals/bovines/*.png",
    "rodent": "animals/mammals/rodents/*.png", "fruit": "food/fruit/*.png", "vegetable": "food/vegetables/*.png", "flower": "plants/flowers/*.png",
    "hat": "clothes/hats/*.png", "clothing": "clothes/t_*.png", "tool": "household/tools/*.png", "sign": "town/roadsigns/*.png",
    "ball": "sports/*ball.png", "instrument": "hobbies/music/string/*.png", "coin": "symbols/money/euro/coins/*.png",
}  # fmt: skip
PHOTOGRAPHS = (
    "astronaut.png",
    "chelsea.png",
    "coffee.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "motorcycle_left.png",
    "rocket.jpg",
)
VISIBLE = 0.3  # an object of which less is left uncovered is taken out again


def _read(path: Path, mode: str) -> Image.Image:
    with open_image(path) as image:
        return image.convert(mode)


def cutouts(classes: int = 15) -> list[list[Image.Image]]:
    """Return the cut-outs of the first classes, cropped to what is not transparent. Raises
    FileNotFoundError without the Debian package.
    """
    crops = []
    for name, pattern in list(CLASSES.items())[:classes]:
        files = [p for p in sorted(STAMPS.glob(pattern)) if "_mirror" not in p.name]
        if not files:
            raise FileNotFoundError(
                f"no {name} in {STAMPS}: apt-get install tuxpaint-stamps-default"
            )
        pictures = [_read(p, "RGBA") for p in files]
        crops.append(
            [p.crop(p.getchannel("A").point(lambda a: 255 * (a > 127)).getbbox()) for p in pictures]
        )
    return crops


def photographs() -> list[Image.Image]:
    """Return the photographs inside scikit-learn and scikit-image."""
    import skimage
    import sklearn.datasets

    inside = Path(skimage.__file__).parent / "data"
    files = [inside / name for name in PHOTOGRAPHS] + sorted(
        (Path(sklearn.datasets.__file__).parent / "images").glob("*.jpg")
    )
    return [_read(p, "RGB") for p in files]


def picture(
    rng: np.random.Generator,
    size: tuple[int, int],
    grounds: list[Image.Image],
    stamps: list[list[Image.Image]],
    chances: NDArray[np.float64],
    most: int,
) -> tuple[Image.Image, list[tuple[int, NDArray[np.bool_]]]]:
    """Return an image (width, height) and, from back to front, the class and the visible mask
    (height, width) of each object.
    """
    width, height = size
    ground = grounds[int(rng.integers(len(grounds)))]
    scale = max(width / ground.width, height / ground.height) * rng.uniform(1.0, 1.5)
    ground = ground.resize(
        (max(width, round(ground.width * scale)), max(height, round(ground.height * scale)))
    )
    left, top = (
        int(rng.integers(a - b + 1)) for a, b in ((ground.width, width), (ground.height, height))
    )
    image = ground.crop((left, top, left + width, top + height))
    objects: list[tuple[int, NDArray[np.bool_]]] = []
    for _ in range(int(rng.integers(most + 1))):
        label = int(rng.choice(len(stamps), p=chances))
        stamp = stamps[label][int(rng.integers(len(stamps[label])))]
        side = rng.uniform(0.2, 0.5) * min(size)
        factor = side / max(stamp.size)
        stamp = stamp.resize(
            (max(4, round(stamp.width * factor)), max(4, round(stamp.height * factor)))
        )
        if rng.random() < 0.5:
            stamp = stamp.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        at = (
            int(rng.integers(width - stamp.width + 1)),
            int(rng.integers(height - stamp.height + 1)),
        )
        mask = np.zeros((height, width), bool)
        mask[at[1] : at[1] + stamp.height, at[0] : at[0] + stamp.width] = (
            np.asarray(stamp.getchannel("A")) > 127
        )
        covered = [(m & ~mask).sum() < VISIBLE * m.sum() for _, m in objects]
        if any(covered) or mask.sum() < 16:
            continue
        objects = [(c, m & ~mask) for c, m in objects]
        image.paste(stamp, at, stamp.getchannel("A").point(lambda a: 255 * (a > 127)))
        objects.append((label, mask))
    return image, objects


def run_lengths(mask: NDArray[np.bool_]) -> dict[str, list[int]]:
    """Return a mask (height, width) as COCO writes it: lengths of runs of 0 and 1 in turns, column
    by column.
    """
    flat = np.concatenate([[False], mask.ravel(order="F"), [False]])
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    counts = np.diff(np.concatenate([[0], edges, [mask.size]])).tolist()
    return {
        "size": list(mask.shape),
        "counts": counts if counts[-1] or len(counts) == 1 else counts[:-1],
    }


def annotation(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Return box, area and mask of an object."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    x, y = int(columns[0]), int(rows[0])
    box = [x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y]
    return {"bbox": box, "area": int(mask.sum()), "iscrowd": 0, "segmentation": run_lengths(mask)}


def build(
    folder: str | Path,
    train: int,
    test: int,
    *,
    size: tuple[int, int] = (160, 120),
    classes: int = 15,
    imbalance: float = 1.0,
    most: int = 4,
    seed: int = 0,
) -> Path:
    """Write the folder and return it: `most` objects an image at most, imbalance: how much more
    often the first class comes than the last (geometric between).
    """
    folder = Path(folder)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    grounds, stamps = photographs(), cutouts(classes)
    chances = imbalance ** -(np.arange(classes) / max(1, classes - 1))
    chances /= chances.sum()
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(list(CLASSES)[:classes])]
    for part, (name, count) in enumerate((("train", train), ("test", test))):
        images: list[dict[str, Any]] = []
        rows: list[dict[str, Any]] = []
        for number in range(count):
            image, objects = picture(
                np.random.default_rng([seed, part, number]), size, grounds, stamps, chances, most
            )
            about: dict[str, Any] = {
                "id": 100000 * part + number + 1,
                "file_name": f"{name}_{number:05d}.png",
                "width": size[0],
                "height": size[1],
                "video_id": number // 5,
            }
            image.save(folder / "images" / about["file_name"])
            images.append(about)
            rows += [
                {
                    "id": len(rows) + i + 1,
                    "image_id": about["id"],
                    "category_id": c + 1,
                    **annotation(m),
                }
                for i, (c, m) in enumerate(objects)
            ]
        (folder / f"{name}.json").write_text(
            json.dumps({"images": images, "annotations": rows, "categories": categories})
        )
    return folder


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder")
    for option, default in (
        ("train", 200),
        ("test", 50),
        ("classes", 15),
        ("most", 4),
        ("width", 160),
        ("height", 120),
        ("seed", 0),
    ):
        parser.add_argument(f"--{option}", type=int, default=default, help=f"default {default}")
    parser.add_argument(
        "--imbalance",
        type=float,
        default=1.0,
        help="how much more often the first class comes than the last, default 1",
    )
    a = parser.parse_args()
    build(
        a.folder,
        a.train,
        a.test,
        size=(a.width, a.height),
        classes=a.classes,
        imbalance=a.imbalance,
        most=a.most,
        seed=a.seed,
    )
    print(f"{a.train} + {a.test} images in {a.folder}")
