"""DSA's transforms against loops over pixels in float64, straight from the definitions."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coreset.distillation.nn.siamese import (
    DEFAULT,
    OPERATIONS,
    WITHOUT_FLIP,
    Draw,
    augment,
    draw,
    operations,
)


def bilinear(image, y, x):
    """Sample one channel at real positions; zero outside."""
    h, w = image.shape
    total = 0.0
    for i in (math.floor(y), math.floor(y) + 1):
        for j in (math.floor(x), math.floor(x) + 1):
            if 0 <= i < h and 0 <= j < w:
                total += image[i, j] * (1 - abs(y - i)) * (1 - abs(x - j))
    return total


def warp(image, theta):
    """Pixel centers at (2 i + 1) / n - 1, corners at -1 and 1 (align_corners False)."""
    c, h, w = image.shape
    out = np.zeros_like(image)
    for i in range(h):
        for j in range(w):
            px, py = (2 * j + 1) / w - 1, (2 * i + 1) / h - 1
            sx = theta[0][0] * px + theta[0][1] * py + theta[0][2]
            sy = theta[1][0] * px + theta[1][1] * py + theta[1][2]
            for k in range(c):
                out[k, i, j] = bilinear(image[k], ((sy + 1) * h - 1) / 2, ((sx + 1) * w - 1) / 2)
    return out


def reference(name, image, u):
    """One image (C, S, S), float64, u (3,)."""
    h, w = image.shape[1:]
    if name == "color":
        x = image + u[0] - 0.5
        gray = x.mean(axis=0)
        x = (x - gray) * 2 * u[1] + gray
        return (x - x.mean()) * (u[2] + 0.5) + x.mean()
    if name == "crop":
        pad = int(h * 0.125 + 0.5)
        dy, dx = (min(int(v * (2 * pad + 1)), 2 * pad) - pad for v in u[:2])
        out = np.zeros_like(image)
        for i in range(h):
            for j in range(w):
                if 0 <= i + dy < h and 0 <= j + dx < w:
                    out[:, i, j] = image[:, i + dy, j + dx]
        return out
    if name == "cutout":
        size = int(h * 0.5 + 0.5)
        places = h + 1 - size % 2
        cy, cx = (min(int(v * places), places - 1) for v in u[:2])
        out = image.copy()
        for i in range(size):
            for j in range(size):
                y, x = cy - size // 2 + i, cx - size // 2 + j
                if 0 <= y < h and 0 <= x < w:
                    out[:, y, x] = 0
        return out
    if name == "flip":
        return image[:, :, ::-1] if u[0] < 0.5 else image
    if name == "scale":
        sx, sy = (v * (1.2 - 1 / 1.2) + 1 / 1.2 for v in u[:2])
        return warp(image, [[sx, 0, 0], [0, sy, 0]])
    angle = (u[0] - 0.5) * 2 * 15 / 180 * math.pi
    return warp(
        image, [[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0]]
    )


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("size", [8, 9])
def test_every_operation_is_the_formula(name, size):
    rng = np.random.default_rng(0)
    x, u = rng.normal(size=(6, 3, size, size)), rng.random((6, 3))
    u[0], u[1] = 0.0, 1 - 2**-20  # the ends
    got = OPERATIONS[name](torch.from_numpy(x), torch.from_numpy(u)).numpy()
    np.testing.assert_allclose(
        got, [reference(name, a, b) for a, b in zip(x, u, strict=True)], rtol=1e-6, atol=1e-6
    )


@given(st.integers(0, 2**31), st.integers(1, 5), st.integers(1, 4))
@settings(max_examples=25, deadline=None)
def test_a_group_shares_its_draw_and_no_image_sees_the_others(seed, groups, n):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(groups * n, 2, 8, 8, generator=g)
    drawn = draw(operations(DEFAULT), groups, g)
    whole = augment(x, drawn)
    for i in range(groups):
        for j in range(n):
            one = augment(
                x[i * n + j][None], Draw(drawn.names[i : i + 1], drawn.parameters[i : i + 1])
            )
            assert torch.allclose(whole[i * n + j], one[0], atol=1e-6)


def test_same_generator_same_draw_and_no_global_state():
    state = torch.get_rng_state()
    a, b = (draw(operations(DEFAULT), 50, torch.Generator().manual_seed(4)) for _ in range(2))
    assert a.names == b.names
    assert torch.equal(a.parameters, b.parameters)
    assert set(a.names) == set(operations(DEFAULT))
    assert torch.equal(state, torch.get_rng_state())


def test_gradient_reaches_the_pixels():
    x = torch.randn(6, 1, 8, 8, requires_grad=True)
    for name in OPERATIONS:
        (g,) = torch.autograd.grad(
            augment(x, Draw((name,), torch.full((1, 3), 0.3))).square().sum(), x
        )
        assert g.abs().sum() > 0


def test_names():
    assert operations(DEFAULT, flips=False) == operations(WITHOUT_FLIP)
    assert operations("none") == [] == operations("")
    assert augment(torch.ones(2, 1, 4, 4), draw([], 1, torch.Generator())).sum() == 32
    with pytest.raises(ValueError, match="'tint'"):
        operations("tint_crop")
    with pytest.raises(ValueError, match="5 images"):
        augment(torch.zeros(5, 1, 4, 4), draw(["flip"], 2, torch.Generator()))
