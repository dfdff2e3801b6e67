"""Products in bfloat16: where they are faster, and how far off they are."""

from __future__ import annotations

import time
from functools import lru_cache

import numpy as np

from coreset.numerics.neighbors.distances import float32_products

STORED = 2.0**-8  # relative error of a bfloat16 result, twice that of rounding to nearest


@lru_cache(maxsize=32)
def bfloat16_pays(dim: int, threads: int) -> bool:
    """Return whether this CPU multiplies bfloat16 clearly faster than float32, and within D 2^-24
    |a||b| from summation and 2^-8 of the result from storing it.
    """
    import torch

    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2048, dim, generator=generator), torch.randn(256, dim, generator=generator)
    narrow = a.bfloat16(), b.bfloat16()
    seconds = {True: np.inf, False: np.inf}
    for _ in range(3):
        for short in (True, False):
            start = time.perf_counter()
            product = narrow[0] @ narrow[1].T if short else float32_products(a, b)
            seconds[short] = min(seconds[short], time.perf_counter() - start)
            if short:
                true = narrow[0].double() @ narrow[1].double().T
                allowed = STORED * product.double().abs() + dim * 2.0**-24 * narrow[
                    0
                ].double().norm(dim=1)[:, None] * narrow[1].double().norm(dim=1)
                if bool(((product.double() - true).abs() > allowed).any()):
                    return False
    return seconds[True] < 0.8 * seconds[False]
