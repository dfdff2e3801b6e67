"""The plug-in that Data-Juicer imports: an operator `coreset_<name>` for each scorer and operator
of the registry, made in one loop.

Row-wise ones are Filters: scores and decisions go into the stats, rows that are out go to
`<work_dir>/dropped/` with the reason. What needs all rows is a Pipeline operator with the global
flag: a Selector is refused on Ray, and without the flag a budget would be spent once per partition.
An operator that fails as a whole stops the run, whatever `skip_op_error` says, since Data-Juicer
would leave out the whole batch without a word; a row it fails on is rejected alone.
"""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Mapping
from dataclasses import MISSING, fields
from functools import cached_property, partial
from typing import Any
from uuid import uuid4

from data_juicer.ops.base_op import OPERATORS, Filter, Pipeline

from coreset.build import build_options
from coreset.core.compute import compute_of
from coreset.core.store import fingerprint
from coreset.curation.data_juicer.answers import KEPT, Answers, at_once, row_wise
from coreset.curation.data_juicer.blocks import add_stats, kept_on_ray
from coreset.curation.data_juicer.dropped import write_dropped
from coreset.curation.data_juicer.rows import IDS, OURS, STATS, Rows, joined, read
from coreset.curation.operators.base import Estimator, GroupBy, Selector, describe
from coreset.curation.operators.threshold import Threshold
from coreset.registry import load, names

LOG = logging.getLogger("coreset")
CHUNK = 1000
SCORERS, OTHERS = "coreset.scorers", "coreset.operators"
# Data-Juicer installs what an operator of its own lacks, with `uv pip install` and without asking;
# these make that an error with the name of the package
for _switch in ("UV_OFFLINE", "UV_NO_CACHE", "PIP_NO_INDEX"):
    os.environ.setdefault(_switch, "1")


def with_parts(value: Any) -> Any:
    """Return a setting of a recipe with everything in it that has a `_target_` made: a recipe of
    Data-Juicer is data, only what is ours or registered is built.
    """
    if isinstance(value, Mapping) and "_target_" in value:
        return build_options(dict(value), "options")
    if isinstance(value, Mapping):
        return {n: with_parts(v) for n, v in value.items()}
    return [with_parts(v) for v in value] if isinstance(value, list | tuple) else value


class _Ours:
    """What Filters and Pipelines of ours share: the operator they stand for, made when it is first
    needed, in every worker anew.
    """

    group = ""
    entry = ""
    _name: str
    work_dir: str | None
    text_key: str

    def _take(self, options: dict[str, Any], *more: str) -> dict[str, Any]:
        """Keep the operator's own settings and return Data-Juicer's: what wants a GPU is lent one
        where there is any, and gets batches as large as on a processor.
        """
        own = {f.name for f in fields(load(self.entry, self.group))}
        self.options = {n: options.pop(n) for n in sorted(own & set(options))}
        self.more = {n: options.pop(n) for n in more if n in options}
        if compute_of(self.operator).gpus:
            options = {"accelerator": "cuda", "batch_size": CHUNK, **options}
        return {**options, "skip_op_error": False}

    def _check(self) -> None:
        if not self.work_dir:
            raise ValueError(
                f"{self._name}: work_dir: expected the folder in which dropped rows are written"
                " down; dj-process sets it"
            )
        # for Data-Juicer's cache: a file of the same name may hold something else by now
        self.made_of = fingerprint(describe(self.operator))

    @cached_property
    def operator(self) -> Any:
        """The operator of the registry."""
        return load(self.entry, self.group)(**{n: with_parts(v) for n, v in self.options.items()})

    def __getstate__(self) -> dict[str, Any]:
        return {n: v for n, v in self.__dict__.items() if n not in ("operator", "band")}


class _RowWise(_Ours, Filter):  # type: ignore[misc]
    """A scorer or rule as a Filter: compute_stats scores, process decides."""

    _batched_op = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        Filter.__init__(self, *args, **self._take(kwargs, "on", "low", "high"))
        self._check()
        _ = self.band

    @cached_property
    def band(self) -> Threshold | None:
        """Which scores are kept: `low` to `high` of the column `on`; None: all."""
        low, high = self.more.get("low"), self.more.get("high")
        if low is None and high is None:
            return None
        scores = sorted(n for n in self.operator.gives if not n.endswith("_status"))
        on = self.more.get("on") or (scores[0] if len(scores) == 1 else None)
        if on is None or on not in scores:
            raise ValueError(f"{self._name}: on: expected one of {', '.join(scores)}, got {on!r}")
        return Threshold(on, low, high)

    def compute_stats_batched(self, samples: Any, rank: int | None = None) -> Any:
        """Write what the operator says about every row into its stats."""
        if rank is not None:
            _use_gpu(rank)
        rows = read(samples, self.operator.needs, self.text_key)
        answers = row_wise(self.operator, self.band, rows)
        samples[STATS] = [{**(old or {}), **answers.of(i)} for i, old in enumerate(samples[STATS])]
        return samples

    def process_batched(self, samples: Any, data_set: str = "") -> list[bool]:
        """Return which rows stay; write down the others. data_set: a name for that of Ray."""
        return self._decide(
            samples, None if any(n in samples for n in IDS) or not data_set else _place(data_set)
        )

    def _prepare_for_ray_map_batches(self) -> bool:
        """Name the data set of Ray on which this is laid; Data-Juicer asks each time. False: tasks
        or actors, as the recipe says.
        """
        self.process = partial(self.process_batched, data_set=uuid4().hex)
        return False

    def _decide(self, samples: Any, place: Any) -> list[bool]:
        ids = [s[f"{OURS}id"] for s in samples[STATS]]
        keep = [s[f"{OURS}state"] == KEPT for s in samples[STATS]]
        out = [i for i, k in enumerate(keep) if not k]
        assert self.work_dir
        write_dropped(
            self.work_dir,
            self._name,
            [{n: samples[n][i] for n in samples} for i in out],
            ids,
            place,
        )
        return keep

    def run(
        self, dataset: Any, *, exporter: Any = None, tracer: Any = None, reduce: bool = True
    ) -> Any:
        """Score in Data-Juicer's processes (cached by it), decide here: a decision from the cache
        would write no reasons down.
        """
        scored = Filter.run(self, dataset, exporter=exporter, tracer=tracer, reduce=False)
        if not reduce:
            return scored
        kept: list[int] = []
        for start in range(0, len(scored), CHUNK):
            keep = self._decide(_chunk(scored, start), start)
            kept += [start + i for i, k in enumerate(keep) if k]
        return scored.select(kept)


