import math

import numpy as np
import pytest
import torch

from coreset.core.pool import Pool
from coreset.vision import SegmentationScorer, select

EVERY = [
    "mean",
    "sum",
    "max",
    "quantile:0.9",
    "quantile:0",
    "class_mean",
    "region_mean",
    "region_max",
    "boundary_mean",
    "foreground",
    "predicted_class",
]


def softmax(z, axis):
    e = np.exp(z - z.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def pixel_reference(p, kind):
    """(C, H, W) -> (H, W), pixel by pixel."""
    out = np.empty(p.shape[1:])
    for y in range(p.shape[1]):
        for x in range(p.shape[2]):
            q = sorted(p[:, y, x])
            out[y, x] = {
                "entropy": -sum(v * math.log(v) for v in q if v > 0),
                "margin": 1 - (q[-1] - q[-2]),
                "least_confidence": 1 - q[-1],
            }[kind]
    return out


def reduction_reference(s, p, ignore, regions, width=1, weight=5.0):
    h, w = s.shape
    ok = ~ignore
    values = s[ok]
    predicted = p.argmax(0)
    by_class = [
        s[ok & (predicted == c)].mean() for c in range(len(p)) if (ok & (predicted == c)).any()
    ]
    by_region = [
        s[ok & (regions == r)].mean()
        for r in range(regions.max() + 1)
        if (ok & (regions == r)).any()
    ]
    edge = np.zeros((h, w), bool)
    for y in range(h):
        for x in range(w):
            around = (
                slice(max(0, y - width), y + width + 1),
                slice(max(0, x - width), x + width + 1),
            )
            edge[y, x] = (predicted[around][ok[around]] != predicted[y, x]).any()
    weights = np.where(edge, weight, 1.0)[ok]
    counts = [(ok & (predicted == c)).sum() for c in range(1, len(p))]
    return {
        "mean": values.mean(),
        "sum": values.sum(),
        "max": values.max(),
        "quantile:0.9": np.quantile(values, 0.9),
        "quantile:0": values.min(),
        "class_mean": np.mean(by_class),
        "region_mean": np.mean(by_region),
        "region_max": max(by_region),
        "boundary_mean": (weights * values).sum() / weights.sum(),
        "foreground": (ok & (predicted > 0)).sum() / ok.sum(),
        "predicted_class": 1 + int(np.argmax(counts)) if sum(counts) else 0,
    }


def data(n=6, classes=4, h=11, w=9, seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, classes, h, w)) * 2
    ignore = rng.uniform(size=(n, h, w)) < 0.2
    regions = rng.integers(-1, 5, (n, h, w))
    return logits, ignore, regions


@pytest.mark.parametrize("kind", ["entropy", "margin", "least_confidence"])
@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-8), (torch.float32, 1e-4)])
def test_every_reduction_against_loops(kind, dtype, rtol):
    logits, ignore, regions = data()
    scorer = SegmentationScorer(kind, EVERY)
    scorer.update(range(6), torch.tensor(logits, dtype=dtype), ignore=ignore, regions=regions)
    got = scorer.columns()
    for i in range(6):
        p = softmax(logits[i], 0)
        want = reduction_reference(pixel_reference(p, kind), p, ignore[i], regions[i])
        for name in EVERY:
            assert got[name][i] == pytest.approx(want[name], rel=rtol, abs=1e-9), (name, i)


@pytest.mark.parametrize(("width", "weight"), [(1, 1.0), (2, 3.0)])
def test_boundaries_of_any_width(width, weight):
    logits, ignore, regions = data(3, 2, seed=2)
    logits[:, 0, :4] += 5  # larger patches
    scorer = SegmentationScorer(
        "entropy", ["boundary_mean"], boundary_width=width, boundary_weight=weight
    )
    scorer.update(range(3), torch.tensor(logits), ignore=ignore)
    for i in range(3):
        p = softmax(logits[i], 0)
        want = reduction_reference(
            pixel_reference(p, "entropy"), p, ignore[i], np.zeros_like(regions[i]), width, weight
        )["boundary_mean"]
        assert scorer.columns()["boundary_mean"][i] == pytest.approx(want, rel=1e-8)


