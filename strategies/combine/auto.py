"""Auto: cover first, then cover what the model does not know, then what it doubts most.

Few labels per class favor typical examples, many favor uncertain ones: Hacohen, Dekel & Weinshall,
"Active Learning on a Budget: Opposite Strategies Suit High and Low Budgets", ICML 2022
(arXiv:2202.02794). Which methods: results/bench/frozen_fashion_mnist and frozen_digits, where
UHerding is not below margin up to 64 labels per class; beyond, margin: results/fashion_active, a
network from scratch, ahead of random from 80 to 1,280 labels per class.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from coreset import Pool, Selection, Signals, Strategy
from coreset.core.strategy import listed
from coreset.strategies.combine.parts import Combined, column_at
from coreset.strategies.coverage.maxherding import MaxHerding
from coreset.strategies.coverage.uherding import UHerding
from coreset.strategies.uncertainty.margin import Margin


@dataclass(frozen=True)
class Auto(Combined):
    """Choose with `cold` while nothing is labeled, with `warm` up to `switch` labels per class,
    counted after the choice, and with `many` beyond. `info["why"]` says which and why in a
    sentence.

    classes: how many there are (None: as many as `probs`, `logits` or `member_probs` have, or
    distinct known `labels` among what is taken; without any of these `many` waits). partial: with
    True, what `coreset.select` takes without a name, the next of them whose signals are there
    answers where those of the first are missing; with False all must be there.

    >>> from coreset import select
    >>> p = np.array([[0.9, 0.1], [0.5, 0.5], [0.6, 0.4]])
    >>> chosen = select("auto", 1, probs=p, selected=[0], options={"partial": True})
    >>> chosen.indices.tolist(), chosen.info["why"]
    ([1], 'Margin: features for UHerding are not there')
    """

    cold: Strategy = field(default_factory=MaxHerding)
    warm: Strategy = field(default_factory=UHerding)
    many: Strategy = field(default_factory=Margin)
    switch: float = 64.0
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
        """Return all three."""
        return (self.cold, self.warm, self.many)

    @property
    def cold_start(self) -> Strategy:
        """Return `cold`."""
        return self.cold

    def check(self, pool: Pool, signals: Signals, k: int) -> frozenset[str]:
        """Check the question; with `partial` the one that answers checks its own signals."""
        return frozenset() if self.partial else super().check(pool, signals, k)

    def decide(self, pool: Pool, signals: Signals, k: int) -> tuple[Strategy, str]:
        """Return the strategy to use and why. Raises KeyError when none has its signals."""
        wanted, why = self._wanted(pool, signals, k)
        missing = [
            (p.needs | (p.needs_selected if len(pool.selected) else frozenset())) - signals.names
            for p in wanted
        ]
        name = type(wanted[0]).__name__
        if not missing[0]:
            return wanted[0], f"{name}: {why}"
        for part, lacking in zip(wanted, missing, strict=True):
            if not lacking:
                word = (
                    "is" if len(missing[0]) == 1 and not listed(missing[0]).endswith("s") else "are"
                )
                told = f"{listed(missing[0])} for {name} {word} not there"
                return part, f"{type(part).__name__}: {told}"
        told = ", ".join(
            f"{type(part).__name__} needs {listed(lacking)}"
            for part, lacking in zip(wanted, missing, strict=True)
        )
        raise KeyError(f"{told}; present: {listed(signals.names) or 'none'}")

    def _wanted(self, pool: Pool, signals: Signals, k: int) -> tuple[list[Strategy], str]:
        """Return all three, the best first, and why it is the best."""
        if not len(pool.selected):
            return [self.cold, self.many, self.warm], "nothing is labeled yet"
        classes, total = self.classes or _classes(pool, signals), len(pool.selected) + k
        if classes is None:
            why = f"{total} labels over an unknown number of classes"
            return [self.warm, self.many, self.cold], why
        few = total <= self.switch * classes
        why = (
            f"{total} labels over {classes} classes are {total / classes:.1f} per class,"
            f" {'at most' if few else 'more than'} {self.switch:g}"
        )
        rest = [self.warm, self.many, self.cold] if few else [self.many, self.warm, self.cold]
        return rest, why

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Decide, and return what the one chosen answers."""
        chosen, why = self.decide(pool, signals, k)
        answer = chosen(pool, signals, k, rng)
        info = {"why": why, "variant": type(chosen).__name__}
        return Selection(answer.indices, answer.weights, answer.scores, answer.reasons, info=info)


def _classes(pool: Pool, signals: Signals) -> int | None:
    for name in ("probs", "logits", "member_probs"):
        if name in signals.names:
            return int(signals.column(name).shape[-1])
    if "labels" in signals.names and len(pool.selected):
        known = np.unique(column_at(signals, "labels", pool.selected))
        return int((known >= 0).sum()) or None
    return None
