"""The name of a run's curve: what was chosen, with the parameters that are not the defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from coreset.core.strategy import Strategy
from coreset.distillation import Distiller
from coreset.trainers.dynamic_pruning.epoch_plans import EpochPlan
from coreset.trainers.settings import make


def label_of(choice: str, strategy: Strategy | Distiller | EpochPlan) -> str:
    """Return a curve's name: the choice on the command line, with the parameters that are not the
    defaults.

    A sweep over a parameter then gives curves with names of their own.
    """
    changed = []
    for f in fields(strategy):  # type: ignore[arg-type]
        value = getattr(strategy, f.name)
        default = f.default_factory() if f.default_factory is not MISSING else f.default
        if (
            value != default
            and isinstance(strategy, Distiller)
            and isinstance(value, Strategy | Distiller)
        ):
            changed.append(f"{f.name}={label_of(type(value).__name__, value)}")
        elif value != default and not isinstance(value, Strategy | Distiller):
            changed.append(f"{f.name}={value}")
    return f"{choice}({', '.join(changed)})" if changed else choice


def curve_name(cfg: Mapping[str, Any], choices: Mapping[str, str]) -> str:
    """Return the name of a run's curve; of a distilled set, and where the examples change while
    training, it says that all labels are used, whatever the budget.
    """
    strategy = make(cfg, "strategy")
    name = label_of(cfg["strategy"].get("name") or choices["strategy"], strategy)
    if isinstance(strategy, Distiller):
        return f"{name}, all labels"
    if not cfg["dynamic"]:
        return name
    plan = make(cfg, "dynamic")
    how = label_of(choices["dynamic"], plan)
    return f"{name} {how}, all labels" if plan.by_strategy else f"{how}, all labels"
