"""The thin strategies of the family: each reads its column, in the right direction."""

import numpy as np
import pytest

from coreset import select
from coreset.registry import strategy
from coreset.testing import check_strategy

HIGHEST = {
    "forgetting": True,
    "dyn_unc": True,
    "dual": True,
    "tdds": True,
    "memorization": True,
    "aum": False,
}


@pytest.mark.parametrize("name", HIGHEST)
def test_order_direction_and_contract(name):
    check_strategy(strategy(name))
    values = np.random.default_rng(0).permutation(20).astype(np.float16)
    chosen = select(name, 5, **{name: values})
    ordered = sorted(range(20), key=lambda i: -values[i] if HIGHEST[name] else values[i])
    assert chosen.indices.tolist() == ordered[:5]
    assert (np.diff(chosen.scores) < 0).all()


@pytest.mark.parametrize("name", HIGHEST)
def test_ties_and_the_column_shape(name):
    assert select(name, 2, **{name: np.ones(4)}).indices.tolist() == [0, 1]
    with pytest.raises(ValueError, match=name):
        select(name, 2, **{name: np.ones((4, 2))})


def test_never_learned_comes_first():
    from coreset.numerics.dynamics import DynamicsRecorder

    recorder = DynamicsRecorder(3, ["forgetting"])
    for epoch, wrong in enumerate([[0, 1, 0], [1, 1, 0], [0, 1, 0], [1, 1, 0]]):
        recorder.update(
            range(3), [[-1.0, 1.0] if w else [1.0, -1.0] for w in wrong], [0, 0, 0], epoch
        )
    assert select("forgetting", 3, **recorder.finish()).indices.tolist() == [1, 0, 2]


def test_aum_on_probabilities():
    check_strategy(strategy("aum", {"signal": "aum_probs"}))
    assert select(
        "aum", 1, aum_probs=[0.5, -0.5], options={"signal": "aum_probs"}
    ).indices.tolist() == [1]


def test_dyn_unc_over_all_windows():
    """The last window alone tells these two apart: the released score drops it, the authors of DUAL
    keep it.
    """
    from coreset.numerics.dynamics import DynamicsRecorder, least_epochs

    p = np.full((12, 2), 0.5)
    p[:3, 0] = [0.2, 0.9, 0.4]
    p[11, 1] = 0.999
    recorder = DynamicsRecorder(2, ["dyn_unc", "dyn_unc_all"], kind="probs", window=4)
    for epoch in range(12):
        recorder.update([0, 1], np.stack([p[epoch], 1 - p[epoch]], axis=1), [0, 0], epoch)
    got = recorder.finish()
    for i in range(2):
        windows = [10 * np.std(p[t : t + 4, i], ddof=1) for t in range(9)]
        np.testing.assert_allclose(got["dyn_unc_all"][i], np.mean(windows), rtol=1e-12)
        np.testing.assert_allclose(got["dyn_unc"][i], np.mean(windows[:-1]), rtol=1e-12, atol=1e-15)
    check_strategy(strategy("dyn_unc", {"signal": "dyn_unc_all"}))
    assert select(
        "dyn_unc", 2, options={"signal": "dyn_unc_all"}, dyn_unc_all=[0.1, 0.3, 0.2]
    ).indices.tolist() == [
        1,
        2,
    ]
    assert least_epochs(["dyn_unc_all"]) == 10
    assert least_epochs(["dyn_unc_all", "dyn_unc"]) == 11
    with pytest.raises(ValueError, match="signal: expected dyn_unc or dyn_unc_all, got 'dual'"):
        strategy("dyn_unc", {"signal": "dual"})
