"""What an operator needs of a machine while it runs, said by the operator itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Compute:
    """What one worker that runs an operator needs: `cpus` and `gpus` (parts of one are allowed),
    `memory` in bytes (0: not said). or_cpu: it runs without the GPUs too, where there are none.

    An operator that needs more than one processor has a member `compute`; engine `ray` then runs it
    in a pool of actors with these, one load of the model each. What is declared is not part of what
    the operator is: it changes no answer and no key of the state.

    >>> largest([Compute(), Compute(cpus=2), Compute(gpus=1, memory=2**30)])
    Compute(cpus=2, gpus=1, memory=1073741824, or_cpu=False)
    """

    cpus: float = 1.0
    gpus: float = 0.0
    memory: int = 0
    or_cpu: bool = False

    def __post_init__(self) -> None:
        for name in ("cpus", "gpus", "memory"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
                raise ValueError(f"{name}: expected a number of at least 0, got {value!r}")
        if not isinstance(self.memory, int):
            raise ValueError(f"memory: expected whole bytes, got {self.memory!r}")


def compute_of(operator: Any) -> Compute:
    """Return what an operator declares; one processor where it declares nothing.

    Raises TypeError for a member `compute` of another type.
    """
    declared = getattr(operator, "compute", Compute())
    if not isinstance(declared, Compute):
        raise TypeError(
            f"{type(operator).__name__}.compute: expected a coreset.core.compute.Compute, got"
            f" {declared!r}"
        )
    return declared


def largest(several: Iterable[Compute]) -> Compute:
    """Return what one worker needs that runs several operators in turn."""
    held = list(several) or [Compute()]
    with_gpu = [one for one in held if one.gpus]
    return Compute(
        max(one.cpus for one in held),
        max(one.gpus for one in held),
        max(one.memory for one in held),
        bool(with_gpu) and all(one.or_cpu for one in with_gpu),
    )
