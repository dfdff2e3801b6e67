"""Small made-up run folders, written by hand as the layout says."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

POOL = 100


@pytest.fixture
def write_run(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes one run folder below tmp_path and returns it."""

    def write(
        folder: str,
        strategy: str,
        seed: int,
        values: dict[int, float],
        mode: str = "active",
        finished: bool = True,
        gallery: bool | str = False,
        config: dict[str, Any] | None = None,
        as_json: bool = False,
        metric: str = "accuracy",
        classes: tuple[str, ...] = ("cat", "dog"),
    ) -> Path:
        path = tmp_path / folder
        path.mkdir(parents=True)
        settings = {
            "mode": mode,
            "strategy": {"_target_": f"coreset.strategies.{strategy}"},
            "strategy_name": strategy,
            "seed": seed,
            "data": {"name": "toy"},
            "model": {"name": "linear"},
            "fit": {"lr": 0.1, "seed": seed},
            **(config or {}),
        }
        # JSON is YAML too
        (path / ("config.json" if as_json else "config.yaml")).write_text(json.dumps(settings))
        rng = np.random.default_rng([seed, sum(map(ord, strategy))])
        order = rng.permutation(POOL)
        ledger, points, before = [], [], 0
        for number, (labels, value) in enumerate(values.items()):
            new = order[:labels] if mode == "prune" else order[before:labels]
            ledger.append(
                {
                    "round": number,
                    "labels": labels,
                    "ids": [f"id-{i}" for i in new],
                    "indices": new.tolist(),
                    "scores": None,
                    "class_histogram": (
                        np.bincount(new % len(classes), minlength=len(classes)).tolist()
                    ),
                    "accuracy": value,
                    "seconds": {"select": 0.5, "train": 2.0 + seed, "measure": 0.1, "test": 0.1},
                    "peak_mb": 1.0,
                    "info": {},
                }
            )
            points.append(
                {
                    "strategy": strategy,
                    "seed": seed,
                    "metric": metric,
                    "labels": labels,
                    "share": labels / POOL,
                }
                | {"value": value, "round": number, "extra": {}}
            )
            before = labels
        (path / "ledger.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ledger))
        (path / "curve.jsonl").write_text("".join(json.dumps(row) + "\n" for row in points))
        state = {
            "format": 1,
            "rounds_done": len(ledger),
            "rounds": len(ledger) if finished else len(ledger) + 2,
            "finished": finished,
            "hardware": "a <small> machine",
            "versions": {"torch": "2.8"},
        }
        (path / "state.json").write_text(json.dumps(state))
        if gallery:
            channels, side = (1, 8) if gallery == "gray" else (3, 40)
            m = min(before, 256)
            chosen = np.full(POOL, -1)
            chosen[order[:before]] = np.searchsorted(list(values), np.arange(before), side="right")
            np.savez_compressed(
                path / "gallery.npz",
                thumbs=rng.integers(0, 256, (m, side, side, channels)).astype(np.uint8),
                thumb_labels=order[:m] % len(classes),
                thumb_scores=np.where(np.arange(m) % 2, 0.25, np.nan),
                thumb_round=np.searchsorted(list(values), np.arange(m), side="right"),
                thumb_ids=np.array([f"id-{i}" for i in order[:m]]),
                map_xy=rng.normal(size=(POOL, 2)).astype(np.float32),
                map_label=np.arange(POOL) % len(classes),
                map_chosen=chosen,
                classes=np.array(classes),
                pool_counts=np.bincount(np.arange(POOL) % len(classes)),
                chosen_counts=np.bincount(order[:before] % len(classes), minlength=len(classes)),
            )
        return path

    return write
