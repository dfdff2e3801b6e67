"""`coreset-select coco=...` without its command line: one mapping of settings in, the choice and
its files out.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coreset.core.budget import budget_size
from coreset.vision.aggregate import ImageScores, aggregate
from coreset.vision.boxes import Detections, Float
from coreset.vision.chosen import ImageSelection
from coreset.vision.coco import CocoPool, read_json
from coreset.vision.cost import box_cost, expected_boxes, in_words, pixel_cost, seconds
from coreset.vision.distance import BoxSets
from coreset.vision.frequency import object_frequency
from coreset.vision.images import foreground, predicted_class
from coreset.vision.ledger import Ledger
from coreset.vision.ppal import dcus
from coreset.vision.score import KINDS, box_scores
from coreset.vision.select import select


def choose(cfg: Mapping[str, Any]) -> ImageSelection:
    """Return the choice that the settings of conf/coco/select_coco.yaml describe, after writing its
    files and committing it to the ledger.

    Raises ValueError, KeyError or OSError naming the setting or the file that is wrong, what needs
    no file to be seen before any is read.
    """
    _check(cfg)
    every = CocoPool.from_coco(
        cfg["coco"], labeled=cfg["labeled"] or (), features=cfg["features"], groups=cfg["groups"]
    )
    ledger = None if cfg["ledger"] is None else Ledger(cfg["ledger"])
    pool = every if ledger is None else ledger.pool(every)
    detections = _detections(cfg, every)
    budget = {unit: limit for unit, limit in cfg["budget"].items() if limit is not None}
    if "images" in budget:
        budget["images"] = budget_size(budget["images"], pool.size, "budget.images")
    scores = None if detections is None else _scores(cfg, detections)
    if scores is None and (cfg["strategy"] == "uncertainty" or cfg["expand"] is not None):
        raise ValueError("results: strategy=uncertainty and expand need the detections of a model")
    threshold = float(cfg["score_threshold"])
    chosen = select(
        pool, budget, cfg["strategy"], scores=scores, options=cfg["options"], expand=cfg["expand"],
        balance=cfg["balance"], max_per_group=cfg["max_per_group"],
        columns=None if detections is None else {"foreground": foreground(detections, threshold)},
        classes=None if detections is None else predicted_class(detections, threshold),
        distance=None if cfg["distance"] is None
        else BoxSets.of(_needed(detections, "distance"), cfg["distance"], threshold),
        costs=_costs(cfg, budget, every, detections), fit=cfg["fit"],
        allow_short=cfg["allow_short"], seed=cfg["seed"],
    )  # fmt: skip
    _write(cfg, chosen, detections)
    if ledger is not None:
        ledger.commit(chosen)
    return chosen


def _check(cfg: Mapping[str, Any]) -> None:
    """Raise ValueError for settings that contradict each other."""
    if all(limit is None for limit in cfg["budget"].values()):
        raise ValueError(
            f"budget: expected at least one of {', '.join(f'budget.{u}' for u in cfg['budget'])}"
        )
    if all(path is None for path in cfg["to"].values()) and cfg["prelabels"] is not None:
        raise ValueError(
            "prelabels: nothing is written that could hold them; set to.coco, to.yolo,"
            " to.label_studio or to.cvat"
        )
    if cfg["max_per_group"] is not None and cfg["groups"] is None:
        raise ValueError(
            "max_per_group: groups holds the key of the image entries that names their group, set"
            " it too"
        )
    if (cfg["score"] == "dcus") != (cfg["quality"] is not None):
        raise ValueError("quality goes with score=dcus, and score=dcus needs it")
    if cfg["budget"]["seconds"] is not None and None in _each(cfg):
        raise ValueError("budget.seconds: set cost.seconds_per_image and cost.seconds_per_box")


def _each(cfg: Mapping[str, Any]) -> list[float | None]:
    return [cfg["cost"][name] for name in ("seconds_per_image", "seconds_per_box")]


def summary(chosen: ImageSelection, out: str | Path) -> str:
    """Return what was chosen and what is left of the budget, and how each cost was estimated: one
    line each.
    """
    assert chosen.pool is not None
    spent = [
        f"{chosen.info['cost'][u]:,.6g} of {limit:,.6g} {u} (slack {chosen.info['slack'][u]:,.6g})"
        for u, limit in chosen.info["budget"].items()
    ]
    short = ", fewer than asked for" if chosen.info["short"] else ""
    costs = [
        f"\ncost in {unit}: {in_words(about)}"
        for unit, about in chosen.info.get("costs", {}).items()
    ]
    first = (
        f"{len(chosen)} of {len(chosen.pool.candidates)} candidates chosen{short}:"
        f" {'; '.join(spent)} -> {out}"
    )
    return first + "".join(costs)


def _detections(cfg: Mapping[str, Any], pool: CocoPool) -> Detections | None:
    if cfg["results"] is None:
        if cfg["prelabels"] is not None:
            raise ValueError("prelabels: results holds the boxes, set it too")
        return None
    own = () if cfg["score"] in (*KINDS[:-1], "dcus", "object_frequency") else (cfg["score"],)
    return Detections.from_coco_results(
        cfg["results"],
        pool,
        columns=own,
        probs=cfg["probs"],
        features=cfg["box_features"],
        outside="clip",
    ).align(pool)


def _needed(detections: Detections | None, what: str) -> Detections:
    if detections is None:
        raise ValueError(f"{what}: needs the detections of a model, set results")
    return detections


def _scores(cfg: Mapping[str, Any], detections: Detections) -> ImageScores:
    rules: dict[str, Any] = {
        "score_threshold": float(cfg["score_threshold"]),
        "min_size": float(cfg["min_size"]),
        "empty": cfg["empty"],
    }
    if cfg["score"] == "object_frequency":
        return object_frequency(detections, **rules)
    if cfg["quality"] is not None:
        try:
            quality = {int(k): float(v) for k, v in read_json(cfg["quality"]).items()}
        except (AttributeError, TypeError, ValueError) as error:
            raise ValueError(
                f"{cfg['quality']}: expected {{category id: quality}}, got {error}"
            ) from error
        return dcus(detections, quality, **rules)
    return aggregate(
        detections, box_scores(detections, cfg["score"]), cfg["aggregate"], k=cfg["k"], **rules
    )


def _costs(
    cfg: Mapping[str, Any],
    budget: Mapping[str, float],
    pool: CocoPool,
    detections: Detections | None,
) -> dict[str, Float]:
    costs: dict[str, Float] = {"pixels": pixel_cost(pool)}
    if {"boxes", "seconds"} & set(budget):
        threshold = cfg["cost"]["score_threshold"]
        table = _needed(detections, "budget.boxes" if "boxes" in budget else "budget.seconds")
        floor = float(cfg["cost"]["floor"])
        boxes = (
            expected_boxes(table, floor=floor)
            if threshold is None
            else box_cost(table, float(threshold), floor=floor)
        )
        costs["boxes"] = boxes
        if "seconds" in budget:
            costs["seconds"] = seconds(boxes, *(float(v or 0) for v in _each(cfg)))
    return costs


def _write(cfg: Mapping[str, Any], chosen: ImageSelection, detections: Detections | None) -> None:
    boxes: tuple[Any, ...] = (
        () if cfg["prelabels"] is None else (detections, float(cfg["prelabels"]))
    )
    for name, write in (
        ("coco", chosen.to_coco),
        ("yolo", chosen.to_yolo),
        ("label_studio", chosen.to_label_studio),
        ("cvat", chosen.to_cvat),
    ):
        if cfg["to"][name] is not None:
            write(cfg["to"][name], *boxes)
