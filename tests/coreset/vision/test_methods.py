import numpy as np
import pytest

from coreset import registry
from coreset.core.pool import Pool
from coreset.core.signals import Signals
from coreset.vision import Detections, OverCrops, RandomForeground


@pytest.mark.parametrize("share", [0.0, 0.5, 2 / 3, 1.0])
def test_random_foreground_keeps_its_share(share):
    has = np.arange(30) % 3 == 0
    signals = Signals(30, foreground=has.astype(float))
    counts = np.zeros(30)
    for seed in range(300):
        picks = RandomForeground(share)(
            Pool(30, [0, 1]), signals, 6, np.random.default_rng(seed)
        ).indices
        assert has[picks].sum() >= int(share * 6 + 0.5)
        counts[picks] += 1
    assert counts[:2].sum() == 0
    sure = int(share * 6 + 0.5)
    # the rest is drawn from everything that is left
    expected = sure + (6 - sure) * (9 - sure) / (28 - sure)
    assert counts[has].sum() / 300 == pytest.approx(expected, abs=0.25)
    assert counts[has][1:].min() > 0


def test_random_foreground_takes_what_there_is():
    signals = Signals(5, foreground=[0.0, 0, 1, 0, 0])
    got = RandomForeground(1.0)(Pool(5), signals, 5, np.random.default_rng(0))
    assert sorted(got.indices.tolist()) == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match=r"share: expected a number in \[0, 1\]"):
        RandomForeground(1.5)


def test_over_crops_takes_images_in_the_order_of_their_first_box():
    # boxes on a line: image 0 is labeled at 0; 1 has boxes at 1 and 9; 2 at 9.5; 3 none; 4 at 5
    x = np.array([0.0, 1.0, 9.0, 9.5, 5.0])[:, None]
    detections = Detections(
        np.arange(5), [0, 1, 1, 2, 4], np.zeros((5, 4)), np.ones(5), np.ones(5), features=x
    )
    strategy = OverCrops(registry.strategy("kcenter"), detections)
    pool = Pool(5, selected=[0])
    run = lambda k: strategy(pool, Signals(5), k, np.random.default_rng(0))  # noqa: E731
    assert run(2).indices.tolist() == [2, 4]  # 9.5 is farthest from 0, then 5
    assert run(2).scores.tolist() == [9.5, 4.5]
    assert run(3).indices.tolist() == [2, 4, 1]
    got = run(4)
    assert got.indices.tolist() == [2, 4, 1, 3]  # without a box: last
    assert got.info["without_crops"] == 1
    margin = OverCrops(
        registry.strategy("margin"),
        Detections(
            [0, 1],
            [0, 1],
            np.zeros((2, 4)),
            [1, 1],
            [1, 1],
            probs=np.array([[0.9, 0.1], [0.5, 0.5]]),
        ),
    )
    assert margin(Pool(2), Signals(2), 1, np.random.default_rng(0)).indices.tolist() == [1]
    with pytest.raises(ValueError, match="call align"):
        strategy(Pool(4), Signals(4), 1, np.random.default_rng(0))


def test_over_crops_when_nothing_was_found():
    strategy = OverCrops(registry.strategy("kcenter"), Detections.nothing(range(4)))
    assert sorted(strategy(Pool(4), Signals(4), 4, np.random.default_rng(0)).indices.tolist()) == [
        0,
        1,
        2,
        3,
    ]
