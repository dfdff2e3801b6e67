"""What can be measured on an image without a model: sharpness, exposure, contrast, entropy, color.

All on the luma Y = 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601), at the size the image has: a larger
copy of an image is smoother, so compare images of like size. Blur: the variance of the Laplacian
(Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", ICPR 2000), kernel 0 1 0 / 1
-4 1 / 0 1 0, edges mirrored without repeating them, as OpenCV does. Colorfulness: Hasler &
Suesstrunk, "Measuring colorfulness in natural images", SPIE 2003, M^(3).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coreset.numerics.compiled import compiled
from coreset.scorers.image.base import PixelScorer

DARK, BRIGHT = 5, 250  # luma up to which a pixel is black, and from which on it is white


@compiled
def _sums(
    pixels: NDArray[np.uint8],
    luma: NDArray[np.float32],
    counts: NDArray[np.int64],
    color: NDArray[np.int64],
) -> None:
    """One pass: luma per pixel, the histogram of its rounded values, and the sums of R-G, R+G-2B
    and their squares, in whole numbers.
    """
    for y in range(pixels.shape[0]):
        a = b = aa = bb = np.int64(0)
        for x in range(pixels.shape[1]):
            r, g, blue = (
                np.int32(pixels[y, x, 0]),
                np.int32(pixels[y, x, 1]),
                np.int32(pixels[y, x, 2]),
            )
            whole = np.int32(299) * r + np.int32(587) * g + np.int32(114) * blue
            luma[y, x] = np.float32(whole) / np.float32(1000)
            counts[(whole + np.int32(500)) // np.int32(1000)] += 1
            one, two = r - g, r + g - np.int32(2) * blue
            a += one
            b += two
            aa += one * one
            bb += two * two
        color[0] += a
        color[1] += b
        color[2] += aa
        color[3] += bb


@compiled
def _laplacian(luma: NDArray[np.float32]) -> tuple[float, float]:
    """Return the mean of the Laplacian and of its square; the smallest side must be at least 2."""
    rows, columns = luma.shape
    total = square = 0.0
    for y in range(rows):
        up, down = abs(y - 1), y + 1 if y + 1 < rows else rows - 2
        for x in range(columns):
            left, right = abs(x - 1), x + 1 if x + 1 < columns else columns - 2
            value = (
                np.float64(luma[up, x])
                + luma[down, x]
                + luma[y, left]
                + luma[y, right]
                - 4 * np.float64(luma[y, x])
            )
            total += value
            square += value * value
    return total / luma.size, square / luma.size


@dataclass(frozen=True)
class Quality(PixelScorer):
    """Measure the quality of images.

    blur: variance of the Laplacian of the luma (0..255), low = blurred or flat. brightness,
    contrast: mean and standard deviation of the luma, in [0, 1]. dark_share, bright_share: shares
    of pixels whose rounded luma is at most 5, at least 250. entropy: of the histogram of the
    rounded luma, in bits, 0 to 8. colorfulness: about 0 (gray) to over 100. aspect: longer side by
    shorter side. Images with a side of 1 pixel have no Laplacian: `too_small`.

    >>> import numpy as np
    >>> gray = np.full((4, 4, 3), 128, np.uint8)
    >>> {
    ...     k: float(v[0])
    ...     for k, v in Quality()({"pixels": [gray]}).items()
    ...     if k in ("blur", "entropy", "colorfulness")
    ... }
    {'blur': 0.0, 'entropy': 0.0, 'colorfulness': 0.0}
    """

    columns = (
        "blur",
        "brightness",
        "contrast",
        "dark_share",
        "bright_share",
        "entropy",
        "colorfulness",
        "aspect",
    )
    status_column = "quality_status"

    def measure(self, pixels: NDArray[np.uint8]) -> tuple[float, ...] | str:
        """Return the eight numbers of one image."""
        height, width = pixels.shape[:2]
        if min(height, width) < 2:
            return "too_small"
        luma = np.empty((height, width), np.float32)
        counts, color = np.zeros(256, np.int64), np.zeros(4, np.int64)
        _sums(pixels, luma, counts, color)
        n = luma.size
        mean, square = _laplacian(luma)
        share = counts / n
        known = share[share > 0]
        light = luma.mean(dtype=np.float64)
        rg, yb = color[0] / n, color[1] / (2 * n)
        spread = np.sqrt(max(color[2] / n - rg * rg, 0.0) + max(color[3] / (4 * n) - yb * yb, 0.0))
        return (
            max(square - mean * mean, 0.0),
            float(light) / 255,
            float(luma.std(dtype=np.float64)) / 255,
            float(share[: DARK + 1].sum()),
            float(share[BRIGHT:].sum()),
            float((known * -np.log2(known)).sum()) + 0.0,
            float(spread + 0.3 * np.hypot(rg, yb)),
            max(height, width) / min(height, width),
        )
