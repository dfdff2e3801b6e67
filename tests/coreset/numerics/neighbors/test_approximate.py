import warnings

import numpy as np
import pytest
import torch

from coreset.numerics.neighbors import approximate
from coreset.numerics.neighbors.approximate import knn_ivf
from coreset.numerics.neighbors.nearest import knn


def mixture(n=5000, dim=32, seed=0):
    rng = np.random.default_rng(seed)
    return (
        rng.normal(size=(20, dim))[rng.integers(0, 20, n)] + 0.5 * rng.normal(size=(n, dim))
    ).astype(np.float32)


def plain(x, i, j):
    return np.sqrt(((x[i].astype(np.float64) - x[j].astype(np.float64)) ** 2).sum(axis=-1))


@pytest.mark.parametrize("shift", [0.0, 1000.0])
def test_recall_and_exact_distances(shift):
    x = mixture() + np.float32(shift)
    distance, index = (t.numpy() for t in knn_ivf(torch.from_numpy(x), 10))
    _, true = knn(torch.from_numpy(x), 10)
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(index, true.numpy(), strict=True)])
    assert recall >= 0.95
    i = np.arange(len(x))[:, None]
    assert (index != i).all()
    assert all(len(set(row)) == 10 for row in index)
    assert np.allclose(distance, plain(x, i, index), rtol=1e-12)
    assert (np.diff(distance, axis=1) >= 0).all()


def test_all_cells_searched_is_exact():
    x = torch.from_numpy(mixture(700, 8))
    distance, index = knn_ivf(x, 7, probes=10**6)
    want = knn(x, 7)
    assert index.tolist() == want[1].tolist()
    assert distance.tolist() == want[0].tolist()


def test_duplicates_and_ties():
    x = torch.from_numpy(np.repeat(mixture(100, 4), 3, axis=0))
    distance, index = knn_ivf(x, 2)
    assert (distance == 0).all()
    assert (index // 3 == torch.arange(300)[:, None] // 3).all()
    assert (index[:, 0] < index[:, 1]).all()
    _, index = knn_ivf(torch.ones(50, 3), 4)
    assert (index != torch.arange(50)[:, None]).all()


def test_rows_in_small_cells_are_searched_exactly():
    x = torch.from_numpy(mixture(300, 6))
    one = knn_ivf(x, 60, probes=1)  # 70 cells of about four rows
    want = knn(x, 60)
    assert one[1].tolist() == want[1].tolist()
    assert one[0].tolist() == want[0].tolist()


def test_neither_threads_nor_a_second_call_change_the_answer():
    faiss = pytest.importorskip("faiss")
    x = torch.from_numpy(mixture(3000, 16))
    before = faiss.omp_get_max_threads()
    answers = []
    try:
        for threads in (1, 2, 3):
            faiss.omp_set_num_threads(threads)
            answers.append(knn_ivf(x, 5)[1].tolist())
            assert faiss.omp_get_max_threads() == threads
    finally:
        faiss.omp_set_num_threads(before)
    assert answers[0] == answers[1] == answers[2]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_other_precisions(dtype):
    x = torch.from_numpy(mixture(400, 8)).to(dtype)
    distance, index = knn_ivf(x, 3)
    assert distance.dtype == torch.float64
    rows = x.double().numpy()
    assert np.allclose(distance, plain(rows, np.arange(400)[:, None], index.numpy()), rtol=1e-12)


def test_without_faiss_it_is_exact_and_says_so(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "faiss", None)
    x = torch.from_numpy(mixture(200, 5))
    with pytest.warns(UserWarning, match="faiss cannot be imported"):
        got = knn_ivf(x, 4)
    assert got[1].tolist() == knn(x, 4)[1].tolist()
    monkeypatch.undo()
    assert approximate.has_faiss()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        knn_ivf(x, 4)


@pytest.mark.parametrize("k", [0, 5])
def test_wrong_k(k):
    with pytest.raises(ValueError, match="k: expected 1 to 4 neighbors among 5 rows"):
        knn_ivf(torch.ones(5, 2), k)
