"""Files as they come: every rule of `decode`, on files made for it."""

import io

import numpy as np
import pytest
from PIL import Image, ImageFile, UnidentifiedImageError

from coreset.scorers.image.decode import decode, read_bytes, whole_files


def encode(image, form, **options):
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


@pytest.fixture
def picture():
    return np.random.default_rng(0).integers(0, 256, (6, 10, 3)).astype(np.uint8)


def test_rgb_is_what_was_saved(picture):
    decoded = decode(encode(Image.fromarray(picture), "PNG"))
    assert (decoded.pixels == picture).all()
    assert (
        decoded.status,
        decoded.width,
        decoded.height,
        decoded.format,
        decoded.mode,
        decoded.frames,
    ) == (
        "ok",
        10,
        6,
        "PNG",
        "RGB",
        1,
    )


# what each EXIF orientation says must be done to see the image upright (EXIF 2.3, tag 274)
UPRIGHT = {
    1: lambda x: x, 2: np.fliplr, 3: lambda x: np.rot90(x, 2), 4: np.flipud, 5: lambda x: x.swapaxes(0, 1),
    6: lambda x: np.rot90(x, -1), 7: lambda x: np.rot90(x, 2).swapaxes(0, 1), 8: np.rot90,
}  # fmt: skip


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(picture, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    decoded = decode(encode(Image.fromarray(picture), "PNG", exif=exif))
    expected = UPRIGHT[orientation](picture)
    assert (decoded.pixels == expected).all()
    assert (decoded.height, decoded.width) == expected.shape[:2]


def test_alpha_lies_on_white(picture):
    alpha = np.random.default_rng(1).integers(0, 256, picture.shape[:2]).astype(np.uint8)
    pixels = decode(encode(Image.fromarray(np.dstack([picture, alpha])), "PNG")).pixels
    share = alpha[:, :, None] / 255
    assert np.abs(pixels - (picture * share + 255 * (1 - share))).max() <= 1


def test_a_transparent_palette_lies_on_white():
    image = Image.new("P", (4, 4), 0)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 1), 1)
    pixels = decode(encode(image, "PNG", transparency=0)).pixels
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert pixels[1, 1].tolist() == [200, 100, 50]


def test_gray_and_cmyk_become_rgb(picture):
    gray = decode(encode(Image.fromarray(picture[:, :, 0]), "PNG")).pixels
    assert (gray == picture[:, :, :1]).all()
    cmyk = Image.new("CMYK", (8, 8), (0, 255, 255, 0))  # no cyan, all magenta and yellow: red
    decoded = decode(encode(cmyk, "JPEG", quality=95))
    assert decoded.mode == "CMYK"
    assert np.abs(decoded.pixels.astype(int) - [255, 0, 0]).max() <= 4


def test_sixteen_bits_are_scaled_and_not_cut():
    deep = np.array([[0, 127, 129, 257, 32768, 65535]], np.uint16)
    pixels = decode(encode(Image.fromarray(deep), "PNG")).pixels
    assert pixels[0, :, 0].tolist() == [0, 0, 1, 1, 128, 255]


def test_numbers_without_a_scale_are_refused():
    decoded = decode(encode(Image.fromarray(np.ones((3, 3), np.float32)), "TIFF"))
    assert (decoded.pixels, decoded.status) == (None, "unsupported")


def test_the_first_frame_of_an_animation_counts(picture):
    frames = [Image.fromarray(np.full((5, 5, 3), v, np.uint8)) for v in (10, 200, 90)]
    decoded = decode(encode(frames[0], "PNG", save_all=True, append_images=frames[1:]))
    assert (decoded.status, decoded.frames) == ("ok", 3)
    assert (decoded.pixels == 10).all()


@pytest.mark.parametrize("lenient", [False, True])
@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "WEBP", "BMP"])
def test_files_that_break_off(form, lenient, monkeypatch):
    # as Data-Juicer does where it is imported
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", lenient)
    picture = np.random.default_rng(0).integers(0, 256, (60, 100, 3)).astype(np.uint8)
    whole = encode(Image.fromarray(picture), form)
    assert decode(whole).status == "ok"
    for share in (0.3, 0.6, 0.9):
        decoded = decode(whole[: int(share * len(whole))])
        assert decoded.pixels is None
        assert decoded.status in (("truncated", "unreadable") if form == "WEBP" else ("truncated",))
    assert ImageFile.LOAD_TRUNCATED_IMAGES is lenient


def test_a_patched_open_changes_no_status(monkeypatch):
    plain = Image.open

    def patched(file):
        try:
            return plain(file)
        except UnidentifiedImageError:
            raise ModuleNotFoundError("pi_heif")  # noqa: B904  as ultralytics has it

    monkeypatch.setattr(Image, "open", patched)
    assert decode(b"<html>").status == "not_an_image"


def test_readers_in_threads_leave_pillow_as_it_was(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    first, second = whole_files(), whole_files()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False  # the second is not done
    second.__exit__(None, None, None)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


def test_other_bad_files(tmp_path, picture):
    assert decode(b"").status == "empty_file"
    assert decode(b"<html>no image here</html>").status == "not_an_image"
    assert decode(str(tmp_path / "absent.png")).status == "missing_file"
    assert decode(str(tmp_path)).status == "missing_file"
    assert decode(None).status == "missing_field"
    whole = bytearray(encode(Image.fromarray(picture), "PNG"))
    whole[-30] ^= 0xFF  # a byte of the data: the checksum no longer fits
    assert decode(bytes(whole)).status in ("unreadable", "truncated")


def test_too_large_is_said_before_anything_is_unpacked():
    bomb = encode(Image.new("1", (20_000, 20_000)), "PNG")
    assert len(bomb) < 100_000
    assert decode(bomb).status == "too_large"
    less = encode(Image.new("1", (300, 200)), "PNG")
    decoded = decode(less, most_pixels=59_999)
    assert (decoded.status, decoded.width, decoded.height, decoded.pixels) == (
        "too_large",
        300,
        200,
        None,
    )
    assert decode(less, most_pixels=60_000).status == "ok"


def test_bytes_inside_a_file(tmp_path, picture):
    data = encode(Image.fromarray(picture), "PNG")
    (tmp_path / "a@b.tar").write_bytes(b"x" * 700 + data + b"y" * 5)
    name = f"{tmp_path}/a@b.tar@700+{len(data)}"
    assert read_bytes(name) == data
    assert (decode(name).pixels == picture).all()
    (tmp_path / "odd@7+9").write_bytes(data)  # a file may be called like that
    assert decode(str(tmp_path / "odd@7+9")).status == "ok"
