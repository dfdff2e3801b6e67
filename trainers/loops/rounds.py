"""The two loops. prune: labels known, one selection and one training a budget. active: fit,
measure, choose, label, again.

prune with a `sampling` plan: the examples change while the model trains. Such a run stands on the
same axis by what it costs to train: at budget k it takes as many optimizer steps as a fixed
selection of k examples would, so with fit.epochs = E it sees E k examples in all (with fit.steps
every budget costs the same, and its curve is nearly flat). It needs the labels of the whole pool;
the ledger's `info` and the point's `extra` say so (labels_used), and so does the curve's name.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import nn

from coreset.certificates import CHEAP, certificates
from coreset.core.budget import per_class
from coreset.core.pool import Pool
from coreset.core.selection import Selection
from coreset.core.signals import Signals
from coreset.core.store import Store, fingerprint, strict, write_atomic
from coreset.core.strategy import Oracle, Strategy
from coreset.distillation import Distiller, Synthetic
from coreset.numerics.dynamics import DynamicsRecorder
from coreset.numerics.full_gradients import GRADIENT_NORM
from coreset.numerics.pca import plane
from coreset.numerics.random import keyed_order
from coreset.runs.curve import Point
from coreset.runs.run_folder import RunFolder
from coreset.trainers.distillation.round import (
    DistillationContext,
    distill_round,
    entry_of,
    pictures,
)
from coreset.trainers.dynamic_pruning.epoch_plans import EpochPlan
from coreset.trainers.learners.fit import Fitted, Fitter, TrainingConfig, peak_mb
from coreset.trainers.loops.dynamics import RecordDynamics
from coreset.trainers.loops.gradient_norm import expected_gradient_norms
from coreset.trainers.loops.plan import Plan
from coreset.trainers.tasks.features import ModelFeatures

CHECKPOINT = "model.safetensors"
START, TRAINING, STRATEGY, MEMBERS, PROXY = range(5)  # random streams of a run, one each


@dataclass(frozen=True, eq=False)
class RunContext:
    """Everything one run needs, checked before anything trains."""

    plan: Plan
    strategy: Strategy | Distiller
    fitter: Fitter
    recipe: TrainingConfig
    proxy: TrainingConfig
    embedding: Any
    oracle: Oracle
    store: Store
    folder: RunFolder
    seed: int
    members: int = 10
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    model_key: str = ""
    progress: Callable[[int, str], None] = lambda _round, _what: None
    sampling: EpochPlan | None = None

    def signals(self) -> Signals:
        """Return the columns that need no model of this run: the user's own, and features of a
        fixed embedding when they are asked for.
        """
        data = self.fitter.data
        found = Signals(len(data.images), **self.columns)
        if (
            "features" in self.wanted
            and "features" not in self.columns
            and not isinstance(self.embedding, ModelFeatures)
        ):
            found.put("features", None, self.embedding(data, self.store))
        return found

    @property
    def wanted(self) -> frozenset[str]:
        """Names of all signals the strategy reads."""
        return self.plan.needs | self.plan.needs_selected

    @property
    def device(self) -> torch.device:
        """Where models are measured and images are distilled."""
        cuda = torch.cuda.is_available() and self.fitter.trainer.get("accelerator") != "cpu"
        return torch.device("cuda" if cuda else "cpu")

    def rng(self, stream: int, number: int = 0) -> np.random.Generator:
        """Return the generator of one random stream."""
        return np.random.default_rng([self.seed, stream, number])


def run(job: RunContext) -> None:
    """Go on with the next unfinished round until the plan is done."""
    (prune if job.plan.mode == "prune" else active)(job)


def prune(job: RunContext) -> None:
    """Choose, train and test at every budget; every choice starts from the whole labeled pool."""
    data = job.fitter.data
    signals = None
    for number in range(job.folder.done, job.plan.rounds):
        if job.sampling is not None:
            _prune_while_training(job, number)
            continue
        if isinstance(job.strategy, Distiller):
            _distil(job, job.strategy, number)
            continue
        if signals is None:
            job.progress(number, "measuring")
            begin = time.perf_counter()
            signals = _prune_signals(job)
            measured = time.perf_counter() - begin
        job.progress(number, "choosing")
        begin = time.perf_counter()
        pool = Pool(len(data.images), ids=data.ids)
        chosen = job.strategy(pool, signals, job.plan.sizes[number], job.rng(STRATEGY))
        seconds = {"select": time.perf_counter() - begin, "measure": measured}
        chosen = _certified(chosen, pool, signals)
        chosen.save(job.folder.round(number) / "selection.parquet")
        labels = _known(job, chosen.indices)
        job.progress(number, "training")
        fitted = _fit(job, number, labels, chosen.indices, chosen.weights)
        _commit(job, number, chosen, fitted, seconds)


def _distil(job: RunContext, method: Distiller, number: int) -> None:
    """Make images out of the whole labeled pool at one budget, train on them and test."""
    ipc = per_class([job.plan.sizes[number]], len(job.fitter.data.classes))[0]
    labels = job.oracle.label(np.arange(len(job.fitter.data.images)))
    room = DistillationContext(
        job.fitter, job.recipe, job.proxy, job.store, job.seed, job.model_key, job.device, labels, job.folder.round(number),
        partial(job.progress, number),
    )  # fmt: skip
    # the same stream at every budget: a point does not depend on which others there are
    made, fitted, seconds = distill_round(
        room, method, ipc, job.rng(STRATEGY), (job.seed, TRAINING, number)
    )
    _commit(job, number, made, fitted, seconds, {**made.budget, "labels_used": len(labels)})


def _prune_while_training(job: RunContext, number: int) -> None:
    """Train and test at one budget on examples that change; the selection holds all that were
    trained on, most often first, with how often as scores.
    """
    assert job.sampling is not None
    data = job.fitter.data
    everything = np.arange(len(data.images))
    labels = job.oracle.label(everything)
    pool = Pool(len(everything), ids=data.ids)
    choosing = 0.0

    def signals(model: nn.Module, device: torch.device) -> Signals:
        nonlocal choosing
        begin = time.perf_counter()
        found = _active_signals(job, number, pool, labels, model, device)
        choosing += time.perf_counter() - begin
        return found

    job.progress(number, "training")
    fitted = job.fitter.fit(
        job.recipe, labels, everything, seed=(job.seed, TRAINING, number), scratch=job.folder.round(number),
        plan=job.sampling, per_epoch=job.plan.sizes[number], signals=signals,
    )  # fmt: skip
    assert fitted.counts is not None
    assert fitted.epochs is not None
    total = int(fitted.counts.sum())
    seen = np.argsort(-fitted.counts, kind="stable")[: np.count_nonzero(fitted.counts)]
    extra = {
        "dynamic": type(job.sampling).__name__, "labels_used": len(everything), "examples_trained": len(seen),
        "examples_seen": total, "epochs": fitted.epochs,
    }  # fmt: skip
    info = {
        **extra,
        "budget": (
            "optimizer steps of a fixed selection of that size; the labels of the whole pool are"
            " used"
        ),
    }
    if job.sampling.by_strategy:
        info |= {"strategy": type(job.strategy).__name__, "parameters": job.strategy.parameters()}
    chosen = Selection(
        seen, scores=fitted.counts[seen].astype(np.float64), ids=data.ids[seen], info=info
    )
    chosen.save(job.folder.round(number) / "selection.parquet")
    _commit(job, number, chosen, fitted, {"select": 0.0, "measure": choosing}, extra)


def active(job: RunContext) -> None:
    """Begin with a random start set, then label what the strategy chooses by the model of the round
    before.
    """
    assert isinstance(job.strategy, Strategy), "a distiller has no active mode"
    data = job.fitter.data
    size = len(data.images)
    taken = np.array([i for entry in job.folder.ledger for i in entry["indices"]], np.int64)
    labels = _known(job, taken)
    model, device = _last_model(job)
    for number in range(job.folder.done, job.plan.rounds):
        seconds = {"select": 0.0, "measure": 0.0}
        file = job.folder.round(number) / "selection.parquet"
        if file.exists():  # chosen before the run stopped, perhaps to wait for labels
            chosen = Selection.load(file)
        elif number == 0:
            order = keyed_order(job.rng(START), data.ids)[: job.plan.sizes[0]]
            chosen = Selection(order, ids=data.ids[order], info={"strategy": "random start"})
        else:
            assert model is not None
            job.progress(number, "measuring")
            begin = time.perf_counter()
            pool = Pool(size, taken, ids=data.ids)
            signals = _active_signals(job, number, pool, labels, model, device)
            seconds["measure"] = time.perf_counter() - begin
            job.progress(number, "choosing")
            begin = time.perf_counter()
            chosen = job.strategy(
                pool, signals, job.plan.sizes[number] - len(taken), job.rng(STRATEGY, number)
            )
            seconds["select"] = time.perf_counter() - begin
            chosen = _certified(chosen, pool, signals)
        chosen.save(file)
        labels[chosen.indices] = job.oracle.label(chosen.indices)
        taken = np.concatenate([taken, chosen.indices])
        job.progress(number, "training")
        start = model.state_dict() if job.recipe.warm_start and model is not None else None
        fitted = _fit(job, number, labels, taken, None, start)
        model, device = fitted.model, fitted.device
        _commit(job, number, chosen, fitted, seconds)


def _certified(chosen: Selection, pool: Pool, signals: Signals) -> Selection:
    """Return the choice with its certificates in `info`: those whose columns the strategy had
    measured anyway, and that take about a second at most.
    """
    found = certificates(pool, signals, chosen, CHEAP)
    return replace(chosen, info={**chosen.info, "certificates": found}) if found else chosen


def _known(job: RunContext, indices: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a label column that knows `indices` alone."""
    labels = np.full(len(job.fitter.data.images), -1, np.int64)
    if len(indices):
        labels[indices] = job.oracle.label(indices)
    return labels


