"""NUCS against its formulas in plain loops."""

import numpy as np
import pytest
from scipy.stats.mstats import winsorize

from coreset import select
from coreset.registry import strategy
from coreset.strategies.baseline.top_k import TopK
from coreset.strategies.combine.nucs import Nucs, class_budgets, window, winsorized_mean
from coreset.testing import check_strategy

SCORE = TopK(signal="score")


def example(seed, n=200, classes=4):
    rng = np.random.default_rng(seed)
    labels = rng.choice(classes, n, p=[0.5, 0.3, 0.15, 0.05])
    return labels, rng.uniform(size=n) ** 2 * np.array([0.2, 0.5, 1.0, 0.8])[labels]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 0.49])
def test_the_winsorized_mean(share):
    for n in (1, 2, 7, 40):
        values = np.random.default_rng(n).normal(size=n)
        want = float(np.mean(winsorize(values, limits=(share, share))))
        assert winsorized_mean(values, share) == pytest.approx(want)


@pytest.mark.parametrize("endpoint", [0.0, 0.4, 0.9, 1.0])
@pytest.mark.parametrize("winsor", [0.0, 0.2])
def test_budgets_and_windows(endpoint, winsor):
    labels, s = example(0)
    k = 40
    chosen = select(
        "nucs",
        k,
        labels=labels,
        score=s,
        options={"base": SCORE, "endpoint": endpoint, "winsor": winsor},
    )
    sizes = np.bincount(labels)
    mean = np.array([np.mean(winsorize(s[labels == c], limits=(winsor, winsor))) for c in range(4)])
    ratio = k / len(s)
    scale = (mean * sizes).sum() / len(s)  # T: the budgets then add up to k
    exact = ratio * mean * sizes / scale
    assert exact.max() < sizes[np.argmax(exact)]
    for c in range(4):
        got = chosen.indices[labels[chosen.indices] == c]
        assert abs(len(got) - exact[c]) < 1
        assert chosen.info["quota"][str(c)] == len(got)
        assert chosen.info["difficulty"][str(c)] == pytest.approx(mean[c])
        ascending = sorted(np.flatnonzero(labels == c), key=lambda i: s[i])
        end = max(len(got), int(endpoint * sizes[c] + 1e-9))
        assert set(got) == set(ascending[end - len(got) : end])
        assert (np.diff(s[got]) <= 0).all()
    np.testing.assert_array_equal(chosen.scores, s[chosen.indices])


def test_a_class_takes_no_more_than_it_has():
    sizes = np.array([100, 10, 100])
    assert class_budgets(np.array([0.1, 9.0, 0.1]), sizes, 50).tolist() == [20, 10, 20]
    assert class_budgets(np.array([0.0, 9.0, 0.0]), sizes, 50).tolist() == [20, 10, 20]
    assert class_budgets(np.zeros(3), sizes, 21).tolist() == [10, 1, 10]
    assert class_budgets(np.array([1e-300, 1e300, 1.0]), sizes, 210).tolist() == sizes.tolist()
    assert window(np.arange(5.0), 5, 0.2).tolist() == [4, 3, 2, 1, 0]


def test_more_difficult_classes_get_more_than_their_share():
    labels, s = example(1)
    quota = select("nucs", 60, labels=labels, score=s, options={"base": SCORE}).info["quota"]
    share = np.array([quota[str(c)] for c in range(4)]) / np.bincount(labels)
    mean = [s[labels == c].mean() for c in range(4)]
    assert np.argsort(share).tolist() == np.argsort(mean).tolist()


def test_negative_equal_and_unknown():
    labels, s = example(2)
    low = select("nucs", 30, labels=labels, score=s - 5, options={"base": SCORE})
    again = select("nucs", 30, labels=labels, score=s - s.min(), options={"base": SCORE})
    assert low.indices.tolist() == again.indices.tolist()
    equal = select("nucs", 20, labels=labels, score=np.ones(200), options={"base": SCORE})
    assert abs(equal.info["quota"]["0"] - 20 * (labels == 0).mean()) < 1
    some = select(
        "nucs", 20, labels=np.where(labels == 3, -1, labels), score=s, options={"base": SCORE}
    )
    assert "-1" in some.info["quota"]


def test_contract_and_refusals():
    check_strategy(strategy("nucs"))
    check_strategy(Nucs(SCORE, endpoint=0.6, winsor=0.1))
    with pytest.raises(ValueError, match=r"endpoint: expected a share in \[0, 1\], got 1.5"):
        Nucs(endpoint=1.5)
    with pytest.raises(ValueError, match=r"winsor: expected a share in \[0, 0.5\), got 0.5"):
        Nucs(winsor=0.5)
