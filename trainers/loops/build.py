"""The job of one run, after checking everything that can be known before training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from torch import nn

from coreset.core.budget import budget_counts, per_class
from coreset.core.locks import hold
from coreset.core.store import Store, fingerprint
from coreset.core.strategy import Strategy
from coreset.distillation import Distiller
from coreset.distillation.dataset import smallest_labels
from coreset.numerics.dynamics import STATISTICS, TRACES, least_epochs
from coreset.numerics.full_gradients import GRADIENT_NORM
from coreset.runs.run_folder import RunFolder
from coreset.trainers.distillation.round import source_of
from coreset.trainers.dynamic_pruning.epoch_plans import Adaptive, EpochPlan
from coreset.trainers.learners.fit import DEFAULTS, Fitter
from coreset.trainers.loops import rounds as loops
from coreset.trainers.loops.plan import make_plan
from coreset.trainers.oracles import HiddenLabels
from coreset.trainers.settings import RESULT_KEYS, make, save
from coreset.trainers.tasks.base import Classification
from coreset.trainers.tasks.measure import dropouts

RANDOM = "coreset.strategies.baseline.random.Random"


def build(
    cfg: Mapping[str, Any], folder: Path, logger: Any = None, data: Any = None, keep: bool = False
) -> loops.RunContext:
    """Return the job of one run after checking everything that can be known before training.

    data: the data set where it is loaded already. keep: leave beside the configuration how the run
    is run, for `resume`. Raises ValueError, TypeError, ImportError or OSError that begins with the
    setting that is wrong; then nothing was written.
    """
    data = make(cfg, "data") if data is None else data
    strategy, task = make(cfg, "strategy"), make(cfg, "task")
    task.check(data)
    strategy = task.wrap(strategy) if isinstance(strategy, Strategy) else strategy
    columns = {
        name: np.load(path, mmap_mode="r", allow_pickle=False)
        for name, path in (cfg["columns"] or {}).items()
    }
    for name, column in columns.items():
        if len(column) != len(data.images):
            raise ValueError(
                f"columns.{name}: {cfg['columns'][name]} has {len(column)} rows, the pool has"
                f" {len(data.images)} examples"
            )
    fixed = (
        ["features"]
        if cfg["embedding"]["_target_"] != "coreset.trainers.tasks.features.ModelFeatures"
        else []
    )
    sampling = _sampling(cfg, strategy)
    dynamics = (
        () if sampling or not task.dynamics else (*STATISTICS, *TRACES, GRADIENT_NORM)
    )  # those need a proxy trained before
    cost = _image_bytes(strategy, data) if cfg["unit"] == "bytes" else 0
    budget = budget_counts(cfg["budget"], cfg["unit"], len(data.classes), cost)
    plan = make_plan(
        strategy,
        budget,
        len(data.images),
        cfg["mode"],
        cfg["start"],
        [*columns, *fixed],
        dynamics,
        task.signals,
    )
    if isinstance(strategy, Distiller):
        _check_distiller(cfg, strategy, data, plan.sizes)
    if (sampling or cfg["oracle"]) and not task.dynamics:
        raise ValueError(
            f"task={type(task).__name__.lower()}: sampling while training and label files are for"
            " classification; boxes and masks are handed over by coreset-select coco=..."
        )
    proxy, least = make(cfg, "proxy"), least_epochs(plan.needs - set(columns))
    if proxy.total_epochs(len(data.images)) < least:
        raise ValueError(
            f"{type(strategy).__name__} reads dynamics of at least {least} epochs: add"
            f" proxy.epochs={least} or more"
        )
    recipe, embedding = make(cfg, "fit"), make(cfg, "embedding")
    if hasattr(embedding, "check"):
        _named("embedding", lambda: embedding.check(data))
    _check_trainer(cfg["trainer"])
    predicts = "predicted_loss" in plan.needs - set(columns)
    fitter = Fitter(data, make(cfg, "model"), cfg["trainer"], logger or False, predicts, task)
    model = _named("model", lambda: _one_model(fitter))
    members = "member_probs" in (plan.needs | plan.needs_selected) - set(columns)
    if members and not dropouts(model):
        raise ValueError(
            f"{type(strategy).__name__} needs member_probs, but this model has no dropout to draw"
            " members with; use another model"
        )
    # nothing is written before this line
    config = {key: cfg[key] for key in RESULT_KEYS} | {"data_fingerprint": data.fingerprint}
    held = hold(folder)  # until the run folder holds it
    if keep and not (folder / "config.json").exists():
        save(cfg, folder)  # first, so that no run is without it, whenever it is killed
    run = RunFolder(folder, config, plan.rounds, cfg["strategy_name"], cfg["seed"], task.metric)
    del held
    if keep:
        save(cfg, folder)
    oracle: Any = HiddenLabels(data.labels)
    if cfg["oracle"]:
        path = Path(cfg["oracle"].get("path") or folder / "labels.csv")
        oracle = make(cfg, "oracle")(path=path, ids=data.ids, classes=data.classes)
    store = Store(cfg["store"])
    return loops.RunContext(
        plan, strategy, fitter, recipe, proxy, embedding, oracle, store, run,
        int(cfg["seed"]), int(cfg["members"]), columns, fingerprint(cfg["model"], *[predicts] * predicts, *[cfg["task"]] * (not task.dynamics)),
        sampling=sampling,
    )  # fmt: skip


def _check_trainer(options: Mapping[str, Any]) -> None:
    """Raise ValueError when Lightning makes no Trainer of these options."""
    silent: dict[str, Any] = dict.fromkeys(
        ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
    )
    try:
        pl.Trainer(**{**silent, **DEFAULTS, **options})
    except (MisconfigurationException, ValueError, TypeError, RuntimeError) as error:
        raise ValueError(f"trainer: {error}") from error


def _one_model(fitter: Fitter) -> nn.Module:
    """Return a model as every training makes one, after it has read two empty images.

    Raises ValueError when it cannot read them or answers with another shape.
    """
    with torch.random.fork_rng(devices=[]):
        model = fitter.new_model()
    if isinstance(fitter.task, Classification):
        _, h, w, c = fitter.data.images.shape
        try:
            with torch.no_grad():
                shape = tuple(model.eval()(torch.zeros(2, c, h, w)).shape)
        except (RuntimeError, AssertionError) as error:
            raise ValueError(f"cannot read images of shape ({c}, {h}, {w}): {error}") from error
        if shape != (2, len(fitter.data.classes)):
            raise ValueError(
                f"expected logits of shape (2, {len(fitter.data.classes)}) for two images, got"
                f" {shape}"
            )
    return model


def _named(key: str, call: Callable[[], Any]) -> Any:
    """Return what a call returns; its errors begin with the name of a setting.

    An error that begins with an option's name, as in "name: ...", becomes "model.name: ...".
    """
    try:
        return call()
    except (ValueError, TypeError, ImportError) as error:
        said = str(error)
        dotted = said.split(":")[0].isidentifier() and ": " in said
        raise type(error)(f"{key}.{said}" if dotted else f"{key}: {said}") from error


def _image_bytes(strategy: Strategy | Distiller, data: Any) -> int:
    """Return what one image of the answer costs with its label: of the pool uint8 pixels, of a
    distilled set what its method stores.
    """
    _, h, w, c = data.images.shape
    if isinstance(strategy, Distiller):
        return strategy.image_bytes((c, h, w), len(data.classes))
    return int(h * w * c + smallest_labels(len(data.classes)).itemsize)


def _check_distiller(
    cfg: Mapping[str, Any], method: Distiller, data: Any, sizes: Sequence[int]
) -> None:
    """Raise ValueError when a distillation cannot work with the rest of the configuration; warn
    when a budget is not worth it.
    """
    name = type(method).__name__
    if cfg["oracle"] or (data.labels < 0).any():
        raise ValueError(
            f"{name} reads the label of every example of the pool: label them all, or use a"
            " strategy that selects"
        )
    if not isinstance(make(cfg, "task"), Classification):
        raise ValueError(f"{name} makes images with one label each: expected task=classification")
    if make(cfg, "fit").val_share:
        raise ValueError(
            "fit.val_share: a distilled set has no real example to hold out; set it to 0"
        )
    source = source_of(data, data.labels, teacher=lambda **_: None)
    for ipc in per_class(sizes, len(data.classes)):
        method.check(source, ipc)


def _sampling(cfg: Mapping[str, Any], strategy: Strategy | Distiller) -> EpochPlan | None:
    """Return what chooses while training, or None; ValueError where it contradicts the mode or the
    strategy.
    """
    if not cfg["dynamic"]:
        return None
    plan: EpochPlan = make(cfg, "dynamic")
    name = str(cfg["dynamic"]["_target_"]).rsplit(".", 1)[-1]
    if cfg["mode"] != "prune":
        raise ValueError(
            f"dynamic: {name} changes the examples while training and needs the labels of the whole"
            " pool: use mode=prune"
        )
    if isinstance(strategy, Distiller):
        raise ValueError(
            f"dynamic: {name} chooses among the pool's examples, {type(strategy).__name__} makes"
            " its own: use dynamic=none"
        )
    if isinstance(plan, Adaptive):
        return replace(plan, strategy=strategy)
    if cfg["strategy"]["_target_"] != RANDOM:
        raise ValueError(
            f"dynamic: {name} chooses by itself, a strategy has no say in it: add strategy=random,"
            " or use dynamic=adaptive"
        )
    return plan
