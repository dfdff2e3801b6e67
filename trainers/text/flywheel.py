"""A flywheel over instruction rows: slices are domains, errors are the losses of answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset.core.strategy import Oracle
from coreset.flywheel import Flywheel, FlywheelData
from coreset.flywheel.choose import Choose
from coreset.flywheel.label import Label
from coreset.flywheel.measure import Loss
from coreset.scorers.text.embedding import encode_texts
from coreset.trainers.learners.lightning.learner import LightningLearner
from coreset.trainers.oracles import HiddenLabels
from coreset.trainers.text.causal_lm import LitCausalLM
from coreset.trainers.text.data import InstructionData, Row

COLUMNS = ("id", "role", "domain")


class RoleRows(InstructionData):
    """Instruction rows that each have an id, a role in the flywheel and a domain, "" where unknown:
    all are the pool, in the order of the file, and those of role `test` are held out as well.
    """

    def split(self, rows: list[Row]) -> tuple[list[Row], list[Row]]:
        """Return all rows, and those of role `test`."""
        return rows, [row for row in rows if row["role"] == "test"]

    def read(self, path: str) -> list[Row]:
        """Return the rows. Raises ValueError for one without a column of its own kind."""
        rows = super().read(path)
        for number, row in enumerate(rows, 1):
            for name in COLUMNS:
                if not isinstance(row.get(name), str):
                    raise ValueError(
                        f"{path}, row {number}: expected a text in the column {name!r}, got"
                        f" {row.get(name)!r}"
                    )
        return rows


def instruction_flywheel(
    folder: str | Path,
    path: str | Path,
    *,
    module: Mapping[str, Any] | None = None,
    rows: Mapping[str, Any] | None = None,
    trainer: Mapping[str, Any] | None = None,
    features: NDArray[np.float32] | None = None,
    oracle: Oracle | None = None,
    stages: Mapping[str, Any] | None = None,
    **options: Any,
) -> Flywheel:
    """Return a flywheel over a file of instruction rows.

    path: JSON lines as `RoleRows` reads them; module, rows, trainer: settings of `LitCausalLM`, of
    `RoleRows` and of Lightning's Trainer. features (N, D): where neighbors are looked for, default
    MiniLM vectors of the instructions. oracle: says of which domain a row is; default: the domains
    in the file, which the flywheel does not see for rows of role `pool`. stages, options: as
    `Flywheel` takes them; no label is scored for errors, since a language model gives no
    probability of a domain.
    """
    module = dict(module or {})
    model = module.setdefault("model", "smollm2")
    data = RoleRows(str(path), **{"model": model, **(rows or {})})
    table = data.read(str(path))
    instruction, given, answer = data.columns
    classes = tuple(sorted({row["domain"] for row in table} - {""}))
    truth = np.array([classes.index(r["domain"]) if r["domain"] else -1 for r in table], np.int64)
    roles = np.array([row["role"] for row in table])
    if oracle is None and (truth < 0).any():
        bare = next(row["id"] for row, label in zip(table, truth, strict=True) if label < 0)
        raise ValueError(f"{path}: row {bare!r} has no domain; give an oracle that can tell")
    prompts = [f"{row[instruction]}\n{row.get(given) or ''}".strip() for row in table]
    if features is None:
        features = np.nan_to_num(encode_texts(prompts, "minilm", 256, 64, "auto"))
    wheel_data = FlywheelData(
        np.array([row["id"] for row in table]),
        np.where(roles == "pool", -1, truth),
        roles,
        features,
        classes,
        texts=np.array([f"{p} -> {r[answer]}" for p, r in zip(prompts, table, strict=True)]),
    )
    learner = LightningLearner(
        partial(LitCausalLM, **module),
        data,
        trainer={"max_epochs": 1, "accelerator": "cpu", **(trainer or {})},
        metric="test_loss",
        signals={"answer_loss": "answer_loss"},
    )
    about = json.dumps([module, dict(rows or {}), dict(trainer or {})], sort_keys=True)
    return Flywheel(
        folder,
        wheel_data,
        learner,
        oracle or HiddenLabels(truth),
        measure=Loss("answer_loss"),
        stages={
            "choose": Choose(strategy="maxherding", relabel=0.0),
            "label": Label(folds=0),
            **(stages or {}),
        },
        learner_name=f"LitCausalLM {about}",
        **options,
    )
