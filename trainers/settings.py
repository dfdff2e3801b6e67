"""Settings of coreset-train: which there are, what a resumed run had,
and their parts as objects.
"""

from __future__ import annotations

import difflib
import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from omegaconf import OmegaConf

from coreset.build import build as build_object
from coreset.core.store import write_atomic
from coreset.core.strategy import Strategy
from coreset.distillation import Distiller
from coreset.runs.run_folder import difference
from coreset.targets import conf_dir
from coreset.trainers.data.base import ImageData
from coreset.trainers.dynamic_pruning.epoch_plans import EpochPlan
from coreset.trainers.learners.config import TrainingConfig
from coreset.trainers.learners.lightning import LightningLearner
from coreset.trainers.learners.probe import Probe
from coreset.trainers.oracles import LabelFile, LabelStudio
from coreset.trainers.tasks.base import Task
from coreset.trainers.tasks.features import ModelFeatures, Pixels, Pretrained

RESULT_KEYS = (  # decide what comes out of a run: another value is another run
    "mode",
    "strategy",
    "strategy_name",
    "budget",
    "unit",
    "start",
    "seed",
    "data",
    "model",
    "fit",
    "proxy",
    "embedding",
    "oracle",
    "members",
    "columns",
    "dynamic",
    "task",
    "start_strategy",
    "learner",
)
LATER_KEYS = (
    "start_strategy",
    "learner",
)  # of RESULT_KEYS: absent from the config.json of older runs
RUN_KEYS = ("baseline", "full", "logger", "store", "report", "threads", "trainer")  # how it is run
SAVED = "settings.json"  # in the run folder: the values of RUN_KEYS
WRITES = (  # where a run writes: a run folder may name none of these but itself and the default
    "store",
    "trainer.default_root_dir",
    "learner.trainer.default_root_dir",
    "data.cache",
    "oracle.path",
)
OURS = {  # of Lightning's Trainer: set by every training itself
    "max_steps", "max_epochs", "precision", "logger", "callbacks", "enable_checkpointing",
    "enable_model_summary", "enable_progress_bar", "log_every_n_steps", "limit_val_batches",
    "val_check_interval", "num_sanity_val_steps",
}  # fmt: skip


def kind_of(key: str, trusted: bool) -> Any:
    """Return what the part `key` of the configuration must be, as `coreset.build.build` takes it.

    A user's own embedding, oracle or logger needs no base class; that of a folder from somebody
    else must be one of ours.
    """
    if key in ("embedding", "oracle", "logger", "learner") and trusted:
        return object
    return {
        "learner": (LightningLearner, Probe),
        "strategy": (Strategy, Distiller),
        "start_strategy": "strategy",
        "data": ImageData,
        "model": "model",
        "task": Task,
        "fit": TrainingConfig,
        "proxy": TrainingConfig,
        "embedding": (ModelFeatures, Pixels, Pretrained),
        "dynamic": EpochPlan,
        "oracle": (LabelFile, LabelStudio),
        "logger": pl.loggers.Logger,
    }[key]


def make(cfg: Mapping[str, Any], key: str) -> Any:
    """Return the part `key` of a configuration as an object.

    Raises ValueError, TypeError or ImportError that begins with the setting's name on the command
    line. cfg["untrusted"]: keys that come from a run folder and not from the user.
    """
    trusted = key not in cfg.get("untrusted", ())
    try:
        named = key == "strategy" and "_target_" not in cfg[key]
        kind = "strategy" if named else kind_of(key, trusted)
        return build_object(cfg[key], kind, trusted=trusted)
    except (ValueError, TypeError, ImportError) as error:
        text = str(error)
        own = {str(k) for k in cfg[key] if not str(k).startswith("_")}
        dotted = text.split(":")[0] in own and ": " in text
        raise type(error)(f"{key}.{text}" if dotted else f"{key}: {text}") from error


def known_keys() -> list[str]:
    """Return the settings at the top of conf/train.yaml, groups among them."""
    top = OmegaConf.to_container(OmegaConf.load(conf_dir() / "train.yaml"), resolve=False)
    assert isinstance(top, dict)
    groups = [next(iter(entry)) for entry in top["defaults"] if isinstance(entry, dict)]
    groups = [str(g).rpartition("@")[2] for g in groups if not str(g).startswith("override")]
    plain = [str(k) for k in top if k not in ("defaults", "hydra")]
    return [*plain, *(g for g in groups if g != "experiment")]


