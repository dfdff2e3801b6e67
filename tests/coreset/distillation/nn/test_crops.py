import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional as vision

from coreset.distillation.nn.crops import boxes, resample


@pytest.mark.parametrize("size", [3, 8, 12, 31])
def test_resampling_is_torchvisions_with_antialiasing(size):
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(40, 2, 12, 12)))
    box = boxes(rng.random((40, 22)), 12, (0.02, 1.0))
    got = resample(x, box, size)
    for image, (top, left, h, w), one in zip(x, box.tolist(), got, strict=True):
        want = vision.resized_crop(image[None], top, left, h, w, [size, size], antialias=True)
        torch.testing.assert_close(one, want[0], rtol=1e-10, atol=1e-12)


def test_a_whole_image_stays_as_it_is():
    x = torch.randn(2, 3, 9, 9)
    torch.testing.assert_close(resample(x, np.array([[0, 0, 9, 9]] * 2), 9), x)


def plain(u, side, scale, ratio):
    """RandomResizedCrop.get_params, one image."""
    *pairs, top, left = u
    for i in range(0, len(pairs), 2):
        area = side * side * (scale[0] + pairs[i] * (scale[1] - scale[0]))
        aspect = math.exp(
            math.log(ratio[0]) + pairs[i + 1] * (math.log(ratio[1]) - math.log(ratio[0]))
        )
        w, h = max(1, round(math.sqrt(area * aspect))), max(1, round(math.sqrt(area / aspect)))
        if w <= side and h <= side:
            return [int(top * (side - h + 1)), int(left * (side - w + 1)), h, w]
    return [0, 0, side, side]


@given(st.integers(0, 2**32), st.integers(1, 40), st.floats(0.001, 1), st.integers(1, 4))
def test_boxes_are_the_rule_and_lie_inside(seed, side, least, tries):
    u = np.random.default_rng(seed).random((30, 2 * tries + 2))
    got = boxes(u, side, (least, 1.0), (0.5, 2.0))
    assert got.tolist() == [plain(row, side, (least, 1.0), (0.5, 2.0)) for row in u.tolist()]
    assert (got[:, :2] >= 0).all()
    assert (got[:, 2:] >= 1).all()
    assert (got[:, :2] + got[:, 2:] <= side).all()


def test_bad_input_is_named():
    for scale in ((0.0, 1.0), (0.5, 0.2), (0.5, 1.5)):
        with pytest.raises(ValueError, match="scale"):
            boxes(np.zeros((1, 4)), 8, scale)
    with pytest.raises(ValueError, match=r"u: .*\(1, 3\)"):
        boxes(np.zeros((1, 3)), 8)
