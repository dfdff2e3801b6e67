from __future__ import annotations

import io
import os
import warnings

import numpy as np
import pytest
from PIL import Image, ImageFile

from coreset.core.store import Store
from coreset.trainers.data.decode import decode, square
from coreset.trainers.data.folder import image_folder


def save(path, color=(200, 10, 10), size=(40, 30), mode="RGB", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, color).save(path, **options)


@pytest.fixture
def root(tmp_path):
    """Return a folder of two classes, 12 images each, flat in color: its red channel says which
    image it is.
    """
    for i in range(12):
        save(tmp_path / "in" / "cat" / f"{i:02}.png", (10 * i, 0, 0))
        save(tmp_path / "in" / "dog" / "more" / f"{i:02}.png", (10 * i, 255, 0))
    return tmp_path / "in"


def load(root, **options):
    return image_folder(str(root), size=16, cache=str(root.parent / "cache"), **options)


def test_pool_and_test_are_the_folder(root):
    d = load(root)
    assert d.classes == ("cat", "dog")
    assert (d.name, d.augment) == ("in", "crop_flip")
    assert len(d.images) + len(d.test_images) == 24
    assert set(np.unique(d.test_labels)) == {0, 1}
    for image, label, name in zip(d.images, d.labels, d.ids, strict=True):
        assert name.startswith(("cat/", "dog/more/")[label])
        assert (image == [10 * int(name[-6:-4]), 255 * label, 0]).all()
    np.testing.assert_allclose(d.mean, (d.images / 255).mean(axis=(0, 1, 2)))
    assert isinstance(d.images.base, np.memmap) or isinstance(d.images, np.memmap)


def test_the_second_time_comes_from_the_cache(root, monkeypatch):
    first = load(root)

    def refuse(*_):
        raise AssertionError("decoded again")

    monkeypatch.setattr("coreset.trainers.data.decode.square", refuse)
    again = load(root)
    np.testing.assert_array_equal(first.images, again.images)
    assert first.fingerprint == again.fingerprint


def test_added_files_do_not_move_the_split(root):
    before = load(root)
    for i in range(20):
        save(root / "cat" / f"new{i}.png")
    after = load(root)
    known = {n for n in after.ids if "new" not in n}
    assert known == set(before.ids)
    assert before.fingerprint != after.fingerprint


def test_train_beside_test(tmp_path):
    for part, count in (("train", 4), ("test", 2), ("val", 1)):
        for name in ("a", "b"):
            for i in range(count):
                save(tmp_path / part / name / f"{i}.png")
    with pytest.warns(UserWarning, match="val/ is not used"):
        d = image_folder(str(tmp_path), size=8, cache=str(tmp_path / "cache"))
    assert (len(d.images), len(d.test_images)) == (8, 4)
    assert d.ids[0] == "a/0.png"
    d = image_folder(
        str(tmp_path / "train"), str(tmp_path / "val"), size=8, cache=str(tmp_path / "cache")
    )
    assert (len(d.images), d.test_labels.tolist()) == (8, [0, 1])


def test_test_classes_must_be_known(root, tmp_path):
    save(tmp_path / "other" / "cow" / "0.png")
    with pytest.raises(ValueError, match="1 classes are not in the pool, first 'cow'"):
        load(root, test_root=str(tmp_path / "other"))


@pytest.fixture
def broken(root):
    """Return the folder with two broken images of its 26."""
    save(root / "dog" / "cut.jpg", size=(300, 300))
    whole = (root / "dog" / "cut.jpg").read_bytes()
    (root / "dog" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "cat" / "empty.png").write_bytes(b"")
    return root


