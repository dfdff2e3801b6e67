"""Regions of segmentation maps as rows to choose from, and the pixels each of them covers."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class RegionMap:
    """The region of every pixel of an image, -1 for one that does not count, held compressed."""

    shape: tuple[int, int]
    packed: bytes

    @classmethod
    def of(cls, numbers: NDArray[np.int32]) -> RegionMap:
        """Return the map of region numbers (H, W)."""
        height, width = numbers.shape
        return cls(
            (height, width), zlib.compress(np.ascontiguousarray(numbers, np.int32).tobytes(), 1)
        )

    def numbers(self) -> NDArray[np.int32]:
        """Return the number of each pixel's region (H, W)."""
        return np.frombuffer(zlib.decompress(self.packed), np.int32).reshape(self.shape)


@dataclass(frozen=True, eq=False, repr=False)
class Regions:
    """Regions as rows to choose from: ids `image/region` (R,), values (R,) mean score, pixels (R,)
    their cost.

    image (R,) and number (R,): the position of each region's image in `maps`, and its number there.

    >>> maps = [RegionMap.of(np.array([[0, 0, 1], [0, -1, 1]], np.int32))]
    >>> two = Regions(
    ...     np.array(["7/0", "7/1"]),
    ...     np.ones(2),
    ...     np.array([3.0, 2.0]),
    ...     np.zeros(2, int),
    ...     np.arange(2),
    ...     maps,
    ... )
    >>> two.mask("7/0").tolist()
    [[True, True, False], [True, False, False]]
    >>> two.rle("7/0")
    {'size': [2, 3], 'counts': [0, 3, 3]}
    """

    ids: NDArray[Any]
    values: NDArray[np.float64]
    pixels: NDArray[np.float64]
    image: NDArray[np.int64]
    number: NDArray[np.int64]
    maps: Sequence[RegionMap]

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return iter((self.ids, self.values, self.pixels))

    def __repr__(self) -> str:
        return f"Regions(regions={len(self.ids)}, images={len(self.maps)})"

    def row(self, region: str | int) -> int:
        """Return the row of a region, given as its id or as that row. Raises KeyError for one that
        is not there.
        """
        if isinstance(region, str):
            at = np.flatnonzero(self.ids == region)
            if len(at):
                return int(at[0])
        elif 0 <= int(region) < len(self.ids):
            return int(region)
        raise KeyError(f"region {region!r} is none of the {len(self.ids)}")

    def mask(self, region: str | int) -> NDArray[np.bool_]:
        """Return the pixels a region covers (H, W), as many as its entry of `pixels`: without those
        that are ignored.
        """
        at = self.row(region)
        return np.asarray(self.maps[int(self.image[at])].numbers() == self.number[at])

    def rle(self, region: str | int) -> dict[str, list[int]]:
        """Return the same as COCO's uncompressed run lengths: {size: [H, W], counts}, down the
        columns, 0 before 1.
        """
        mask = self.mask(region)
        flat = np.concatenate([[False], mask.T.ravel(), [not mask[-1, -1]]])
        cuts = np.flatnonzero(np.diff(flat))
        return {"size": list(mask.shape), "counts": np.diff(np.concatenate([[0], cuts])).tolist()}