class _AllRows(_Ours, Pipeline):  # type: ignore[misc]
    """A fit, group or selection as a Pipeline operator that sees all rows, on every executor."""

    is_global_operation = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        Pipeline.__init__(self, *args, **self._take(kwargs, "total"))
        self._check()
        operator, total = self.operator, self.more.get("total")
        share = (
            isinstance(getattr(operator, "budget", None), float)
            and getattr(operator, "cost", None) is None
        )
        if share and total is None:
            raise ValueError(
                f"{self._name}: budget: a share is one of all rows read, which an operator of"
                " Data-Juicer cannot know; give a count (200), or with the share how many rows the"
                " input has (total)"
            )
        if total is not None and isinstance(operator, Selector):
            operator.check(total)

    def answers(self, rows: Rows) -> Answers:
        """Return what the operator says about all rows."""
        return at_once(self.operator, rows, self.more.get("total"))

    def run(self, dataset: Any, *, exporter: Any = None, tracer: Any = None, **_: Any) -> Any:
        """Return the data set without the rows that are out; those are written down."""
        assert self.work_dir
        needs = self.operator.needs | getattr(self.operator, "key_needs", frozenset())
        if hasattr(dataset, "to_arrow_refs"):
            return kept_on_ray(
                dataset, needs, self.text_key, self.answers, self.work_dir, self._name
            )
        starts = range(0, len(dataset), CHUNK)
        answers = self.answers(
            joined([read(_chunk(dataset, s), needs, self.text_key) for s in starts])
        )
        return add_stats(dataset, answers, self.work_dir, self._name)


def _place(data_set: str) -> tuple[str, int, int]:
    """Return which batch of which task of Ray Data this is, the same when the task is done again:
    rows without ids may come again in another batch.
    """
    from ray.data._internal.execution.interfaces import TaskContext

    task: Any = TaskContext.get_current()
    task.kwargs[data_set] = task.kwargs.get(data_set, -1) + 1
    return data_set, task.task_idx, task.kwargs[data_set]


def _use_gpu(rank: int) -> None:
    """Let this process, one of several of Data-Juicer's default executor, work on a GPU of its own.
    On Ray it sees no other.
    """
    import torch

    torch.cuda.set_device(rank % torch.cuda.device_count())


def _chunk(dataset: Any, start: int) -> dict[str, list[Any]]:
    from datasets import Dataset

    return dict(Dataset.__getitem__(dataset, slice(start, start + CHUNK)))


def _init(base: Any, target: Any, more: tuple[str, ...]) -> Any:
    """Return an __init__ whose signature names the settings, which Data-Juicer checks a recipe
    against before it starts.
    """

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        base.__init__(self, *args, **kwargs)

    one = inspect.Parameter
    own = [
        one(f.name, one.KEYWORD_ONLY, default=None if f.default is MISSING else f.default)
        for f in fields(target)
    ]
    rest = [one(n, one.KEYWORD_ONLY, default=None) for n in more]
    arguments = [
        one("self", one.POSITIONAL_OR_KEYWORD),
        *own,
        *rest,
        one("kwargs", one.VAR_KEYWORD),
    ]
    ready: Any = init
    ready.__signature__ = inspect.Signature(arguments)
    return ready


def _register(entry: str, group: str) -> None:
    target = load(entry, group)
    gives = getattr(target, "gives", None)
    whole = issubclass(target, Estimator | GroupBy | Selector) or (
        isinstance(gives, frozenset) and "repeat" in gives
    )
    base: type = _AllRows if whole else _RowWise
    more = (
        ("total",)
        if issubclass(target, Selector)
        else ("on", "low", "high")
        if group == SCORERS
        else ()
    )
    name = f"Coreset{target.__name__}{'Pipeline' if whole else 'Filter'}"
    about = {
        "__module__": __name__,
        "__qualname__": name,
        "__doc__": target.__doc__,
        "group": group,
        "entry": entry,
    }
    cls = type(name, (base,), {**about, "__init__": _init(base, target, more)})
    globals()[name] = cls  # where pickle looks for it
    OPERATORS.register_module(f"{OURS}{entry}")(cls)


for _group in (SCORERS, OTHERS):
    for _entry in names(_group):
        try:
            _register(_entry, _group)
        except Exception as _error:  # of another package: ours must not go with it
            LOG.warning(
                "%s is no operator of Data-Juicer: %s: %s", _entry, type(_error).__name__, _error
            )
