"""Operators that declare processors, GPUs and memory: lent by Ray, refused where no node has them."""

import os
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest
from test_ray_data import sentences
from toys import write_jsonl

from coreset.core.compute import Compute
from coreset.curation import curate
from coreset.curation.engines.ray import RayData, operators_of
from coreset.curation.operators.base import Filter, describe
from coreset.curation.results.decisions import DecidePartition
from coreset.curation.results.output import WriteShard
from coreset.curation.runtime.checkpoint import Stage
from coreset.curation.runtime.edges import ReadKeys
from coreset.curation.runtime.steps import FitPartition, Pipeline
from coreset.scorers.length import Length

pytest.importorskip("ray", reason="the extra `ray` is not installed")
pytestmark = pytest.mark.slow


def lent():
    """What Ray lends the worker that this runs in, but for the mean size of an answer, some bytes:
    Ray Data lends that as memory to what declares none, from its second task on.
    """
    import ray

    about = ray.get_runtime_context()
    there = about.get_assigned_resources()
    amounts = sorted((k, v) for k, v in there.items() if k != "memory" or v >= 2**20)
    kind = "actor" if about.get_actor_id() else "task"
    return " ".join([kind, *(f"{name}={amount:g}" for name, amount in amounts)])


@dataclass(frozen=True)
class Declares:
    """Needs what it says."""

    compute: Compute
    needs = frozenset({"text"})
    gives = frozenset({"words"})

    def __call__(self, batch):
        raise AssertionError("never called")


@dataclass(frozen=True)
class Runs:
    """A step that runs an operator: it says what it is lent, as an answer or as a row."""

    stage: Stage
    row: bool = False

    def __call__(self, item):
        return pa.table({"_part": [item], "lent": [lent()]}) if self.row else lent()


@dataclass(frozen=True)
class Said:
    """What the senders of a part were lent."""

    def __call__(self, item):
        return item[1]["lent"].to_pylist()


class Counts(Filter):
    """Declares as a class does, without a field."""

    needs = frozenset({"text"})
    compute = Compute(cpus=2, memory=2**20)

    def decide(self, batch):
        raise AssertionError("never called")


@pytest.mark.parametrize(
    ("compute", "words"),
    [
        (Compute(), "task CPU=1"),
        (Compute(cpus=1.5, memory=2**24), "actor CPU=1.5 memory=1.67772e+07"),
        (Compute(cpus=0.5, gpus=0.5), "actor CPU=0.5 GPU=0.5"),
        (Compute(gpus=1, or_cpu=True), "actor CPU=1 GPU=1"),
    ],
)
def test_a_worker_has_what_the_operator_declares(engine, compute, words):
    """Row by row, and where rows are read for a shuffle."""
    stage = Stage("1", "declares", "k", frozenset(), Declares(compute))
    assert list(engine.map(Runs(stage), [0, 1])) == [words, words]
    if compute.cpus == 1.5:
        assert list(engine.exchange(Runs(stage, row=True), [0, 1], Said(), 2)) == [[words], [words]]


def test_what_decides_about_a_part_has_it_too(engine):
    stage = Stage("1", "declares", "k", frozenset(), Declares(Compute(cpus=2)))
    assert list(engine.exchange(Numbers(), [0], Runs(stage), 1)) == ["task CPU=2"]


@dataclass(frozen=True)
class Numbers:
    """Three rows."""

    def __call__(self, item):
        return pa.table({"_part": [0, 0, 0]})


