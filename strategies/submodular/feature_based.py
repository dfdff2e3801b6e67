"""Feature-based coverage: every feature is present, with diminishing returns; linear time, no
pairs.

f(S) = sum over d of g(sum over j in S of x_jd), g concave, features of at least 0. Monotone and
submodular.

Wei, Iyer & Bilmes, "Fast Multi-stage Submodular Maximization", ICML 2014; Schreiber, Bilmes &
Noble, "apricot", JMLR 2020 (arXiv:1906.03543).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from coreset import Signals
from coreset.numerics.compiled import compiled
from coreset.numerics.greedy import Items, SetFunction, Values
from coreset.numerics.similarity import Matrix
from coreset.numerics.tensors import as_float, as_tensor
from coreset.strategies.submodular.common import Submodular

CONCAVE = ("sqrt", "log", "ratio")


@compiled
def _gains(x: Matrix, rows: Items, total: Values, shape: int, items: Items) -> Values:
    """Return sum_d g(total_d + x_d) - g(total_d); shape: 0 sqrt(z), 1 log(1 + z), 2 z / (1 + z)."""
    out = np.empty(len(items))
    for t in range(len(items)):
        row = x[rows[items[t]]]
        gain = 0.0
        if shape == 0:
            for d in range(len(total)):
                gain += np.sqrt(total[d] + row[d]) - np.sqrt(total[d])
        elif shape == 1:
            for d in range(len(total)):
                gain += np.log1p(row[d] / (1 + total[d]))
        else:
            for d in range(len(total)):
                gain += row[d] / ((1 + total[d]) * (1 + total[d] + row[d]))
        out[t] = gain
    return out


class FeatureFunction(SetFunction):
    """Concave over feature sums. x (N, D) the whole column, rows (n,) the ground set's positions in
    it.
    """

    state = ("total",)
    variant = "sums of features"

    def __init__(self, x: Matrix, rows: Items, concave: str) -> None:
        self.size, self.x, self.rows = len(rows), x, rows
        self.shape = CONCAVE.index(concave)
        self.total = np.zeros(x.shape[1])

    def gains(self, items: Items) -> Values:
        """Return the gain of each item: O(D) each."""
        return _gains(self.x, self.rows, self.total, self.shape, items)

    def add(self, item: int) -> None:
        """Put `item` into S."""
        self.value += float(self.gains(np.array([item]))[0])
        self.total += self.x[self.rows[item]]


@dataclass(frozen=True)
class FeatureBased(Submodular):
    """Take the examples that add most to features still weak among the taken.

    concave: sqrt | log (log(1 + z)) | ratio (z / (1 + z)). Features must not be negative
    (activations after ReLU, counts, probabilities). Scores: gains. The other parameters: see
    `Submodular`.

    >>> from coreset import select
    >>> select("feature_based", 2, features=np.array([[3.0, 0.0], [2.0, 0.0], [0.0, 1.0]])).indices
    array([0, 2])
    """

    concave: str = "sqrt"

    reads = frozenset({"features"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.concave not in CONCAVE:
            raise ValueError(f"concave: expected one of {', '.join(CONCAVE)}, got {self.concave!r}")

    @property
    def scales(self) -> Mapping[str, Mapping[str, float] | None]:
        """Columns whose multiples change no choice, with the power that scores and info carry."""
        half = {"scores": 0.5, "value": 0.5, "bound": 0.5}
        return {"features": half} if self.concave == "sqrt" else {}

    def function(self, signals: Signals, ground: Items) -> SetFunction:
        """Return the function on the ground set; raises ValueError for negative features."""
        x = as_float(as_tensor(signals.column("features"))).cpu().contiguous().numpy()
        for start in range(0, len(ground), 4096):
            part = ground[start : start + 4096]
            bad = (x[part] < 0).any(axis=1)
            if bad.any():
                raise ValueError(
                    "features: concave sums need values of at least 0, but examples have negative"
                    f" ones, first position {int(part[bad][0])}"
                )
        return FeatureFunction(x, ground, self.concave)
