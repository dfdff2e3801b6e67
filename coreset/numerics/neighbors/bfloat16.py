"""Products in bfloat16: where they are used, and how far off they are."""

from __future__ import annotations

from functools import lru_cache

STORED = 2.0**-8  # relative error of a bfloat16 result, twice that of rounding to nearest


@lru_cache(maxsize=32)
def bfloat16_pays(dim: int, threads: int) -> bool:
    """Return whether products of bfloat16 are used: where the processor multiplies it in hardware
    (AVX512-BF16 or AMX; 1.6 to 10 times as fast as float32 for 8 to 768 columns, see
    docs/kernels.md) and its results are within D 2^-24 |a||b| from summation and 2^-8 of the result
    from storing it.

    No clock is read: a processor gives the same answer on every run.
    """
    import torch

    if not (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()):
        return False
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2048, dim, generator=generator), torch.randn(256, dim, generator=generator)
    a, b = a.bfloat16(), b.bfloat16()
    product = (a @ b.T).double()
    a, b = a.double(), b.double()
    summing = dim * 2.0**-24 * a.norm(dim=1)[:, None] * b.norm(dim=1)
    return bool(((product - a @ b.T).abs() <= STORED * product.abs() + summing).all())
