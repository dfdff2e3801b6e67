"""Regions chosen under a budget in pixels, and labels written back."""

import numpy as np
import pytest
import torch
from PIL import Image

from coreset.vision import SegmentationScorer
from coreset.vision.region_choice import choose_regions, grid, superpixels


def scored(n: int = 4, side: int = 3) -> SegmentationScorer:
    torch.manual_seed(0)
    scorer = SegmentationScorer("entropy", ["mean"], tile=side, keep_regions=True)
    scorer.update(list(range(10, 10 + n)), torch.randn(n, 3, 7, 8) * 3)
    return scorer


def test_the_budget_in_pixels_holds_and_the_best_come_first() -> None:
    regions = scored().regions()
    chosen = choose_regions(regions, scored().ids, 40)
    order = np.argsort(-regions.values, kind="stable")
    want, total = [], 0
    for row in order:
        if total + regions.pixels[row] > 40:
            break
        total += regions.pixels[row]
        want.append(int(row))
    assert chosen.rows.tolist() == want
    assert chosen.spent == total <= 40
    assert sum(m.sum() for m in chosen.masks().values()) == total


def test_labeled_images_and_regions_are_left_alone() -> None:
    regions = scored().regions()
    chosen = choose_regions(
        regions, [10, 11, 12, 13], 10**6, labeled_images={11, 13}, labeled={"10/0"}, per_image=2
    )
    assert {k.split("/")[0] for k in chosen.ids} == {"10", "12"}
    assert "10/0" not in chosen.ids
    assert len(chosen.ids) == 4
    with pytest.raises(ValueError, match="no region is left"):
        choose_regions(regions, [10, 11, 12, 13], 99, labeled_images={10, 11, 12, 13})
    with pytest.raises(ValueError, match="buy no region"):
        choose_regions(regions, [10, 11, 12, 13], 1)


def test_labels_go_where_they_were_asked_and_nowhere_else(tmp_path) -> None:
    regions = scored().regions()
    truth = {k: np.random.default_rng(k).integers(0, 3, (7, 8)) for k in range(10, 14)}
    first = choose_regions(regions, list(truth), 60)
    first.write_masks(tmp_path, truth)
    second = choose_regions(regions, list(truth), 60, labeled=first.ids)
    second.write_masks(tmp_path, truth)
    seen = {k: np.zeros((7, 8), bool) for k in truth}
    for one in (first, second):
        for key, mask in one.masks().items():
            assert not (seen[key] & mask).any()
            seen[key] |= mask
    for key in truth:
        path = tmp_path / f"{key}.png"
        got = np.array(Image.open(path)) if path.exists() else np.full((7, 8), 255)
        np.testing.assert_array_equal(got, np.where(seen[key], truth[key], 255))
    with pytest.raises(ValueError, match="other than 255"):
        first.write_masks(tmp_path / "x", {k: np.full((7, 8), 255) for k in truth})


def test_no_mask_leaves_its_folder(tmp_path) -> None:
    scorer = SegmentationScorer("entropy", ["mean"], tile=3, keep_regions=True)
    scorer.update(["../x"], torch.randn(1, 3, 7, 8))
    chosen = choose_regions(scorer.regions(), scorer.ids, 40)
    with pytest.raises(ValueError, match="image '../x'"):
        chosen.write_masks(tmp_path / "masks", {"../x": np.zeros((7, 8), int)})
    assert not list(tmp_path.rglob("*.png"))


def test_annotations_say_which_pixels() -> None:
    tools = pytest.importorskip("pycocotools.mask")
    chosen = choose_regions(scored().regions(), [10, 11, 12, 13], 50)
    for row, one in zip(chosen.rows, chosen.annotations(), strict=True):
        rle = tools.frPyObjects(one["segmentation"], *one["segmentation"]["size"])
        np.testing.assert_array_equal(tools.decode(rle).astype(bool), chosen.regions.mask(int(row)))
        assert one["area"] == tools.area(rle)


@pytest.mark.parametrize("score", ["entropy", "margin", "least_confidence"])
def test_members_are_scored_by_their_mean(score: str) -> None:
    members = torch.randn(3, 2, 4, 5, 6, generator=torch.Generator().manual_seed(1)) * 2
    got = SegmentationScorer(score, ["mean"])
    got.update(["a", "b"], (m for m in members))
    p = np.exp(members.numpy().astype(np.float64))
    p = (p / p.sum(2, keepdims=True)).mean(0)
    top = np.sort(p, axis=1)[:, ::-1]
    want = {
        "entropy": -(p * np.log(p)).sum(1),
        "margin": 1 - (top[:, 0] - top[:, 1]),
        "least_confidence": 1 - top[:, 0],
    }[score]
    np.testing.assert_allclose(got.columns()["mean"], want.mean((1, 2)), rtol=1e-5)


def test_superpixels_cover_an_image_once() -> None:
    pytest.importorskip("skimage")
    image = np.zeros((40, 40, 3), np.uint8)
    image[:, 20:] = 250
    numbers = superpixels(image, 8)
    assert numbers.shape == (40, 40)
    assert sorted(np.unique(numbers)) == list(range(numbers.max() + 1))
    crossing = [k for k in np.unique(numbers) if len({*image[numbers == k][:, 0].tolist()}) > 1]
    assert crossing == []
    assert grid(5, 5, 2).max() == 8
