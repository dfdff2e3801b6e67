"""Regions instead of images: where they come from, which to label under a budget in pixels, and the
labels written back as masks in which the rest is ignored.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset.core.selection import Selection
from coreset.core.store import write_atomic
from coreset.vision.coco_check import inside
from coreset.vision.regions import Regions

IGNORE = 255


def grid(height: int, width: int, side: int) -> NDArray[np.int32]:
    """Return square regions of `side` pixels, numbered row by row; smaller at the ends.

    >>> grid(2, 3, 2).tolist()
    [[0, 0, 1], [0, 0, 1]]
    """
    if side < 1:
        raise ValueError(f"side: expected at least 1 pixel, got {side}")
    across = -(-width // side)
    return (np.arange(height)[:, None] // side * across + np.arange(width) // side).astype(np.int32)


def superpixels(
    image: NDArray[np.uint8], count: int, compactness: float = 10.0
) -> NDArray[np.int32]:
    """Return about `count` superpixels of an image (H, W, 3) or (H, W), numbered from 0 without
    gaps: scikit-image's SLIC.

    Achanta et al., "SLIC Superpixels Compared to State-of-the-Art Superpixel Methods", PAMI 2012.
    Raises ImportError with the install line without scikit-image.
    """
    try:
        from skimage.segmentation import slic
    except ImportError as error:
        raise ImportError("superpixels need scikit-image: pip install scikit-image") from error
    channel = -1 if image.ndim == 3 else None
    segments = slic(
        image, n_segments=count, compactness=compactness, start_label=0, channel_axis=channel
    )
    _, numbers = np.unique(segments, return_inverse=True)
    return np.asarray(numbers.reshape(segments.shape), np.int32)


@dataclass(frozen=True, eq=False)
class RegionChoice:
    """Chosen regions in order. rows: positions in `regions`; spent: their pixels together."""

    regions: Regions
    rows: NDArray[np.int64]
    images: NDArray[Any]

    @property
    def ids(self) -> list[str]:
        """Ids `image/region` in order."""
        return [str(k) for k in self.regions.ids[self.rows]]

    @property
    def spent(self) -> int:
        """Pixels to label."""
        return int(self.regions.pixels[self.rows].sum())

    def selection(self) -> Selection:
        """Return the choice as a Selection over the rows of `regions`."""
        return Selection(
            self.rows, scores=self.regions.values[self.rows], ids=self.regions.ids[self.rows]
        )

    def masks(self) -> dict[Any, NDArray[np.bool_]]:
        """Return the pixels to label in every image (H, W), by the image's id."""
        out: dict[Any, NDArray[np.bool_]] = {}
        for row in self.rows.tolist():
            at = int(self.regions.image[row])
            key = self.images[at].item() if hasattr(self.images[at], "item") else self.images[at]
            numbers = self.regions.maps[at].numbers()
            held = out.setdefault(key, np.zeros(numbers.shape, bool))
            held |= numbers == self.regions.number[row]
        return out

    def annotations(self, category: int = 1) -> list[dict[str, Any]]:
        """Return a COCO annotation per chosen region: which pixels are to be labeled, as run
        lengths, in the order chosen (`priority`).
        """
        out = []
        for rank, row in enumerate(self.rows.tolist()):
            key = self.images[int(self.regions.image[row])]
            out.append({
                "id": rank + 1, "image_id": key.item() if hasattr(key, "item") else key,
                "category_id": category,
                "segmentation": self.regions.rle(row), "area": int(self.regions.pixels[row]),
                "iscrowd": 1,
                "priority": rank, "region": str(self.regions.ids[row]),
            })  # fmt: skip
        return out

    def write_masks(
        self, folder: str | Path, labels: Mapping[Any, NDArray[Any]], ignore: int = IGNORE
    ) -> list[Path]:
        """Write one PNG of class numbers per image: the labels inside the chosen regions, `ignore`
        outside. Regions written there by earlier rounds stay as they are.

        labels: class numbers (H, W) by image id, at least of the chosen pixels. Raises KeyError for
        an image without labels, ValueError for another size or a class that is `ignore` or no byte.
        """
        from io import BytesIO

        from PIL import Image

        from coreset.scorers.image.files import open_image

        out = []
        for key, mask in self.masks().items():
            if key not in labels:
                raise KeyError(f"image {key!r} has no labels")
            given = np.asarray(labels[key])
            if given.shape != mask.shape:
                raise ValueError(
                    f"image {key!r}: labels of {given.shape}, the map has {mask.shape}"
                )
            new = given[mask]
            if new.size and (new.min() < 0 or new.max() > 255 or (new == ignore).any()):
                raise ValueError(
                    f"image {key!r}: expected classes from 0 to 255 other than {ignore}"
                )
            path = Path(folder) / inside(f"{key}.png", f"image {key!r:.80}")
            blank = np.full(mask.shape, ignore, np.uint8)
            whole = blank
            if path.exists():
                with open_image(path) as image:
                    whole = np.array(image)
            whole[mask] = new
            sink = BytesIO()
            Image.fromarray(whole.astype(np.uint8)).save(sink, "PNG")
            out.append(write_atomic(path, sink.getvalue()))
        return out


def choose_regions(
    regions: Regions,
    images: Iterable[Any],
    pixels: int,
    *,
    labeled: Collection[str] = (),
    labeled_images: Collection[Any] = (),
    per_image: int | None = None,
) -> RegionChoice:
    """Choose regions by their value, highest first, ties to the lowest row, until `pixels` are
    spent: the first that does not fit ends the choice.

    images: ids of the images in the order of `regions.maps`. labeled: ids of regions that are
    labeled already; labeled_images: ids of images that are; none of theirs is chosen. per_image: at
    most that many regions of one image. Raises ValueError for a budget below the smallest region,
    and where nothing is left.
    """
    names = np.array(list(images))
    if len(names) != len(regions.maps):
        raise ValueError(f"images: expected {len(regions.maps)} ids, got {len(names)}")
    gone = set(labeled_images)
    known = set(labeled)
    free = np.array(
        [names[i].item() not in gone if hasattr(names[i], "item") else names[i] not in gone
         for i in regions.image],
        bool,
    ) & ~np.isin(regions.ids.astype(str), list(known)) & np.isfinite(regions.values)  # fmt: skip
    rows = np.flatnonzero(free)
    if not len(rows):
        raise ValueError("no region is left: all are labeled or have no value")
    rows = rows[np.argsort(-regions.values[rows], kind="stable")]
    spent, taken, used = 0.0, [], dict[int, int]()
    for row in rows.tolist():
        at = int(regions.image[row])
        if per_image is not None and used.get(at, 0) >= per_image:
            continue
        if spent + regions.pixels[row] > pixels:
            break
        spent += float(regions.pixels[row])
        used[at] = used.get(at, 0) + 1
        taken.append(row)
    if not taken:
        raise ValueError(
            f"pixels: {pixels} buy no region, the first costs {regions.pixels[rows[0]]:g}"
        )
    return RegionChoice(regions, np.array(taken, np.int64), names)
