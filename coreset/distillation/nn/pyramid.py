"""Images as sums of levels from coarse to fine: what makes a whole object move at once, and keeps
a single network's taste for noise out of the pixels.

Cazenavette, Torralba & Sitzmann, "Dataset Distillation for Pre-Trained Self-Supervised Vision
Models", NeurIPS 2025 (arXiv:2511.16674). Colors: the root of ImageNet's color correlation, from
Olah, Mordvintsev & Schubert, "Feature Visualization", Distill 2017.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

COLORS = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))  # red, green, blue by axis


def sides(side: int) -> list[int]:
    """Return the pixels a side of every level: 1, 2, 4 and so on, and last the whole image's.

    >>> sides(28), sides(1)
    ([1, 2, 4, 8, 16, 28], [1])
    """
    powers = [2**n for n in range(side.bit_length()) if 2**n < side]
    return [*powers, side]


def grown(levels: Sequence[Tensor], noise: Tensor) -> list[Tensor]:
    """Return the levels with one more, `noise` (M, C, s, s) over their new number; the older ones
    shrink so that the sum keeps its scale.
    """
    old, new = len(levels), len(levels) + 1
    return [*(level * (old / new) for level in levels), noise / new]


def picture(levels: Sequence[Tensor], side: int) -> Tensor:
    """Return images (M, C, side, side) from 0 to 1: the sigmoid of twice the sum of all levels (M,
    C, s, s), each enlarged bilinearly; of three channels, the sum is of axes that ImageNet's colors
    do not correlate along.

    >>> picture([torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 2, 2)], 2)[0, 0].tolist()
    [[0.5, 0.5], [0.5, 0.5]]
    """
    total = torch.stack(
        [nn.functional.interpolate(v, (side, side), mode="bilinear") for v in levels]
    ).sum(dim=0)
    if total.shape[1] == 3:
        axes = total.new_tensor(COLORS)
        axes = axes / torch.linalg.vector_norm(axes, dim=0).max()
        total = torch.einsum("nchw,dc->ndhw", total, axes)
    return torch.sigmoid(2 * total)