def check_known(cfg: Mapping[str, Any]) -> None:
    """Raise ValueError for a setting that there is not, with the nearest that there are."""
    known = known_keys()
    for key in cfg:
        if key not in known:
            inside = [
                f"{g}.{key}" for g in ("fit", "proxy", "trainer", "strategy", "data", "model")
            ]
            inside = [name for name in inside if key in (cfg.get(name.split(".")[0]) or {})]
            raise ValueError(_unknown(str(key), known, inside))
    recipe = [f.name for f in fields(TrainingConfig)]
    for key in cfg["full"] or {}:
        if key not in recipe:
            raise ValueError(_unknown(f"full.{key}", [f"full.{name}" for name in recipe]))
    takes = list(inspect.signature(pl.Trainer).parameters)
    for key in cfg["trainer"] or {}:
        if key not in takes:
            raise ValueError(_unknown(f"trainer.{key}", [f"trainer.{name}" for name in takes]))
        if key in OURS:
            raise ValueError(
                f"trainer.{key}: is set by every training itself; how long and how precisely it "
                "trains stands in fit, where it is logged in logger"
            )


def _unknown(key: str, known: Sequence[str], inside: Sequence[str] = ()) -> str:
    near = [*inside, *difflib.get_close_matches(key, known, n=3, cutoff=0.6)]
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    return f"unknown setting '{key}'{hint} (--help lists them)"


def save(cfg: Mapping[str, Any], folder: Path) -> None:
    """Keep beside a run's configuration how it is run, for `resume`."""
    text = json.dumps({key: cfg[key] for key in RUN_KEYS}, indent=1, allow_nan=False)
    write_atomic(folder / SAVED, text)


def resolve(plain: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return the settings of a run; with `resume` those saved in that run folder.

    plain: the composed configuration; overrides: what stood on the command line, which decides how
    a run goes on (RUN_KEYS) but must not contradict what it is (RESULT_KEYS). Raises ValueError for
    a setting that there is not or contradicts the saved run, and FileNotFoundError when there is
    none. What comes from the folder alone is listed under "untrusted"; a place to write to that it
    alone names must be the default or lie inside of it.
    """
    check_known(plain)
    if not plain["resume"]:
        return plain
    folder = Path(plain["resume"])
    if not (folder / "config.json").exists():
        raise FileNotFoundError(f"resume: {folder} is no run folder, it has no config.json")
    saved = json.loads((folder / "config.json").read_text())
    paths = [o.lstrip("+~").split("=")[0].split("@")[0] for o in overrides]
    given = {path.split(".")[0] for path in paths}
    changed = [
        line
        for key in sorted(given & set(RESULT_KEYS))
        for line in difference(saved.get(key), plain.get(key), key)
    ]
    if changed:
        raise ValueError(
            f"resume: {folder} holds a run of another configuration: {'; '.join(changed)}"
        )
    how = json.loads((folder / SAVED).read_text()) if (folder / SAVED).exists() else {}
    before = {key: how[key] for key in RUN_KEYS if key in how}
    merged = {**plain, **before, **saved}
    for path in paths:
        if path.split(".")[0] in RUN_KEYS:
            _take(merged, plain, path.split("."))
    untrusted = {*saved, *before} - given
    check_known({k: merged[k] for k in plain})
    _check_writes(merged, plain, folder)
    return {**merged, "untrusted": sorted(untrusted)}


def to_name_again(cfg: Mapping[str, Any], folder: Path) -> list[str]:
    """Return as arguments the places to write to that a resumed run of `folder` must be told: those
    that are neither the default nor inside of it.
    """
    places = {name: _at(cfg, name.split(".")) for name in WRITES}
    return [
        f"{'++' if name.endswith('default_root_dir') else ''}{name}={place}"
        for name, place in places.items()
        if place not in (None, _default_store())
        and not Path(str(place)).resolve().is_relative_to(folder.resolve())
    ]


def _check_writes(merged: Mapping[str, Any], plain: Mapping[str, Any], folder: Path) -> None:
    """Raise ValueError for a place to write to, outside of the run folder, that the user has not
    named: whoever made the folder would choose where files go.
    """
    for argument in to_name_again(merged, folder):
        name, _, place = argument.lstrip("+").partition("=")
        if place not in (_at(plain, name.split(".")), plain["store"]):
            raise ValueError(
                f"{name}: {folder} names {place!r}, outside of it, where files would be written;"
                f" if that is yours, say so on the command line: {argument}"
            )


def _default_store() -> str:
    return str(OmegaConf.load(conf_dir() / "train.yaml")["store"])


def _at(settings: Any, path: Sequence[str]) -> Any:
    """Return the value at a dotted path, None where there is none."""
    for part in path:
        settings = settings.get(part) if isinstance(settings, Mapping) else None
    return settings


def _take(target: dict[str, Any], origin: Mapping[str, Any], path: Sequence[str]) -> None:
    """Copy the value at a dotted path from one configuration to another;
    remove it if it is gone.
    """
    for part in path[:-1]:
        if not isinstance(target.get(part), dict):
            target[part] = {}
        target[part] = dict(target[part])
        target, origin = target[part], origin.get(part) or {}
    if path[-1] in origin:
        target[path[-1]] = origin[path[-1]]
    else:
        target.pop(path[-1], None)
