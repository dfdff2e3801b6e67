"""Toy operators importable as `toys`, in worker processes too, and a cluster of Ray."""

import os
import sys
from pathlib import Path

import pytest

HERE = str(Path(__file__).parent)
if HERE not in sys.path:
    sys.path.append(HERE)


@pytest.fixture(scope="module")
def engine():
    """Ray Data on a cluster of two processors; on one that runs already where RAY_ADDRESS names it."""
    import ray

    from coreset.curation.engines.ray import RayData

    address = os.environ.get("RAY_ADDRESS")
    os.environ.setdefault("RAY_idle_worker_killing_time_threshold_ms", "60000")
    here = {} if address else {"num_cpus": 2, "num_gpus": 1, "object_store_memory": 300 * 2**20}
    ray.init(
        address=address or "local", include_dashboard=None if address else False, log_to_driver=False,
        logging_level="ERROR", **here,
    )  # fmt: skip
    yield RayData(workers=2)
    ray.shutdown()
