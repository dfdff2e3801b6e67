import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional as vision

from coreset.distillation.views import MIXED, PLAIN, Views, check_views, look


def by_hand(images, views, row):
    """One image after the other, with torchvision's crop."""

    def crop(i):
        top, left, h, w, mirrored = views[i][:5]
        seen = vision.resized_crop(
            images[i][None], top, left, h, w, list(images.shape[-2:]), antialias=True
        )[0]
        return torch.flip(seen, [2]) if mirrored else seen

    seen = crop(row).clone()
    if len(views[row]) == MIXED:
        partner, top, left, h, w = views[row][5:]
        seen[:, top : top + h, left : left + w] = crop(partner)[:, top : top + h, left : left + w]
    return seen


@pytest.mark.parametrize("cutmix", [0.0, 1.0])
def test_what_a_view_shows(cutmix):
    x = torch.randn(7, 2, 9, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    views = Views((0.1, 1.0), True, cutmix).draw(7, 9, np.random.default_rng(1))
    rows = np.array([4, 0, 6, 5])
    seen = look(x, views, rows)
    for got, row in zip(seen, rows, strict=True):
        torch.testing.assert_close(got, by_hand(x, views.tolist(), row), rtol=1e-9, atol=1e-12)


@given(
    st.integers(0, 2**32),
    st.integers(1, 30),
    st.integers(2, 20),
    st.booleans(),
    st.sampled_from([0.0, 0.3, 1.0]),
)
def test_views_lie_inside_and_partners_are_a_permutation(seed, n, side, flips, cutmix):
    views = Views((0.05, 0.9), flips, cutmix).draw(n, side, np.random.default_rng(seed))
    assert views.shape == (n, MIXED if cutmix else PLAIN)
    check_views(views[None], (1, n), side)
    assert flips or not views[:, 4].any()
    if cutmix:
        assert sorted(views[:, 5]) == list(range(n))


def test_pieces_cover_the_share_that_was_drawn():
    views = Views((1.0, 1.0)).draw(40_000, 64, np.random.default_rng(0))
    share = (views[:, 8] * views[:, 9]).mean() / 64**2
    assert 0.3 < share < 0.5  # one half, less what lies outside


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="scale"):
        Views((0.5, 0.1))
    with pytest.raises(ValueError, match="cutmix"):
        Views(cutmix=-1.0)
    good = Views().draw(3, 8, np.random.default_rng(0))[None]
    with pytest.raises(ValueError, match="5 or 10"):
        check_views(good[..., :7], (1, 3), 8)
    for column, value in ((2, 9), (2, 0), (5, 3), (8, 9)):
        wrong = good.copy()
        wrong[0, 0, column] = value
        with pytest.raises(ValueError, match="outside images of 8 pixels"):
            check_views(wrong, (1, 3), 8)