@pytest.mark.parametrize("lenient", [False, True])
def test_broken_images_are_an_error_with_names(broken, lenient, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", lenient)
    for _ in range(2):  # decoded, then from the cache
        with pytest.raises(
            ValueError, match=r"2 of 26 images cannot be read, first: .*set data\.on_corrupt=skip"
        ) as caught:
            load(broken)
        assert "dog/cut.jpg (OSError: " in str(caught.value)
        assert "cat/empty.png (UnidentifiedImageError: " in str(caught.value)


def test_broken_images_are_skipped_with_a_warning(root, broken):
    for _ in range(2):
        with pytest.warns(UserWarning, match=r"2 of 26 images cannot be read.*left out"):
            d = load(broken, on_corrupt="skip")
        assert len(d.images) + len(d.test_images) == 24
        assert not {"dog/cut.jpg", "cat/empty.png"} & set(d.ids)
        # rows still belong together
        for image, label, name in zip(d.images, d.labels, d.ids, strict=True):
            assert (image == [10 * int(name[-6:-4]), 255 * label, 0]).all()


def test_a_repaired_image_is_read(broken):
    with pytest.raises(ValueError, match="cannot be read"):
        load(broken)
    save(broken / "dog" / "cut.jpg")
    save(broken / "cat" / "empty.png")
    d = load(broken)
    assert len(d.images) + len(d.test_images) == 26


def test_what_is_left_out_is_said(root):
    (root / "empty").mkdir()
    (root / "cat" / "notes.txt").write_text("x")
    (root / ".hidden").mkdir()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        d = load(root)
    messages = [str(w.message) for w in caught]
    assert any("1 files are no images of a class, first cat/notes.txt" in s for s in messages)
    assert any("1 class folders hold no image, first empty" in s for s in messages)
    assert d.classes == ("cat", "dog")


def test_errors(root, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such folder; set data\.root"):
        load(tmp_path / "none")
    save(tmp_path / "one" / "a" / "0.png")
    with pytest.raises(ValueError, match=r"at least two class folders with images, found \['a'\]"):
        load(tmp_path / "one")
    with pytest.raises(ValueError, match="on_corrupt: expected error or skip"):
        load(root, on_corrupt="drop")


def test_square_cuts_the_centre():
    image = np.zeros((20, 40, 3), np.uint8)
    image[:, 10:30] = 255
    assert (square(Image.fromarray(image), 20) == 255).all()
    assert square(Image.new("RGB", (3, 500), "red"), 8).shape == (8, 8, 3)


def test_square_turns_as_exif_says():
    image = np.zeros((8, 8, 3), np.uint8)
    image[:4] = 255  # the upper half is white
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG", exif=exif)
    got = square(Image.open(file), 8)
    assert (got[:, 4:] == 255).all()  # now the right half
    assert (got[:, :4] == 0).all()


@pytest.mark.parametrize(
    ("image", "color"),
    [
        (Image.new("L", (8, 8), 90), (90, 90, 90)),
        (Image.new("1", (8, 8), 1), (255, 255, 255)),
        (Image.new("RGBA", (8, 8), (255, 0, 0, 0)), (255, 255, 255)),
        (Image.new("RGBA", (8, 8), (255, 0, 0, 51)), (255, 204, 204)),
        (Image.new("LA", (8, 8), (0, 0)), (255, 255, 255)),
        (Image.new("CMYK", (8, 8), (0, 255, 255, 0)), (255, 0, 0)),
        (Image.fromarray(np.full((8, 8), 0x5AFF, np.uint16)), (0x5A, 0x5A, 0x5A)),
    ],
    ids=["gray", "bits", "clear", "half clear", "gray alpha", "cmyk", "16 bit"],
)
def test_square_of_every_kind(image, color):
    assert (square(image, 8) == color).all()


def test_square_of_a_palette_with_transparency():
    image = Image.new("P", (8, 8), 3)
    image.info["transparency"] = 3
    assert (square(image, 8) == 255).all()


def test_square_refuses_floats():
    with pytest.raises(ValueError, match="mode F have no known range"):
        square(Image.new("F", (8, 8)), 8)


def test_a_large_jpeg_is_near_its_plain_reading():
    y, x = np.mgrid[:900, :1200]
    file = io.BytesIO()
    Image.fromarray(
        np.stack([x * 255 // 1200, y * 255 // 900, (x + y) * 255 // 2100], 2).astype(np.uint8)
    ).save(file, "JPEG")
    got = square(Image.open(file), 32).astype(int)
    want = square(Image.open(file).convert("RGB"), 32).astype(int)
    assert np.abs(got - want).max() <= 4


def test_nothing_readable(tmp_path):
    def broken(i):
        raise OSError("no")

    with pytest.warns(UserWarning, match="2 of 2 images"):
        decoded = decode(Store(tmp_path), "k", ["a", "b"], broken, 8, 1, "skip")
    assert decoded.images.shape == (0, 8, 8, 3)
    assert decoded.pool == 0


def test_another_file_of_the_same_size_and_time_is_noticed(root):
    before = load(root)
    path = root / "cat" / "03.png"
    about, other = path.stat(), path.with_name("other")
    other.write_bytes((root / "cat" / "04.png").read_bytes())
    assert other.stat().st_size == about.st_size
    other.replace(path)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    colors = [np.concatenate([d.images, d.test_images])[:, 8, 8] for d in (before, load(root))]
    assert [sum((c == (30, 0, 0)).all(axis=1)) for c in colors] == [1, 0]


def test_links_in_circles_are_an_error_in_words(root):
    """Two such links are 2^40 paths to a walk that follows them."""
    (root / "cat" / "up").symlink_to(root, target_is_directory=True)
    (root / "dog" / "up").symlink_to(root, target_is_directory=True)
    with pytest.raises(ValueError, match="are one folder, by a link; remove the link"):
        load(root)


def test_a_link_that_leads_nowhere_is_an_image_that_cannot_be_read(root):
    (root / "cat" / "gone.png").symlink_to(root / "nowhere.png")
    with pytest.raises(ValueError, match="1 of 25 images cannot be read.*gone.png"):
        load(root)
    with pytest.warns(UserWarning, match="1 of 25 images cannot be read"):
        data = load(root, on_corrupt="skip")
    assert len(data.images) + len(data.test_images) == 24


def test_a_name_that_is_not_utf_8_is_an_error_in_words(root):
    with open(os.fsencode(root / "cat") + b"/\xff.png", "wb") as file:  # noqa: PTH123
        file.write((root / "cat" / "00.png").read_bytes())
    with pytest.raises(ValueError, match="is not UTF-8; rename it"):
        load(root)
