"""Nodes of a cluster that are lost in the middle of a run: Ray's own test cluster of three raylets
on this machine, of which two are taken away, and the bytes of a run that nothing happened to.
"""

import pickle
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from test_ray_data import left_by, sentences
from toys import StayingDuplicates, StayingRule, write_jsonl

from coreset.curation import curate
from coreset.curation.engines.local import Local
from coreset.curation.engines.ray import RayData
from coreset.curation.engines.ray_tasks import Task, call_bucket, read_items
from coreset.curation.operators.threshold import Threshold
from coreset.curation.run import Settings

ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
pytestmark = pytest.mark.slow
MOMENTS = ("rule", "key")
NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}


@pytest.fixture
def cluster(monkeypatch):
    """A head and two nodes of one processor each, on a machine that may be busy."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_agent_register_timeout_ms", "120000")
    monkeypatch.setenv("RAY_health_check_period_ms", "1000")
    nodes = Cluster(initialize_head=True, head_node_args=NODE)
    for _ in range(2):
        nodes.add_node(**NODE)
    ray.init(address=nodes.address, log_to_driver=False, logging_level="ERROR")
    yield nodes
    ray.shutdown()
    nodes.shutdown()


def take_away(cluster, folder, run):
    """Remove the node that stays, at each moment, with all its processes and objects."""
    for moment in MOMENTS:
        said = folder / moment
        while not (said.exists() and said.read_text()):
            assert not run.done(), f"the run ends before {moment}: {run.result()}"
            time.sleep(0.05)
        here = said.read_text()
        gone = next(node for node in cluster.worker_nodes if node.node_id == here)
        cluster.remove_node(gone, allow_graceful=False)


def test_nodes_lost_in_the_middle(tmp_path, cluster):
    """One node goes while it runs a rule; one while it reads keys for a shuffle, with the objects
    that lie on it and what it had received of the rows. The head goes on alone.
    """
    source = write_jsonl(tmp_path / "rows.jsonl", sentences(120))
    operators = [
        StayingRule(tmp_path), Threshold("words", low=10), StayingDuplicates(folder=tmp_path),
    ]  # fmt: skip
    reading = Settings(batch=16, partition_rows=20)
    curate(operators, source, tmp_path / "local", engine=Local(), settings=reading)
    (tmp_path / "head").write_text(ray.get_runtime_context().get_node_id())
    with ThreadPoolExecutor(1) as thread:
        run = thread.submit(
            curate, operators, source, tmp_path / "ray", engine=RayData(3), settings=reading
        )
        take_away(cluster, tmp_path, run)
        done = run.result(timeout=100)
    assert done.manifest["operators"][2]["counts"]["dropped"] > 20
    assert left_by(tmp_path / "local") == left_by(tmp_path / "ray")


@dataclass(frozen=True)
class Values:
    """Ten numbers of an item, in two parts."""

    def __call__(self, item):
        return pa.table({"_part": np.arange(10) % 2, "value": np.arange(10) + 10 * item})


@dataclass(frozen=True)
class Sorted:
    """The numbers of a part."""

    def __call__(self, item):
        return sorted(item[1]["value"].to_pylist())


def test_what_a_lost_task_sent_is_not_counted_twice():
    """A task whose node is lost after half of its rows had been sent is run again by Ray, which
    sends them all again.
    """
    read, step = (Task(pickle.dumps(one), ()) for one in (Values(), Sorted()))
    items = pa.table({"place": [0, 1], "item": [pickle.dumps(0), pickle.dumps(1)]})
    sent = read_items(items, read, 2, 2)
    again = pa.concat_tables([sent, read_items(items.slice(1), read, 2, 2)])
    for part in (0, 1):
        rows = again.filter(pc.equal(again["_bucket"], part))
        assert rows.num_rows == 3
        answer = call_bucket(rows, step, 2)["answer"][1].as_py()
        assert pickle.loads(answer) == (True, list(range(part, 20, 2)))
