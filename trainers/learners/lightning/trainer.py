"""Lightning's Trainer from a user's arguments, one per training."""

from __future__ import annotations

import copy
import json
import os
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from lightning_fabric.utilities.exceptions import MisconfigurationException
from lightning_utilities.core.overrides import is_overridden
from pytorch_lightning.strategies.launchers import _SubprocessScriptLauncher

from coreset.core.store import write_atomic

SPAWNED = {  # a training's processes are started from this one, where the loop is
    "auto": "ddp_spawn",
    "ddp": "ddp_spawn",
    "ddp_find_unused_parameters_true": "ddp_spawn_find_unused_parameters_true",
    "ddp_find_unused_parameters_false": "ddp_spawn_find_unused_parameters_false",
}
QUIET: dict[str, Any] = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


class Count(pl.Callback):
    """Leave the steps and epochs of a training in a file: those of a process started for it are
    not seen from here.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write steps and epochs as JSON."""
        if trainer.is_global_zero:
            counts = {"steps": trainer.global_step, "epochs": trainer.current_epoch}
            write_atomic(self.path, json.dumps({**counts, "processes": trainer.world_size}))


def make_trainer(
    options: Mapping[str, Any],
    folder: Path,
    logger: Any = False,
    callbacks: Sequence[Any] = (),
    silent: bool = False,
) -> pl.Trainer:
    """Return a fresh Trainer of the user's arguments; his callbacks are copied, so that no training
    sees the state of another.

    folder: default_root_dir where he names none. With several devices, one process each is started
    for the training alone: `ddp` becomes `ddp_spawn`. Raises ValueError for arguments Lightning
    does not take, and for strategies that would run the whole script in every process.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and "LOCAL_RANK" in os.environ:
        raise ValueError(
            "trainer: this process was started as one of several (torchrun, srun); start one, and"
            " give the number of devices: trainer={'devices': 2}"
        )
    own = dict(options)
    asked = own.pop("callbacks", None) or []
    asked = list(asked) if isinstance(asked, list | tuple) else [asked]
    if any(isinstance(c, pl.callbacks.Checkpoint) for c in asked):
        own.setdefault("enable_checkpointing", True)
    arguments = {**QUIET, "default_root_dir": str(folder), "logger": logger, **own}
    arguments["callbacks"] = [*copy.deepcopy(asked), *callbacks]
    if isinstance(arguments.get("strategy"), pl.strategies.Strategy):
        arguments["strategy"] = copy.deepcopy(arguments["strategy"])
    try:
        with warnings.catch_warnings():
            if silent:
                warnings.simplefilter("ignore")
            trainer = pl.Trainer(**arguments)
            if isinstance(trainer.strategy.launcher, _SubprocessScriptLauncher):
                trainer = pl.Trainer(**{**arguments, "strategy": _spawned(options, trainer)})
    except (MisconfigurationException, ValueError, TypeError, RuntimeError) as error:
        raise ValueError(f"trainer: {error}") from error
    if not silent and trainer.max_epochs == 1000 and "max_epochs" not in options:
        warnings.warn(
            "trainer: neither max_epochs nor max_steps is given, so Lightning trains for its"
            " default of 1000 epochs",
            stacklevel=3,
        )
    return trainer


def _spawned(options: Mapping[str, Any], trainer: pl.Trainer) -> str:
    strategy = options.get("strategy", "auto")
    if trainer.num_nodes > 1 or not isinstance(strategy, str) or strategy not in SPAWNED:
        raise ValueError(
            f"strategy: {strategy!r} on {trainer.num_nodes} nodes would run the whole script, this"
            " loop included, in every process; expected ddp on one node, or"
            " DDPStrategy(start_method='spawn')"
        )
    return SPAWNED[strategy]


def tested(
    module: pl.LightningModule,
    datamodule: pl.LightningDataModule,
    options: Mapping[str, Any],
    logger: Any,
    callbacks: Sequence[pl.Callback],
    more: Mapping[str, Any],
) -> dict[str, float]:
    """Return what `trainer.test` logs on one device; nothing without a test_dataloader or test_step
    of the user's. options: his arguments of Trainer; more: those that replace them.
    """
    if not is_overridden("test_dataloader", datamodule, pl.LightningDataModule):
        return {}
    if not is_overridden("test_step", module, pl.LightningModule):
        return {}
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module="pytorch_lightning")
        warnings.filterwarnings("ignore", message=".*treespec, LeafSpec.*")
        trainer = _one_device(options, Path(scratch), logger, callbacks, more)
        out = trainer.test(module, datamodule=datamodule, verbose=False)
    return {name: float(value) for metrics in out for name, value in metrics.items()}


def _one_device(
    options: Mapping[str, Any],
    folder: Path,
    logger: Any,
    callbacks: Sequence[pl.Callback],
    more: Mapping[str, Any],
) -> pl.Trainer:
    """Return a Trainer that tests on the first of the user's devices."""
    kept = {k: v for k, v in options.items() if k not in ("strategy", "devices", "num_nodes")}
    kept = {k: v for k, v in kept.items() if k not in ("callbacks", "fast_dev_run")}
    devices = options.get("devices", 1)
    first = list(devices)[:1] if isinstance(devices, list | tuple) else 1
    own = [
        c
        for c in _as_list(options.get("callbacks"))
        if not isinstance(c, pl.callbacks.Checkpoint | pl.callbacks.EarlyStopping)
    ]
    return make_trainer(
        {**kept, "devices": first, "callbacks": own, "logger": logger, **more},
        folder,
        callbacks=callbacks,
        silent=True,
    )


def _as_list(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, list | tuple) else [value]
