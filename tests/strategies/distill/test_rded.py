"""RDED: selection and mosaic against plain loops in float64, its invariances, what it refuses."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional as vision

from coreset.distillation import Source, Synthetic, Teacher, distill
from coreset.distillation.nn.convnet import convnet, random_net
from coreset.distillation.nn.crops import boxes
from coreset.numerics.random import keyed_uniform
from coreset.strategies.distill.common import stream
from coreset.strategies.distill.rded import Rded, easiest, pad, tile

CLASSES = ("a", "b", "c")
NORM = {"mean": (0.4, 0.5), "std": (0.25, 0.2)}


@pytest.fixture(scope="module")
def pool():
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(60) % 3)
    images = (rng.integers(0, 120, (60, 8, 8, 2)) + 50 * labels[:, None, None, None]).astype(
        np.uint8
    )
    return {"images": images, "labels": labels, "classes": CLASSES, **NORM}


def teacher(classes=CLASSES, norm="batch", scale=1.0):
    """Any network will do: here one with random weights, of two channels."""

    def make(network=None, epoch=None):
        net = random_net(convnet(3, 2, 8, width=8, norm=norm), 5)
        with torch.no_grad():
            net.classifier.weight *= scale
        return Teacher(net, classes, epoch, 0.5, "random")

    return make


def by_hand(pool, seed, ipc, factor, m, images, model):
    """Loops over classes, images and crops; torchvision's crops, float64, a plain log of a softmax."""
    labels, side = pool["labels"], 8
    s = side // factor
    key = keyed_uniform(seed, np.arange(60))
    mean, std = (torch.tensor(NORM[n], dtype=torch.float64).view(2, 1, 1) for n in ("mean", "std"))
    out = []
    for c in range(3):
        rows = sorted(np.flatnonzero(labels == c), key=lambda r: key[r])[:images]
        best = []
        for r in rows:
            x = (torch.from_numpy(pool["images"][r]).permute(2, 0, 1).double() / 255 - mean) / std
            tried = []
            for k in range(m):
                area, top, left = (
                    keyed_uniform(int(v), np.array([r]))[0]
                    for v in stream(seed, 0, k).integers(2**63, size=3)
                )
                (box,) = boxes(
                    np.array([[area, 0.0, top, left]]), side, (0.08, 1.0), (1.0, 1.0)
                ).tolist()
                crop = vision.resized_crop(x[None], *box, [s, s], antialias=True)[0]
                seen = torch.zeros(2, side, side, dtype=torch.float64)
                a = (side - s) // 2
                seen[:, a : a + s, a : a + s] = crop
                p = np.exp(model(seen[None])[0].detach().numpy())
                tried.append((-np.log(p[c] / p.sum()), crop))
            best.append(min(tried, key=lambda t: t[0]))
        best = sorted(best, key=lambda t: t[0])[: ipc * factor**2]
        for i in range(ipc):
            image = torch.zeros(2, side, side, dtype=torch.float64)
            for cell in range(factor**2):
                y, x0 = divmod(cell, factor)
                image[:, y * s : (y + 1) * s, x0 * s : (x0 + 1) * s] = best[cell * ipc + i][1]
            out.append(torch.clamp(torch.round((image * std + mean) * 255), 0, 255).numpy())
    return np.stack(out)


@pytest.mark.parametrize(("ipc", "factor", "m"), [(1, 1, 5), (3, 2, 3), (2, 1, 1)])
def test_selection_and_mosaic_are_those_of_the_loops(pool, ipc, factor, m):
    options = {"images": 15, "crops": m, "factor": factor}
    rng = np.random.default_rng(3)
    source = Source(pool["images"], pool["labels"], CLASSES, **NORM, teacher=teacher())
    distilled = Rded(**options)(source, ipc, rng)
    inner = int(np.random.default_rng(distilled.info["seed"]).integers(2**62))
    want = by_hand(pool, inner, ipc, factor, m, 15, teacher()().model.double())
    assert distilled.images.dtype == np.uint8
    gap = np.abs(distilled.images.astype(int) - want)
    assert gap.max() <= 1  # a value at one half may be rounded either way
    assert (gap > 0).mean() < 0.05
    assert distilled.hard.tolist() == np.repeat(np.arange(3), ipc).tolist()
    assert (
        distilled.budget["bytes"]
        == 3 * ipc * (128 + 1)
        == 3 * ipc * Rded(**options).image_bytes((2, 8, 8), 3)
    )


