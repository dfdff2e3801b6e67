"""One budget of a pruning run: a fixed selection of the pool."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset.certificates import CHEAP, certificates
from coreset.core.pool import Pool
from coreset.core.selection import Selection
from coreset.core.signals import Signals
from coreset.core.strategy import Strategy
from coreset.numerics.pca import plane
from coreset.numerics.random import keyed_order
from coreset.trainers.loops.context import STRATEGY, TRAINING, RunContext, commit
from coreset.trainers.loops.signals import prune_signals

THUMBS, POINTS = 256, 3000  # pictures, and points of the map of features, in the gallery


@dataclass(eq=False)
class FixedSelection:
    """The strategy's choice, made before the training. The signals are measured once for all
    budgets.
    """

    unit: str = "labels"
    measured: tuple[Signals, float] | None = field(default=None, repr=False)

    def run(self, context: RunContext, number: int) -> None:
        """Choose, train, test, commit."""
        assert isinstance(context.strategy, Strategy)
        if self.measured is None:
            context.progress(number, "measuring")
            begin = time.perf_counter()
            signals = prune_signals(context)
            self.measured = signals, time.perf_counter() - begin
        signals, measuring = self.measured
        context.progress(number, "choosing")
        begin = time.perf_counter()
        pool = Pool(context.learner.size, ids=context.learner.ids)
        chosen = context.strategy(pool, signals, context.plan.sizes[number], context.rng(STRATEGY))
        seconds = {"select": time.perf_counter() - begin, "measure": measuring}
        chosen = certified(chosen, pool, signals)
        chosen.save(context.folder.round(number) / "selection.parquet")
        labels = context.known(chosen.indices)
        context.progress(number, "training")
        seed = (context.seed, TRAINING, number)
        fit = context.learner.fit(chosen.indices, labels, weights=chosen.weights, seed=seed)
        begin = time.perf_counter()
        metrics = context.learner.test()
        seconds |= {"train": fit.seconds, "test": time.perf_counter() - begin}
        commit(context, number, picked(context, chosen), fit.info, metrics, seconds)

    def gallery(self, context: RunContext) -> dict[str, NDArray[Any]] | None:
        """Return the first choices as pictures, and a plane through the last model's features."""
        if context.examples.pictures is None or "features" not in context.learner.available:
            return None
        ids, ledger, size = context.learner.ids, context.folder.ledger, context.learner.size
        prune = context.plan.mode == "prune"
        entries = ledger[-1:] if prune else ledger
        index = np.array([i for e in entries for i in e["indices"]], np.int64)
        when = np.concatenate([np.full(len(e["indices"]), e["round"]) for e in entries])
        scores = np.concatenate(
            [
                np.array(e["scores"], float) if e["scores"] else np.full(len(e["indices"]), np.nan)
                for e in entries
            ]
        )
        if prune:  # budgets may be prefixes of each other: a choice belongs to the first with it
            for e in reversed(ledger):
                when[np.isin(index, e["indices"])] = e["round"]
        sample = keyed_order(np.random.default_rng(0), ids)[:POINTS]
        rows = np.unique(np.concatenate([sample, index[: POINTS // 3]]))
        chosen = np.full(size, -1)
        chosen[index] = when
        known = context.known(index)
        index, when, scores = (v[known[index] >= 0] for v in (index, when, scores))
        pool = context.examples.labels if (context.examples.labels >= 0).any() else known
        first, classes = index[:THUMBS], len(context.learner.classes)
        return {
            "thumbs": context.examples.pictures(first),
            "thumb_labels": known[first],
            "thumb_scores": scores[:THUMBS],
            "thumb_round": when[:THUMBS],
            "thumb_ids": ids[first].astype(str),
            "map_xy": plane(context.learner.signals(rows, ["features"])["features"]),
            "map_label": pool[rows],
            "map_chosen": chosen[rows],
            "classes": np.array(context.learner.classes),
            "pool_counts": np.bincount(pool[pool >= 0], minlength=classes)[:classes],
            "chosen_counts": np.bincount(known[index], minlength=classes)[:classes],
        }


def certified(chosen: Selection, pool: Pool, signals: Signals) -> Selection:
    """Return the choice with its certificates in `info`: those whose columns the strategy had
    measured anyway, and that take about a second at most.
    """
    certificate = certificates(pool, signals, chosen, CHEAP)
    if not certificate:
        return chosen
    return replace(chosen, info={**chosen.info, "certificates": certificate})


def picked(context: RunContext, chosen: Selection) -> dict[str, Any]:
    """Return what the ledger keeps of a selection."""
    classes, ids = len(context.learner.classes), context.learner.ids
    known = context.oracle.label(chosen.indices)
    skipped = chosen.indices[known < 0].tolist()
    known = known[known >= 0]
    return {
        **({"skipped": skipped} if skipped else {}),
        "ids": (ids[chosen.indices] if chosen.ids is None else chosen.ids).tolist(),
        "indices": chosen.indices.tolist(),
        "scores": None if chosen.scores is None else [round(float(s), 6) for s in chosen.scores],
        "class_histogram": np.bincount(known, minlength=classes).tolist() if classes else [],
        "info": dict(chosen.info),
    }