def test_what_no_node_has_is_refused_before_anything_runs(tmp_path, engine):
    source = write_jsonl(tmp_path / "rows.jsonl", sentences(60))
    for compute, words in (
        (Compute(cpus=64), r"Declares needs 64 CPUs, 0 GPUs on one node, the nodes of the cluster"
         r" have 2 CPUs, 1 GPUs, [\d.e+]+ GiB of memory; take a larger node"),
        (Compute(gpus=8), "Declares needs 1 CPUs, 8 GPUs on one node"),
        (Compute(gpus=8, or_cpu=True), "Declares needs 1 CPUs, 8 GPUs on one node"),
        (Compute(memory=2**50), r"Declares needs 1 CPUs, 0 GPUs, 1.05e\+06 GiB of memory"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            curate([Declares(compute)], source, tmp_path / "out", engine=engine)
    assert not [p for p in (tmp_path / "out").rglob("*") if p.suffix in (".parquet", ".json")]


def test_a_gpu_that_is_not_there_is_asked_for_only_where_it_must(monkeypatch, engine):
    import ray

    node = {"Alive": True, "Resources": {"CPU": 2.0, "memory": 2.0**30}}
    monkeypatch.setattr(ray, "nodes", lambda: [node])
    monkeypatch.setattr(ray, "cluster_resources", lambda: node["Resources"])
    engine.check([Declares(Compute(gpus=1, or_cpu=True)), Length()])
    with pytest.raises(ValueError, match="Declares needs 1 CPUs, 1 GPUs on one node"):
        engine.check([Declares(Compute(gpus=1))])
    nodes = [
        {**node, "Resources": {"CPU": cpus, "memory": memory}}
        for cpus, memory in ((2.0, 2.0**10), (1.0, 2.0**30), (2.0, 2.0**20))
    ]
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    both = [Declares(Compute(memory=int(0.9 * 2**30))), Counts()]
    for one in both:
        engine.check([one])
    with pytest.raises(ValueError, match="Declares and Counts needs 2 CPUs, 0 GPUs, 0.9 GiB"):
        engine.check(both)


def test_shares_of_a_gpu(engine):
    import ray

    for gpus, lent in ((1.0, {"num_cpus": 1, "num_gpus": 2}), (0.25, {"num_cpus": 1, "num_gpus": 0.5}),
                       (0, {"num_cpus": 1})):  # fmt: skip
        assert RayData(gpus=gpus)._lent(ray, Compute(cpus=1, gpus=2, or_cpu=True)) == lent


def test_what_is_declared_is_not_part_of_what_an_operator_is():
    assert describe(Words()) == {"_target_": f"{Words.__module__}.Words"}


@dataclass(frozen=True)
class Words:
    """Counts words with two processors."""

    needs = frozenset({"text"})
    gives = frozenset({"words"})

    @property
    def compute(self):
        return Compute(cpus=2)

    def __call__(self, batch):
        return {"words": np.array([len(t.split()) for t in batch["text"]], float)}


def test_the_operators_that_a_step_may_run():
    length, words = Length(), Words()
    plain = Stage("1", "length", "k", frozenset(), length)
    stage = Stage("2", "words", "k", frozenset(), words)
    decided = Stage("3", "words", "k", frozenset())
    chain = Pipeline(None, (plain, stage, decided))
    assert operators_of(chain) == [length, words]
    assert operators_of(DecidePartition(chain, "decisions")) == [length, words]
    assert operators_of(WriteShard(DecidePartition(chain, "d"), None, 1)) == [length, words]
    assert operators_of(FitPartition(Pipeline(None, (plain,)), stage)) == [length, words]
    assert operators_of(ReadKeys(chain, plain, 1)) == [length, words, length]
    assert operators_of(abs) == []


def kept_when_freed(_):
    """Bytes that the process of a worker keeps of the memory it freed."""
    return os.environ.get("MALLOC_TRIM_THRESHOLD_")


def test_workers_have_an_environment_of_their_own(engine):
    """So Ray's own actors, some for every shuffle, cannot take the processes that hold the imports."""
    answers = [
        *engine.map(kept_when_freed, [0, 1]),
        *engine.exchange(Numbers(), [0, 1], kept_when_freed, 1),
        *engine.map(Runs(Stage("1", "", "k", frozenset(), Declares(Compute(cpus=2)))), [0]),
    ]
    assert answers == [str(64 * 2**20)] * 3 + ["actor CPU=2"]
