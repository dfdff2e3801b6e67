import numpy as np
import pytest
import torch

from coreset import select
from coreset.registry import strategy
from coreset.testing import check_strategy
from strategies.coverage.uherding import smallest_gap, tempered


def case(n=80, seed=0):
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(n, 5))
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return rng.normal(size=(n, 3)), logits, probs


@pytest.mark.parametrize("options", [{}, {"temperature": 2.0, "width": 1.0, "normalize": False}])
def test_contract(options):
    check_strategy(strategy("uherding", options))


@pytest.mark.parametrize("selected", [[], [3], [3, 50, 61]])
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_the_plain_greedy(selected, temperature):
    x, logits, probs = case()
    got = select("uherding", 15, features=x, probs=probs, selected=selected, options={"temperature": temperature})
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
    assert np.allclose(tempered(torch.from_numpy(probs), 3.0).numpy(), soft / soft.sum(axis=1, keepdims=True))
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
    with pytest.raises(ValueError, match=f"{name}: expected a positive number, got -1"):
        strategy("uherding", {name: -1.0})
