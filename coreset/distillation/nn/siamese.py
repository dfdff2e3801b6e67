"""Differentiable siamese augmentation: one draw of parameters, applied alike to real and to
synthetic images.

Zhao & Bilen, "Dataset Condensation with Differentiable Siamese Augmentation", ICML 2021
(arXiv:2102.08259), with the defaults of the authors' code: one operation a draw, brightness within
0.5, saturation 0 to 2, contrast 0.5 to 1.5, zero padding by an eighth before a crop, cutout of half
the side, flip of half the images, scale 1/1.2 to 1.2 per axis, rotation within 15 degrees. Images
are normalized.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

DEFAULT = "color_crop_cutout_flip_scale_rotate"
WITHOUT_FLIP = "color_crop_cutout_scale_rotate"  # digits and letters
SCALE, ROTATE, CROP, CUTOUT = 1.2, 15.0, 0.125, 0.5


def _each(u: Tensor, column: int) -> Tensor:
    return u[:, column].view(-1, 1, 1, 1)


def color(x: Tensor, u: Tensor) -> Tensor:
    """Brightness, then saturation, then contrast, each by one column of `u` (B, 3) in [0, 1)."""
    x = x + (_each(u, 0) - 0.5)
    gray = x.mean(dim=1, keepdim=True)
    x = (x - gray) * (2 * _each(u, 1)) + gray
    middle = x.mean(dim=(1, 2, 3), keepdim=True)
    return (x - middle) * (0.5 + _each(u, 2)) + middle


def _whole(u: Tensor, low: int, high: int) -> Tensor:
    """Return whole numbers low .. high, each as likely, from numbers in [0, 1)."""
    return low + (u * (high - low + 1)).long().clamp(max=high - low)


def crop(x: Tensor, u: Tensor) -> Tensor:
    """Shift by up to an eighth of the side in both directions; what comes in is zero."""
    b, _, h, w = x.shape
    pad = int(h * CROP + 0.5)
    padded = nn.functional.pad(x, (pad, pad, pad, pad))
    row = _whole(u[:, 0], 0, 2 * pad)[:, None] + torch.arange(h, device=x.device)
    column = _whole(u[:, 1], 0, 2 * pad)[:, None] + torch.arange(w, device=x.device)
    each = torch.arange(b, device=x.device)
    return padded.permute(0, 2, 3, 1)[
        each[:, None, None], row[:, :, None], column[:, None, :]
    ].permute(0, 3, 1, 2)


def cutout(x: Tensor, u: Tensor) -> Tensor:
    """Set a square of half the side to zero; its center lies anywhere, so part of it may lie
    outside.
    """
    h, w = x.shape[2:]
    size = int(h * CUTOUT + 0.5)
    top = _whole(u[:, 0], 0, h - size % 2)[:, None] - size // 2
    left = _whole(u[:, 1], 0, w - size % 2)[:, None] - size // 2
    row, column = torch.arange(h, device=x.device), torch.arange(w, device=x.device)
    in_rows = (row >= top) & (row < top + size)
    in_columns = (column >= left) & (column < left + size)
    return x * ~(in_rows[:, None, :, None] & in_columns[:, None, None, :])


def flip(x: Tensor, u: Tensor) -> Tensor:
    """Mirror left and right where the first column of `u` is below one half."""
    return torch.where(_each(u, 0) < 0.5, x.flip(3), x)


def _warp(x: Tensor, theta: Tensor) -> Tensor:
    """Sample along affine maps theta (B, 2, 3):
    bilinear, zero outside, pixel corners at -1 and 1.
    """
    grid = nn.functional.affine_grid(theta, list(x.shape), align_corners=False)
    return nn.functional.grid_sample(
        x, grid, mode="bilinear", padding_mode="zeros", align_corners=False
    )


def scale(x: Tensor, u: Tensor) -> Tensor:
    """Sample both axes at a step of 1 / 1.2 (larger) to 1.2 (smaller), each by its own column of
    `u`.
    """
    step = u[:, :2] * (SCALE - 1 / SCALE) + 1 / SCALE
    theta = x.new_zeros(len(x), 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = step[:, 0].to(x.dtype), step[:, 1].to(x.dtype)
    return _warp(x, theta)


def rotate(x: Tensor, u: Tensor) -> Tensor:
    """Rotate by up to 15 degrees either way."""
    angle = ((u[:, 0] - 0.5) * 2 * ROTATE / 180 * math.pi).to(x.dtype)
    theta = x.new_zeros(len(x), 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = angle.cos()
    theta[:, 0, 1], theta[:, 1, 0] = -angle.sin(), angle.sin()
    return _warp(x, theta)


OPERATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "color": color,
    "crop": crop,
    "cutout": cutout,
    "flip": flip,
    "scale": scale,
    "rotate": rotate,
}


def operations(strategy: str, flips: bool = True) -> list[str]:
    """Return the operations named in a strategy such as `color_crop_flip`; `none` and the empty
    text name none; without `flips`, flip is left out.

    Raises ValueError for a name that is no operation.

    >>> operations("color_flip", flips=False)
    ['color']
    """
    names = [] if strategy in ("none", "") else strategy.split("_")
    for name in names:
        if name not in OPERATIONS:
            raise ValueError(
                f"augment: expected {', '.join(OPERATIONS)} joined by _, or none, got {name!r}"
            )
    return [name for name in names if flips or name != "flip"]


@dataclass(frozen=True, eq=False)
class Draw:
    """One operation and its parameters u (3,) in [0, 1) for each of some groups of images: names n,
    parameters (n, 3).
    """

    names: tuple[str, ...]
    parameters: Tensor

    def to(self, device: torch.device | str) -> Draw:
        """Return the draw with its parameters on a device."""
        return Draw(self.names, self.parameters.to(device))


def draw(names: list[str], groups: int, generator: torch.Generator) -> Draw:
    """Draw for every group one of the operations and its parameters; no name: nothing happens to
    any group.

    >>> draw(["flip"], 2, torch.Generator().manual_seed(0)).names
    ('flip', 'flip')
    """
    which = torch.rand(groups, generator=generator)
    u = torch.rand(groups, 3, generator=generator)
    chosen = tuple(
        names[min(int(w * len(names)), len(names) - 1)] if names else "" for w in which.tolist()
    )
    return Draw(chosen, u)


def augment(x: Tensor, drawn: Draw) -> Tensor:
    """Return images (groups x n, C, S, S), the groups one after the other, with each group's
    operation applied with the same parameters to all its images.

    Differentiable in `x`. An image's answer does not depend on the others.
    """
    groups = len(drawn.names)
    if len(x) % groups:
        raise ValueError(
            f"x: {len(x)} images are no whole number of each of the {groups} groups of the draw"
        )
    n = len(x) // groups
    kinds = sorted(set(drawn.names))
    u = drawn.parameters.to(x.device).repeat_interleave(n, dim=0)
    if len(kinds) == 1:
        return OPERATIONS[kinds[0]](x, u) if kinds[0] else x
    grouped = x.view(groups, n, *x.shape[1:])
    parts, order = [], []
    for kind in kinds:
        which = [g for g, name in enumerate(drawn.names) if name == kind]
        part = grouped[which].flatten(0, 1)
        parts.append(
            OPERATIONS[kind](part, u.view(groups, n, -1)[which].flatten(0, 1)).view(
                -1, *grouped.shape[1:]
            )
        )
        order += which
    back = torch.empty(groups, dtype=torch.int64)
    back[order] = torch.arange(groups)
    return torch.cat(parts)[back.to(x.device)].flatten(0, 1)
