"""How a model is trained: steps or epochs, optimizer and schedule,
checked before anything starts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from coreset.trainers.data.base import ImageData
from coreset.trainers.tasks.features import computes_bf16
from coreset.trainers.tasks.module import OPTIMIZERS, SCHEDULES

AUTO = "auto"
_RANGES = (
    ("lr", 0.0, float("inf")),
    ("weight_decay", 0.0, float("inf")),
    ("warmup", 0.0, 1.0),
    ("label_smoothing", 0.0, 1.0),
    ("val_share", 0.0, 1.0),
)


def auto_steps(examples: int, batch_size: int) -> int:
    """Return 15 sqrt(n) optimizer steps for n examples, at least 400 and at least 8 passes.

    More where there are more examples, but less than in proportion: 400 up to 711 examples,
    2,012 for 18,000 and 3,752 for 60,000 with batches of 128, where Fashion-MNIST is on a plateau
    (results/first_command/table.md).

    >>> [auto_steps(n, 128) for n in (100, 1297, 18_000, 60_000, 1_281_167)]
    [400, 540, 2012, 3752, 80080]
    """
    return max(400, round(15 * math.sqrt(examples)), 8 * -(-examples // batch_size))


@dataclass(frozen=True)
class TrainingConfig:
    """How a model is trained, the same for every strategy.

    steps: optimizer steps, the same at every budget, or `auto`: `auto_steps` of the number of
    examples, so that small and large selections are both trained to a plateau; or epochs: passes
    over the selection (give one of the two). augment: random crops and flips as far as the data
    allow them; `auto`: where the data may be mirrored, since small centered images reach a plateau
    later with shifts. optimizer, schedule: see `coreset.trainers.tasks.module.Scheduled`; the
    `step` schedule falls at half the steps, with epochs = E + 1 after E // 2 + 2 of them, as DC and
    DM evaluate. precision: `auto` (bf16 where the processor has it), `32` or `bf16`. val_share:
    share of the labeled examples held out to choose the best checkpoint; they count as labels. 0
    keeps the last step. warm_start: active mode goes on from the last round's weights instead of
    from scratch.
    """

    steps: int | str | None = "auto"
    epochs: int | None = None
    batch_size: int = 128
    optimizer: str = "adamw"
    lr: float = 0.006
    weight_decay: float = 0.05
    warmup: float = 0.1
    schedule: str = "cosine"
    label_smoothing: float = 0.0
    augment: bool | str = "auto"
    precision: str = "auto"
    val_share: float = 0.0
    warm_start: bool = False

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError(
                "steps: give either steps or epochs and set the other to null, "
                f"got steps={self.steps}, epochs={self.epochs}"
            )
        for name in ("steps", "epochs", "batch_size"):
            value = getattr(self, name)
            if value is None or (name == "steps" and value == AUTO):
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                more = " or auto" if name == "steps" else ""
                raise ValueError(
                    f"{name}: expected a whole number of at least 1{more}, got {value!r}"
                )
        for name, known in (("optimizer", OPTIMIZERS), ("schedule", SCHEDULES)):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name}: expected {', '.join(known)}, got {getattr(self, name)!r}"
                )
        for name, low, high in _RANGES:
            value = getattr(self, name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not low <= value < high:
                raise ValueError(f"{name}: expected a number in [{low:g}, {high:g}), got {value!r}")
        if self.lr == 0:
            raise ValueError("lr: expected a number above 0, got 0")
        if str(self.precision) not in ("auto", "32", "bf16"):
            raise ValueError(f"precision: expected auto, 32 or bf16, got {self.precision!r}")
        for name, choices in (("augment", (True, False, AUTO)), ("warm_start", (True, False))):
            value = getattr(self, name)
            if not isinstance(value, bool) and value not in choices:
                words = ", ".join(str(choice).lower() for choice in choices)
                raise ValueError(f"{name}: expected {words}, got {value!r}")

    def total_steps(self, examples: int) -> int:
        """Return the optimizer steps for a selection of that size."""
        if self.steps is None:
            return (self.epochs or 1) * -(-examples // self.batch_size)
        return auto_steps(examples, self.batch_size) if self.steps == AUTO else int(self.steps)

    def total_epochs(self, examples: int) -> float:
        """Return how often every example of a selection of that size is seen."""
        if self.epochs is not None:
            return self.epochs
        return self.total_steps(examples) / -(-examples // self.batch_size)

    def drop(self, examples: int) -> int:
        """Return the step at which the `step` schedule falls."""
        if self.epochs is None:
            return self.total_steps(examples) // 2
        return min(self.epochs, (self.epochs - 1) // 2 + 2) * -(-examples // self.batch_size)

    def augments(self, data: ImageData) -> bool:
        """Return whether a training on these data is augmented."""
        return data.augment == "crop_flip" if self.augment == AUTO else bool(self.augment)

    @property
    def bf16(self) -> bool:
        """Return whether to compute in bf16."""
        if str(self.precision) == "auto":
            return computes_bf16(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
        return str(self.precision) == "bf16"
