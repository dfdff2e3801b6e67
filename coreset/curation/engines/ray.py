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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, TypeVar

from coreset.core.compute import Compute, compute_of, largest
from coreset.curation.engines.ray_tasks import (
    AGAIN,
    BUCKET,
    WHOLE,
    CallItems,
    ReadItems,
    RowsLost,
    Task,
    call_bucket,
    call_items,
    own_version,
    read_items,
)

T = TypeVar("T")
R = TypeVar("R")
LOG = logging.getLogger("coreset")
INSTALL = "the engine 'ray' needs Ray Data: pip install 'coreset-lightning[ray]'"
_BUCKETS = 200  # of a shuffle, at most, or two for each worker: one holds any number of parts
_WORDS = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}  # what Ray calls them of a node
# Of workers that call steps. A runtime environment of their own keeps Ray's own tasks and
# actors from taking the processes that hold the imports. glibc comes to these bounds by
# itself once 32 MiB were freed in one piece, which not every worker does: the others gave every
# batch's memory back and asked for it again.
_WORKER = {
    "batch_format": "pyarrow",
    "runtime_env": {
        "env_vars": {
            "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
            "MALLOC_TRIM_THRESHOLD_": str(64 * 2**20),
        }
    },
}


def _in_words(resources: Mapping[str, float]) -> str:
    """Return processors, GPUs and memory of a node or a worker for an error."""
    words = [f"{resources.get('CPU', 0):g} CPUs", f"{resources.get('GPU', 0):g} GPUs"]
    if "memory" in resources:
        words.append(f"{resources['memory'] / 2**30:.3g} GiB of memory")
    return ", ".join(words)


def operators_of(step: Any) -> list[Any]:
    """Return the operators that a step may run: those of its chain that are computed where they are
    asked for, and that of its stage.
    """
    chain = (
        getattr(step, "chain", None)
        or getattr(getattr(step, "decide", None), "chain", None)
        or step
    )
    stages = [*getattr(chain, "stages", ()), *([step.stage] if hasattr(step, "stage") else [])]
    return [stage.operator for stage in stages if stage.operator is not None]


def name_of(step: Any) -> str:
    """Return what errors call a step: its stage, where it has one, and its class."""
    kind = type(step).__name__
    return f"{step.stage.name}, {kind}" if hasattr(step, "stage") else kind


