"""Training with PyTorch Lightning: tasks, data, learners, loops, commands.

`active` and `prune` run the loops with a LightningModule and a LightningDataModule of your own.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coreset.trainers.api import Run, active, prune

__all__ = ["Run", "active", "prune"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from coreset.trainers import api  # Lightning is imported where a loop is asked for

    return getattr(api, name)