def _fit(
    job: RunContext,
    number: int,
    labels: NDArray[np.int64],
    indices: NDArray[np.int64],
    weights: NDArray[np.float64] | None,
    start: Any = None,
) -> Fitted:
    # The same stream for every strategy at a seed: a difference between curves is a difference
    # between selections.
    return job.fitter.fit(
        job.recipe,
        labels,
        indices,
        seed=(job.seed, TRAINING, number),
        weights=weights,
        start=start,
        scratch=job.folder.round(number),
    )


def _commit(
    job: RunContext,
    number: int,
    chosen: Selection | Synthetic,
    fitted: Fitted,
    seconds: dict[str, float],
    extra: dict[str, Any] | None = None,
) -> None:
    """Write the model, then the ledger, the curve and the state."""
    data, labels = job.fitter.data, job.plan.sizes[number]
    state = {  # copies: safetensors refuses tensors that share memory
        name: value.cpu().contiguous().clone() for name, value in fitted.model.state_dict().items()
    }
    write_atomic(job.folder.round(number) / CHECKPOINT, safetensors.torch.save(state))
    entry = {
        "round": number,
        "labels": labels,
        **(
            entry_of(chosen, len(data.images))
            if isinstance(chosen, Synthetic)
            else _picked(job, chosen)
        ),
        "accuracy": fitted.accuracy,
        "training": None if fitted.trace is None else fitted.trace.record(),
        "val_accuracy": fitted.val_accuracy,
        "seconds": {name: round(value, 3) for name, value in {**seconds, **fitted.seconds}.items()},
        "peak_mb": round(peak_mb(), 1),
        "info": dict(chosen.info),
    }
    extra = dict(extra or {})
    if fitted.trace is not None and fitted.trace.on_slope:
        extra["on_slope"] = True
    point = Point(labels, labels / len(data.images), fitted.accuracy, number, extra)
    job.folder.commit(strict(entry), point)