@given(st.integers(0, 2**32), st.integers(1, 12), st.integers(1, 4))
def test_easiest_keeps_one_crop_an_image_and_ties_go_to_the_first(seed, n, m):
    costs = np.random.default_rng(seed).integers(0, 4, (n, m)).astype(float)
    keep = n // 2 + 1
    rows, crop = easiest(costs, keep)
    pairs = sorted((min(row), i) for i, row in enumerate(costs.tolist()))[:keep]
    assert rows.tolist() == [i for _, i in pairs]
    assert crop.tolist() == [costs[i].tolist().index(cost) for cost, i in pairs]


def test_padding_is_centred_and_a_cut_mosaic_keeps_its_cells():
    x = torch.ones(1, 1, 3, 3)
    assert pad(x, 8)[0, 0].sum(0).tolist() == [0, 0, 3, 3, 3, 0, 0, 0]
    cells = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 1, 3, 3)
    assert tile(cells, 2, 5)[0, 0, :, 0].tolist() == [0, 0, 0, 2, 2]
    assert tile(cells, 2, 5)[0, 0, 0].tolist() == [0, 0, 0, 1, 1]
    distilled = Synthetic(
        tile(cells, 2, 5).numpy(), np.array([0]), CLASSES, (0.0,), (1.0,), decode=2
    )
    assert distilled.normalized()[:, 0, 0, 0].tolist() == [0, 1, 2, 3]


def run(pool, seed=0, ipc=2, ids=None, **options):
    options = {"images": 10, "crops": 2, **options}
    return distill("rded", ipc, **pool, seed=seed, ids=ids, teacher=teacher(), options=options)


def test_same_seed_same_bits_whatever_the_arrangement_of_the_pool(pool):
    one, two, other = run(pool), run(pool), run(pool, seed=1)
    assert one.images.tobytes() == two.images.tobytes() != other.images.tobytes()
    order = np.random.default_rng(1).permutation(60)
    moved = {**pool, "images": pool["images"][order], "labels": pool["labels"][order]}
    assert run(moved, ids=order).images.tobytes() == one.images.tobytes()


def test_what_it_keeps_is_easier_than_what_it_leaves(pool):
    few, many = run(pool, ipc=1).info["cost_per_class"], run(pool, ipc=9).info["cost_per_class"]
    assert all(a < b for a, b in zip(few, many, strict=True))


def test_decode_trains_on_the_crops_and_the_default_on_the_mosaics(pool):
    mosaics, cells = run(pool, factor=2), run(pool, factor=2, decode=True)
    assert mosaics.images.tobytes() == cells.images.tobytes()
    assert (mosaics.budget["trained_images"], cells.budget["trained_images"]) == (6, 24)
    assert [Rded().tiles(side) for side in (28, 64, 128, 224)] == [1, 1, 2, 2]


def test_few_real_images_are_said_and_too_few_refused(pool):
    with pytest.warns(UserWarning, match=r"class 'a' has 20, fewer than the 300"):
        run(pool, images=300)
    with pytest.warns(UserWarning, match=r"20 crops of 20 images of class 'a': none is left out"):
        run(pool, images=20, ipc=5, factor=2)
    with pytest.raises(
        ValueError, match=r"6 images of 2 x 2 crops take 24 real images .*class 'a' has 20"
    ):
        run(pool, images=30, ipc=6, factor=2)
    with pytest.raises(ValueError, match=r"take 12 .* images=10"):
        run(pool, ipc=3, factor=2)


def test_bad_input_is_named(pool):
    source = {k: pool[k] for k in ("images", "labels")}
    with pytest.raises(ValueError, match="same classes in another order"):
        distill(
            "rded",
            1,
            **source,
            classes=CLASSES,
            options={"images": 10},
            teacher=teacher(CLASSES[::-1]),
        )
    with pytest.raises(ValueError, match="needs a teacher"):
        distill("rded", 1, **pool)
    with pytest.raises(ValueError, match="no example in the pool of 'd'"):
        distill("rded", 1, **source, classes=(*CLASSES, "d"), teacher=teacher())
    with pytest.raises(ValueError, match=r"NaN or infinite for 20 crops of class 'a'"):
        distill(
            "rded",
            1,
            **pool,
            options={"images": 10, "crops": 2},
            teacher=teacher(scale=float("nan")),
        )
    for change, words in (
        ({"crops": 0}, "crops"),
        ({"scale": (0.5, 0.1)}, "scale"),
        ({"factor": 9}, "factor"),
    ):
        with pytest.raises(ValueError, match=words):
            distill("rded", 1, **pool, options=change, teacher=teacher())
