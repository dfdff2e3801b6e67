"""Hashes of images: the definition written out, and what must not be called alike."""

import imagehash
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

from coreset.core.batch import as_batch, objects
from coreset.curation.operators.contract import run_in_memory
from coreset.curation.operators.dedup import ImageDuplicates
from coreset.scorers.image.hashes import ImageHashes
from coreset.testing import check_operator


def plain_phash(pixels):
    """The definition of the library ImageHash: unnormalized DCT-II along both axes, the 8 x 8
    corner, above its median.
    """
    x = np.asarray(
        Image.fromarray(pixels).convert("L").resize((32, 32), Image.Resampling.LANCZOS), np.float64
    )
    n = np.arange(32)
    basis = 2 * np.cos(np.pi * n[:, None] * (2 * n + 1) / 64)
    low = (basis @ x @ basis.T)[:8, :8]
    bits = (low > np.median(low)).reshape(-1)
    return f"{int(''.join('1' if b else '0' for b in bits), 2):016x}"


@pytest.fixture(scope="module")
def photos():
    china, flower = load_sample_image("china.jpg"), load_sample_image("flower.jpg")
    return [
        china,
        flower,
        china[:300],
        china[:, ::-1],
        np.array(Image.fromarray(china).resize((320, 213))),
    ]


def test_perceptual_hash_by_its_definition(photos):
    columns = ImageHashes()({"pixels": objects(photos)})
    assert columns["phash"].tolist() == [plain_phash(p) for p in photos]
    assert columns["phash_status"].tolist() == ["ok"] * 5


def test_perceptual_hash_is_that_of_imagehash(photos):
    rng = np.random.default_rng(0)
    small = [Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8)) for _ in range(40)]
    photos = [*photos, *(np.asarray(s.resize((200, 150))) for s in small)]
    want = [str(imagehash.phash(Image.fromarray(p))) for p in photos]
    assert ImageHashes()({"pixels": objects(photos)})["phash"].tolist() == want


def test_what_has_no_texture_has_no_hash():
    # the trap: all but a few frequencies are rounding errors here, and a fast transform rounds them
    # alike for different images
    ramp = np.broadcast_to(np.arange(256, dtype=np.uint8)[None, :, None], (256, 256, 3))
    checker = np.indices((256, 256)).sum(0) % 2 * 255
    flat = [np.full((64, 64, 3), v, np.uint8) for v in (255, 128, 0)] + [
        np.full((64, 64, 3), (200, 30, 90), np.uint8)
    ]
    pictures = [*flat, ramp.copy(), np.repeat(checker[:, :, None], 3, 2).astype(np.uint8)]
    columns = ImageHashes()({"pixels": objects(pictures)})
    assert columns["phash_status"].tolist() == ["flat"] * 6
    assert columns["phash"].tolist() == [None] * 6
    assert len(set(columns["pixel_hash"])) == 6


def test_a_resaved_copy_is_near_and_another_picture_is_far(photos):
    values = [int(h, 16) for h in ImageHashes()({"pixels": objects(photos)})["phash"]]
    assert (values[0] ^ values[4]).bit_count() <= 4
    assert (values[0] ^ values[1]).bit_count() > 16


def test_exact_hashes():
    a = np.random.default_rng(0).integers(0, 256, (8, 4, 3)).astype(np.uint8)
    b = a.copy()
    b[0, 0, 0] ^= 1
    columns = ImageHashes(side=4)({"pixels": objects([a, a.copy(), b, a.reshape(4, 8, 3), None])})
    one = columns["pixel_hash"]
    assert one[0] == one[1]
    assert len({one[0], one[2], one[3]}) == 3
    assert one[4] is None
    assert columns["phash_status"][4] == "missing_field"


def brute(hashes, radius):
    """Connected components of all pairs, by repeated passes; the lowest row of each."""
    n = len(hashes)
    near = np.array(
        [
            [
                h is not None and g is not None and (int(h, 16) ^ int(g, 16)).bit_count() <= radius
                for g in hashes
            ]
            for h in hashes
        ]
    )
    label = np.arange(n)
    for _ in range(n):
        for i in range(n):
            label[i] = min([label[i], *label[near[i]]])
    return label


@pytest.mark.parametrize("radius", [0, 1, 4, 7, 15])
def test_components_of_hashes_a_few_bits_apart(radius):
    rng = np.random.default_rng(radius)
    base = rng.integers(0, 2**63, 12, dtype=np.uint64)
    rows = [None, None]
    for value in base.tolist():
        for _ in range(5):
            flips = sum(
                1 << int(b) for b in rng.choice(64, rng.integers(0, 2 * radius + 2), replace=False)
            )
            rows.append(f"{value ^ flips:016x}")
    operator = ImageDuplicates(radius=radius, colors=None)
    table = run_in_memory(
        operator, as_batch({"id": [f"{i:03d}" for i in range(len(rows))], "phash": objects(rows)})
    )
    expected = brute(rows, radius)
    duplicate_of = dict(
        zip(table["id"].to_pylist(), table["duplicate_of"].to_pylist(), strict=True)
    )  # rows alone in their group are not in it
    for i, kept in enumerate(expected.tolist()):
        assert duplicate_of.get(f"{i:03d}") == (None if kept == i else f"{kept:03d}")
    check_operator(operator, {"phash": objects(rows)})


def test_wrong_options():
    with pytest.raises(ValueError, match=r"radius: expected a number of bits in \[0, 15\]"):
        ImageDuplicates(radius=16)
    with pytest.raises(ValueError, match="side and min_texture"):
        ImageHashes(side=0)