def _picked(job: RunContext, chosen: Selection) -> dict[str, Any]:
    """Return what the ledger keeps of a selection."""
    data = job.fitter.data
    known = job.oracle.label(chosen.indices)
    return {
        "ids": (data.ids[chosen.indices] if chosen.ids is None else chosen.ids).tolist(),
        "indices": chosen.indices.tolist(),
        "scores": None if chosen.scores is None else [round(float(s), 6) for s in chosen.scores],
        "class_histogram": np.bincount(known, minlength=len(data.classes)).tolist(),
    }


def _last_model(job: RunContext) -> tuple[nn.Module | None, torch.device]:
    """Return the model of the last complete round from its checkpoint."""
    device = job.device
    if not job.folder.done:
        return None, device
    model = job.fitter.new_model()
    model.load_state_dict(
        safetensors.torch.load_file(job.folder.round(job.folder.done - 1) / CHECKPOINT)
    )
    return model.to(device, memory_format=torch.channels_last), device  # type: ignore[call-overload]


def _active_signals(
    job: RunContext,
    number: int,
    pool: Pool,
    labels: NDArray[np.int64],
    model: nn.Module,
    device: torch.device,
) -> Signals:
    """Measure what the strategy needs in one pass over the rows it needs."""
    signals = job.signals()
    if "labels" in job.wanted:
        signals.put("labels", None, labels)
    names = (job.wanted & job.fitter.task.signals) - signals.names
    if names:
        extra = bool(names & job.plan.needs_selected)
        rows = (
            np.sort(np.concatenate([pool.candidates, pool.selected])) if extra else pool.candidates
        )
        seed = int(job.rng(MEMBERS, number).integers(2**31))
        found = job.fitter.task.measure(
            model,
            job.fitter.data,
            rows,
            names,
            device=device,
            members=job.members,
            seed=seed,
            bf16=job.recipe.bf16,
        )
        for name, values in found.items():
            signals.put(name, None if len(rows) == pool.size else rows, values)
    return signals


