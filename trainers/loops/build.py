"""The context of one run, after checking everything that can be known before training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset.core.budget import budget_counts
from coreset.core.locks import hold
from coreset.core.store import Store, fingerprint
from coreset.core.strategy import Strategy, listed
from coreset.runs.run_folder import RunFolder
from coreset.trainers.learners.probe import Probe
from coreset.trainers.loops.context import Examples, RunContext
from coreset.trainers.loops.in_memory import RANDOM, context_of, in_memory_project, named
from coreset.trainers.loops.of_learner import learner_project, lightning_project
from coreset.trainers.loops.plan import make_plan
from coreset.trainers.loops.project import Project
from coreset.trainers.oracles import HiddenLabels
from coreset.trainers.oracles.base import AsksPeople
from coreset.trainers.settings import LATER_KEYS, RESULT_KEYS, make, save
from coreset.trainers.tasks.features import ModelFeatures

# in the run folder, where the configuration names no path
FILES = {"LabelFile": "labels.csv", "LabelStudio": "label_studio.json"}
__all__ = ["RANDOM", "build"]


def build(
    cfg: Mapping[str, Any],
    folder: Path,
    data: Any = None,
    keep: bool = False,
    make_logger: Callable[[], Any] | None = None,
) -> RunContext:
    """Return the context of one run after checking everything that can be known before training.

    data: the data set where it is loaded already. keep: leave beside the configuration how the run
    is run, for `resume`. make_logger: makes the run's logger, once nothing is left to refuse.
    Raises ValueError, TypeError, ImportError or OSError that begins with the setting that is wrong;
    then nothing was written.
    """
    return open_run(cfg, make_project(cfg, data), folder, keep, make_logger)


def make_project(cfg: Mapping[str, Any], data: Any = None) -> Project:
    """Return the project of a configuration: of its `learner`, or in memory."""
    if not cfg.get("learner"):
        return in_memory_project(cfg, data)
    strategy = make(cfg, "strategy")
    if cfg["dynamic"]:
        raise ValueError("dynamic: works with learner=in_memory only")
    part = make(cfg, "learner") if data is None else data
    if isinstance(part, Probe):
        return _probe_project(cfg, strategy, part)
    return lightning_project(strategy, part, cfg["learner"], frozenset(cfg["columns"] or ()))


def _probe_project(cfg: Mapping[str, Any], strategy: Any, probe: Probe) -> Project:
    """Return the project of a head on the frozen features of `embedding`."""
    data, embedding, store = make(cfg, "data"), make(cfg, "embedding"), Store(cfg["store"])
    if isinstance(embedding, ModelFeatures):
        raise ValueError(
            "embedding: learner=probe trains a head on frozen features; add embedding=pretrained,"
            " embedding=self_supervised or embedding=pixels"
        )
    if hasattr(embedding, "check"):
        named("embedding", lambda: embedding.check(data))
    learner = probe.learner(data, embedding, store)
    labeled = bool((data.labels >= 0).all())
    examples = Examples(
        data.name, data.fingerprint, data.labels, lambda rows: data.images[rows], labeled
    )
    key = fingerprint(data.fingerprint, cfg["learner"], cfg["embedding"])
    return learner_project(
        strategy, learner, examples, key, partial(embedding, data, store),
        confusion=lambda: learner.confusion,
    )  # fmt: skip


def open_run(
    cfg: Mapping[str, Any],
    project: Project,
    folder: Path,
    keep: bool = False,
    make_logger: Callable[[], Any] | None = None,
) -> RunContext:
    """Return the context of a run of a project; see `build`."""
    learner, examples = project.learner, project.examples
    columns = _columns(cfg, learner.size)
    fixed = ["features"] if project.features else []
    cost = 0
    if cfg["unit"] == "bytes":
        cost = project.example_bytes
        if not cost:
            raise ValueError("unit: bytes are known of images in memory only; use unit=images")
    budget = budget_counts(cfg["budget"], cfg["unit"], len(learner.classes), cost)
    plan = make_plan(
        project.strategy,
        budget,
        learner.size,
        cfg["mode"],
        cfg["start"],
        [*columns, *fixed],
        project.recorded,
        learner.available,
    )
    project.check(plan)
    start = _start_strategy(cfg, project, {*columns, *fixed})
    oracle = project.oracle or HiddenLabels(examples.labels)
    if cfg["oracle"]:
        oracle = make(cfg, "oracle")
        kind = str(cfg["oracle"]["_target_"]).rsplit(".", 1)[-1]
        _check_oracle(project, kind)
        path = Path(cfg["oracle"].get("path") or folder / FILES.get(kind, "labels.csv"))
        about: dict[str, Any] = {"path": path, "ids": learner.ids, "classes": learner.classes}
        if project.drawing is not None:
            about["drawing"] = project.drawing
        oracle = oracle(**about)
        if isinstance(oracle, AsksPeople):
            oracle.check()
    # nothing is written before this line
    config = run_config(cfg) | {"data_fingerprint": examples.fingerprint}
    held = hold(folder)  # until the run folder holds it
    if keep and not (folder / "config.json").exists():
        save(cfg, folder)  # first, so that no run is without it, whenever it is killed
    run = RunFolder(folder, config, plan.rounds, cfg["strategy_name"], cfg["seed"], learner.metric)
    del held
    if keep:
        save(cfg, folder)
    project.open(folder)
    if make_logger is not None:
        project.attach(make_logger())
    return context_of(
        project,
        plan,
        oracle,
        # what a user's own code computes is kept beside its run: no key knows that code
        Store(folder / "store" if cfg.get("learner") else cfg["store"]),
        run,
        int(cfg["seed"]),
        members=int(cfg["members"]),
        columns=columns,
        start=start,
    )


def _check_oracle(project: Project, kind: str) -> None:
    """Raise ValueError where people would be asked for another kind of label than is trained on."""
    if project.drawing is not None and kind == "LabelFile":
        raise ValueError(
            "oracle: a table holds one class an example, not boxes or masks; use"
            " oracle=label_studio, or draw in a tool of yours and begin with the COCO file it writes"
        )
    if project.drawing is None and not project.learner.classes:
        raise ValueError(
            "oracle: the examples of the train dataset have no class number (boxes, masks, texts?),"
            " so there are no classes to choose from; name them with learner.classes, or with"
            " learner.drawn the COCO file of the images in which boxes or masks are drawn"
        )


def run_config(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decides the result of a run; settings that older runs did not have are left out
    where they say nothing.
    """
    return {key: cfg[key] for key in RESULT_KEYS if key not in LATER_KEYS or cfg.get(key)}


