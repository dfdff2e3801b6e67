"""A mixture: each strategy chooses its share of the budget, none twice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from coreset import Pool, Selection, Signals, Strategy
from coreset.numerics.quota import largest_remainder
from coreset.strategies.baseline.random import Random
from coreset.strategies.combine.parts import Combined, interleave, narrow
from coreset.strategies.uncertainty.margin import Margin


@dataclass(frozen=True)
class Mixture(Combined):
    """Split the budget over several strategies; the order interleaves them and `reasons` says whose
    choice each is.

    strategies: they choose one after the other from what is left. A strategy that reads nothing of
    what is taken beyond what it reads of the candidates sees the choices before it as taken
    (k-center keeps away from them). shares: positive, in any unit; exact by largest remainders.

    >>> from coreset import select
    >>> chosen = select("mixture", 2, probs=np.array([[0.9, 0.1], [0.5, 0.5], [0.6, 0.4]]))
    >>> int(chosen.indices[0]), chosen.reasons
    (1, ['Margin', 'Random'])
    """

    strategies: Sequence[Strategy] = field(default_factory=lambda: (Margin(), Random()))
    shares: Sequence[float] = (0.5, 0.5)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("strategies", "shares"):
            if not isinstance(getattr(self, name), Iterable):
                raise TypeError(f"{name}: expected a list, got {getattr(self, name)!r}")
        object.__setattr__(self, "strategies", tuple(self.strategies))
        object.__setattr__(self, "shares", tuple(float(s) for s in self.shares))
        strange = [type(s).__name__ for s in self.strategies if not isinstance(s, Strategy)]
        if strange:
            raise TypeError(
                f"strategies: expected strategies, got {strange}; from Hydra, instantiate with"
                " _convert_='all'"
            )
        if not self.strategies or len(self.strategies) != len(self.shares):
            raise ValueError(
                f"shares: expected one per strategy, got {len(self.shares)} for"
                f" {len(self.strategies)} strategies"
            )
        if not all(0 < share < np.inf for share in self.shares):
            raise ValueError(f"shares: expected positive numbers, got {list(self.shares)}")

    @property
    def parts(self) -> tuple[Strategy, ...]:
        """Return the strategies."""
        return tuple(self.strategies)

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Let each strategy choose from what the others left."""
        left, taken = pool.candidates, pool.selected
        answers, reasons = [], []
        for part, share in zip(self.parts, largest_remainder(self.shares, k), strict=True):
            if share == 0:
                continue
            known = taken if part.needs_selected <= part.needs else pool.selected
            answer = part(narrow(pool, left, known), signals, int(share), rng)
            left = np.setdiff1d(left, answer.indices)
            taken = np.concatenate([taken, answer.indices])
            # scores and weights of different strategies do not compare
            answers.append(Selection(answer.indices))
            reasons += [type(part).__name__] * len(answer)
        whose = dict(
            zip(np.concatenate([a.indices for a in answers]).tolist(), reasons, strict=True)
        )
        joined = interleave(answers)
        return replace(joined, reasons=[whose[i] for i in joined.indices.tolist()])
