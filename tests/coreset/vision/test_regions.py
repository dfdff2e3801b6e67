"""The pixels of scored regions, and maps that are not what they are said to be."""

import numpy as np
import pytest
import torch

from coreset.vision import SegmentationScorer


def maps(n=3, classes=4, height=11, width=9, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, classes, height, width)) * 2, rng.integers(-1, 5, (n, height, width))


def entropy(logits):
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return -(p * np.log(p)).sum(axis=1)


@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize("given", [False, True])
def test_a_mask_holds_the_pixels_that_were_scored(ignored, given):
    logits, numbers = maps()
    ignore = (
        np.random.default_rng(1).uniform(size=numbers.shape) < 0.2
        if ignored
        else np.zeros(numbers.shape, bool)
    )
    if not given:
        rows, columns = np.mgrid[:11, :9]
        numbers = np.broadcast_to(rows // 4 * 3 + columns // 4, numbers.shape)
    scorer = SegmentationScorer("entropy", tile=4, keep_regions=True)
    for part in (slice(0, 1), slice(1, 3)):
        more = {
            "ignore": ignore[part] if ignored else None,
            "regions": numbers[part] if given else None,
        }
        scorer.update([10, 11, 12][part], torch.tensor(logits[part]), **more)
    regions, scores = scorer.regions(), entropy(logits)
    wanted = {
        f"{10 + i}/{r}": (numbers[i] == r) & ~ignore[i]
        for i in range(3)
        for r in range(numbers.max() + 1)
        if ((numbers[i] == r) & ~ignore[i]).any()
    }
    assert set(regions.ids.tolist()) == set(wanted)
    for at, name in enumerate(regions.ids.tolist()):
        mask = regions.mask(name)
        np.testing.assert_array_equal(mask, wanted[name])
        np.testing.assert_array_equal(regions.mask(at), mask)
        assert mask.sum() == regions.pixels[at]
        assert scores[int(name[:2]) - 10][mask].mean() == pytest.approx(
            regions.values[at], rel=1e-8
        )
    with pytest.raises(KeyError, match="region '10/99' is none of the"):
        regions.mask("10/99")
    ids, values, pixels = regions
    assert [id(v) for v in (ids, values, pixels)] == [
        id(v) for v in (regions.ids, regions.values, regions.pixels)
    ]
    assert len(repr(regions)) < 100


def test_run_lengths_are_those_of_coco():
    codec = pytest.importorskip("pycocotools.mask")
    logits, numbers = maps(seed=3)
    scorer = SegmentationScorer("margin", keep_regions=True)
    scorer.update(["a", "b", "c"], torch.tensor(logits), regions=numbers)
    regions = scorer.regions()
    for name in regions.ids.tolist():
        coded = regions.rle(name)
        drawn = codec.decode(codec.frPyObjects(coded, *coded["size"])).astype(bool)
        np.testing.assert_array_equal(drawn, regions.mask(name))


def test_the_same_tiles_are_kept_once():
    scorer = SegmentationScorer("margin", tile=2, keep_regions=True)
    for i in range(50):
        scorer.update([i], torch.zeros(1, 2, 8, 8))
    assert len({id(m) for m in scorer.regions().maps}) == 1


@pytest.mark.parametrize("kind", ["entropy", "margin", "least_confidence"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_probabilities_given_as_logits_are_refused(kind, dtype):
    logits, _ = maps(4, 5, 80, 70)
    soft = torch.tensor(logits).softmax(dim=1).to(dtype)
    mixed = torch.cat([torch.tensor(logits[:3]).to(dtype), soft[3:]])
    scorer = SegmentationScorer(kind)
    scorer.update([1, 2, 3, 4], mixed)
    with pytest.raises(
        ValueError,
        match="image 4: the logits of all pixels are non-negative and sum to 1.*probabilities=True",
    ):
        scorer.columns()
    percents = SegmentationScorer(kind)
    percents.update([1, 2, 3, 4], 100 * soft)
    with pytest.raises(ValueError, match="image 1: .*or to 100: these are probabilities"):
        percents.columns()
    right = SegmentationScorer(kind, probabilities=True)
    right.update([1, 2, 3, 4], soft)
    assert np.isfinite(right.columns()["mean"]).all()
    plain = SegmentationScorer(kind)
    plain.update([1, 2], torch.zeros(2, 2, 4, 4) + 1)
    assert np.isfinite(plain.columns()["mean"]).all()


def test_ignored_pixels_do_not_hide_that_maps_are_probabilities():
    logits, _ = maps(1)
    soft = torch.tensor(logits).softmax(dim=1)
    ignore = np.zeros((1, 11, 9), bool)
    ignore[0, 0, 0] = True
    soft[0, :, 0, 0] = torch.nan
    scorer = SegmentationScorer()
    scorer.update(["a"], soft, ignore=ignore)
    with pytest.raises(ValueError, match="image 'a': the logits of all pixels"):
        scorer.columns()


def test_members_are_looked_at_one_by_one():
    logits, _ = maps(2)
    soft = torch.tensor(logits).softmax(dim=1)
    scorer = SegmentationScorer("bald")
    scorer.update(["a", "b"], (m for m in [soft, soft.flip(1)]))
    with pytest.raises(ValueError, match="image 'a': the logits of all pixels"):
        scorer.columns()
    # two maps of logits whose mean is a distribution
    first = torch.tensor([2.0, -1.0]).reshape(1, 2, 1, 1).expand(1, 2, 4, 4)
    scorer = SegmentationScorer("bald", probabilities=True)
    scorer.update(["a"], [first, first.flip(1)])
    with pytest.raises(
        ValueError, match=r"image 'a': 16 pixels have NaN, or probabilities.*are these logits\?"
    ):
        scorer.columns()


def test_logits_given_as_probabilities_are_refused():
    logits, _ = maps(1)
    scorer = SegmentationScorer(probabilities=True)
    scorer.update([7], torch.tensor(logits))
    with pytest.raises(
        ValueError, match=r"image 7: 99 pixels have NaN, or probabilities.*are these logits\?"
    ):
        scorer.columns()
