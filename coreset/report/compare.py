"""Runs put side by side: what may share one plot, every baseline once, one curve per strategy and
seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from coreset.report.load import Run
from coreset.runs.curve import Curve, Point, mean_curve

_SAME = ("mode", "data", "model", "fit")
_BEFORE = {"fit.schedule": "cosine"}  # what runs had before they said it
_MAY_DIFFER = {"seed", "root", "workers", "device"}  # where and how fast, never what


@dataclass(frozen=True, eq=False)
class Comparison:
    """Runs of one task, ready to draw.

    curves: one per strategy and seed, `random` among them and `full` not; runs: those behind the
    curves, by strategy; full: mean test value of the runs on all data; left_out: sentences about
    runs that are not in the averages.
    """

    curves: Sequence[Curve]
    runs: Mapping[str, Sequence[Run]]
    full: float | None
    full_runs: Sequence[Run]
    pool_size: int | None
    left_out: Sequence[str]

    @property
    def metric(self) -> str:
        """Name of what is measured."""
        return self.curves[0].metric

    @property
    def seconds(self) -> Mapping[str, tuple[float | None, float | None]]:
        """Seconds to select and to train over a whole run, mean over seeds, by strategy."""
        return {
            name: (_mean_seconds(runs, "select"), _mean_seconds(runs, "train"))
            for name, runs in self.runs.items()
        }


def _mean_seconds(runs: Sequence[Run], what: str) -> float | None:
    spent = [(run.seed, run.seconds(what)) for run in runs]
    known = [(seed, value) for seed, value in spent if value is not None]
    return sum(value for _, value in known) / len({seed for seed, _ in known}) if known else None


def flat(config: Any, prefix: str = "") -> dict[str, Any]:
    """Return a nested configuration as dotted keys.

    >>> flat({"data": {"name": "digits"}, "seed": 0})
    {'data.name': 'digits', 'seed': 0}
    """
    if not isinstance(config, Mapping) or not config:
        return {prefix: config} if prefix else {}
    return {
        k: v
        for key, value in config.items()
        for k, v in flat(value, f"{prefix}.{key}" if prefix else key).items()
    }


def check_same_task(runs: Sequence[Run]) -> None:
    """Raise ValueError, naming the key and both values, when two runs differ in mode, data, model,
    fit or metric.

    A baseline belongs to the run it lies in and is not asked; but the references on all labels,
    whose values are averaged, must have been trained alike.
    """
    full = [run for run in runs if run.baseline and run.strategy == "full"]
    _check_alike(full, ("fit",))
    _check_alike([run for run in runs if not run.baseline], _SAME)


def _check_alike(asked: Sequence[Run], keys: Sequence[str]) -> None:
    tasks = []
    for run in asked:
        task = _BEFORE | flat({key: run.config.get(key) for key in keys})
        if run.curves:
            task["metric"] = run.curves[0].metric
        tasks.append({k: v for k, v in task.items() if not _MAY_DIFFER & set(k.split("."))})
    for key in sorted({key for task in tasks for key in task}):
        bound = [
            (task.get(key), run)
            for task, run in zip(tasks, asked, strict=True)
            if not (key == "mode" and run.strategy == "full")
            and not (key == "metric" and key not in task)
        ]
        for value, run in bound[1:]:
            if value != bound[0][0]:
                raise ValueError(
                    f"these runs do not belong on one plot: {key} is {bound[0][0]!r} in"
                    f" {bound[0][1].path} and {value!r} in {run.path}"
                )


def _names(runs: Sequence[Run]) -> dict[int, str]:
    """Return a name per run (by `id`): the strategy's, with the parameters that tell runs of one
    strategy apart.
    """
    names: dict[int, str] = {}
    for strategy in {run.strategy for run in runs}:
        group = [run for run in runs if run.strategy == strategy and not run.baseline]
        values = [flat(run.config.get("strategy") or {}) for run in group]
        keys = sorted(
            {key for row in values for key in row if key.split(".")[-1] not in _MAY_DIFFER}
        )
        keys = [key for key in keys if len({repr(row.get(key)) for row in values}) > 1]
        for run, row in zip(group, values, strict=True):
            told = ", ".join(f"{key}={row.get(key)}" for key in keys)
            names[id(run)] = f"{strategy} ({told})" if told else strategy
        names.update(
            {id(run): strategy for run in runs if run.strategy == strategy and run.baseline}
        )
    return names


def _main_curve(run: Run, metric: str) -> Curve | None:
    for curve in run.curves:
        if curve.metric == metric and curve.points:
            return curve
    return None


def _merged(name: str, seed: int, metric: str, runs: Sequence[Run]) -> tuple[Curve, list[Run]]:
    """Return one curve of all runs of a strategy at a seed, each label count once, and the runs
    that gave a point to it.
    """
    order = sorted(
        runs, key=lambda run: (run.baseline, not run.finished, -len(run.rounds), str(run.path))
    )
    points: dict[int, Point] = {}
    used = []
    for run in order:
        curve = _main_curve(run, metric)
        new = {p.labels: p for p in curve.points if p.labels not in points} if curve else {}
        if new:
            points.update(new)
            used.append(run)
    return Curve(name, seed, [points[n] for n in sorted(points)], metric), used


def compare(runs: Sequence[Run]) -> Comparison:
    """Return the runs as one comparison.

    The random baseline of several runs counts once per seed and label count, and a run of the
    strategy `random` replaces it at its seed. Runs of one strategy that differ in parameters get
    names of their own; runs of one strategy, seed and parameters with different budgets are one
    curve. An unfinished run is left out, and named, where its strategy has finished ones. Raises
    ValueError when the runs are of different tasks or none has a finished round.
    """
    check_same_task(runs)
    with_points = [run for run in runs if any(c.points for c in run.curves)]
    main = [run for run in with_points if run.strategy != "full"]
    if not main:
        raise ValueError(f"none of the {len(runs)} runs has a finished round to show")
    metric = next((run for run in main if not run.baseline), main[0]).curves[0].metric
    names = _names(main)
    own_random = {run.seed for run in main if run.strategy == "random" and not run.baseline}
    left_out = [
        f"{run.strategy}, seed {run.seed}: no finished round"
        for run in runs
        if run not in with_points
    ]
    curves: list[Curve] = []
    used: dict[str, list[Run]] = {}
    for name in sorted(set(names.values())):
        group = [
            r for r in main if names[id(r)] == name and not (r.baseline and r.seed in own_random)
        ]
        done = [r for r in group if r.finished]
        for run in group if done else []:
            if not run.finished and run.seed not in {r.seed for r in done}:
                so_far = (
                    f"{len(run.rounds)} of {run.state['rounds']}"
                    if "rounds" in run.state
                    else f"{len(run.rounds)}"
                )
                left_out.append(
                    f"{name}, seed {run.seed}: unfinished, {so_far} rounds, not in the averages"
                )
        mine = [
            _merged(name, seed, metric, [r for r in done or group if r.seed == seed])
            for seed in sorted({r.seed for r in done or group})
        ]
        mine = [(curve, parts) for curve, parts in mine if curve.points]
        if mine and not mean_curve([curve for curve, _ in mine])[0]:
            left_out.append(f"{name}: its seeds share no label count, not in the averages")
            continue
        curves += [curve for curve, _ in mine]
        used[name] = [run for _, parts in mine for run in parts]
    curves = [curve for curve in curves if used.get(curve.strategy)]
    if not curves:
        raise ValueError("no strategy has a label count that all its seeds share")
    full = {
        r.seed: r for r in reversed(with_points) if r.strategy == "full" and _main_curve(r, metric)
    }
    ends = [
        c.points[-1]
        for c in (_main_curve(full[seed], metric) for seed in sorted(full))
        if c is not None
    ]
    last = max((c.points[-1] for c in curves), key=lambda p: p.labels)
    pool = ends[0].labels if ends else round(last.labels / last.share) if last.share > 0 else None
    value = float(np.mean([p.value for p in ends])) if ends else None
    return Comparison(curves, used, value, [full[seed] for seed in sorted(full)], pool, left_out)


def by_strategy(curves: Sequence[Curve]) -> dict[str, list[Curve]]:
    """Return the curves by strategy, in the order of names."""
    return {
        name: [c for c in curves if c.strategy == name]
        for name in sorted({c.strategy for c in curves})
    }


def mean_line(curves: Sequence[Curve]) -> Curve:
    """Return the mean over seeds as a curve of its own, at the label counts all of them have."""
    labels, means, _ = mean_curve(curves)
    shares = {p.labels: p.share for p in curves[0].points}
    points = [Point(n, shares[n], float(v)) for n, v in zip(labels, means, strict=True)]
    return replace(curves[0], points=points, seed=-1)
