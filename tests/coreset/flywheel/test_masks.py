"""The measure of class maps against numpy, pixel by pixel."""

import numpy as np
import pytest

from coreset.flywheel.masks import Masks
from coreset.flywheel.measure import Subset


def reference(drawn, told, classes):
    """1 - mIoU of images taken together, by counting pixels one by one."""
    both, either = dict.fromkeys(classes, 0), dict.fromkeys(classes, 0)
    for a, b in zip(drawn.ravel().tolist(), told.ravel().tolist(), strict=True):
        if a == 255:
            continue
        for c in classes:
            both[c] += a == c and b == c
            either[c] += a == c or b == c
    return 1 - np.mean([both[c] / either[c] for c in classes if either[c]])


@pytest.fixture
def maps():
    rng = np.random.default_rng(0)
    drawn = rng.choice([0, 1, 2, 3, 255], (12, 5, 6), p=[0.4, 0.3, 0.2, 0.05, 0.05])
    old, new = drawn.copy(), drawn.copy()
    for told, share in ((old, 0.4), (new, 0.2)):
        wrong = rng.random(drawn.shape) < share
        told[wrong] = rng.integers(0, 4, int(wrong.sum()))
        told[told == 255] = 1
    return drawn.astype(np.uint8), old.astype(np.uint8), new.astype(np.uint8)


def test_errors_are_those_of_pixels_counted_one_by_one(maps):
    drawn, old, _ = maps
    measure, labels, every = Masks(drawn, 4), np.zeros(12, np.int64), np.arange(12)
    columns = {"class_map": old}
    assert measure.errors(columns, labels) == pytest.approx(
        [reference(drawn[i : i + 1], old[i : i + 1], range(4)) for i in range(12)]
    )
    part = np.array([1, 4, 7])
    for subset, want in (
        (Subset(every, every), reference(drawn, old, range(4))),
        (Subset(part, every), reference(drawn[part], old[part], range(4))),
        (Subset(part, every, (3,)), reference(drawn, old, [3])),
        (Subset(part, every, (0,)), reference(drawn[part], old[part], range(4))),
    ):
        assert measure.of_set(columns, labels, subset) == pytest.approx(want)


def test_the_gain_of_a_better_answer_is_the_difference_with_an_interval_around_it(maps):
    drawn, old, new = maps
    measure, every = Masks(drawn, 4, draws=100), np.arange(12)
    gain, low, high = measure.gain(
        [{"class_map": old}] * 2, [{"class_map": new}] * 2, every, Subset(every, every), 0.05
    )
    assert gain == pytest.approx(reference(drawn, old, range(4)) - reference(drawn, new, range(4)))
    assert 0 < low < gain < high
    nothing = measure.gain(
        [{"class_map": old}], [{"class_map": old}], every, Subset(every, every), 0.05
    )
    assert nothing == (0, 0, 0)


def test_another_shape_is_refused(maps):
    drawn, old, _ = maps
    with pytest.raises(ValueError, match=r"class_map: expected \(12, 5, 6\), got \(12, 5, 5\)"):
        Masks(drawn, 4).errors({"class_map": old[:, :, :5]}, np.zeros(12))
