"""Columns that are tensors of half precision and require a gradient give the picks of the same
numbers in float64.
"""

import numpy as np
import pytest
import torch

from coreset import select
from coreset.core.batch import objects

N = 24
SHAPES = {
    "deita": {"complexity": (N,), "quality": (N,), "features": (N, 5)},
    "mig": {"quality": (N,)},
    "mods": {"reward": (N,), "response_reward": (N,), "features": (N, 5)},
    "qurating": {"rating": (N,)},
    "rds": {"query_similarity": (N, 3)},
    "s2l": {"losses": (N, 3)},
    "self_filter": {"difficulty": (N,), "features": (N, 5)},
    "votes": {"influence": (N, 3)},
}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("name", SHAPES)
def test_tensors_that_require_a_gradient(name, dtype):
    rng = np.random.default_rng(0)
    more = (
        {"tags": objects([[f"t{i}", f"t{j}"] for i, j in rng.integers(0, 6, (N, 2))])}
        if name == "mig"
        else {}
    )
    columns = {
        n: torch.as_tensor(np.abs(rng.normal(size=s))).to(dtype) for n, s in SHAPES[name].items()
    }
    options = {"clusters": 4} if name == "s2l" else {}
    want = select(
        name, 6, options=options, **more, **{n: v.double().numpy() for n, v in columns.items()}
    )
    got = select(
        name,
        6,
        options=options,
        **more,
        **{n: v.clone().requires_grad_() for n, v in columns.items()},
    )
    assert got.indices.tolist() == want.indices.tolist()
