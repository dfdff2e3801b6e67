import itertools

import numpy as np
import pytest

import coreset
from coreset import select
from coreset.strategies.submodular.disparity import Disparity
from coreset.testing import check_strategy


def value(x, chosen, variant):
    d = [np.sqrt(((x[i] - x[j]) ** 2).sum()) for i, j in itertools.combinations(chosen, 2)]
    return min(d) if variant == "min" else sum(d)


@pytest.mark.parametrize("variant", ["min", "sum"])
@pytest.mark.parametrize("start", [True, False])
def test_values_and_order(reference, variant, start):
    d = reference.data()
    chosen = d.selected.tolist() if start else []
    answer = select(
        "disparity",
        10,
        features=d.x,
        candidates=d.candidates,
        selected=chosen,
        options={"variant": variant},
    )
    picks = [*chosen]
    if not start:
        picks.append(
            int(
                d.candidates[
                    np.argmax(
                        np.linalg.norm(d.x[d.candidates] - d.x[d.candidates].mean(axis=0), axis=1)
                    )
                ]
            )
        )
    while len(picks) < 10 + len(chosen):
        far = {
            j: [np.linalg.norm(d.x[j] - d.x[i]) for i in picks]
            for j in d.candidates
            if j not in picks
        }
        picks.append(max(far, key=lambda j: min(far[j]) if variant == "min" else sum(far[j])))
    assert answer.indices.tolist() == picks[len(chosen) :]
    if not start:
        assert answer.info["value"] == pytest.approx(value(d.x, picks, variant))


@pytest.mark.parametrize("variant", ["min", "sum"])
def test_half_of_the_best(variant):
    for seed in range(5):
        x = np.random.default_rng(seed).normal(size=(10, 2))
        best = max(value(x, c, variant) for c in itertools.combinations(range(10), 4))
        got = select("disparity", 4, features=x, options={"variant": variant}).info["value"]
        assert best / 2 <= got <= best + 1e-9


def test_neither_is_submodular():
    x = np.array([[0.0], [1.0], [3.0]])
    # a gain that grew
    assert value(x, [0, 1, 2], "sum") - value(x, [0, 1], "sum") > value(x, [0, 2], "sum")
    assert value(x, [0, 1, 2], "min") < value(x, [0, 2], "min")  # a set that lost


def test_duplicates_and_half_precision():
    assert select("disparity", 4, features=np.ones((4, 2))).indices.tolist() == [0, 1, 2, 3]
    x = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float16)
    one, other = (
        select("disparity", 9, features=v).indices.tolist() for v in (x, x.astype(np.float64))
    )
    assert one == other


@pytest.mark.parametrize("options", [{}, {"variant": "sum"}, {"normalize": True}])
def test_contract(options):
    check_strategy(Disparity(**options))


def test_wrong_options_are_named():
    with pytest.raises(ValueError, match="variant"):
        Disparity(variant="max")


@pytest.mark.parametrize("variant", ["min", "sum"])
@pytest.mark.parametrize("selected", [[], [3, 8]])
def test_given_distances_are_used_as_they_are(variant, selected):
    x = np.random.default_rng(0).normal(size=(30, 4))
    d = np.linalg.norm(x[:, None] - x, axis=-1)
    got = coreset.select(
        "disparity",
        8,
        distances=d,
        selected=selected,
        options={"variant": variant, "source": "distances"},
    )
    taken, scores = list(selected), []
    for _ in range(8):
        free = np.setdiff1d(np.arange(30), taken)
        value = d.sum(axis=1)
        if taken:
            value = (
                d[np.ix_(free, taken)].min(axis=1)
                if variant == "min"
                else d[np.ix_(free, taken)].sum(axis=1)
            )
        taken.append(int(free[value.argmax()]))
        scores.append(value.max())
    assert got.indices.tolist() == taken[len(selected) :]
    at = 0 if selected else 1
    np.testing.assert_allclose(got.scores[at:], scores[at:])
    for bad in (d[:, :5], -d, d + 1):
        with pytest.raises(ValueError, match="distances: expected"):
            coreset.select("disparity", 8, distances=bad, options={"source": "distances"})
