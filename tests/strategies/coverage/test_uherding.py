import numpy as np
import pytest
import torch

from coreset import select
from coreset.registry import strategy
from coreset.strategies.coverage.uherding import (
    calibrated_temperature,
    calibration_error,
    smallest_gap,
    tempered,
)
from coreset.testing import check_strategy, example_signals


def case(n=80, seed=0):
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(n, 5))
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return rng.normal(size=(n, 3)), logits, probs


@pytest.mark.parametrize("options", [{}, {"temperature": 2.0, "width": 1.0, "normalize": False}])
def test_contract(options):
    check_strategy(strategy("uherding", options))


def test_contract_with_a_temperature_to_find():
    columns = example_signals(48, frozenset({"features", "probs", "labels"}))
    columns["validation"] = np.zeros(48, bool)
    # the four that may not be chosen
    columns["validation"][np.random.default_rng(1).permutation(48)[-4:]] = True
    check_strategy(strategy("uherding", {"temperature": "ece"}), columns)


@pytest.mark.parametrize("selected", [[], [3], [3, 50, 61]])
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_the_plain_greedy(selected, temperature):
    x, logits, probs = case()
    got = select(
        "uherding",
        15,
        features=x,
        probs=probs,
        selected=selected,
        options={"temperature": temperature},
    )
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    d = np.sqrt(((unit[:, None] - unit[None]) ** 2).sum(axis=-1))
    width = min([d[i, j] for i in selected for j in selected if i < j], default=1.0)
    tempered_ = np.exp(logits / temperature)
    top = np.sort(tempered_ / tempered_.sum(axis=1, keepdims=True), axis=1)
    unsure = 1 - (top[:, -1] - top[:, -2])
    kernel = np.exp(-((d / width) ** 2))
    near, picks = kernel[selected].max(axis=0, initial=0.0), []
    for _ in range(15):
        gain = (unsure * np.maximum(kernel - near, 0)).mean(axis=1)
        gain[selected + picks] = -1
        picks.append(int(np.flatnonzero(gain >= gain.max() - 1e-10)[0]))
        near = np.maximum(near, kernel[picks[-1]])
    assert got.indices.tolist() == picks
    assert np.isclose(got.info["width"], width)
    assert np.isclose(got.info["coverage"], (unsure * near).mean())


def test_a_temperature_on_probabilities_is_one_on_logits():
    _, logits, probs = case()
    soft = np.exp(logits / 3)
    assert np.allclose(
        tempered(torch.from_numpy(probs), 3.0).numpy(), soft / soft.sum(axis=1, keepdims=True)
    )
    assert tempered(torch.tensor([[1.0, 0.0]]), 2.0).tolist() == [[1.0, 0.0]]


def test_the_smallest_gap_passes_over_duplicates():
    assert smallest_gap(torch.tensor([[0.0], [2.0], [2.0], [7.0]])) == 2.0
    assert smallest_gap(torch.ones(3, 2)) == 1.0
    assert smallest_gap(torch.ones(0, 2)) == 1.0


def test_all_certain_still_returns_k():
    x, _, _ = case()
    got = select("uherding", 5, features=x, probs=np.eye(2)[np.arange(80) % 2])
    assert len(got) == 5


def test_a_confident_model_is_still_ranked_by_its_doubt():
    """Every weight far below what float32 tells from zero, every row alone under a narrow kernel."""
    x, _, _ = case(40)
    doubt = 1e-9 * np.random.default_rng(1).random(40)
    got = select("uherding", 40, features=x, probs=np.c_[1 - doubt, doubt], options={"width": 1e-3})
    assert got.indices.tolist() == np.argsort(-doubt).tolist()


def test_two_selected_are_enough_for_a_width():
    x, _, probs = case()
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    got = select("uherding", 2, features=x, probs=probs, selected=[3, 50])
    assert got.info["width"] == pytest.approx(np.linalg.norm(unit[3] - unit[50]))


@pytest.mark.parametrize("name", ["temperature", "width"])
def test_wrong_options(name):
    with pytest.raises(ValueError, match=f"{name}: expected a positive number.*, got -1"):
        strategy("uherding", {name: -1.0})


def ece(probs, labels):
    """Bin by bin, (low, high], as published."""
    confidence, right = probs.max(axis=1), probs.argmax(axis=1) == labels
    total = 0.0
    for b in range(15):
        mine = (confidence > b / 15) & (confidence <= (b + 1) / 15)
        if mine.any():
            total += mine.mean() * abs(right[mine].mean() - confidence[mine].mean())
    return total


def overconfident(n, sharp, seed=0):
    """Logits `sharp` times those that the labels are drawn from."""
    rng = np.random.default_rng(seed)
    logits = 1.5 * rng.normal(size=(n, 4))
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (probs.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
    loud = np.exp(sharp * (logits - logits.max(axis=1, keepdims=True)))
    return loud / loud.sum(axis=1, keepdims=True), labels


# an unsure model is left as it is: no temperature is below 1
@pytest.mark.parametrize("sharp", [0.4, 4.0])
@pytest.mark.parametrize("seed", range(3))
def test_the_temperature_of_the_smallest_calibration_error(seed, sharp):
    probs, labels = overconfident(150, sharp, seed)
    p, y = torch.from_numpy(probs), torch.from_numpy(labels)
    assert calibration_error(p, y) == pytest.approx(ece(probs, labels))
    grid = np.arange(10, 200) / 10
    errors = [
        ece(np.exp(z) / np.exp(z).sum(axis=1, keepdims=True), labels)
        for z in (np.log(probs) / t for t in grid)
    ]
    assert calibrated_temperature(p, y) == grid[np.argmin(errors)]


def test_calibration_undoes_overconfidence():
    probs, labels = overconfident(20_000, 5.0)
    assert calibrated_temperature(
        torch.from_numpy(probs), torch.from_numpy(labels)
    ) == pytest.approx(5.0, abs=0.3)


def test_the_held_out_examples_alone_set_the_temperature():
    x, _, probs = case()
    sure, known = overconfident(20, 6.0, 1)
    probs = np.concatenate([probs[:60], np.c_[sure, np.zeros(20)]])
    labels = np.r_[np.full(60, -1), known]
    held = np.arange(80) >= 60
    rest = {"features": x, "probs": probs, "labels": labels, "selected": np.arange(60, 80)}
    got = select("uherding", 10, **rest, validation=held, options={"temperature": "ece"})
    want = calibrated_temperature(torch.from_numpy(sure), torch.from_numpy(known))
    assert got.info["temperature"] == want
    assert want > 1
    fixed = select("uherding", 10, **rest, options={"temperature": want})
    assert got.indices.tolist() == fixed.indices.tolist()
    assert fixed.info["temperature"] == want


def test_a_temperature_to_find_needs_labeled_examples():
    x, _, probs = case(10)
    rest = {"features": x, "probs": probs, "options": {"temperature": "ece"}}
    with pytest.raises(ValueError, match="labels: .*unknown"):
        select(
            "uherding",
            1,
            **rest,
            labels=np.full(10, -1),
            selected=[0],
            validation=np.arange(10) == 0,
        )
    with pytest.raises(ValueError, match="1 validation examples are candidates"):
        select("uherding", 1, **rest, labels=np.zeros(10, int), validation=np.arange(10) == 0)
    with pytest.raises(KeyError, match="validation"):
        select("uherding", 1, **rest, labels=np.zeros(10, int))
    with pytest.raises(
        ValueError, match="temperature: expected a positive number or 'ece', got 'nll'"
    ):
        strategy("uherding", {"temperature": "nll"})
