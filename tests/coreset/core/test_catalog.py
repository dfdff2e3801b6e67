"""One table says of every column what it holds and where it comes from."""

import re
from pathlib import Path

import numpy as np
import pytest

import coreset
from coreset.core.catalog import COLUMNS, source
from coreset.numerics.dynamics import STATISTICS, TRACES, DynamicsRecorder
from coreset.registry import load, names, strategy
from coreset.trainers.loops.plan import MODEL_SIGNALS, make_plan


def test_every_column_that_a_strategy_needs_has_its_row():
    needed = set()
    for name in names():
        if load(name).__module__.startswith("coreset.strategies."):
            needed |= strategy(name).needs | strategy(name).needs_selected
    assert needed <= COLUMNS.keys()
    assert {*STATISTICS, *TRACES} <= COLUMNS.keys()
    assert COLUMNS.keys() >= MODEL_SIGNALS


def test_the_error_of_a_missing_column_says_where_it_comes_from():
    for name in ("forgetting", "dual", "memorization"):
        options = {"signal": name}
        with pytest.raises(KeyError, match=rf"{name}: record it .*DynamicsRecorder\(N, \[\"{name}"):
            coreset.select("top_k", 1, blur=np.zeros(3), options=options)
    with pytest.raises(
        KeyError, match=r"features: compute it with coreset\.trainers\.tasks\.measure\.measure"
    ):
        coreset.select("kcenter", 1, blur=np.zeros(3))
    with pytest.raises(ValueError, match=r"predicted_loss: train with .*predict_loss=True"):
        make_plan(strategy("learning_loss"), 5, 10, "active", 2, model=("features",))


def test_what_a_source_names_exists():
    """Every dotted name of this project that the table mentions can be imported."""
    import importlib

    for column in COLUMNS.values():
        for dotted in re.findall(r"\b(?:trainers|coreset)(?:\.\w+)+", column.source):
            module, _, name = dotted.rpartition(".")
            assert hasattr(importlib.import_module(module), name), dotted
        for kind, choice in re.findall(r"(recipe|scorer)=(\w+)", column.source):
            assert (Path("conf") / kind / f"{choice}.yaml").exists(), column.source
    for name in (*STATISTICS, *TRACES):
        assert f'["{name}"]' in source(name)
        DynamicsRecorder(2, [name])
