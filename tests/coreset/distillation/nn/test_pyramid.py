"""Pyramids of images: which levels there are, what their sum looks like."""

import pytest
import torch

from coreset.distillation.nn.pyramid import COLORS, grown, picture, sides


def test_levels_double_up_to_the_side():
    assert [sides(s) for s in (1, 2, 3, 8, 28)] == [
        [1],
        [1, 2],
        [1, 2, 3],
        [1, 2, 4, 8],
        [1, 2, 4, 8, 16, 28],
    ]


def test_growing_keeps_the_sum_of_weights():
    rng = torch.Generator().manual_seed(0)
    noise = [torch.randn(2, 1, s, s, generator=rng) for s in (1, 2, 4)]
    levels: list[torch.Tensor] = []
    for level in noise:
        levels = grown(levels, level)
    for mine, theirs in zip(levels, noise, strict=True):
        torch.testing.assert_close(mine, theirs / 3)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_picture_is_the_sigmoid_of_the_sum(channels):
    rng = torch.Generator().manual_seed(0)
    coarse, fine = (torch.randn(2, channels, s, s, generator=rng).double() for s in (1, 4))
    total = coarse.expand(-1, -1, 4, 4) + fine
    if channels == 3:
        axes = torch.tensor(COLORS).double()
        axes = axes / axes.square().sum(dim=0).sqrt().max()
        total = (total.permute(0, 2, 3, 1) @ axes.T).permute(0, 3, 1, 2)
    torch.testing.assert_close(picture([coarse, fine], 4), 1 / (1 + torch.exp(-2 * total)))
