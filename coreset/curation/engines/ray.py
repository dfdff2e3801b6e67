"""The engine for a cluster: Ray Data. A step is mapped over items by `map_batches`, in an actor
pool where an operator holds a model, and rows are brought together by Ray Data's hash shuffle.

Ray plans, places, retries and moves; what is here says what to call. Rows lie in the state, which
lies where the output does, and travel between workers only: through the process that started the
run go the names of partitions and what steps return, which is counts. A step done twice writes the
same, so that whatever Ray does again changes nothing.
"""

from __future__ import annotations

import logging
import os
import pickle
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from typing import Any, TypeVar

import pyarrow as pa

from coreset.core.engine import PART
from coreset.curation.engines.spill import by_part, plain

T = TypeVar("T")
R = TypeVar("R")
LOG = logging.getLogger("coreset")
INSTALL = "the engine 'ray' needs Ray Data: pip install 'coreset-lightning[ray]'"
_SHUFFLED = 200  # partitions of a shuffle, at most: each takes any number of parts


@dataclass(frozen=True)
class Task:
    """A step on its way to workers: its bytes, which Ray sends with what is called, and where its
    modules are.
    """

    step: bytes
    path: tuple[str, ...]

    def load(self) -> Callable[[Any], Any]:
        """Return the step."""
        return _loaded(self.step, self.path)


@lru_cache(8)
def _loaded(data: bytes, path: tuple[str, ...]) -> Callable[[Any], Any]:
    sys.path.extend(p for p in path if p not in sys.path)
    step: Callable[[Any], Any] = pickle.loads(data)
    return step


def _answer(call: Callable[[], Any]) -> bytes:
    """Return (True, what a call returns) or (False, its error), pickled: errors are answers, so
    that they come back as what they were.
    """
    try:
        return pickle.dumps((True, call()))
    except Exception as error:
        return pickle.dumps((False, error))


def _answers(place: list[int], answers: list[bytes]) -> pa.Table:
    return pa.table({"place": place, "answer": pa.array(answers, pa.large_binary())})


def call_items(batch: pa.Table, task: Task) -> pa.Table:
    """Return the answers of a step about a batch of items."""
    answers = []
    for item in batch["item"].to_pylist():
        answers.append(_answer(lambda item=item: task.load()(pickle.loads(item))))  # type: ignore[misc]
    return _answers(batch["place"].to_pylist(), answers)


