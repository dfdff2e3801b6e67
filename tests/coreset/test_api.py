import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch

import coreset
from coreset import registry
from coreset.strategies.coverage.kcenter import KCenterGreedy

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3))


def test_three_lines():
    already_labeled, dataset = [3, 5], torch.utils.data.TensorDataset(torch.arange(40))
    chosen = coreset.select("kcenter", budget=5, features=X, selected=already_labeled, seed=0)
    subset = torch.utils.data.Subset(dataset, chosen.indices)
    assert [int(v) for (v,) in subset] == chosen.indices.tolist()
    assert not set(chosen.indices) & {3, 5}
    assert chosen.info["strategy"] == "KCenterGreedy"
    assert chosen.info["parameters"]["normalize"] is False
    assert chosen.info["seed"] == 0


def test_name_with_options_is_the_strategy_made():
    a = coreset.select("kcenter", 5, features=X, options={"normalize": True}, seed=2)
    b = coreset.select(KCenterGreedy(normalize=True), 5, features=X, seed=2)
    assert a.indices.tolist() == b.indices.tolist()


def test_a_share_is_of_the_whole_pool_and_counts_new_examples():
    assert len(coreset.select("random", 0.25, ids=range(40), selected=range(10))) == 10
    with pytest.raises(
        ValueError, match="budget: 20 examples asked for, but only 10 candidates are left"
    ):
        coreset.select("random", 0.5, ids=range(40), selected=range(30))


def test_candidates_may_be_a_mask_and_ids_come_back():
    names = np.array([f"img{i}.png" for i in range(40)])
    chosen = coreset.select("kcenter", 2, features=X, candidates=np.arange(40) < 2, ids=names)
    assert set(chosen.indices) == {0, 1}
    assert chosen.ids.tolist() == [f"img{i}.png" for i in chosen.indices]


def test_without_a_strategy_one_column_is_enough():
    with pytest.raises(ValueError, match=r"\(this strategy needs: features or probs\), or ids"):
        coreset.select(budget=3)
    with pytest.raises(ValueError, match=r"\(this strategy needs: features, probs\), or ids"):
        coreset.select("auto", 3)


def test_seeds():
    picks = {tuple(coreset.select("random", 5, ids=range(40), seed=s).indices) for s in range(10)}
    assert len(picks) == 10


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (
            {},
            ValueError,
            r"expected at least one column .*\(this strategy needs: features\), or ids",
        ),
        ({"features": None}, ValueError, "expected at least one column"),
        (
            {"features": X, "labels": [1, 2]},
            ValueError,
            r"different lengths: \{'features': 40, 'labels': 2\}",
        ),
        ({"features": X, "ids": range(3)}, ValueError, "'ids': 3"),
        ({"probs": X}, KeyError, "signal 'features' is missing; present: probs"),
        (
            {"features": X, "normalize": True},
            TypeError,
            r"normalize: expected a column .*got True; .*options=\{...\}",
        ),
        (
            {"features": X, "variant": "cosine"},
            TypeError,
            "variant: expected a column .*got 'cosine'",
        ),
        ({"features": X, "scale": np.float64(2)}, TypeError, "scale: expected a column"),
        (
            {"features": X, "selected": [40]},
            ValueError,
            "selected: 1 positions lie outside the dataset of 40",
        ),
        ({"features": X, "options": {"a": 1}}, TypeError, "no option 'a'"),
        ({"features": X[:, 0]}, ValueError, r"features: expected shape \(N, D\), got \(40,\)"),
    ],
)
def test_mistakes_have_words(arguments, error, words):
    with pytest.raises(error, match=words):
        coreset.select("kcenter", 5, **arguments)


def test_unknown_strategy():
    with pytest.raises(KeyError, match="unknown strategy 'kcentre'; did you mean kcenter"):
        coreset.select("kcentre", 5, features=X)


@pytest.mark.parametrize("name", ["kcenter", "herding", "margin", "entropy", "least_confidence"])
def test_tensors_arrays_lists_and_read_only_maps_give_one_answer(name, tmp_path):
    signal = next(iter(registry.strategy(name).needs))
    values = X if signal == "features" else np.abs(X) / np.abs(X).sum(1, keepdims=True)
    np.save(tmp_path / "x.npy", values)
    want = coreset.select(name, 7, **{signal: values}).indices.tolist()
    read_only = np.load(tmp_path / "x.npy", mmap_mode="r")
    np.save(tmp_path / "f.npy", np.asfortranarray(values))
    columns = [
        values.tolist(),
        torch.as_tensor(values),
        torch.as_tensor(values).requires_grad_(),
        read_only,
        np.load(tmp_path / "f.npy", mmap_mode="r"),
        values[::-1][::-1],
        values.astype(">f8"),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for column in columns:
            assert coreset.select(name, 7, **{signal: column}).indices.tolist() == want


MEMORY = """
import sys
from pathlib import Path
import numpy as np
import coreset

def memory(key):  # VmRSS: now, VmHWM: the peak; not ru_maxrss, which a new process has from the one that started it
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) * 1024

def work(x, k):
    if sys.argv[1] == "kcenter":
        assert len(coreset.select("kcenter", k, features=x, selected=np.arange(5), seed=0)) == k
    else:
        np.full(int(float(sys.argv[1]) * x.size), 1, x.dtype)  # a control: so many times the features

n, d, k = 200_000, 64, 20
x = np.random.default_rng(0).standard_normal((n, d), np.float32)  # drawn as float32: a wider temporary would hide what comes after
work(x[: n // 2], k)  # what is loaded and compiled once
before = memory("VmRSS")
work(x, k)
print((memory("VmHWM") - before) / x.nbytes)
"""


def extra_memory(what):
    """Return the peak beside the features, as a share of their size."""
    ran = subprocess.run(
        [sys.executable, "-c", MEMORY, what], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return float(ran.stdout)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_kcenter_takes_little_memory_beside_the_features():
    assert extra_memory("0") < 0.2  # the measurement sees nothing where there is nothing,
    assert extra_memory("1") == pytest.approx(1, abs=0.2)  # and a copy where there is one
    assert extra_memory("kcenter") < 0.5


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ["kcenter", "margin", "stratified", "top_k"])
def test_columns_on_a_gpu(name):
    from coreset.testing import check_strategy

    check_strategy(registry.strategy(name), device="cuda")
