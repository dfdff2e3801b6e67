"""One thread for every library: import and call this before numpy and torch, which read these
variables when they start.
"""

from __future__ import annotations

import os

ONE = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "NUMEXPR_NUM_THREADS",
)  # fmt: skip


def single_thread() -> None:
    """Set the environment of this process and its children."""
    os.environ.update(dict.fromkeys(ONE, "1"))
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    os.environ["JAX_PLATFORMS"] = "cpu"
