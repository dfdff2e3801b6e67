"""The command `coreset-flywheel init | turn | show`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import hydra
import numpy as np
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.markup import escape

from coreset.build import build
from coreset.cli.answer import answer, run
from coreset.cli.common import check_settings, conf_dir, fail
from coreset.core.store import Store
from coreset.flywheel import Flywheel, FlywheelData, Freeze
from coreset.flywheel.flywheel import check_begun, check_free
from coreset.flywheel.observe import observation_files
from coreset.numerics.random import keyed_uniform
from coreset.trainers.coco_flywheel import coco_flywheel
from coreset.trainers.data.base import ImageData
from coreset.trainers.data.coco import CocoData
from coreset.trainers.learners.config import TrainingConfig
from coreset.trainers.learners.probe import ProbeLearner
from coreset.trainers.oracles import AwaitingLabels, HiddenLabels, LabelFile
from coreset.trainers.settings import make
from coreset.trainers.tasks.base import Task
from coreset.trainers.tasks.features import Pixels, Pretrained

COMMANDS = ("init", "turn", "show")
OBJECTS = ("boxes", "masks")
ROLES_SALT = 0x726F6C6573  # data sets split their test set off by the plain seed


def split(data: ImageData, shares: Mapping[str, float], seed: int) -> tuple[Any, Any]:
    """Return roles and labels (N + M,) of a data set's pool and test set for a flywheel.

    The test set stays the test set; the pool is split by a hash of the ids into start set, dev,
    canaries and pool by `shares` of it. Raises ValueError for shares that are none.
    """
    if set(shares) != {"train", "dev", "canary"} or sum(shares.values()) >= 1:
        raise ValueError(
            f"split: expected shares of train, dev and canary that leave a pool, got {dict(shares)}"
        )
    key = keyed_uniform(seed + ROLES_SALT, data.ids)
    roles = np.full(len(data), "pool", "<U6")
    low = 0.0
    for name in ("train", "dev", "canary"):
        roles[(key >= low) & (key < low + shares[name])] = name
        low += shares[name]
    return (
        np.concatenate([roles, np.full(len(data.test_labels), "test")]),
        np.concatenate([data.labels, data.test_labels]),
    )


def make_flywheel(cfg: Mapping[str, Any], log: Any) -> Flywheel:
    """Return the flywheel of a configuration: a head on frozen features of images with a class, or
    a detector or a segmentation network of images with objects (`data=coco_folder`).
    """
    source = make(cfg, "data")
    roles, truth = split(source, cfg["split"], cfg["seed"])
    images = np.concatenate([source.images, source.test_images])
    none = np.arange(len(images)) % len(source.classes)
    holder = ImageData(source.name, images, none, images[:2], none[:2], source.classes)
    embedding = build(cfg["embedding"], object, trusted=True)
    features = np.asarray(embedding(holder, Store(cfg["store"])), np.float32)

    def embed(squares: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return features of further images, standardized as the others are."""
        if not isinstance(embedding, Pixels | Pretrained):
            raise ValueError("embedding: with pasted children expected pixels or pretrained")
        rows = np.arange(len(squares)) % len(source.classes)
        more = replace(holder, images=squares, labels=rows, ids=np.arange(len(squares)), content="")
        return np.asarray(embedding(more, Store(cfg["store"])), np.float32)

    stages = {k: build(v, object, trusted=True) for k, v in (cfg["stages"] or {}).items()}
    common = {"seeds": cfg["seeds"], "seed": cfg["seed"], "allowed": cfg["allowed"], "log": log}
    if isinstance(source, CocoData):
        return make_coco(cfg, source, roles, features, stages, {**common, "embed": embed})
    labels = np.where(roles == "pool", -1, truth)
    ids = np.array(
        [*(f"p{i}" for i in source.ids), *(f"t{i}" for i in range(len(source.test_labels)))]
    )
    columns = {k: np.load(v, allow_pickle=False) for k, v in (cfg["metadata"] or {}).items()}
    data = FlywheelData(ids, labels, roles, features, source.classes, columns, pictures=images)
    test = data.at("test")
    learner = ProbeLearner(
        features, features[test], truth[test], source.classes, ids=ids, head=cfg["head"]
    )
    oracle: Any = HiddenLabels(truth)
    if cfg["oracle"]:
        path = Path(cfg["oracle"]["path"] or Path(cfg["flywheel"]) / "labels.csv")
        oracle = build(cfg["oracle"], LabelFile, trusted=True)(
            path=path, ids=ids, classes=tuple(source.classes)
        )
    return Flywheel(
        cfg["flywheel"], data, learner, oracle, stages=stages,
        learner_name=f"{cfg['head']} on {cfg['embedding']}", **common,
    )  # fmt: skip


