"""Auto: a coverage method while labels are few, an uncertainty method after that.

Few labels per class favor typical examples, many favor uncertain ones: Hacohen, Dekel & Weinshall,
"Active Learning on a Budget: Opposite Strategies Suit High and Low Budgets", ICML 2022
(arXiv:2202.02794).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from coreset import Pool, Selection, Signals, Strategy
from coreset.core.strategy import listed
from coreset.strategies.combine.parts import Combined, column_at
from coreset.strategies.coverage.typiclust import TypiClust
from coreset.strategies.uncertainty.margin import Margin


@dataclass(frozen=True)
class Auto(Combined):
    """Choose with `cold` up to `switch` labels per class, counted after the choice, and with `warm`
    beyond; `info["why"]` says which and why in a sentence.

    classes: how many there are (None: as many as `probs`, `logits` or `member_probs` have, or
    distinct known `labels` among what is taken). partial: with True the one whose signals are there
    is used when the other's are missing; with False both must be there.

    >>> from coreset import select
    >>> p = np.array([[0.9, 0.1], [0.5, 0.5], [0.6, 0.4]])
    >>> chosen = select("auto", 1, probs=p, options={"partial": True})
    >>> chosen.indices.tolist(), chosen.info["why"]
    ([1], 'Margin: features for TypiClust are not there')
    """

    cold: Strategy = field(default_factory=TypiClust)
    warm: Strategy = field(default_factory=Margin)
    switch: float = 7.0
    classes: int | None = None
    partial: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.switch < 0 or (self.classes is not None and self.classes < 1):
            raise ValueError(
                f"expected switch of at least 0 and classes of at least 1, got {self.switch} and"
                f" {self.classes}"
            )

    @property
    def parts(self) -> tuple[Strategy, ...]:
        """Return both."""
        return (self.cold, self.warm)

    def check(self, pool: Pool, signals: Signals, k: int) -> frozenset[str]:
        """Check the question; with `partial` the one that answers checks its own signals."""
        return frozenset() if self.partial else super().check(pool, signals, k)

    def decide(self, pool: Pool, signals: Signals, k: int) -> tuple[Strategy, str]:
        """Return the strategy to use and why. Raises KeyError when neither has its signals,
        ValueError when the number of classes is unknown.
        """
        missing = [
            (p.needs | (p.needs_selected if len(pool.selected) else frozenset())) - signals.names
            for p in self.parts
        ]
        cold, warm = (type(p).__name__ for p in self.parts)
        if all(missing):
            raise KeyError(
                f"{cold} needs {listed(missing[0])} and {warm} needs {listed(missing[1])}; present:"
                f" {listed(signals.names) or 'none'}"
            )
        if any(missing):
            other, used = (self.warm, self.cold) if missing[1] else (self.cold, self.warm)
            return (
                used,
                (
                    f"{type(used).__name__}: {listed(missing[0] | missing[1])} for"
                    f" {type(other).__name__} are not there"
                ),
            )
        classes = self.classes or _classes(pool, signals)
        total = len(pool.selected) + k
        few = total <= self.switch * classes
        word = "at most" if few else "more than"
        why = (
            f"{total} labels over {classes} classes are {total / classes:.1f} per class, {word}"
            f" {self.switch:g}"
        )
        return (self.cold, f"{cold}: {why}") if few else (self.warm, f"{warm}: {why}")

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Decide, and return what the one chosen answers."""
        chosen, why = self.decide(pool, signals, k)
        answer = chosen(pool, signals, k, rng)
        info = {"why": why, "variant": type(chosen).__name__}
        return Selection(answer.indices, answer.weights, answer.scores, answer.reasons, info=info)


def _classes(pool: Pool, signals: Signals) -> int:
    for name in ("probs", "logits", "member_probs"):
        if name in signals.names:
            return int(signals.column(name).shape[-1])
    if "labels" in signals.names and len(pool.selected):
        known = np.unique(column_at(signals, "labels", pool.selected))
        if (known >= 0).any():
            return int((known >= 0).sum())
    raise ValueError(
        "classes: unknown without probs, logits or labels of what is taken; pass how many there are"
    )
