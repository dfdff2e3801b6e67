"""A run of our own tasks on images in memory: data, model, task, fit, dynamic of the settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from torch import nn

from coreset.core.budget import per_class
from coreset.core.store import Store, fingerprint
from coreset.core.strategy import Oracle, Strategy
from coreset.distillation import Distiller
from coreset.distillation.dataset import smallest_labels
from coreset.numerics.dynamics import STATISTICS, TRACES, least_epochs
from coreset.numerics.full_gradients import GRADIENT_NORM
from coreset.runs.run_folder import RunFolder
from coreset.trainers.data.base import ImageData
from coreset.trainers.data.coco import CocoData, undrawn
from coreset.trainers.distillation.round import source_of
from coreset.trainers.dynamic_pruning.epoch_plans import Adaptive, EpochPlan
from coreset.trainers.learners.fit import DEFAULTS, Fitter, TrainingConfig
from coreset.trainers.learners.in_memory import InMemoryLearner
from coreset.trainers.loops.context import Examples, Method, RunContext
from coreset.trainers.loops.distill import Distillation
from coreset.trainers.loops.plan import Plan
from coreset.trainers.loops.project import Project
from coreset.trainers.loops.select import FixedSelection
from coreset.trainers.loops.while_training import WhileTraining
from coreset.trainers.oracles import Drawing
from coreset.trainers.settings import make
from coreset.trainers.tasks.base import Classification
from coreset.trainers.tasks.features import ModelFeatures
from coreset.trainers.tasks.measure import dropouts

RANDOM = "coreset.strategies.baseline.random.Random"


def in_memory_project(cfg: Mapping[str, Any], data: ImageData | None = None) -> Project:
    """Return the project of a configuration after checking all parts of it.

    data: the data set where it is loaded already. Raises ValueError, TypeError, ImportError or
    OSError that begins with the setting that is wrong.
    """
    data = make(cfg, "data") if data is None else data
    strategy, task = make(cfg, "strategy"), make(cfg, "task")
    task.check(data)
    strategy = task.wrap(strategy) if isinstance(strategy, Strategy) else strategy
    dynamic = _dynamic(cfg, strategy)
    if dynamic and not task.dynamics:
        raise ValueError(
            f"task={type(task).__name__.lower()}: sampling while training is for classification"
        )
    if cfg["oracle"] and not task.dynamics:
        if not str(cfg["oracle"]["_target_"]).endswith(".LabelStudio"):
            raise ValueError(
                f"oracle: one class an image is too little for task={type(task).__name__.lower()};"
                " boxes and masks come from oracle=label_studio, or by coreset-select coco=..."
            )
        data = undrawn(data)
    proxy, config, embedding = make(cfg, "proxy"), make(cfg, "fit"), make(cfg, "embedding")
    if cfg["mode"] == "prune":  # every budget starts from scratch
        config = replace(config, warm_start=False)
    if hasattr(embedding, "check"):
        named("embedding", lambda: embedding.check(data))
    check_trainer(cfg["trainer"])
    predicts = "predicted_loss" in strategy.needs - set(cfg["columns"] or ())
    fitter = Fitter(data, make(cfg, "model"), cfg["trainer"], False, predicts, task)
    key = fingerprint(cfg["model"], *[predicts] * predicts, *[cfg["task"]] * (not task.dynamics))
    project = assemble(
        strategy, fitter, config, proxy, embedding, Store(cfg["store"]), int(cfg["members"]), key,
        dynamic
    )  # fmt: skip

    def check(plan: Plan) -> None:
        if isinstance(strategy, Distiller):
            _check_distiller(cfg, strategy, data, plan.sizes)
        columns = set(cfg["columns"] or ())
        least = least_epochs(plan.needs - columns)
        if proxy.total_epochs(len(data.images)) < least:
            raise ValueError(
                f"{type(strategy).__name__} reads dynamics of at least {least} epochs: add"
                f" proxy.epochs={least} or more"
            )
        model = named("model", lambda: _one_model(fitter))
        members = "member_probs" in (plan.needs | plan.needs_selected) - columns
        if members and not dropouts(model):
            raise ValueError(
                f"{type(strategy).__name__} needs member_probs, but this model has no dropout to"
                " draw members with; use another model"
            )

    return replace(project, check=check, example_bytes=_image_bytes(strategy, data))


def assemble(
    strategy: Strategy | Distiller,
    fitter: Fitter,
    config: TrainingConfig,
    proxy: TrainingConfig,
    embedding: Any,
    store: Store,
    members: int = 10,
    model_key: str = "",
    dynamic: EpochPlan | None = None,
) -> Project:
    """Return the project of parts that fit together.

    config, proxy: how selections, and the whole pool for the signals of prune mode, are trained.
    """
    data = fitter.data
    learner = InMemoryLearner(fitter, config, members)
    method: Method = FixedSelection()
    if isinstance(strategy, Distiller):
        method = Distillation(strategy, learner, proxy, model_key)
    elif dynamic is not None:
        method = WhileTraining(dynamic, learner)
    fixed = not isinstance(embedding, ModelFeatures)
    recorded = (*STATISTICS, *TRACES, GRADIENT_NORM)  # of a proxy trained before
    return Project(
        strategy,
        learner,
        InMemoryLearner(fitter, proxy, members, halfway=False),
        Examples(
            data.name,
            data.fingerprint,
            data.labels,
            lambda rows: data.images[rows],
            bool((data.labels >= 0).all()),
        ),
        method,
        frozenset(recorded if fitter.task.dynamics and dynamic is None else ()),
        partial(embedding, data, store) if fixed else None,
        fingerprint(data.fingerprint, model_key, vars(proxy)),
        attach=lambda logger: _attach(learner, logger),
        confusion=lambda: learner.confusion,
        drawing=_drawing(learner),
    )


def _drawing(learner: InMemoryLearner) -> Drawing | None:
    """Return what people draw in images of the learner's task, None for classification."""
    task, data = learner.fitter.task, learner.fitter.data
    if not isinstance(data, CocoData):
        return None
    return Drawing(data.part, task.masks, learner.objects)


def context_of(
    project: Project,
    plan: Plan,
    oracle: Oracle,
    store: Store,
    folder: RunFolder,
    seed: int,
    **more: Any,
) -> RunContext:
    """Return the context of a run of a project; more: the other fields of `RunContext`."""
    return RunContext(
        plan, project.strategy, project.method, project.learner, project.proxy, oracle,
        project.examples, store, folder, seed,
        features=project.features, proxy_key=project.key, confusion=project.confusion,
        drawing=project.drawing, **more,
    )  # fmt: skip


def _attach(learner: InMemoryLearner, logger: Any) -> None:
    learner.fitter = replace(learner.fitter, logger=logger)


def check_trainer(options: Mapping[str, Any]) -> None:
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


def named(key: str, call: Callable[[], Any]) -> Any:
    """Return what a call returns; its errors begin with the name of a setting.

    An error that begins with an option's name, as in "name: ...", becomes "model.name: ...".
    """
    try:
        return call()
    except (ValueError, TypeError, ImportError) as error:
        text = str(error)
        dotted = text.split(":")[0].isidentifier() and ": " in text
        raise type(error)(f"{key}.{text}" if dotted else f"{key}: {text}") from error


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


def _dynamic(cfg: Mapping[str, Any], strategy: Strategy | Distiller) -> EpochPlan | None:
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
