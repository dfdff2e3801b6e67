"""The two loops. prune: labels known, one selection and one training a budget. active: fit,
measure, choose, label, again.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from coreset.core.pool import Pool
from coreset.core.selection import Selection
from coreset.core.signals import Signals
from coreset.core.strategy import Strategy
from coreset.numerics.random import keyed_order
from coreset.trainers.loops.context import (
    CHECKPOINT,
    START,
    STRATEGY,
    TRAINING,
    RunContext,
    commit,
)
from coreset.trainers.loops.select import certified, picked
from coreset.trainers.loops.signals import active_signals
from coreset.trainers.oracles.base import AsksPeople, Request


def run(context: RunContext) -> None:
    """Go on with the next unfinished round until the plan is done."""
    (prune if context.plan.mode == "prune" else active)(context)


def prune(context: RunContext) -> None:
    """Choose, train and test at every budget; every choice starts from the whole labeled pool."""
    for number in range(context.folder.done, context.plan.rounds):
        context.method.run(context, number)


def active(context: RunContext) -> None:
    """Label a start set, then what the strategy chooses by the model of the round before."""
    learner, folder = context.learner, context.folder
    taken = np.array([i for entry in folder.ledger for i in entry["indices"]], np.int64)
    labels = context.known(taken)
    if folder.done:
        learner.load(folder.round(folder.done - 1) / CHECKPOINT)
    for number in range(folder.done, context.plan.rounds):
        seconds = {"select": 0.0, "measure": 0.0}
        file = folder.round(number) / "selection.parquet"
        if file.exists():  # chosen before the run stopped, perhaps to wait for labels
            chosen = Selection.load(file)
        elif number == 0:
            chosen = _first(context, seconds)
        else:
            context.progress(number, "measuring")
            begin = time.perf_counter()
            pool = Pool(learner.size, taken, ids=learner.ids)
            signals = active_signals(context, number, pool, labels)
            seconds["measure"] = time.perf_counter() - begin
            context.progress(number, "choosing")
            chosen = _choose(context, number, pool, signals, seconds)
        chosen.save(file)
        if isinstance(context.oracle, AsksPeople):
            context.oracle.ask(_request(context, chosen))
        labels[chosen.indices] = context.oracle.label(chosen.indices)
        taken = np.concatenate([taken, chosen.indices])
        train(context, number, labels, taken[labels[taken] >= 0], None, chosen, seconds)


def _request(context: RunContext, chosen: Selection) -> Request:
    """Return what people are shown of a batch:
    what the current model says, and why it was chosen.
    """
    learner, proposed, confidence = context.learner, None, None
    if context.folder.done and "probs" in learner.available:
        probs = learner.signals(chosen.indices, ["probs"])["probs"]
        proposed, confidence = probs.argmax(axis=1), probs.max(axis=1)
    drawn, drawing = None, context.drawing
    if context.folder.done and drawing is not None and drawing.propose is not None:
        drawn = drawing.propose(chosen.indices)
    by = chosen.info.get("start_strategy") or type(context.strategy).__name__
    random = context.start is None and not context.folder.done
    reason = "Chosen at random, to begin with." if random else f"Chosen by {by}, best first."
    scores = None if chosen.scores is None else np.asarray(chosen.scores, np.float64)
    pictures = context.examples.pictures
    return Request(chosen.indices, reason, scores, proposed, confidence, pictures, drawn)


def _first(context: RunContext, seconds: dict[str, float]) -> Selection:
    """Return the start set: what `start` chooses by signals that need no label, or a random one."""
    learner, size = context.learner, context.plan.sizes[0]
    if context.start is None:
        order = keyed_order(context.rng(START), learner.ids)[:size]
        return Selection(order, ids=learner.ids[order], info={"strategy": "random start"})
    context.progress(0, "measuring")
    begin = time.perf_counter()
    pool, signals = Pool(learner.size, ids=learner.ids), context.signals()
    names = context.start.needs - signals.names
    for name, values in (learner.signals(pool.candidates, names) if names else {}).items():
        signals.put(name, None, values)
    seconds["measure"] = time.perf_counter() - begin
    context.progress(0, "choosing")
    begin = time.perf_counter()
    chosen = context.start(pool, signals, size, context.rng(START))
    seconds["select"] = time.perf_counter() - begin
    origin = "the model before any training" if names else "columns that need no label"
    info = {
        **certified(chosen, pool, signals).info,
        "start_strategy": type(context.start).__name__,
        "start_parameters": context.start.parameters(),
        "start_signals": origin,
    }
    return replace(chosen, info=info)


def _choose(
    context: RunContext, number: int, pool: Pool, signals: Signals, seconds: dict[str, float]
) -> Selection:
    assert isinstance(context.strategy, Strategy), "a distiller has no active mode"
    begin = time.perf_counter()
    count = context.plan.sizes[number] - len(pool.selected)
    chosen = context.strategy(pool, signals, count, context.rng(STRATEGY, number))
    seconds["select"] = time.perf_counter() - begin
    return certified(chosen, pool, signals)


def train(
    context: RunContext,
    number: int,
    labels: NDArray[np.int64],
    indices: NDArray[np.int64],
    weights: NDArray[np.float64] | None,
    chosen: Selection,
    seconds: dict[str, float],
) -> None:
    """Train on `indices`, test, and commit the round.

    The random stream is the same for every strategy at a seed: a difference between curves is a
    difference between selections.
    """
    context.progress(number, "training")
    seed = (context.seed, TRAINING, number)
    fit = context.learner.fit(indices, labels, weights=weights, seed=seed)
    begin = time.perf_counter()
    metrics = context.learner.test()
    spent = {**seconds, "train": fit.seconds, "test": time.perf_counter() - begin}
    commit(context, number, picked(context, chosen), fit.info, metrics, spent)
