"""The engine for a cluster: Ray actors that stay, so that each loads a model once, and are replaced when they die.

Steps read and write files of the state, which lies in a folder that every machine sees; what travels through Ray is a step and a place. A lost worker's item is done again by
another: a step done twice writes the same. Plain actors and not Ray Data's blocks, since the pieces of the state are the blocks already: rows need not be moved, counted or ordered
a second time, and an answer cannot depend on how Ray cut them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")
INSTALL = "the engine 'ray' needs Ray: pip install 'coreset-lightning[ray]'"


class _Worker:
    """What runs in an actor: one step at a time. Errors are answers, so that they come back as what they were. path: where the driver finds its modules."""

    def __init__(self, path: Sequence[str]) -> None:
        sys.path.extend(p for p in path if p not in sys.path)

    def call(self, step: Callable[[Any], Any], item: Any) -> tuple[bool, Any]:
        """Return (True, the answer) or (False, the error)."""
        try:
            return True, step(item)
        except Exception as error:
            return False, error


def wants_gpu(step: Any) -> bool:
    """Return whether an operator that a step may run says that a GPU is worth having (`gpu`)."""
    chain = getattr(step, "chain", None) or getattr(getattr(step, "decide", None), "chain", None) or step
    links = [*getattr(chain, "links", ()), *([step.link] if hasattr(step, "link") else [])]
    return any(getattr(link.operator, "gpu", False) for link in links)


@dataclass(frozen=True)
class RayActors:
    """Call steps in `workers` actors of a Ray cluster.

    workers: actors. address: of a running cluster (`auto`: the one this machine belongs to); None starts one here, with a processor for each worker. gpus: of each actor,
    for steps with an operator that wants one, where the cluster has any. retries: how often an item whose worker died is done again.
    Raises ImportError with the install line without Ray.
    """

    workers: int = 2
    address: str | None = None
    gpus: float = 1.0
    retries: int = 2
    _pools: dict[float, list[Any]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("workers", "retries"):
            value = getattr(self, name)
            least = 1 if name == "workers" else 0
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{name}: expected a whole number of at least {least}, got {value!r}")
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
        return (
            ray.remote(_Worker).options(num_cpus=1, num_gpus=gpus, max_restarts=0).remote(sys.path)
        )  # one thread each: Ray sees to it

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
        lost, done, running, at = dict.fromkeys(range(len(items)), 0), dict[int, R](), dict[Any, tuple[int, int]](), 0
        idle = list(range(min(len(pool), len(items))))
        while at < len(items):
            while idle and waiting:
                place, i = idle.pop(), waiting.pop()
                running[pool[place].call.remote(shared, items[i])] = (i, place)
            ready, _ = ray.wait(list(running), num_returns=1)
            i, place = running.pop(ready[0])
            try:
                good, answer = ray.get(ready[0])
            except (
                ray.exceptions.RayTaskError
            ) as error:  # the step did not arrive: its module is not there, or it cannot be pickled
                raise RuntimeError(
                    f"a worker cannot take up the step: {str(error).strip().splitlines()[-1]}"
                ) from error
            except ray.exceptions.RayError as error:  # the worker, or what it held, is lost
                lost[i] += 1
                if lost[i] > self.retries:
                    raise RuntimeError(
                        f"the worker of one item died {lost[i]} times ({type(error).__name__}); out of memory? use fewer workers or smaller pieces"
                    ) from error
                pool[place] = self._new(ray, gpus)
                waiting.append(i)
            else:
                if not good:
                    for ref in running:
                        ray.cancel(ref, force=False)
                    raise answer
                done[i] = answer
            idle.append(place)
            while at in done:
                yield done.pop(at)
                at += 1

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
