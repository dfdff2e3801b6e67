"""One decoding for all scorers, in a recipe and by itself."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import coreset.scorers.image.images as module
from coreset.core.batch import objects
from coreset.scorers.image.hashes import ImageHashes
from coreset.scorers.image.images import Images
from coreset.scorers.image.quality import Quality
from coreset.testing import check_scorer


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(0)
    names = []
    for i, size in enumerate([(20, 30), (5, 5), (64, 48), (1, 9), (33, 21)]):
        names.append(str(tmp_path / f"{i}.png"))
        Image.fromarray(rng.integers(0, 256, (*size, 3)).astype(np.uint8)).save(names[-1])
    (tmp_path / "cut.png").write_bytes((tmp_path / "2.png").read_bytes()[:900])
    (tmp_path / "text.png").write_text("no image")
    return [
        *names,
        str(tmp_path / "cut.png"),
        str(tmp_path / "text.png"),
        str(tmp_path / "absent.png"),
        None,
    ]


def test_contract_and_statuses(files):
    scorer = Images([Quality(), ImageHashes()], at_once=700)
    check_scorer(scorer, {"image": objects(files)})
    columns = scorer({"image": objects(files)})
    assert columns["image_status"].tolist() == ["ok"] * 5 + [
        "truncated",
        "not_an_image",
        "missing_file",
        "missing_field",
    ]
    assert columns["quality_status"].tolist()[3:] == [
        "too_small",
        "ok",
        "truncated",
        "not_an_image",
        "missing_file",
        "missing_field",
    ]
    assert columns["image_width"][:3].tolist() == [30, 5, 48]
    assert columns["image_height"][5] == 64  # the head of the file was whole
    assert np.isnan(columns["image_width"][6:]).all()


@pytest.mark.parametrize("at_once", [1, 700, 10**9])
def test_each_image_is_decoded_once_and_memory_is_bounded(files, monkeypatch, at_once):
    calls, real = [], module.decode
    monkeypatch.setattr(
        module, "decode", lambda image, most: calls.append(image) or real(image, most)
    )
    held = []

    @dataclass(frozen=True)
    class Watch:
        needs = frozenset({"pixels", "text"})
        gives = frozenset({"sizes"})

        def __call__(self, batch):
            held.append([p.shape[0] * p.shape[1] for p in batch["pixels"] if p is not None])
            return {
                "sizes": objects(
                    [
                        f"{t} {None if p is None else p.size}"
                        for p, t in zip(batch["pixels"], batch["text"], strict=True)
                    ]
                )
            }

    scorer = Images([Quality(), ImageHashes(), Watch()], at_once=at_once)
    assert scorer.needs == {"image", "text"}
    columns = scorer({"image": objects(files), "text": objects(list("abcdefghi"))})
    assert calls == files
    assert columns["sizes"].tolist()[:2] == ["a 1800", "b 75"]
    assert columns["sizes"].tolist()[-1] == "i None"
    assert all(sum(h) <= at_once or len(h) == 1 for h in held)


def test_bytes_are_images_too(files):
    data = [None if f is None or "absent" in f else Path(f).read_bytes() for f in files]
    a, b = (
        Images([ImageHashes()])({"image": objects(files)}),
        Images([ImageHashes()])({"image": objects(data)}),
    )
    assert a["pixel_hash"].tolist() == b["pixel_hash"].tolist()
    assert b["image_status"].tolist()[-2:] == ["missing_field"] * 2


def test_no_rows_and_wrong_scorers():
    columns = Images([Quality()])({"image": objects([])})
    assert set(columns) == Images([Quality()]).gives
    with pytest.raises(
        ValueError, match="column 'aspect' is given twice, the second time by Quality"
    ):
        Images([Quality(), Quality()])
    with pytest.raises(ValueError, match="most_pixels: expected 1 to 178956970"):
        Images(most_pixels=10**9)
    with pytest.raises(ValueError, match="at_once"):
        Images(at_once=0)


def test_an_image_of_a_phone_lies_right(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    out = io.BytesIO()
    Image.new("RGB", (40, 20)).save(out, "JPEG", exif=exif)
    columns = Images()({"image": objects([out.getvalue()])})
    assert (columns["image_width"][0], columns["image_height"][0]) == (20, 40)