def make_coco(
    cfg: Mapping[str, Any],
    source: CocoData,
    roles: Any,
    features: Any,
    stages: Mapping[str, Any],
    common: Mapping[str, Any],
) -> Flywheel:
    """Return the flywheel of a COCO folder: a detector or a segmentation network.

    Raises ValueError for settings that mean something for classes of images alone.
    """
    if cfg["oracle"]:
        raise ValueError(
            "oracle: with data=coco_folder expected hidden, the boxes of the file, which are read"
            " when an image is bought"
        )
    if cfg["metadata"]:
        raise ValueError(
            "metadata: with data=coco_folder slices are classes and sizes; expected null"
        )
    if cfg["objects"] not in OBJECTS:
        raise ValueError(f"objects: expected {' or '.join(OBJECTS)}, got {cfg['objects']!r}")
    parts = cfg[cfg["objects"]]
    task = build(parts["task"], Task, trusted=True)
    model = build(parts["model"], "model", trusted=True)
    return coco_flywheel(
        cfg["flywheel"], source, roles, features, model, TrainingConfig(**parts["fit"]),
        task=task, about=parts["model"], stages=stages, **common,
    )  # fmt: skip


def answer_of(wheel: Flywheel, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a program wants to know of a flywheel, and of the turn whose facts these are."""
    state = wheel.state
    out = {
        "flywheel_folder": wheel.folder, "version": state["version"], "turns": state["turns"],
        "stopped": state["stopped"] or None, "rows": len(wheel.version),
    }  # fmt: skip
    if facts:
        out |= {
            "promoted": facts["gate"]["promoted"], "why": facts["gate"]["why"],
            "weak": [w["name"] for w in facts["diagnose"]["weak"]],
            "added": facts["version"]["added"], "cost": facts["label"]["cost"],
            "next_budget": facts["decide"]["next_budget"],
        }  # fmt: skip
    return out


@hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="flywheel")  # type: ignore[untyped-decorator]
def configured_main(cfg: DictConfig) -> None:
    """Do one command of a flywheel."""
    console = Console(stderr=True)

    def say(line: str) -> None:
        console.print(escape(line), soft_wrap=True, highlight=False)

    try:
        plain: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
        check_settings(plain, conf_dir() / "flywheel.yaml", HydraConfig.get().overrides.task)
        if plain["command"] not in COMMANDS:
            raise ValueError(f"expected {', '.join(COMMANDS)}, got {plain['command']!r}")
        if plain["oracle"] and not plain["oracle"]["_target_"].endswith(".LabelFile"):
            raise ValueError("oracle: a flywheel takes hidden or file")
        (check_free if plain["command"] == "init" else check_begun)(plain["flywheel"])
        observed = observation_files(plain["observations"])
        wheel, facts = make_flywheel(plain, say), dict[str, Any]()
        if plain["command"] == "init":
            wheel.init(Freeze(**plain["freeze"]))
        elif plain["command"] == "turn":
            facts = wheel.turn(
                plain["budget"],
                observed,
                version=plain["version"],
                reopen=plain["reopen"],
                overrules=plain["overrules"],
            )
        page = wheel.show()
        answer(**answer_of(wheel, facts), report_file=page)
        say(f"page: {page}")
    except AwaitingLabels as waiting:
        answer(flywheel_folder=plain["flywheel"], waiting=str(waiting))
        say(f"waiting: {waiting}")
    except Exception as error:
        fail(error, console, go_on=HydraConfig.get().mode == RunMode.MULTIRUN)
        raise


def main() -> None:
    """Run `coreset-flywheel COMMAND [setting=value ...]`."""
    if len(sys.argv) > 1 and "=" not in sys.argv[1] and not sys.argv[1].startswith("-"):
        sys.argv[1] = f"command={sys.argv[1]}"
    run("coreset-flywheel", configured_main, "flywheel.yaml")


if __name__ == "__main__":
    main()
