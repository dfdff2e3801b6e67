"""Mosaics taken apart and enlarged, against loops over pixels."""

import math

import numpy as np
import pytest
import torch

from coreset.distillation.nn.decode import decode, mosaic, pack


def enlarge(cell, side):
    """Bilinear: output pixel i looks at (i + 1/2) s / S - 1/2, clamped to the cell."""
    s = len(cell)
    out = np.zeros((side, side))
    for i in range(side):
        for j in range(side):
            y, x = (max(0.0, (k + 0.5) * s / side - 0.5) for k in (i, j))
            y0, x0 = math.floor(y), math.floor(x)
            y1, x1 = min(y0 + 1, s - 1), min(x0 + 1, s - 1)
            top = cell[y0, x0] * (1 - (x - x0)) + cell[y0, x1] * (x - x0)
            low = cell[y1, x0] * (1 - (x - x0)) + cell[y1, x1] * (x - x0)
            out[i, j] = top * (1 - (y - y0)) + low * (y - y0)
    return out


@pytest.mark.parametrize(("side", "factor"), [(8, 2), (9, 3), (7, 2), (8, 3)])
def test_decode_is_the_formula(side, factor):
    x = np.random.default_rng(0).normal(size=(2, 3, side, side))
    cell = -(-side // factor)
    padded = np.zeros((2, 3, cell * factor, cell * factor))
    padded[:, :, :side, :side] = x
    want = [
        [
            enlarge(padded[m, c, i * cell : (i + 1) * cell, j * cell : (j + 1) * cell], side)
            for c in range(3)
        ]
        for m in range(2)
        for i in range(factor)
        for j in range(factor)
    ]
    np.testing.assert_allclose(
        decode(torch.from_numpy(x), factor).numpy(), want, rtol=1e-9, atol=1e-12
    )


def test_one_is_nothing_and_mosaic_is_the_other_way():
    x = torch.randn(3, 1, 8, 8)
    assert torch.equal(decode(x, 1), x)
    assert torch.equal(pack(x, 1), x)
    cells = torch.randn(8, 2, 4, 4)
    tiled = mosaic(cells, 2)
    for m in range(2):
        for i in range(2):
            for j in range(2):
                assert torch.equal(
                    tiled[m, :, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4], cells[m * 4 + i * 2 + j]
                )


def test_pack_fills_the_cells_with_area_means():
    x = torch.randn(4, 1, 8, 8)
    small = x.view(4, 1, 4, 2, 4, 2).mean((3, 5))
    assert torch.allclose(pack(x, 2)[0, :, :4, :4], small[0])
    assert torch.allclose(pack(x, 2)[0, :, 4:, 4:], small[3])
    assert pack(torch.randn(9, 1, 8, 8), 3).shape == (1, 1, 8, 8)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="factor"):
        decode(torch.zeros(1, 1, 4, 4), 0)
    with pytest.raises(ValueError, match="mosaics of 4"):
        mosaic(torch.zeros(3, 1, 2, 2), 2)
