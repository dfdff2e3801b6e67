"""Active learning on data whose labels are known, around any trainer: the curve of a metric (mAP,
mIoU) over the labels bought.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset import registry
from coreset.core.budget import budget_sizes
from coreset.core.pool import Pool
from coreset.core.selection import Selection
from coreset.core.signals import Signals
from coreset.numerics.random import keyed_order
from coreset.runs.curve import Curve, Point
from coreset.vision.methods import narrow

Choose = Callable[[Pool, Any, int, int], Selection]


def simulate(
    pool: Pool,
    oracle: Callable[[NDArray[Any]], Any],
    fit: Callable[[NDArray[Any], Any], Any],
    predict: Callable[[Any, NDArray[Any]], Any],
    *,
    metric: Callable[[Any], float],
    budget: Sequence[int | float],
    choose: str | Choose = "random",
    seed: int = 0,
    name: str = "",
    metric_name: str = "mAP",
) -> Curve:
    """Return the curve of `choose`: one training per total in `budget` (images; counts or shares of
    the pool, growing).

    oracle(ids) gives their labels in whatever form `fit(ids, labels) -> model` takes;
    predict(model, ids) what `choose` reads, for every image of the pool (diversity looks at the
    labeled ones too); metric(model) -> number in [0, 1] on test data of yours. choose: a function
    (pool, predictions, k, seed) -> Selection, such as a call of `select`, or a registered name, for
    which `predict` returns its signals {name: one row per id}. Images labeled at the start
    (`pool.selected`) count; what is missing to the first total is drawn at random, keyed by id and
    seed alone: the same start for every strategy. Raises ValueError when a choice is short or holds
    what is no candidate.
    """
    totals = budget_sizes(budget, pool.size)
    if totals[0] < max(1, len(pool.selected)):
        raise ValueError(
            f"budget: the first total {totals[0]} is less than the {len(pool.selected)} images"
            " labeled at the start"
        )
    start_rng, rounds = np.random.default_rng([seed, 0]), np.random.default_rng([seed, 1])
    start = pool.candidates[keyed_order(start_rng, pool.ids[pool.candidates])][
        : totals[0] - len(pool.selected)
    ]
    selected, points = np.concatenate([pool.selected, start]), list[Point]()
    for turn, total in enumerate(totals):
        ids = pool.ids[selected]
        model = fit(ids, oracle(ids))
        value = float(metric(model))
        if not np.isfinite(value):
            raise ValueError(
                f"round {turn}: the metric of a model trained on {total} images is {value}"
            )
        points.append(Point(total, total / pool.size, value, turn))
        if turn + 1 == len(totals):
            break
        now = narrow(pool, np.setdiff1d(pool.candidates, selected), selected)
        picks = _chosen(
            now,
            predict(model, pool.ids),
            totals[turn + 1] - total,
            choose,
            int(rounds.integers(2**31)),
        )
        selected = np.concatenate([selected, picks])
    return Curve(
        name or (choose if isinstance(choose, str) else getattr(choose, "__name__", "choose")),
        seed,
        points,
        metric_name,
    )


def _chosen(
    pool: Pool, predictions: Any, k: int, choose: str | Choose, seed: int
) -> NDArray[np.int64]:
    if isinstance(choose, str):
        signals = Signals(pool.size)
        for column, values in (
            (predictions or {}).items() if isinstance(predictions, Mapping) else ()
        ):
            signals.put(column, None, values)
        return registry.strategy(choose)(pool, signals, k, np.random.default_rng(seed)).indices
    picks = choose(pool, predictions, k, seed).indices
    if len(picks) != k or len(np.unique(picks)) != k or not np.isin(picks, pool.candidates).all():
        raise ValueError(
            f"choose returned {len(picks)} images ({len(np.unique(picks))} distinct), expected {k}"
            " candidates"
        )
    return picks
