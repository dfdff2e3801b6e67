"""The engine for a cluster: Ray actors that stay, so that each loads a model once, and are replaced
when they die.

Steps read and write files of the state, which lies in a folder that every machine sees; what
travels through Ray is a step and a place. A lost worker's item is done again by another: a step
done twice writes the same. Plain actors and not Ray Data's blocks, since the partitions of the
state are the blocks already: rows need not be moved, counted or ordered a second time, and an
answer cannot depend on how Ray cut them.
"""

from __future__ import annotations

import logging
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")
LOG = logging.getLogger("coreset")
PATIENCE = 60.0  # seconds until a word about actors that do not begin
INSTALL = "the engine 'ray' needs Ray: pip install 'coreset-lightning[ray]'"


class _Worker:
    """What runs in an actor: one step at a time. Errors are answers, so that they come back as what
    they were. path: where the driver finds its modules.
    """

    def __init__(self, path: Sequence[str]) -> None:
        sys.path.extend(p for p in path if p not in sys.path)

    def ready(self) -> None:
        """Answer as soon as the actor runs: one that waits for a machine is given nothing to do."""

    def call(self, step: Callable[[Any], Any], item: Any) -> tuple[bool, Any]:
        """Return (True, the answer) or (False, the error)."""
        try:
            return True, step(item)
        except Exception as error:
            return False, error


def wants_gpu(step: Any) -> bool:
    """Return whether an operator that a step may run says that a GPU is worth having (`gpu`)."""
    chain = (
        getattr(step, "chain", None)
        or getattr(getattr(step, "decide", None), "chain", None)
        or step
    )
    stages = [*getattr(chain, "stages", ()), *([step.stage] if hasattr(step, "stage") else [])]
    return any(getattr(stage.operator, "gpu", False) for stage in stages)


@dataclass(frozen=True)
class RayActors:
    """Call steps in `workers` actors of a Ray cluster.

    workers: actors, each with a processor of its own; those for which the cluster has no room are
    waited for while the others work. address: of a running cluster (`auto`: the one this machine
    belongs to); None starts one here, with a processor for each worker. gpus: of each actor for
    steps with an operator that wants one (`gpu`), where the cluster has any; these actors are
    others, and take no processor from those that wait meanwhile. retries: how often an item whose
    worker died is done again. Raises ImportError with the install line without Ray.
    """

    workers: int = 2
    address: str | None = None
    gpus: float = 1.0
    retries: int = 2
    _pools: dict[float, list[Any]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        for name in ("workers", "retries"):
            value = getattr(self, name)
            least = 1 if name == "workers" else 0
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

    def _ray(self) -> Any:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        try:
            ray: Any = import_module("ray")
        except ImportError as error:
            raise ImportError(INSTALL) from error
        if not ray.is_initialized():
            here = {} if self.address else {"num_cpus": self.workers, "include_dashboard": False}
            ray.init(address=self.address, log_to_driver=False, logging_level="ERROR", **here)
        return ray

    def _new(self, ray: Any, gpus: float) -> Any:
        cpus = 0 if gpus else 1  # one thread each in both cases: Ray sees to it
        return (
            ray.remote(_Worker)
            .options(num_cpus=cpus, num_gpus=gpus, max_restarts=0)
            .remote(sys.path)
        )

    def map(self, step: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """Yield the results in the order of items."""
        if not items:
            return
        ray = self._ray()
        gpus = self.gpus if wants_gpu(step) and ray.cluster_resources().get("GPU", 0) else 0.0
        pool = self._pools.setdefault(gpus, [])
        while len(pool) < min(self.workers, len(items)):
            pool.append(self._new(ray, gpus))
        shared, waiting = ray.put(step), list(range(len(items)))[::-1]
        lost, done, idle, at = Counter[int | None](), dict[int, R](), list[int](), 0
        running: dict[Any, tuple[int | None, int]] = {  # None: not at work yet
            actor.ready.remote(): (None, place) for place, actor in enumerate(pool[: len(items)])
        }
        while at < len(items):
            while idle and waiting:
                place, i = idle.pop(), waiting.pop()
                running[pool[place].call.remote(shared, items[i])] = (i, place)
            ready = self._wait(ray, running)
            doing, place = running.pop(ready[0])
            try:
                answer = ray.get(ready[0])
            except (
                ray.exceptions.RayTaskError
            ) as error:  # the step did not arrive: its module is not there, or it cannot be pickled
                raise RuntimeError(
                    f"a worker cannot take up the step: {str(error).strip().splitlines()[-1]}"
                ) from error
            except ray.exceptions.RayError as error:  # the worker, or what it held, is lost
                lost[doing] += 1
                if lost[doing] > self.retries + (
                    len(pool) if doing is None else 0
                ):  # some may have died since the last call
                    what = (
                        "workers died as they began"
                        if doing is None
                        else "the worker of one item died"
                    )
                    raise RuntimeError(
                        f"{what} {lost[doing]} times ({type(error).__name__}); out of memory? use"
                        " fewer workers or smaller partitions"
                    ) from error
                pool[place] = self._new(ray, gpus)
                running[pool[place].ready.remote()] = (None, place)
                if doing is not None:
                    waiting.append(doing)
                continue
            idle.append(place)
            if doing is None:
                continue
            if not answer[0]:
                for ref in running:
                    ray.cancel(ref, force=False)
                raise answer[1]
            done[doing] = answer[1]
            while at in done:
                yield done.pop(at)
                at += 1

    def _wait(self, ray: Any, running: Mapping[Any, tuple[int | None, int]]) -> Any:
        """Return the first that answers; say so when no actor has begun for a while: another engine
        or job may hold the processors.
        """
        if all(doing is None for doing, _ in running.values()):
            ready, _ = ray.wait(list(running), num_returns=1, timeout=PATIENCE)
            if ready:
                return ready
            free, there = ray.available_resources(), ray.cluster_resources()
            rooms = ", ".join(
                f"{free.get(n, 0):g} of {there.get(n, 0):g} {n}" for n in ("CPU", "GPU")
            )
            LOG.warning(
                "no actor has begun within %g s; free: %s. Does another engine hold them (close"
                " it)?",
                PATIENCE,
                rooms,
            )
        return ray.wait(list(running), num_returns=1)[0]

    def __getstate__(self) -> dict[str, Any]:
        return {
            "workers": self.workers,
            "address": self.address,
            "gpus": self.gpus,
            "retries": self.retries,
            "_pools": {},
        }

    def close(self) -> None:
        """Let the actors go; a cluster started here ends with this process."""
        for pool in self._pools.values():
            pool.clear()
