"""Image quality against the formulas, pixel by pixel in float64."""

import numpy as np
import pytest

from coreset.core.batch import objects
from coreset.scorers.image.quality import Quality


def plain(pixels):
    r, g, b = (pixels[:, :, i].astype(np.float64) for i in range(3))
    y = 0.299 * r + 0.587 * g + 0.114 * b
    p = np.pad(y, 1, mode="reflect")
    laplacian = p[:-2, 1:-1] + p[2:, 1:-1] + p[1:-1, :-2] + p[1:-1, 2:] - 4 * y
    whole = np.floor(y + 0.5 + 1e-9).astype(int)
    share = np.array([(whole == v).mean() for v in range(256)])
    entropy = -sum(q * np.log2(q) for q in share if q > 0)
    rg, yb = r - g, 0.5 * (r + g) - b
    color = np.sqrt(rg.std() ** 2 + yb.std() ** 2) + 0.3 * np.sqrt(rg.mean() ** 2 + yb.mean() ** 2)
    return {
        "blur": laplacian.var(), "brightness": y.mean() / 255, "contrast": y.std() / 255, "dark_share": (whole <= 5).mean(),
        "bright_share": (whole >= 250).mean(), "entropy": entropy, "colorfulness": color, "aspect": max(y.shape) / min(y.shape),
    }  # fmt: skip


def images():
    rng = np.random.default_rng(0)
    ramp = np.broadcast_to(
        np.linspace(0, 255, 40).astype(np.uint8)[None, :, None], (12, 40, 3)
    ).copy()
    return [
        rng.integers(0, 256, (17, 31, 3)).astype(np.uint8), ramp, np.zeros((5, 5, 3), np.uint8), np.full((2, 9, 3), 255, np.uint8),
        (rng.integers(0, 2, (20, 20, 1)) * np.array([255, 4, 251])).astype(np.uint8), rng.integers(0, 12, (2, 2, 3)).astype(np.uint8),
    ]  # fmt: skip


def test_all_numbers_by_their_formulas():
    columns = Quality()({"pixels": objects(images())})
    assert set(columns["quality_status"]) == {"ok"}
    for i, pixels in enumerate(images()):
        for name, value in plain(pixels).items():
            assert columns[name][i] == pytest.approx(value, rel=1e-5, abs=1e-6), (i, name)


def test_blur_is_opencvs():
    cv2 = pytest.importorskip("cv2")
    for pixels in images():
        luma = (pixels @ np.array([0.299, 0.587, 0.114])).astype(np.float64)
        value = cv2.Laplacian(luma, cv2.CV_64F).var()
        assert Quality()({"pixels": objects([pixels])})["blur"][0] == pytest.approx(
            value, rel=1e-5, abs=1e-6
        )


def test_a_blurred_copy_scores_lower_and_a_dark_one_darker():
    from PIL import Image, ImageFilter
    from sklearn.datasets import load_sample_image

    photo = Image.fromarray(load_sample_image("china.jpg"))
    soft, dark = photo.filter(ImageFilter.GaussianBlur(3)), photo.point(lambda v: v // 8)
    columns = Quality()(
        {
            "pixels": objects(
                [np.array(x) for x in (photo, soft, dark, photo.convert("L").convert("RGB"))]
            )
        }
    )
    assert columns["blur"][0] > 10 * columns["blur"][1]
    assert columns["brightness"][0] > 5 * columns["brightness"][2]
    assert columns["dark_share"][2] > columns["dark_share"][0]
    assert columns["colorfulness"][0] > 20
    assert columns["colorfulness"][3] == 0


def test_images_without_a_laplacian_or_pixels():
    columns = Quality()(
        {
            "pixels": objects([np.zeros((1, 5, 3), np.uint8), None]),
            "pixels_status": objects(["ok", "truncated"]),
        }
    )
    assert columns["quality_status"].tolist() == ["too_small", "truncated"]
    assert np.isnan(columns["blur"]).all()
