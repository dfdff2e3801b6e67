"""Descent on the pixels, the same for every method that optimizes them: resumable to the bit,
watched, stopped at the first loss that is no number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from coreset.distillation.progress import Clock, Progress, check_finite

Gradient = Callable[[int, Mapping[str, Tensor]], float]


def sgd(lr: float, momentum: float = 0.5) -> Callable[[Sequence[Tensor]], torch.optim.Optimizer]:
    """Return a maker of SGD with momentum, what the matching methods use.

    >>> sgd(0.1)([torch.zeros(2)]).defaults["momentum"]
    0.5
    """
    return lambda tensors: torch.optim.SGD(list(tensors), lr=lr, momentum=momentum)


def descend(
    start: Mapping[str, Tensor],
    gradient: Gradient,
    steps: int,
    optimizer: Callable[[Sequence[Tensor]], torch.optim.Optimizer],
    progress: Progress | None = None,
    schedule: Callable[[int], float] | None = None,
    every: int = 1,
) -> dict[str, Tensor]:
    """Return the tensors of `start` after `steps` steps of descent, detached.

    gradient(step, tensors): sets `.grad` of each tensor (they require it and come with none) and
    returns the loss; all that is random in it must depend on `step` alone, so that a run that was
    killed goes on to the same answer. schedule(step): factor on the learning rate. every: only
    after a multiple of so many steps is the state saved, for a gradient that remembers steps within
    one multiple. Raises Diverged, with the last good state saved, when a loss is NaN or infinite.

    >>> def pull(step, now):
    ...     loss = now["x"].square().sum()
    ...     loss.backward()
    ...     return float(loss.detach())
    >>> descend({"x": torch.ones(1)}, pull, 2, sgd(0.25, 0.0))["x"].item()
    0.25
    """
    progress = Progress() if progress is None else progress
    tensors = {name: value.detach().clone().requires_grad_() for name, value in start.items()}
    descent = optimizer(list(tensors.values()))
    rates = [group["lr"] for group in descent.param_groups]
    saved = progress.load()
    first = 0
    if saved is not None:
        first = saved[0]
        _restore(tensors, descent, saved[1])
    clock = Clock(progress.every)
    good = {name: value.detach().clone() for name, value in tensors.items()}
    for step in range(first, steps):
        descent.zero_grad(set_to_none=True)
        for group, rate in zip(descent.param_groups, rates, strict=True):
            group["lr"] = rate * (schedule(step) if schedule else 1.0)
        loss = gradient(step, tensors)
        check_finite(loss, step, progress, good)
        for name, value in tensors.items():
            good[name].copy_(value.detach())
        descent.step()
        progress.show(step + 1, steps, loss)
        if (step + 1) % every == 0 and clock.due():
            progress.save(step + 1, _state(tensors, descent))
    for name, value in tensors.items():
        check_finite(
            0.0 if bool(value.isfinite().all()) else float("nan"),
            steps,
            progress,
            {**good, name: good[name]},
        )
    progress.save(steps, _state(tensors, descent))
    return {name: value.detach() for name, value in tensors.items()}


def _state(tensors: Mapping[str, Tensor], descent: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return tensors and the optimizer's own as one flat mapping."""
    out = dict(tensors)
    for index, state in descent.state_dict()["state"].items():
        out |= {
            f"optimizer.{index}.{name}": value
            for name, value in state.items()
            if isinstance(value, Tensor)
        }
    return out


@torch.no_grad()
def _restore(
    tensors: Mapping[str, Tensor], descent: torch.optim.Optimizer, saved: Mapping[str, Tensor]
) -> None:
    """Put what `_state` returned back."""
    for name, value in tensors.items():
        value.copy_(saved[name])
    whole = descent.state_dict()
    for key, value in saved.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".")
            whole["state"].setdefault(int(index), {})[name] = value
    descent.load_state_dict(whole)