@dataclass(frozen=True)
class RayData:
    """Run steps by Ray Data.

    workers: tasks at a time, and processors of a cluster that is started here. address: of a
    running cluster (`auto`: the one this machine belongs to); None starts one. gpus: share of a GPU
    that an actor is lent for each one that its operator declares (`Compute`); 0: none. retries: how
    often a stage is done again whose workers or objects were lost beyond what Ray makes good
    itself. memory: bytes of Ray's object store on this machine, None: Ray's own choice.
    passed: bytes that went through this process, by kind: items, answers, steps. moved: what
    shuffles brought together, (what, step): rows, bytes and messages. Raises ImportError with the
    install line without Ray.
    """

    workers: int = 2
    address: str | None = None
    gpus: float = 1.0
    retries: int = 2
    memory: int | None = None
    passed: Counter[str] = field(default_factory=Counter, init=False, repr=False, compare=False)
    moved: Counter[tuple[str, str]] = field(
        default_factory=Counter, init=False, repr=False, compare=False
    )

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

    def check(self, operators: Sequence[Any]) -> None:
        """Raise ValueError for an operator that no node of the cluster has the processors, GPUs or
        memory for, or for several that run in one worker and do not fit together.
        """
        wanted = [(type(one).__name__, compute_of(one)) for one in operators]
        if all(compute == Compute() for _, compute in wanted):
            return
        ray = self._ray()
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        together = largest([compute for _, compute in wanted])
        for name, compute in (*wanted, (" and ".join(name for name, _ in wanted), together)):
            lent = self._lent(ray, compute)
            needs = {_WORDS[key]: value for key, value in lent.items()}
            if not any(all(n.get(k, 0) >= v for k, v in needs.items()) for n in nodes):
                there = "; ".join(sorted({_in_words(node) for node in nodes}))
                raise ValueError(
                    f"{name} needs {_in_words(needs)} on one node, the nodes of the cluster have"
                    f" {there}; take a larger node, more engine.workers where the cluster is started"
                    " here, or an operator that declares less"
                )

    def map(self, step: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """Yield the results in the order of items. Raises RowsLost when an answer has not come."""
        if not items:
            return
        ray = self._ray()
        task, held, at = self._task(step), dict[int, R](), 0
        for attempt in range(self.retries + 1):
            left = [(i, items[i]) for i in range(at, len(items)) if i not in held]
            done = self._called(ray, self._rows(ray, left), task, step, len(left))
            try:
                for batch in self._taken(ray, done):
                    for place, answer in zip(
                        batch["place"].to_pylist(), batch["answer"].to_pylist(), strict=True
                    ):
                        if place >= at:  # else it has come before, of a task that was done again
                            held[place] = self._opened(answer)
                    while at in held:
                        yield held.pop(at)
                        at += 1
                break
            except ray.exceptions.RayError as error:
                self._again(attempt, error)
        if at < len(items):
            raise RowsLost(
                f"{task.name}: expected the answers about {len(items)} items, got"
                f" {at + len(held)}; nothing has come about item {at}. {AGAIN}"
            )

    def _called(self, ray: Any, rows: Any, task: Task, step: Any, count: int) -> Any:
        """Return the answers of a step about `count` rows of items."""
        return self._mapped(ray, rows, step, count, (call_items, CallItems), (task,))

    def _mapped(
        self,
        ray: Any,
        rows: Any,
        step: Any,
        count: int,
        calls: tuple[Any, Any],
        with_: tuple[Any, ...],
    ) -> Any:
        """Return what comes of `count` rows of items, one at a time: by tasks, or by a pool of
        actors where an operator of the step declares more than a processor.
        """
        compute = largest([compute_of(one) for one in operators_of(step)])
        one_by_one = {"batch_size": 1, **_WORKER}
        if compute == Compute():
            return rows.map_batches(calls[0], fn_args=with_, **one_by_one)
        pool = ray.data.ActorPoolStrategy(min_size=1, max_size=min(self.workers, count))
        lent = self._lent(ray, compute)
        return rows.map_batches(
            calls[1], fn_constructor_args=with_, compute=pool, **lent, **one_by_one
        )

    def _lent(self, ray: Any, compute: Compute) -> dict[str, float]:
        """Return what Ray lends a worker for what an operator declares."""
        lent = {"num_cpus": compute.cpus}
        if compute.memory:
            lent["memory"] = compute.memory
        there = ray.cluster_resources().get("GPU", 0)
        if compute.gpus and self.gpus and (there or not compute.or_cpu):
            lent["num_gpus"] = compute.gpus * self.gpus
        return lent

    def exchange(
        self,
        read: Callable[[T], Any],
        items: Sequence[T],
        step: Callable[[tuple[int, Any]], R],
        parts: int,
    ) -> Iterator[R]:
        """Bring rows together by a hash shuffle of buckets: parts that follow each other share
        one, so that messages grow with the items alone. A bucket's rows of one item travel as one
        Arrow stream: Ray moves few rows, and schemas may differ. Raises RowsLost when rows or
        whole buckets have not come.
        """
        if not items:
            return
        ray = self._ray()
        task, buckets = self._task(step), min(parts, max(_BUCKETS, 2 * self.workers))
        groups = self._sent(ray, items, read, parts, buckets).groupby(
            BUCKET, num_partitions=buckets
        )
        compute = largest([compute_of(one) for one in operators_of(step)])
        lent = {} if compute == Compute() else self._lent(ray, compute)
        done = groups.map_groups(call_bucket, fn_args=(task, len(items)), **_WORKER, **lent)
        for attempt in range(self.retries + 1):
            try:
                batches = list(self._taken(ray, done))
                break
            except ray.exceptions.RayError as error:
                self._again(attempt, error)
        answers, wholes = dict[int, bytes](), dict[int, dict[str, Any]]()
        for one in (row for batch in batches for row in batch.to_pylist()):
            if one["part"] == WHOLE:
                wholes[one[BUCKET]] = one
            else:
                answers[one["part"]] = one["answer"]
        for bucket in sorted(wholes):
            if wholes[bucket]["answer"]:
                self._opened(wholes[bucket]["answer"])  # raises what it says
            for what in ("rows", "bytes", "messages"):
                self.moved[what, task.name] += wholes[bucket][what]
        opened = [self._opened(answers[part]) for part in sorted(answers)]
        if len(wholes) < buckets:
            first = next(i for i in range(buckets) if i not in wholes)
            raise RowsLost(
                f"{task.name}: expected {buckets} buckets, got {len(wholes)}; nothing has come of"
                f" bucket {first}. {AGAIN}"
            )
        if len(answers) < (count := sum(one["parts"] for one in wholes.values())):
            raise RowsLost(
                f"{task.name}: expected the answers of {count} parts, got {len(answers)}. {AGAIN}"
            )
        yield from opened

    def _sent(self, ray: Any, items: Sequence[Any], read: Any, parts: int, buckets: int) -> Any:
        """Return the messages of all items to all buckets."""
        rows, with_ = self._rows(ray, list(enumerate(items))), (self._task(read), parts, buckets)
        return self._mapped(ray, rows, read, len(items), (read_items, ReadItems), with_)

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
        return Task(data, tuple(sys.path), name_of(step), own_version())

    def _opened(self, answer: bytes) -> Any:
        """Return what a step returned; raise its error."""
        self.passed["answers"] += len(answer)
        good, value = pickle.loads(answer)
        if not good:
            raise value
        return value

    def _taken(self, ray: Any, done: Any) -> Iterator[Any]:
        """Yield tables of `place` and `answer` as they come."""
        try:
            for batch in done.iter_batches(
                batch_size=None, batch_format="pyarrow", prefetch_batches=0
            ):
                if "answer" in batch.column_names:
                    yield batch
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
        # a worker without a task is kept for a minute, not a second: its imports are paid once
        os.environ.setdefault("RAY_idle_worker_killing_time_threshold_ms", "60000")
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
        # Ray's own default, by tasks alone; before Ray 2.60 actors take what is shuffled: no part of
        # a processor is reserved for them, else no task fits beside one on nodes of one processor
        kinds = ray.data.context.ShuffleStrategy
        context.shuffle_strategy = getattr(kinds, "SHUFFLE_V2", kinds.HASH_SHUFFLE)
        context.hash_shuffle_operator_actor_num_cpus_override = 0
        context.shuffle_input_batch_bytes = 2**27  # that one task cuts; Ray's default is 1 GiB
        for name in ("ray.data", "ray"):
            logging.getLogger(name).setLevel(logging.ERROR)
        return ray

    def __getstate__(self) -> dict[str, Any]:
        names = ("workers", "address", "gpus", "retries", "memory")
        return {n: getattr(self, n) for n in names} | {"passed": Counter(), "moved": Counter()}

    def close(self) -> None:
        """Do nothing: a cluster started here ends with this process."""