def test_bald_member_by_member():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(5, 2, 3, 4, 6)) * 2  # T, n, C, H, W
    p = softmax(logits, 2)
    mean = p.mean(0)
    want = -(mean * np.log(mean)).sum(1) + (p * np.log(p)).sum(2).mean(0)
    for members in (
        torch.tensor(logits),
        list(torch.tensor(logits)),
        (m for m in torch.tensor(logits)),
    ):
        scorer = SegmentationScorer("bald", ["mean", "max", "class_mean"])
        scorer.update(["a", "b"], members)
        np.testing.assert_allclose(scorer.columns()["mean"], want.mean(axis=(1, 2)), rtol=1e-9)
        np.testing.assert_allclose(scorer.columns()["max"], want.max(axis=(1, 2)), rtol=1e-9)
        by_class = [
            [w[m.argmax(0) == c].mean() for c in range(3) if (m.argmax(0) == c).any()]
            for w, m in zip(want, mean, strict=True)
        ]
        np.testing.assert_allclose(
            scorer.columns()["class_mean"], [np.mean(v) for v in by_class], rtol=1e-8
        )
    with pytest.raises(ValueError, match="at least one member"):
        SegmentationScorer("bald").update(["a"], [])
    with pytest.raises(ValueError, match=r"member 1: expected maps of shape"):
        SegmentationScorer("bald").update(["a"], [torch.zeros(1, 2, 3, 3), torch.zeros(1, 2, 3, 4)])


def test_streaming_is_batch():
    logits, ignore, regions = data(7)
    maps = torch.tensor(logits, dtype=torch.float32)
    whole = SegmentationScorer("entropy", EVERY, keep_regions=True)
    whole.update(range(7), maps, ignore=ignore, regions=regions)
    parts = SegmentationScorer("entropy", EVERY, keep_regions=True)
    for part in (slice(0, 1), slice(1, 4), slice(4, 7)):
        parts.update(
            list(range(7))[part], maps[part], ignore=list(ignore[part]), regions=regions[part]
        )
    assert parts.ids.tolist() == whole.ids.tolist() == list(range(7))
    for name in EVERY:
        np.testing.assert_allclose(parts.columns()[name], whole.columns()[name], rtol=1e-12, atol=0)
    assert parts.regions().ids.tolist() == whole.regions().ids.tolist()


def test_nothing_but_numbers_is_kept():
    scorer = SegmentationScorer("margin", ["mean", "max"])
    for i in range(200):
        scorer.update([i], torch.zeros(1, 3, 8, 8))
    held = sum(t.numel() for _, t in scorer._pending) + sum(r.size for r in scorer._rows)
    assert held <= 200 * 3
    assert len(scorer._pending) < 64