class CallItems:
    """`call_items` in an actor that stays, so that a model is loaded once."""

    def __init__(self, task: Task) -> None:
        self.task = task

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Return the answers about a batch of items."""
        return call_items(batch, self.task)


def read_items(batch: pa.Table, task: Task) -> pa.Table:
    """Return the rows that a step reads of items, those of one part as one Arrow stream each, with
    the place of their item; an error stands alone as part -1.
    """
    parts: list[int] = []
    places: list[int] = []
    rows: list[bytes] = []
    for place, item in zip(batch["place"].to_pylist(), batch["item"].to_pylist(), strict=True):
        try:
            table = plain(task.load()(pickle.loads(item)))
            for part, held in by_part(table) if table.num_rows else ():
                sink = pa.BufferOutputStream()
                with pa.ipc.new_stream(sink, held.schema) as out:
                    out.write_table(held.combine_chunks())
                parts.append(part)
                places.append(place)
                rows.append(sink.getvalue().to_pybytes())
        except Exception as error:
            parts.append(-1)
            places.append(place)
            rows.append(pickle.dumps((False, error)))
    return pa.table(
        {
            PART: pa.array(parts, pa.int64()),
            "place": pa.array(places, pa.int64()),
            "rows": pa.array(rows, pa.large_binary()),
        }
    )


def call_part(group: pa.Table, task: Task) -> pa.Table:
    """Return the answer of a step about one part, its rows put together, those of an item once:
    what a task sent before its node was lost comes again from the task in its place.
    """
    part = group[PART][0].as_py()
    if part == -1:
        return _answers([part], [group["rows"][0].as_py()])

    def step() -> Any:
        once = dict(zip(group["place"].to_pylist(), group["rows"], strict=True))
        tables = [pa.ipc.open_stream(held.as_buffer()).read_all() for held in once.values()]
        return task.load()((part, pa.concat_tables(tables, promote_options="permissive")))

    return _answers([part], [_answer(step)])


def holds_model(step: Any) -> bool:
    """Return whether an operator that a step may run holds a model (`gpu`)."""
    chain = (
        getattr(step, "chain", None)
        or getattr(getattr(step, "decide", None), "chain", None)
        or step
    )
    stages = [*getattr(chain, "stages", ()), *([step.stage] if hasattr(step, "stage") else [])]
    return any(getattr(stage.operator, "gpu", False) for stage in stages)


@dataclass(frozen=True)
class RayData:
    """Run steps by Ray Data.

    workers: tasks at a time, and processors of a cluster that is started here. address: of a
    running cluster (`auto`: the one this machine belongs to); None starts one. gpus: of each actor
    with a model, where the cluster has any. retries: how often a stage is done again whose workers
    or objects were lost beyond what Ray makes good itself. memory: bytes of Ray's object store on
    this machine, None: Ray's own choice.
    passed: bytes that went through this process, by kind: items, answers, steps. Raises ImportError
    with the install line without Ray.
    """

    workers: int = 2
    address: str | None = None
    gpus: float = 1.0
    retries: int = 2
    memory: int | None = None
    passed: Counter[str] = field(default_factory=Counter, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, least in (("workers", 1), ("retries", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(
                    f"{name}: expected a whole number of at least {least}, got {value!r}"
                )
        if not self.gpus >= 0:
            raise ValueError(f"gpus: expected a number of at least 0, got {self.gpus!r}")

    @property
    def name(self) -> str:
        """Return "ray"."""
        return "ray"

    @property
    def sharded(self) -> bool:
        """Return True: every task writes files of its own."""
        return True

    def map(self, step: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """Yield the results in the order of items."""
        if not items:
            return
        ray = self._ray()
        task, held, at = self._task(step), dict[int, R](), 0
        for attempt in range(self.retries + 1):
            left = [(i, items[i]) for i in range(at, len(items)) if i not in held]
            done = self._called(ray, self._rows(ray, left), task, step, len(left))
            try:
                for place, answer in self._taken(ray, done):
                    held[place] = answer
                    while at in held:
                        yield held.pop(at)
                        at += 1
                return
            except ray.exceptions.RayError as error:
                self._again(attempt, error)

    def _called(self, ray: Any, rows: Any, task: Task, step: Any, count: int) -> Any:
        """Return the answers of a step about `count` rows of items."""
        if not holds_model(step):
            return rows.map_batches(
                call_items, fn_args=(task,), batch_size=1, batch_format="pyarrow"
            )
        there = ray.cluster_resources().get("GPU", 0)
        pool = ray.data.ActorPoolStrategy(min_size=1, max_size=min(self.workers, count))
        lent = {"num_gpus": self.gpus} if there and self.gpus else {"num_cpus": 1}
        return rows.map_batches(
            CallItems, fn_constructor_args=(task,), compute=pool, batch_size=1,
            batch_format="pyarrow", **lent,
        )  # fmt: skip

    def exchange(
        self,
        read: Callable[[T], Any],
        items: Sequence[T],
        step: Callable[[tuple[int, Any]], R],
        parts: int,
    ) -> Iterator[R]:
        """Bring rows together by a hash shuffle of `_part`. A part's rows of one item travel as one
        Arrow stream, so that Ray moves few rows and schemas may differ.
        """
        if not items:
            return
        ray = self._ray()
        rows = self._rows(ray, list(enumerate(items))).map_batches(
            read_items, fn_args=(self._task(read),), batch_size=1, batch_format="pyarrow"
        )
        groups = rows.groupby(PART, num_partitions=min(parts, max(_SHUFFLED, self.workers)))
        done = groups.map_groups(call_part, fn_args=(self._task(step),), batch_format="pyarrow")
        for attempt in range(self.retries + 1):
            try:
                answers = sorted(self._taken(ray, done), key=lambda one: one[0])
                break
            except ray.exceptions.RayError as error:
                self._again(attempt, error)
        yield from (answer for _, answer in answers)

    def _again(self, attempt: int, error: Exception) -> None:
        """Say that a stage is done again; raise RuntimeError when that was the last attempt."""
        if attempt == self.retries:
            raise RuntimeError(
                f"a stage lost workers or objects {attempt + 1} times ({type(error).__name__});"
                " out of memory? use more or larger machines, or smaller partitions"
            ) from error
        LOG.warning("a stage lost workers or objects and is done again: %s", str(error))

    def _rows(self, ray: Any, items: Sequence[tuple[int, Any]]) -> Any:
        """Return items with their places as a dataset, a block each."""
        data = [(place, pickle.dumps(item)) for place, item in items]
        self.passed["items"] += sum(len(item) for _, item in data)
        rows = [{"place": place, "item": item} for place, item in data]
        return ray.data.from_items(rows, override_num_blocks=len(rows))

    def _task(self, step: Any) -> Task:
        data = pickle.dumps(step)
        self.passed["steps"] += len(data)
        return Task(data, tuple(sys.path))

    def _taken(self, ray: Any, done: Any) -> Iterator[tuple[int, Any]]:
        """Yield (place, answer) as they come; raise the error of a step."""
        try:
            for batch in done.iter_batches(batch_size=None, batch_format="pyarrow"):
                if "answer" not in batch.column_names:
                    continue
                for place, answer in zip(
                    batch["place"].to_pylist(), batch["answer"].to_pylist(), strict=True
                ):
                    self.passed["answers"] += len(answer)
                    good, value = pickle.loads(answer)
                    if not good:
                        raise value
                    yield place, value
        except ray.exceptions.RayTaskError as error:
            cause = str(error).strip().splitlines()
            lost = next((line for line in cause if "ModuleNotFoundError" in line), None)
            if lost is None:
                raise
            where = next((line for line in cause if "ip=" in line), cause[0])
            raise RuntimeError(
                f"a worker cannot take up the step: {lost.strip()} ({where.strip()[:120]}); on"
                " every node: pip install 'coreset-lightning[ray]'"
            ) from error

    def _ray(self) -> Any:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        try:
            ray: Any = import_module("ray")
            import_module("ray.data")
        except ImportError as error:
            raise ImportError(INSTALL) from error
        if not ray.is_initialized():
            here: dict[str, Any] = (
                {} if self.address else {"num_cpus": self.workers, "include_dashboard": False}
            )
            if self.memory and not self.address:
                here["object_store_memory"] = self.memory
            # None would join the cluster that somebody else began on this machine
            where = self.address or "local"
            ray.init(address=where, log_to_driver=False, logging_level="ERROR", **here)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        context.shuffle_strategy = ray.data.context.ShuffleStrategy.HASH_SHUFFLE
        # what receives rows reserves no part of a processor: on nodes of one, no task fits beside it
        context.hash_shuffle_operator_actor_num_cpus_override = 0
        for name in ("ray.data", "ray"):
            logging.getLogger(name).setLevel(logging.ERROR)
        return ray

    def __getstate__(self) -> dict[str, Any]:
        names = ("workers", "address", "gpus", "retries", "memory")
        return {n: getattr(self, n) for n in names} | {"passed": Counter()}

    def close(self) -> None:
        """Do nothing: a cluster started here ends with this process."""
