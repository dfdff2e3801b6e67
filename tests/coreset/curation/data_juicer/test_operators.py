"""The plug-in as Data-Juicer sees it: names, settings checked before anything starts, what is
handed through, and its data sets in this process.
"""

import copy
import json
import os
import pickle
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from toys import Fails

from coreset.curation.data_juicer.answers import Answers
from coreset.curation.data_juicer.blocks import add_stats
from coreset.curation.data_juicer.dropped import read_dropped
from coreset.curation.data_juicer.rows import STATS
from coreset.curation.operators.base import Estimator, GroupBy, Selector
from coreset.registry import load, names

pytest.importorskip("data_juicer", reason="the extra `juicer` is not installed")
SWITCHES = ("UV_OFFLINE", "UV_NO_CACHE", "PIP_NO_INDEX")
GROUPS = ("coreset.scorers", "coreset.operators")
TOP = {"strategy": {"_target_": "coreset.strategies.baseline.top_k.TopK", "signal": "text_words"}}


@pytest.fixture(scope="module")
def juicer():
    """What a process that imports Data-Juicer has: its registry, its data sets, and our plug-in,
    found through its entry point.
    """
    before = dict(os.environ)
    for name in SWITCHES:
        os.environ.pop(name, None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from data_juicer.core.data import NestedDataset
        from data_juicer.ops import OPERATORS, load_ops

        class Found:
            modules, data_set, load, switches = (
                OPERATORS.modules,
                NestedDataset,
                staticmethod(load_ops),
                None,
            )

        Found.switches = {n: os.environ.get(n) for n in SWITCHES}
        from coreset.curation.data_juicer import operators

        Found.plugin = operators
    os.environ.clear()
    os.environ.update(before)
    return Found


def operator_of(juicer, tmp_path, name, **settings):
    return juicer.load([{name: {"work_dir": str(tmp_path)} | settings}])[0]


def test_installs_at_run_time_are_off(juicer):
    assert juicer.switches == dict.fromkeys(SWITCHES, "1")


def test_every_scorer_and_operator_is_one_of_data_juicer(juicer):
    from data_juicer.ops.base_op import Filter, Pipeline

    for group in GROUPS:
        for entry in names(group):
            cls, target = juicer.modules[f"coreset_{entry}"], load(entry, group)
            assert (cls.entry, cls.group, cls.__doc__) == (entry, group, target.__doc__)
            whole = issubclass(target, Estimator | GroupBy | Selector) or entry in (
                "repeat_factor",
                "balance_entries",
            )
            assert issubclass(cls, Pipeline if whole else Filter), entry
            assert getattr(cls, "is_global_operation", False) == whole
            assert {"default", "ray", "ray_partitioned"} <= set(cls._supported_exec_modes)
            assert pickle.loads(pickle.dumps(cls)) is cls


def test_settings_are_checked_before_anything_starts(juicer, tmp_path):
    from data_juicer.core.preflight import PipelineConfigError, pre_instantiation_check

    pre_instantiation_check([{"coreset_length": {"column": "text", "low": 3, "batch_size": 10}}])
    pre_instantiation_check(
        [
            {"coreset_select": TOP | {"budget": 3, "total": 9}},
            {"coreset_threshold": {"column": "n", "low": 1}},
        ]
    )
    with pytest.raises(
        PipelineConfigError,
        match=r"\[coreset_length\] Unknown parameter 'colum' \(did you mean: column",
    ):
        pre_instantiation_check([{"coreset_length": {"colum": "text"}}])
    with pytest.raises(
        PipelineConfigError, match=r"\[coreset_exact_duplicates\] Unknown parameter 'low'"
    ):
        pre_instantiation_check([{"coreset_exact_duplicates": {"low": 1}}])
    with pytest.raises(
        PipelineConfigError, match=r"Unknown operator 'coreset_lenght' .*coreset_length"
    ):
        pre_instantiation_check([{"coreset_lenght": {}}])
    for name, settings, words in (
        ("coreset_threshold", {"column": "n"}, "threshold on 'n': expected low, high or both"),
        ("coreset_length", {"unit": "miles"}, "unit"),
        ("coreset_length", {"low": 3, "high": 1}, "low 3 lies above high 1"),
        (
            "coreset_gopher_quality",
            {"low": 3},
            "coreset_gopher_quality: on: expected one of .*, got None",
        ),
        ("coreset_gopher_quality", {"low": 3, "on": "nope"}, "got 'nope'"),
        ("coreset_select", TOP | {"budget": 30, "total": 9}, "budget"),
    ):
        with pytest.raises(ValueError, match=words):
            operator_of(juicer, tmp_path, name, **settings)
    with pytest.raises(
        ValueError,
        match=(
            "coreset_length: work_dir: expected the folder in which dropped rows are written down"
        ),
    ):
        juicer.load([{"coreset_length": {}}])


def test_a_share_without_the_number_of_rows_is_refused(juicer, tmp_path):
    with pytest.raises(
        ValueError, match=r"coreset_select: budget: a share is one of all rows read, .* \(total\)"
    ):
        operator_of(juicer, tmp_path, "coreset_select", **TOP, budget=0.1)
    operator_of(juicer, tmp_path, "coreset_select", **TOP, budget=0.1, total=50)
    operator_of(juicer, tmp_path, "coreset_select", **TOP, budget=5)
    operator_of(
        juicer, tmp_path, "coreset_select", **TOP, budget=0.1, cost="text_words"
    )  # a share of the cost of the rows left


def test_the_wish_for_a_gpu_is_carried_through(juicer, tmp_path, monkeypatch):
    plain = operator_of(juicer, tmp_path, "coreset_length")
    assert (plain.accelerator, plain.batch_size) == ("cpu", 1000)
    for entry, settings, wants in (
        ("perplexity", {"model": "m"}, "cuda"),
        ("perplexity", {"model": "m", "device": "cpu"}, "cpu"),
        ("answer_loss", {"model": "m"}, "cuda"),
    ):
        monkeypatch.setattr(
            "coreset.curation.data_juicer.operators.describe", lambda operator: repr(operator)
        )  # no model is there
        op = operator_of(juicer, tmp_path, f"coreset_{entry}", **settings)
        assert (op.accelerator, op.batch_size) == (wants, 1000)
        on_cpu = operator_of(
            juicer, tmp_path, f"coreset_{entry}", **settings, accelerator="cpu", batch_size=7
        )
        assert (on_cpu.accelerator, on_cpu.batch_size) == ("cpu", 7)
    import torch

    seen = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", seen.append)
    plain.compute_stats_batched({"text": ["a"], STATS: [{}]}, rank=3)
    plain.compute_stats_batched({"text": ["a"], STATS: [{}]})
    assert seen == [1]


def test_settings_reach_the_operator_and_workers_make_it_anew(juicer, tmp_path):
    op = operator_of(
        juicer, tmp_path, "coreset_select", **TOP, budget=3, seed=4, skip_op_error=True
    )
    assert (op.operator.budget, op.operator.seed, op.operator.strategy.signal) == (
        3,
        4,
        "text_words",
    )
    assert op.skip_op_error is False  # Data-Juicer would leave out a whole batch
    import dill

    for other in (dill.loads(dill.dumps(op)).__dict__, copy.deepcopy(op).__dict__):
        assert "operator" not in other
    again = type(op)(*op._init_args, **op._init_kwargs)  # as an actor of Ray does
    assert again.operator == op.operator


def test_the_cache_asks_for_what_an_operator_is_made_of(juicer, tmp_path):
    words = tmp_path / "words.json"
    keys = set()
    for entries in (["cat"], ["dog"]):
        words.write_text(json.dumps(entries))
        op = operator_of(juicer, tmp_path, "coreset_entries", vocabulary=str(words))
        keys.add(op._fingerprint_bytes())
    assert len(keys) == 2


TEXTS = ["one two", "one two", "a", "far cat ran", " ", "one two three", "the red"]


def run(juicer, tmp_path, *recipe, texts=TEXTS, ids=True):
    """Run a recipe on a data set in this process; return {id: state or reason}, all rows counted."""
    rows = [({"id": f"r{i}"} if ids else {}) | {"text": t} for i, t in enumerate(texts)]
    data = juicer.data_set.from_list(rows)
    for op in juicer.load(
        [{n: {"work_dir": str(tmp_path), "num_proc": 1} | s} for r in recipe for n, s in r.items()]
    ):
        data = op.run(data)
    out = list(read_dropped(tmp_path))
    assert len(data) + len(out) == len(texts)
    return [(s["coreset_id"], "kept") for s in data[STATS]] if len(data) else [], [
        (r["id"], r["reason"]) for r in out
    ]


def test_filters_and_pipelines_in_this_process(juicer, tmp_path):
    kept, out = run(
        juicer,
        tmp_path,
        {"coreset_length": {"low": 2}},
        {"coreset_exact_duplicates": {}},
        {"coreset_select": TOP | {"budget": 2}},
    )
    assert [i for i, _ in kept] == ["r3", "r5"]
    assert dict(out) == {
        "r1": "exact duplicate", "r2": "text_words below 2", "r4": "empty_text: 'text' is empty",
        "r0": "not among the 2 chosen", "r6": "not among the 2 chosen",
    }  # fmt: skip
    assert {r["duplicate_of"] for r in read_dropped(tmp_path) if r["id"] == "r1"} == {"r0"}


def test_rows_without_ids_are_all_accounted_for(juicer, tmp_path):
    kept, out = run(
        juicer,
        tmp_path,
        {"coreset_length": {"low": 2}},
        {"coreset_exact_duplicates": {}},
        texts=TEXTS * 3,
        ids=False,
    )
    assert len(set(kept)) == len(kept) == 4
    assert Counter(reason for _, reason in out) == {
        "text_words below 2": 3,
        "empty_text: 'text' is empty": 3,
        "exact duplicate": 11,
    }


def test_nothing_is_left_for_the_next(juicer, tmp_path):
    kept, out = run(
        juicer,
        tmp_path,
        {"coreset_length": {"low": 99}},
        {"coreset_exact_duplicates": {}},
        {"coreset_length": {"low": 1}},
    )
    assert kept == []
    assert len(out) == len(TEXTS)
    kept, _ = run(
        juicer,
        tmp_path / "second",
        {"coreset_exact_duplicates": {}},
        {"coreset_length": {"low": 99}},
    )
    assert kept == []


def test_a_whole_batch_that_fails_stops_the_run(juicer, tmp_path, monkeypatch):
    op = operator_of(juicer, tmp_path, "coreset_length", skip_op_error=True)
    monkeypatch.setitem(op.__dict__, "operator", Fails("o"))
    samples = {"text": ["one", "two"], STATS: [{}, {}]}
    with pytest.raises(ValueError, match="Fails fails on a batch of 2 rows"):
        op.compute_stats(samples)
    fine = op.compute_stats({"text": ["one", "tw"], STATS: [{}, {}]})
    assert [s["coreset_state"] for s in fine[STATS]] == ["rejected", "kept"]


def test_batches_of_equal_rows_on_ray_are_told_apart(juicer, tmp_path):
    """Each task of Ray Data has a context of its own, which is made anew when the task is done
    again.
    """
    from ray.data._internal.execution.interfaces import TaskContext

    op = operator_of(juicer, tmp_path, "coreset_length", low=2)
    batch = op.compute_stats({"text": ["one"], STATS: [{}]})

    def data_set(times, op=op):
        other = copy.deepcopy(op)  # Data-Juicer copies operators for partitions
        assert other._prepare_for_ray_map_batches() is False
        for _ in range(times):  # a task that was lost is done again
            with TaskContext.current(TaskContext(0, "map")):
                for _ in range(2):
                    assert other.process(batch) == [False]

    data_set(2)
    assert len(list(read_dropped(tmp_path))) == 2
    data_set(1)
    assert len(list(read_dropped(tmp_path))) == 4
    named = op.compute_stats({"id": ["a"], "text": ["one"], STATS: [{}]})
    op._prepare_for_ray_map_batches()
    for _ in range(2):
        op.process(named)  # one name, one row: however often it comes by
    assert len(list(read_dropped(tmp_path))) == 5


def test_a_data_set_keeps_the_stats_of_others(juicer, tmp_path):
    states = ["kept", "dropped", "kept", "rejected"]
    about = {
        "id": list("abcd"),
        "state": states,
        "reason": ["", "too short", "", "empty_text"],
        "duplicate_of": [""] * 4,
    }
    answers = Answers(about | {"score": [1.0, 2.0, 3.0, np.nan]})
    rows = [{"text": f"t{i}", STATS: {"text_len": 2}} for i in range(4)]
    left = add_stats(juicer.data_set.from_list(rows), answers, str(tmp_path), "coreset_x")
    assert [(r["text"], r[STATS]["coreset_score"], r[STATS]["text_len"]) for r in left] == [
        ("t0", 1.0, 2),
        ("t2", 3.0, 2),
    ]
    assert [(r["id"], r["state"], r["scores"], r["row"]) for r in read_dropped(tmp_path)] == [
        ("b", "dropped", {"score": 2.0}, {"text": "t1"}),
        ("d", "rejected", {"score": None}, {"text": "t3"}),
    ]


def test_the_package_says_what_it_needs():
    import tomllib

    project = tomllib.loads((Path(__file__).parents[4] / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["data_juicer.ops"] == {
        "coreset": "coreset.curation.data_juicer.operators"
    }
    assert {r.split(">")[0] for r in project["optional-dependencies"]["juicer"]} == {
        "aiohttp",
        "py-data-juicer",
        "ray[data]",
    }