def test_tiles_are_the_regions_unless_some_are_given_and_can_be_chosen_within_pixels():
    logits, _, _ = data(2, 3, 10, 7)
    scorer = SegmentationScorer("entropy", ["region_max"], tile=4, keep_regions=True)
    scorer.update([5, 6], torch.tensor(logits))
    regions = scorer.regions()
    s = [pixel_reference(softmax(z, 0), "entropy") for z in logits]
    want = {}
    for k, image in zip((5, 6), s, strict=True):
        for r in range(6):
            tile = image[r // 2 * 4 : r // 2 * 4 + 4, r % 2 * 4 : r % 2 * 4 + 4]
            want[f"{k}/{r}"] = (tile.mean(), tile.size)
    assert set(regions.ids.tolist()) == set(want)
    for name, value, size in zip(regions.ids.tolist(), regions.values, regions.pixels, strict=True):
        assert (value, size) == (pytest.approx(want[name][0], rel=1e-8), want[name][1])
    from coreset.vision import ImageScores

    pool = Pool(len(regions.ids), ids=regions.ids)
    picked = select(
        pool,
        {"pixels": 30},
        scores=ImageScores(regions.ids, regions.values, "exclude"),
        costs={"pixels": regions.pixels},
        fit="fill",
    )
    left, order = 30, []
    for name in sorted(want, key=lambda n: -want[n][0]):
        if want[name][1] <= left:
            left -= want[name][1]
            order.append(name)
    assert picked.ids.tolist() == order
    assert picked.info["slack"] == {"pixels": left}


def test_an_image_without_a_pixel_left_is_undefined():
    logits, ignore, _ = data(2)
    ignore[0] = True
    scorer = SegmentationScorer("entropy", EVERY)
    scorer.update([1, 2], torch.tensor(logits), ignore=ignore)
    for name, column in scorer.columns().items():
        assert np.isnan(column[0]), name
        assert np.isfinite(column[1]), name
    assert scorer.scores("mean", empty="exclude").is_empty.tolist() == [True, False]


def test_ignored_pixels_may_hold_anything():
    logits, ignore, _ = data(2)
    maps = torch.tensor(logits)
    spoilt = maps.clone()
    spoilt[torch.tensor(ignore)[:, None].expand_as(maps)] = torch.nan
    a, b = SegmentationScorer("margin", EVERY), SegmentationScorer("margin", EVERY)
    a.update([1, 2], maps, ignore=ignore)
    b.update([1, 2], spoilt, ignore=ignore)
    for name in EVERY:
        np.testing.assert_array_equal(a.columns()[name], b.columns()[name])


def test_half_precision_and_probabilities():
    logits, _, _ = data(3)
    p = torch.tensor(softmax(logits, 1))
    a, b = SegmentationScorer("entropy"), SegmentationScorer("entropy", probabilities=True)
    a.update(range(3), torch.tensor(logits).half())
    b.update(range(3), p)
    np.testing.assert_allclose(a.columns()["mean"], b.columns()["mean"], rtol=1e-3)
    sure = SegmentationScorer("entropy", probabilities=True)
    sure.update([1], torch.tensor([1.0, 0.0]).reshape(1, 2, 1, 1))
    assert sure.columns()["mean"].tolist() == [0]


def test_bad_input_names_the_image():
    maps = torch.zeros(2, 3, 4, 5)
    with pytest.raises(
        ValueError, match=r"ignore: image 'b' has a mask of \(5, 4\) but maps of \(4, 5\)"
    ):
        SegmentationScorer().update(
            ["a", "b"], maps, ignore=[np.zeros((4, 5), bool), np.zeros((5, 4), bool)]
        )
    with pytest.raises(ValueError, match=r"regions: image 'a' has a mask"):
        SegmentationScorer().update(["a", "b"], maps, regions=np.zeros((2, 1, 1), int))
    with pytest.raises(ValueError, match="1 masks for 2 images"):
        SegmentationScorer().update(["a", "b"], maps, ignore=np.zeros((1, 4, 5), bool))
    with pytest.raises(ValueError, match=r"maps: expected shape \(1, C, H, W\)"):
        SegmentationScorer().update(["a"], maps)
    scorer = SegmentationScorer()
    scorer.update(["a", "b"], maps)
    with pytest.raises(ValueError, match="image 'b' was scored before"):
        scorer.update(["c", "b"], maps)
    with pytest.raises(ValueError, match="image 'd' was scored before"):
        scorer.update(["d", "d"], maps)
    maps[1, 0, 2, 2] = torch.nan
    scorer.update(["c", "d"], maps)
    with pytest.raises(ValueError, match="image 'd': 1 pixels have NaN or infinite logits"):
        scorer.columns()
    raw = SegmentationScorer(probabilities=True)
    raw.update(["a"], torch.ones(1, 2, 3, 3))
    with pytest.raises(
        ValueError,
        match="image 'a': 9 pixels have NaN, or probabilities that are negative or do not sum to 1",
    ):
        raw.columns()
    with pytest.raises(ValueError, match="no maps were scored"):
        SegmentationScorer().columns()
    with pytest.raises(KeyError, match="'max' was not asked for"):
        _scored().scores("max", empty="last")
    with pytest.raises(ValueError, match="no regions were kept"):
        _scored().regions()
    with pytest.raises(ValueError, match="score: expected one of"):
        SegmentationScorer("variance")
    for name in ("median", "quantile", "quantile:2", "quantile:x"):
        with pytest.raises(ValueError, match="reduce: expected"):
            SegmentationScorer("entropy", name)
    with pytest.raises(ValueError, match="tile and boundary_width"):
        SegmentationScorer(tile=0)
    with pytest.raises(ValueError, match="at least two classes"):
        SegmentationScorer("margin").update(["a"], torch.zeros(1, 1, 2, 2))


def _scored():
    scorer = SegmentationScorer()
    scorer.update([1], torch.zeros(1, 2, 3, 3))
    return scorer


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_device_gives_the_same():
    logits, ignore, regions = data()
    columns = []
    for device in ("cpu", "cuda"):
        scorer = SegmentationScorer("entropy", EVERY)
        scorer.update(range(6), torch.tensor(logits, device=device), ignore=ignore, regions=regions)
        columns.append(scorer.columns())
    for name in EVERY:
        np.testing.assert_allclose(columns[0][name], columns[1][name], rtol=1e-9)