def _columns(cfg: Mapping[str, Any], size: int) -> dict[str, NDArray[Any]]:
    """Return the user's own signals, memory-mapped; ValueError for another number of rows."""
    columns = {
        name: np.load(path, mmap_mode="r", allow_pickle=False)
        for name, path in (cfg["columns"] or {}).items()
    }
    for name, column in columns.items():
        if len(column) != size:
            raise ValueError(
                f"columns.{name}: {cfg['columns'][name]} has {len(column)} rows, the pool has"
                f" {size} examples"
            )
    return columns


def _start_strategy(cfg: Mapping[str, Any], project: Project, have: set[str]) -> Strategy | None:
    """Return who chooses the first batch, None for a random one. Raises ValueError where it cannot:
    it must need nothing but columns that are known before any label is. Where nobody is named, the
    strategy's own `cold_start` chooses if those columns are there.
    """
    if not cfg.get("start_strategy"):
        chooser = project.strategy
        if cfg["mode"] != "active" or not isinstance(chooser, Strategy):
            return None
        own = chooser.cold_start
        return None if own is None or own.needs - have else own
    if cfg["start_strategy"] == "random":
        return None
    if cfg["mode"] != "active":
        raise ValueError("start_strategy: chooses the first batch of mode=active only")
    strategy: Strategy = make(cfg, "start_strategy")
    missing = strategy.needs - have - project.untrained
    if missing:
        raise ValueError(
            f"start_strategy: {type(strategy).__name__} needs {listed(missing)} before any example"
            " is labeled; add embedding=pixels, embedding=pretrained,"
            " embedding=self_supervised or columns"
        )
    return strategy
