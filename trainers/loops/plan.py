"""The plan of a run, known and checked before anything trains."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from coreset.core.budget import budget_size, budget_sizes
from coreset.core.catalog import source
from coreset.core.strategy import Strategy, listed
from coreset.distillation.distiller import Distiller
from coreset.trainers.tasks.measure import MODEL_SIGNALS

Mode = Literal["prune", "active"]


@dataclass(frozen=True)
class Plan:
    """Cumulative label totals to reach, in order; in active mode the first is the start set, chosen
    at random.
    """

    mode: Mode
    sizes: tuple[int, ...]
    needs: frozenset[str]
    needs_selected: frozenset[str]

    @property
    def rounds(self) -> int:
        """Number of trainings, one a total."""
        return len(self.sizes)


def make_plan(
    strategy: Strategy | Distiller,
    budget: Any,
    pool_size: int,
    mode: str = "prune",
    start: Any = 0.01,
    columns: Iterable[str] = (),
    dynamics: Iterable[str] = (),
    model: Iterable[str] = MODEL_SIGNALS,
) -> Plan:
    """Return the plan, or raise ValueError in words when the strategy needs what the mode cannot
    give.

    columns: signals the user brings (known for every example). dynamics: signals that the training
    of a proxy on labeled data records. model: signals that a model of this run gives. In prune mode
    labels are known everywhere; in active mode only the labels of what was taken are.

    >>> from coreset.registry import strategy
    >>> make_plan(strategy("margin"), [0.1, 0.2], 100, "active", start=5).sizes
    (5, 10, 20)
    """
    name = type(strategy).__name__
    sizes = budget_sizes(budget, pool_size)
    have = set(model) | set(columns)
    if mode == "prune":
        have = have | set(dynamics) | {"labels"}
    elif mode == "active":
        first = budget_size(start, pool_size, "start")
        sizes = [n for n in sizes if n > first]
        if not sizes:
            raise ValueError(
                f"start: {first} labels already reach the last budget; expected a start below it"
            )
        sizes = [first, *sizes]
        forbidden = strategy.needs & ({"labels"} | set(dynamics)) - set(columns)
        if forbidden:
            raise ValueError(
                f"{name} needs {listed(forbidden)} of the candidates, which active mode cannot know"
                " before they are labeled: use mode=prune, or a strategy that reads features or"
                " probabilities"
            )
    else:
        raise ValueError(f"mode: expected prune or active, got {mode!r}")
    missing = (strategy.needs | strategy.needs_selected) - have - {"labels"}
    if missing:
        raise ValueError(
            f"{name} needs {listed(missing)}, which nothing in this run gives; a run in {mode} mode"
            f" has {listed(have)}. Hand the rest over with columns: "
            + "; ".join(f"{column}: {source(column)}" for column in sorted(missing))
        )
    return Plan(mode, tuple(sizes), strategy.needs, strategy.needs_selected)  # type: ignore[arg-type]
