import numpy as np
import pytest

from coreset.core.batch import objects
from coreset.scorers.image_text.vectors import VectorClipScore, clip_score
from coreset.testing import check_scorer


def by_definition(image, text):
    """2.5 max(cos(c, v), 0), in Python's floats."""
    dot = sum(float(a) * float(b) for a, b in zip(image, text, strict=True))
    cosine = dot / (
        sum(float(a) ** 2 for a in image) ** 0.5 * sum(float(b) ** 2 for b in text) ** 0.5
    )
    return cosine, 2.5 * max(cosine, 0.0)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_the_definition(kind):
    rng = np.random.default_rng(0)
    images, texts = (rng.normal(size=(50, 16)).astype(kind) * 7 for _ in range(2))
    cosine, score = clip_score(images, texts)
    want = np.array([by_definition(a, b) for a, b in zip(images, texts, strict=True)])
    np.testing.assert_allclose(np.stack([cosine, score], axis=1), want, rtol=1e-12, atol=1e-12)
    assert (score == 0).any()
    assert score.max() <= 2.5
    np.testing.assert_allclose(clip_score(images, 3.0 * images.astype(np.float64))[1], 2.5)


def test_what_is_undefined():
    cosine, score = clip_score(
        [[0, 0], [1, np.nan], [np.inf, 1], [1e300, 1e300]], [[1, 0], [1, 0], [1, 0], [1e-300, 0]]
    )
    assert np.isnan(cosine[:3]).all()
    assert np.isnan(score[:3]).all()
    assert cosine[3] == pytest.approx(0.5**0.5)
    for a, b in (([1, 2], [1, 2]), ([[1, 2]], [[1, 2, 3]]), ([[1, 2]], [[1, 2]] * 2)):
        with pytest.raises(ValueError, match="images, texts: expected vectors"):
            clip_score(a, b)
    with pytest.raises(ValueError, match="expected two columns"):
        VectorClipScore("x", "x")


def test_the_scorer():
    rng = np.random.default_rng(1)
    images, texts = rng.normal(size=(6, 5)), rng.normal(size=(6, 5))
    images[1], texts[2], images[3] = 0, np.nan, [1, np.nan, 1, 1, 1]
    check_scorer(VectorClipScore(), {"image_embedding": images, "text_embedding": texts})
    columns = VectorClipScore()({"image_embedding": images, "text_embedding": texts})
    assert columns["clip_status"].tolist() == [
        "ok",
        "zero_vector",
        "missing_field",
        "non_finite",
        "ok",
        "ok",
    ]
    for i in (0, 4, 5):
        assert (columns["clip_cosine"][i], columns["clipscore"][i]) == pytest.approx(
            by_definition(images[i], texts[i])
        )
    ragged = VectorClipScore("a", "b")(
        {"a": objects([[1.0, 0.0], None, [1.0]]), "b": objects([[1.0, 1.0], [1.0], [1.0, 2.0]])}
    )
    assert ragged["clip_status"].tolist() == ["ok", "missing_field", "wrong_size"]


def test_it_is_what_clipscore_gives_of_pixels():
    """The columns that ClipScore itself writes, read again."""
    unit = np.linalg.qr(np.random.default_rng(2).normal(size=(8, 8)))[0].astype(np.float32)
    columns = VectorClipScore()({"image_embedding": unit, "text_embedding": unit[::-1]})
    np.testing.assert_allclose(columns["clip_cosine"], (unit * unit[::-1]).sum(axis=1), atol=1e-6)
