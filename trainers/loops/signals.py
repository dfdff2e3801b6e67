"""The signals of a round: of the current model in active mode, of a proxy in prune mode."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset.core.pool import Pool
from coreset.core.signals import Signals
from coreset.core.store import fingerprint
from coreset.numerics.dynamics import DynamicsRecorder
from coreset.numerics.full_gradients import GRADIENT_NORM
from coreset.trainers.loops.context import MEMBERS, PROXY, RunContext
from coreset.trainers.loops.dynamics import RecordDynamics


def active_signals(
    context: RunContext, number: int, pool: Pool, labels: NDArray[np.int64]
) -> Signals:
    """Return what the strategy needs, measured in one pass over the rows it needs.

    labels (N,): the known ones, -1 elsewhere.
    """
    signals = context.signals()
    if "labels" in context.wanted:
        signals.put("labels", None, labels)
    names = (context.wanted & context.learner.available) - signals.names
    if names:
        rows = pool.candidates
        if names & context.plan.needs_selected:
            rows = np.sort(np.concatenate([pool.candidates, pool.selected]))
        seed = int(context.rng(MEMBERS, number).integers(2**31))
        for name, values in context.learner.signals(rows, names, seed=seed).items():
            signals.put(name, None if len(rows) == pool.size else rows, values)
    return signals


def prune_signals(context: RunContext) -> Signals:
    """Return all columns; those of a model come from a proxy trained on the whole labeled pool,
    kept in the store.
    """
    signals = context.signals()
    everything = np.arange(context.learner.size)
    if "labels" in context.wanted and "labels" not in signals.names:
        signals.put("labels", None, context.oracle.label(everything))
    names = sorted(context.wanted - signals.names)
    if not names:
        return signals
    key = fingerprint(context.proxy_key, context.members, context.seed)
    if any(context.store.get(name, key) is None for name in names):
        about = {"data": context.examples.name, "seed": context.seed}
        for name, values in _of_proxy(context, frozenset(names)).items():
            context.store.create(
                name, key, values.shape, values.dtype, partial(_fill, values), about
            )
    for name in names:
        column = context.store.get(name, key)
        assert column is not None
        signals.put(name, None, column)
    return signals


def _of_proxy(context: RunContext, names: frozenset[str]) -> dict[str, NDArray[Any]]:
    """Return columns of the proxy: what it records while training, and what it says afterwards."""
    proxy, everything = context.proxy, np.arange(context.learner.size)
    labels = context.oracle.label(everything)
    recorded = [n for n in sorted(names) if n not in {*proxy.available, GRADIENT_NORM}]
    recorder = DynamicsRecorder(len(everything), statistics=recorded) if recorded else None
    callbacks = [RecordDynamics(recorder)] if recorder else []
    proxy.fit(everything, labels, seed=(context.seed, PROXY), callbacks=callbacks)
    columns: dict[str, NDArray[Any]] = dict(recorder.finish()) if recorder else {}
    of_model = names & proxy.available
    if of_model:
        seed = int(context.rng(MEMBERS).integers(2**31))
        columns |= proxy.signals(everything, of_model, seed=seed)
    if GRADIENT_NORM in names:
        total = proxy.signals(everything, [GRADIENT_NORM])[GRADIENT_NORM]
        for member in range(1, context.members):
            proxy.fit(everything, labels, seed=(context.seed, PROXY, member))
            total = total + proxy.signals(everything, [GRADIENT_NORM])[GRADIENT_NORM]
        columns[GRADIENT_NORM] = total / max(1, context.members)
    return {name: columns[name] for name in names}


def _fill(values: NDArray[Any], out: NDArray[Any]) -> None:
    out[...] = values
