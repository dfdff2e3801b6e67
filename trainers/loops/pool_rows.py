"""`rows.parquet` in the run folder: what `coreset-explore` shows of every row of the pool."""

from __future__ import annotations

from typing import Any

import numpy as np

from coreset.numerics.pca import principal_axes
from coreset.report.explore.trained import write_rows
from coreset.trainers.loops.context import CHECKPOINT, RunContext

PICTURES = 65_536  # rows up to which all have a picture; of more, those that were chosen
AXES = 64  # features of more columns are kept on their main axes


def write_pool(context: RunContext) -> None:
    """Write id, label, picture and features of all rows by the last model, with its prediction and
    its confidence where it gives probabilities; nothing when the file is there or nothing was
    chosen.
    """
    folder, learner, done = context.folder, context.learner, context.folder.done
    chosen = [i for e in folder.ledger for i in e.get("indices") or ()]
    if (folder.path / "rows.parquet").exists() or not done or not chosen:
        return
    learner.load(folder.round(done - 1) / CHECKPOINT)
    index = np.unique(np.array(chosen, np.int64))
    every = np.arange(learner.size)
    names = sorted({"features", "probs"} & learner.available)
    measured: dict[str, Any] = dict(learner.signals(every, names)) if names else {}
    known = np.where(context.examples.labels >= 0, context.examples.labels, context.known(index))
    classes = [str(c) for c in learner.classes]
    more: dict[str, Any] = {}
    probs = measured.get("probs")
    if probs is not None and probs.shape == (learner.size, len(classes)):
        more = {
            "predicted": [classes[k] for k in probs.argmax(axis=1).tolist()],
            "confidence": probs.max(axis=1).astype(np.float64),
        }
    x = measured.get("features")
    if x is not None:
        x = np.asarray(x).reshape(learner.size, -1)
        x = principal_axes(x, AXES).of(x) if x.shape[1] > AXES else x
    shown = every if learner.size <= PICTURES else index[:PICTURES]
    pictures: Any = None
    if context.examples.pictures is not None:
        pictures = [None] * learner.size
        for row, picture in zip(shown.tolist(), context.examples.pictures(shown), strict=True):
            pictures[row] = picture
    labels = [classes[k] if 0 <= k < len(classes) else None for k in known.tolist()]
    write_rows(folder.path, learner.ids.tolist(), labels, pictures, x, more)
