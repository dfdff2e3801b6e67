import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coreset.numerics.tensors import as_float, as_tensor, per_row, rows, top_k


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.sampled_from([-np.inf, -1.0, -0.0, 0.0, 0.5, 1.0, np.inf]), min_size=1, max_size=40
    ),
    st.data(),
)
def test_top_k_is_a_stable_full_sort(values, data):
    k = data.draw(st.integers(1, len(values)))
    got = top_k(np.array(values), k)
    assert got.dtype == np.int64
    assert got.tolist() == sorted(range(len(values)), key=lambda i: (-values[i], i))[:k]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_top_k_of_many(dtype):
    scores = np.random.default_rng(0).normal(size=5000).astype(dtype)
    for k in (1, 17, 4999, 5000, 6000):
        assert top_k(scores, k).tolist() == np.argsort(-scores, kind="stable")[:k].tolist()


def shares(array, tensor):
    return tensor.data_ptr() == array.__array_interface__["data"][0]


def test_arrays_are_shared_not_copied(tmp_path):
    np.save(tmp_path / "c.npy", np.arange(12.0).reshape(3, 4))
    np.save(tmp_path / "f.npy", np.asfortranarray(np.arange(12.0).reshape(3, 4)))
    frozen = np.arange(3.0)
    frozen.flags.writeable = False
    arrays = [
        np.arange(6.0),
        np.arange(6.0)[::2],
        frozen,
        np.load(tmp_path / "c.npy", mmap_mode="r"),
        np.load(tmp_path / "f.npy", mmap_mode="r"),
    ]
    for array in arrays:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            tensor = as_tensor(array)
        assert shares(array, tensor)
        np.testing.assert_array_equal(tensor.numpy(), array)


def test_what_torch_cannot_share_is_copied():
    for array in (
        np.arange(6.0)[::-1],
        np.arange(6.0).reshape(2, 3)[:, ::-1],
        np.arange(6, dtype=">f4"),
        np.arange(6, dtype=">i8"),
    ):
        np.testing.assert_array_equal(as_tensor(array).numpy(), array)


def test_tensors_stay_where_they_are():
    t = torch.arange(3.0, requires_grad=True)
    assert as_tensor(t).data_ptr() == t.data_ptr()
    assert not as_tensor(t).requires_grad
    meta = torch.empty(3, device="meta")
    assert as_tensor(meta).device == meta.device
    assert as_tensor([1, 2]).tolist() == [1, 2]
    assert as_tensor(np.arange(4.0)[0:0]).shape == (0,)


def test_rows_and_as_float():
    assert rows(np.arange(10) * 2, np.array([4, 1])).tolist() == [8, 2]
    for dtype, want in [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ]:
        assert as_float(torch.ones(1, dtype=dtype)).dtype == want


@pytest.mark.parametrize("block", [1, 7, 8, 10**6])
def test_per_row_in_any_blocks(block):
    x = np.random.default_rng(0).normal(size=(23, 4)).astype(np.float32)
    index = np.array([5, 22, 0, 9, 1])
    seen = []

    def score(part):
        seen.append(len(part))
        return (part**2).sum(1)

    got = per_row(score, x, index, block)
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, (x[index].astype(np.float64) ** 2).sum(1), rtol=1e-6)
    assert max(seen) <= max(1, block // 4)
