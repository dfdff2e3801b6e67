"""What two copies of an image have in common: a hash of the pixels, a hash of a thumbnail, a
perceptual hash, the colors of its parts.

Perceptual hash as in the library ImageHash: the luma at 32 x 32, its cosine transform, the 8 x 8
lowest frequencies, a bit each for being above their median. Of a flat image, a gradient or a fine
pattern all frequencies but a few are rounding errors: all of them hash alike. An image whose median
frequency is not clearly above the rounding of 8 bits has no perceptual hash here (`flat`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn

from coreset.core.batch import objects
from coreset.core.pool import Array

SIDE, LOW = 32, 8
PARTS = 4  # a side


def pixel_hash(pixels: NDArray[np.uint8]) -> str:
    """Return 32 hex digits of size and pixels: equal for two files that show the very same,
    whatever their format.
    """
    digest = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def thumbnail(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return the image at side x side, whatever its shape: (side, side, 3), by area (Pillow's box
    filter).
    """
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BOX))


def part_colors(pixels: NDArray[np.uint8]) -> str:
    """Return the mean colors of 4 x 4 parts of the image, row by row, as 96 hex digits: what a
    perceptual hash, which sees the luma's shape alone, does not tell apart.

    >>> part_colors(np.full((9, 9, 3), (255, 0, 16), np.uint8))[:12]
    'ff0010ff0010'
    """
    return thumbnail(pixels, PARTS).tobytes().hex()


def frequencies(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the 8 x 8 lowest frequencies of the luma at 32 x 32 (Pillow's Lanczos filter),
    orthonormal: 8-bit rounding alone makes about 0.3 of each.
    """
    small = Image.fromarray(pixels).convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    return np.asarray(dctn(np.asarray(small, np.float64), type=2, norm="ortho")[:LOW, :LOW])


def texture(low: NDArray[np.float64]) -> float:
    """Return the median size of all frequencies but the mean: about 0.3 or less where there is
    nothing but rounding.
    """
    return float(np.median(np.abs(low.reshape(-1)[1:])))


def perceptual_hash(low: NDArray[np.float64]) -> int:
    """Return 64 bits, the first row's first bit as the highest: 1 where a frequency is above the
    median of all 64.

    The first one, the mean of the image, is scaled by the unnormalized transform's factors so that
    the bits are those of ImageHash.
    """
    scale = np.ones(LOW)
    scale[0] = np.sqrt(2.0)
    raw = low * np.outer(scale, scale)
    bits = (raw > np.median(raw)).reshape(-1)
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


@dataclass(frozen=True)
class ImageHashes:
    """Hash images: `pixel_hash` and `thumbnail_hash` (at side x side, exact), `phash` (16 hex
    digits) and its `texture`, `colors` (96 hex digits, see `part_colors`).

    `phash_status` is `flat` where the texture is below min_texture: there is no perceptual hash
    then.

    >>> import numpy as np
    >>> ImageHashes()({"pixels": [np.full((9, 9, 3), 255, np.uint8)]})["phash_status"]
    array(['flat'], dtype=object)
    """

    side: int = 32
    min_texture: float = 2.0

    needs = frozenset({"pixels"})
    gives = frozenset(
        {"pixel_hash", "thumbnail_hash", "phash", "texture", "phash_status", "colors"}
    )

    def __post_init__(self) -> None:
        if self.side < 1 or self.min_texture < 0:
            raise ValueError(
                f"side and min_texture: expected at least 1 and at least 0, got {self.side},"
                f" {self.min_texture}"
            )

    def __call__(self, batch: Mapping[str, Array]) -> dict[str, Array]:
        """Return the hashes of every image."""
        images = batch["pixels"]
        status = list(
            batch["pixels_status"]
            if "pixels_status" in batch
            else ["missing_field" if p is None else "ok" for p in images]
        )
        same, small, look, hues = (objects([None] * len(images)) for _ in range(4))
        depth = np.full(len(images), np.nan)
        for i, pixels in enumerate(images):
            if pixels is None:
                continue
            low = frequencies(pixels)
            same[i], small[i], depth[i] = (
                pixel_hash(pixels),
                pixel_hash(thumbnail(pixels, self.side)),
                texture(low),
            )
            hues[i] = part_colors(pixels)
            if depth[i] < self.min_texture:
                status[i] = "flat"
            else:
                look[i] = f"{perceptual_hash(low):016x}"
        return {
            "pixel_hash": same,
            "thumbnail_hash": small,
            "phash": look,
            "phash_status": objects(status),
            "texture": depth,
            "colors": hues,
        }
