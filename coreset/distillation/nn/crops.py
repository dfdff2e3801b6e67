"""Random resized crops of square images: where they lie, and what they look like brought to one
size.

The rule of torchvision's RandomResizedCrop, on whole batches: a box covers a random share of the
area at a random aspect ratio, and is resampled bilinearly with antialiasing. Everything random
comes in as numbers, so that it can be keyed by row; differentiable in the image.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

TRIES = 10
RATIO = (3 / 4, 4 / 3)


def boxes(
    u: NDArray[np.float64],
    side: int,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = RATIO,
) -> NDArray[np.int64]:
    """Return boxes (n, 4) of whole pixels, top, left, height, width, within images of `side`
    pixels, from numbers u (n, 2 tries + 2) in [0, 1).

    u: pairs of area and aspect ratio, of which the first that fits in counts, and last the place
    from top and left; where none fits, the box is the whole image. scale: least and largest share
    of the area; ratio: of width to height, drawn on a logarithmic scale. Raises ValueError for
    shares outside (0, 1] and for an odd or too short `u`.

    >>> boxes(np.array([[1.0, 0.5, 0.0, 0.0], [0.0, 0.5, 0.0, 0.999]]), 8, (0.25, 1.0)).tolist()
    [[0, 0, 8, 8], [0, 4, 4, 4]]
    """
    check_scale(scale)
    if u.ndim != 2 or u.shape[1] < 4 or u.shape[1] % 2:
        raise ValueError(f"u: expected (n, 2 tries + 2) numbers, got shape {u.shape}")
    pairs = u[:, :-2].reshape(len(u), -1, 2)
    area = (scale[0] + pairs[..., 0] * (scale[1] - scale[0])) * side**2
    aspect = np.exp(math.log(ratio[0]) + pairs[..., 1] * (math.log(ratio[1]) - math.log(ratio[0])))
    width = np.maximum(np.rint(np.sqrt(area * aspect)), 1).astype(np.int64)
    height = np.maximum(np.rint(np.sqrt(area / aspect)), 1).astype(np.int64)
    fits = (width <= side) & (height <= side)
    first, each = fits.argmax(axis=1), np.arange(len(u))
    none = ~fits.any(axis=1)
    h = np.where(none, side, height[each, first])
    w = np.where(none, side, width[each, first])
    top, left = (
        np.minimum((u[:, c] * (side - n + 1)).astype(np.int64), side - n)
        for c, n in ((-2, h), (-1, w))
    )
    return np.stack([top, left, h, w], axis=1)


def check_scale(scale: tuple[float, float]) -> None:
    """Raise ValueError when `scale` is no pair of shares of the area, the smaller first."""
    if len(scale) != 2 or not 0 < scale[0] <= scale[1] <= 1:
        raise ValueError(
            f"scale: expected two shares of the area, 0 < least <= largest <= 1, got {scale}"
        )


def resample(x: Tensor, box: NDArray[np.int64], size: int) -> Tensor:
    """Return what images (n, C, S, S) show in their boxes (n, 4), bilinearly at `size` pixels a
    side, (n, C, size, size); antialiased where it gets smaller.

    A box is cut out first: nothing around it shows.

    >>> resample(torch.arange(4.0).view(1, 1, 2, 2), np.array([[0, 1, 2, 1]]), 2)[0, 0].tolist()
    [[1.0, 1.0], [3.0, 3.0]]
    """
    place = torch.from_numpy(np.ascontiguousarray(box)).to(x.device)
    down = _weights(place[:, 0], place[:, 2], size, x.shape[2]).to(x.dtype)
    across = _weights(place[:, 1], place[:, 3], size, x.shape[3]).to(x.dtype)
    return down[:, None] @ x @ across[:, None].transpose(2, 3)


def _weights(start: Tensor, length: Tensor, size: int, side: int) -> Tensor:
    """Return how much each of `side` pixels counts in each of `size` new ones, (n, size, side)
    float64, rows summing to 1.
    """
    step = length.double() / size
    reach = step.clamp(min=1)
    center = (
        start[:, None] + (torch.arange(size, device=start.device).double() + 0.5) * step[:, None]
    )
    at = torch.arange(side, device=start.device).double() + 0.5
    inside = (at > start[:, None]) & (at < (start + length)[:, None])
    far = (at - center[:, :, None]).abs() / reach[:, None, None]
    w = (1 - far).clamp(min=0) * inside[:, None]
    return w / w.sum(dim=2, keepdim=True)
