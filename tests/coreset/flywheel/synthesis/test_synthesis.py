"""Children of texts and images: what is accepted, what is refused, and what stays true."""

import numpy as np
import pytest

from coreset.core.cache import asset_dir
from coreset.flywheel.synthesis.images import Scene, boxes_of, copy_paste, mosaic
from coreset.flywheel.synthesis.texts import TextGenerator
from coreset.scorers.judge.endpoint import Failed, Reply

SEEDS = {"r1": "Name a river in France.", "r2": "Write a poem about snow.", "r3": "Add 2 and 3."}
ANSWER = "Here is a complete and useful answer about the subject."


class Script:
    """A server that gives prepared instructions; to an instruction of its own it answers."""

    def __init__(self, replies, answer=ANSWER):
        self.replies, self.answer, self.asked = list(replies), answer, []

    def ask(self, question):
        text = question["messages"][0]["content"]
        self.asked.append(text)
        if text in self.given():
            return Reply(self.answer, None, None)
        reply = self.replies.pop(0)
        if reply is None:
            raise Failed("the server is busy")
        self.sent = [*self.given(), reply]
        return Reply(reply, None, None)

    def given(self):
        return getattr(self, "sent", [])


def table(replies, most, **options):
    server = Script(replies, options.pop("answer", ANSWER))
    verify = options.pop("verify", None)
    generator = TextGenerator(server, "tiny", operations=("breadth",), verify=verify)
    return generator.children(
        SEEDS,
        train=list(SEEDS.values()),
        test=["Which bird flies the highest?"],
        most=most,
        **options,
    )


def test_children_that_repeat_copy_or_leak_are_refused_in_words():
    replies = [
        "Describe three rivers of Asia.",
        "Describe three rivers of Asia.",
        "Which bird flies the highest of all?",
        "Write a poem about the snow.",
        "Here is the rewritten prompt: sing a song.",
        "the of",
        None,
    ]
    got = table(replies, 7)["reason"]
    assert got[:6] == [
        "", "repeats a row or a child", "copies the test set", "repeats a row or a child",
        "speaks of its own prompt", "no instruction",
    ]  # fmt: skip
    assert got[6] == "no reply: the server is busy"


def test_a_child_carries_parent_generator_and_prompt():
    rows = table(["Describe three rivers of Asia."], 1, losses={"r1": 1.0, "r2": 3.0, "r3": 2.0})
    assert rows["parents"] == ["r2"]
    assert rows["generator"] == ["tiny"]
    assert SEEDS["r2"] in rows["prompt"][0]
    assert rows["answer"] == [ANSWER]


def test_verification_and_refusing_answers_keep_a_child_out():
    child = ["Describe three rivers of Asia."]
    assert table(child, 1, answer="I am sorry, no.")["reason"] == ["the answer refuses"]
    assert table(child, 1, verify=lambda text, answer: "not JSON")["reason"] == ["not JSON"]


def square(size, at, side, label, gray):
    pixels = np.full((size, size, 1), 10, np.uint8)
    mask = np.zeros((1, size, size), bool)
    mask[0, at : at + side, at : at + side] = True
    pixels[mask[0]] = gray
    return Scene(pixels, mask, np.array([label]))


def test_a_pasted_object_has_its_pixels_box_and_what_it_covers_loses_its_mask():
    scene, source = square(20, 2, 8, 1, 100), square(20, 10, 4, 7, 200)
    out = copy_paste(scene, source, 0, 8, 8, blend=0)
    assert out.labels.tolist() == [1, 7]
    assert boxes_of(out.masks)[1].tolist() == [8, 8, 4, 4]
    assert (out.pixels[8:12, 8:12] == 200).all()
    assert out.masks[0].sum() == 64 - 4
    assert not (out.masks[0] & out.masks[1]).any()
    soft = copy_paste(scene, source, 0, 8, 8, blend=1.0)
    outside = ~soft.masks[1]
    assert (soft.pixels[outside] == scene.pixels[outside]).all()


def test_a_paste_that_would_hide_is_refused():
    small, big = square(20, 8, 3, 1, 100), square(20, 2, 12, 7, 200)
    assert copy_paste(small, big, 0, 4, 4) is None
    assert copy_paste(big, small, 0, 19, 19) is None
    assert copy_paste(big, small, 0, 40, 0) is None


def test_an_object_is_pasted_into_an_image_without_objects():
    empty = Scene(np.full((20, 20, 1), 10, np.uint8), np.zeros((0, 20, 20), bool), np.empty(0, int))
    out = copy_paste(empty, square(20, 10, 4, 7, 200), 0, 3, 5, blend=0)
    assert out.labels.tolist() == [7]
    assert boxes_of(out.masks).tolist() == [[3, 5, 4, 4]]
    assert (out.pixels == 200).sum() == 16


def test_a_mosaic_keeps_pixels_and_masks_together():
    scenes = [square(20, 6, 8, i, 50 * i + 50) for i in range(4)]
    out = mosaic(scenes, 10, 10)
    assert out.labels.tolist() == [0, 1, 2, 3]
    for mask, label in zip(out.masks, out.labels, strict=True):
        assert (out.pixels[mask] == 50 * label + 50).all()
    with pytest.raises(ValueError, match="four of one size"):
        mosaic(scenes[:3], 10, 10)
    assert len(mosaic(scenes, 2, 2).labels) < 4


def test_nuclei_are_pasted_with_their_real_masks():
    from skimage.io import imread

    folder = asset_dir("nuclei_masks")
    image, ids = (imread(next(folder.rglob(n))) for n in ("img2d.tif", "mask2d.tif"))
    pixels = (255 * (image / image.max()))[..., None].astype(np.uint8)
    names = np.unique(ids)[1:21]
    scene = Scene(pixels, ids == names[:, None, None], np.zeros(len(names), np.int64))
    out = copy_paste(scene, scene, 3, 5, 250, blend=1.0)
    assert out is None or len(out.labels) == len(names) + 1
    moved = [copy_paste(scene, scene, 0, x, y) for x in (10, 200, 400) for y in (10, 200, 400)]
    kept = [m for m in moved if m is not None]
    assert kept
    assert all(m.masks[-1].sum() >= 0.3 * scene.masks[0].sum() for m in kept)