def _prune_signals(job: RunContext) -> Signals:
    """Return all columns; those of a model come from a proxy trained on the whole labeled pool,
    kept in the store.
    """
    signals = job.signals()
    data = job.fitter.data
    size = len(data.images)
    everything = np.arange(size)
    if "labels" in job.wanted and "labels" not in signals.names:
        signals.put("labels", None, job.oracle.label(everything))
    names = sorted(job.wanted - signals.names)
    if not names:
        return signals
    key = fingerprint(data.fingerprint, job.model_key, vars(job.proxy), job.members, job.seed)
    if any(job.store.get(name, key) is None for name in names):
        labels = job.oracle.label(everything)
        dynamics = [n for n in names if n not in {*job.fitter.task.signals, GRADIENT_NORM}]
        recorder = DynamicsRecorder(size, statistics=dynamics) if dynamics else None
        callbacks = [RecordDynamics(recorder)] if recorder else []
        fitted = job.fitter.fit(
            job.proxy,
            labels,
            everything,
            seed=(job.seed, PROXY),
            callbacks=callbacks,
            test=False,
            scratch=job.store.root,
        )
        found: dict[str, NDArray[Any]] = dict(recorder.finish()) if recorder else {}
        wanted = frozenset(names) & job.fitter.task.signals
        if wanted:
            seed = int(job.rng(MEMBERS).integers(2**31))
            found |= job.fitter.task.measure(
                fitted.model,
                data,
                everything,
                wanted,
                device=fitted.device,
                members=job.members,
                seed=seed,
                bf16=job.proxy.bf16,
            )
        if GRADIENT_NORM in names:
            others = [partial(_another_proxy, job, labels, m) for m in range(1, job.members)]
            found[GRADIENT_NORM] = expected_gradient_norms(
                fitted.model, others, data, labels, fitted.device
            )
        about = {"data": data.name, "seed": job.seed, "proxy": vars(job.proxy)}
        for name in names:
            values = found[name]
            job.store.create(name, key, values.shape, values.dtype, partial(_fill, values), about)
    for name in names:
        column = job.store.get(name, key)
        assert column is not None
        signals.put(name, None, column)
    return signals


def _another_proxy(job: RunContext, labels: NDArray[np.int64], member: int) -> nn.Module:
    """Return the proxy from another initialization and order."""
    everything, seed = np.arange(len(labels)), (job.seed, PROXY, member)
    return job.fitter.fit(
        job.proxy, labels, everything, seed=seed, test=False, scratch=job.store.root
    ).model


def _fill(values: NDArray[Any], out: NDArray[Any]) -> None:
    out[...] = values


def write_gallery(job: RunContext, thumbs: int = 256, points: int = 3000) -> None:
    """Write `gallery.npz` for the report: the first choices as pictures and a plane through the
    last model's features; nothing when it is there.
    """
    data, ledger = job.fitter.data, job.folder.ledger
    path = job.folder.path / "gallery.npz"
    model, device = _last_model(job)
    if path.exists() or model is None:
        return
    if isinstance(job.strategy, Distiller):
        found = pictures(
            job.fitter,
            model,
            device,
            job.folder,
            job.oracle.label(np.arange(len(data.images))),
            thumbs,
            points,
        )
        _write_npz(path, found)
        return
    entries = ledger[-1:] if job.plan.mode == "prune" else ledger
    index = np.array([i for e in entries for i in e["indices"]], np.int64)
    when = np.concatenate([np.full(len(e["indices"]), e["round"]) for e in entries])
    scores = np.concatenate(
        [
            np.array(e["scores"], float) if e["scores"] else np.full(len(e["indices"]), np.nan)
            for e in entries
        ]
    )
    # budgets may be prefixes of each other: a choice belongs to the first that holds it
    if job.plan.mode == "prune":
        for e in reversed(ledger):
            when[np.isin(index, e["indices"])] = e["round"]
    sample = keyed_order(np.random.default_rng(0), data.ids)[:points]
    rows = np.unique(np.concatenate([sample, index[: points // 3]]))
    found = job.fitter.task.measure(
        model, data, rows, ["features"], device=device, members=0, seed=0, bf16=False
    )
    flat = plane(found["features"])
    chosen = np.full(len(data.images), -1)
    chosen[index] = when
    known = np.full(len(data.images), -1, np.int64)
    known[index] = job.oracle.label(index)
    pool = data.labels if (data.labels >= 0).any() else known
    first = index[:thumbs]
    classes = len(data.classes)
    _write_npz(path, {
        "thumbs": data.images[first], "thumb_labels": known[first], "thumb_scores": scores[:thumbs], "thumb_round": when[:thumbs],
        "thumb_ids": data.ids[first].astype(str), "map_xy": flat, "map_label": pool[rows], "map_chosen": chosen[rows],
        "classes": np.array(data.classes), "pool_counts": np.bincount(pool[pool >= 0], minlength=classes),
        "chosen_counts": np.bincount(known[index], minlength=classes),
    })  # fmt: skip


def _write_npz(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    import io

    buffer = io.BytesIO()
    # its stubs take the keywords for its own
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_atomic(path, buffer.getvalue())
