"""One pass over the logits against the definitions in float64."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from coreset.vision import SegmentationScorer, fused, pixels


def by_definition(z, kind):
    p = softmax(z.astype(np.float64), axis=1)
    if kind == "entropy":
        return -np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0).sum(axis=1)
    top = np.sort(p, axis=1)
    return 1 - top[:, -1] + (top[:, -2] if kind == "margin" else 0)


@pytest.mark.parametrize("kind", fused.KINDS)
@pytest.mark.parametrize("shape", [(1, 2, 1, 1), (3, 5, 7, 11), (2, 21, 16, 33), (1, 150, 20, 20)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("scale", [0.1, 5.0, 200.0])
def test_every_pixel(kind, shape, layout, scale):
    z = (np.random.default_rng(0).normal(size=shape) * scale).astype(np.float32)
    score, predicted = fused.score(torch.from_numpy(z).contiguous(memory_format=layout), kind)
    np.testing.assert_allclose(score.numpy(), by_definition(z, kind), atol=2e-6)
    np.testing.assert_array_equal(predicted.numpy(), z.argmax(axis=1))
    assert (score >= 0).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_scored_as_it_is(dtype):
    z = torch.randn(2, 4, 9, 9, generator=torch.Generator().manual_seed(0)).to(dtype)
    np.testing.assert_allclose(
        fused.score(z, "entropy")[0], by_definition(z.float().numpy(), "entropy"), atol=2e-6
    )


def test_ties_go_to_the_lowest_class():
    score, predicted = fused.score(torch.zeros(1, 3, 2, 2), "margin")
    assert predicted.unique().tolist() == [0]
    assert score.unique().tolist() == [1]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", fused.KINDS)
@pytest.mark.parametrize("place", [0, 2, 4])
def test_what_is_no_number_stays_none(bad, kind, place):
    z = torch.randn(1, 5, 3, 300)
    z[0, place, 1, 280] = bad
    score, _ = fused.score(z, kind)
    assert torch.isnan(score[0, 1, 280])
    assert torch.isnan(score).sum() == 1


def test_threads_change_nothing():
    z = torch.randn(3, 6, 40, 40)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = fused.score(z, "entropy")
        torch.set_num_threads(4)
        four = fused.score(z, "entropy")
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(one, four, strict=True))


def test_a_margin_needs_two_classes():
    with pytest.raises(ValueError, match="at least two classes"):
        fused.score(torch.zeros(1, 1, 2, 2), "margin")


def test_where_it_is_used():
    assert fused.fits(torch.zeros(1, 2, 3, 3))
    assert not fused.fits(torch.zeros(1, 2, 3, 3, dtype=torch.float64))


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(1, 3),
    st.integers(1, 6),
    st.integers(1, 9),
    st.integers(1, 4),
)
def test_reductions_by_definition(seed, n, height, width, reach):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 3, (n, height, width)).astype(np.int32)
    valid = rng.random((n, height, width)) < 0.8
    score = rng.random((n, height * width)).astype(np.float32)
    edges = fused.boundary(torch.from_numpy(label), torch.from_numpy(valid), reach).numpy()
    for i, y, x in np.ndindex(n, height, width):
        window = np.s_[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
        near = label[i][window][valid[i][window]]
        assert edges[i, y, x] == (valid[i, y, x] and bool((near != label[i, y, x]).any()))
    flat, group = valid.reshape(n, -1), rng.integers(-1, 4, (n, height * width))
    means, counts = pixels.grouped(
        torch.from_numpy(score), torch.from_numpy(flat), torch.from_numpy(group), 4
    )
    quantiles = fused.quantile(torch.from_numpy(score), torch.from_numpy(flat), 0.3).numpy()
    for i in range(n):
        known = score[i][flat[i]].astype(np.float64)
        assert quantiles[i] == pytest.approx(
            np.quantile(known, 0.3) if len(known) else np.nan, nan_ok=True
        )
        for g in range(4):
            mine = score[i][flat[i] & (group[i] == g)].astype(np.float64)
            assert counts[i, g] == len(mine)
            assert means[i, g].item() == pytest.approx(
                mine.mean() if len(mine) else np.nan, abs=1e-9, nan_ok=True
            )


def test_the_scorer_gives_the_same_for_single_and_double_precision():
    every = [
        "mean",
        "sum",
        "max",
        "quantile:0.9",
        "class_mean",
        "region_mean",
        "region_max",
        "boundary_mean",
        "foreground",
        "predicted_class",
    ]
    z = torch.randn(3, 4, 20, 30, generator=torch.Generator().manual_seed(1)) * 3
    ignore = torch.rand(3, 20, 30, generator=torch.Generator().manual_seed(2)) < 0.2
    columns = []
    for maps in (z, z.double()):
        scorer = SegmentationScorer("entropy", every, tile=8)
        scorer.update(["a", "b", "c"], maps, ignore=ignore)
        columns.append(scorer.columns())
    for name in every:
        np.testing.assert_allclose(columns[0][name], columns[1][name], rtol=2e-5)
