"""GCCG: graph-cut gain conditional on a private set: like many, unlike one another, and unlike the
private examples.

f(S | P) = f(S) - 2 lambda nu * sum over i in S, j in P of s_ij, with f the graph cut. Submodular
for similarities of at least 0; not monotone.

Iyer, Khargonkar, Bilmes & Asnani, "Submodular Combinatorial Information Measures with Applications
in Machine Learning", ALT 2021 (arXiv:2006.15412); Kothawade et al., "PRISM", AAAI 2022
(arXiv:2103.00128).
"""

from __future__ import annotations

from dataclasses import dataclass

from coreset import Signals
from coreset.numerics.greedy import Items, SetFunction
from coreset.strategies.submodular.common import marked
from coreset.strategies.submodular.graph_cut import GraphCut


@dataclass(frozen=True)
class GCCG(GraphCut):
    """Take examples with a large similarity to all, less that among the taken and `nu` times that
    to the private ones.

    The column `private` (N,) marks the private examples; they may lie inside or outside the
    candidates. nu: 0 or more. The other parameters: see `GraphCut`.

    >>> from coreset import select
    >>> import numpy as np
    >>> x = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [-1.0, 0.0]])
    >>> select(
    ...     "gccg",
    ...     1,
    ...     features=x,
    ...     private=[True, False, False, False],
    ...     candidates=[1, 2, 3],
    ...     options={"nu": 3.0},
    ... ).indices
    array([3])
    """

    nu: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.nu >= 0:
            raise ValueError(f"nu: expected a number of at least 0, got {self.nu}")

    @property
    def reads(self) -> frozenset[str]:
        """Similarities and the mark of the private examples."""
        return super().reads | {"private"}

    def function(self, signals: Signals, ground: Items) -> SetFunction:
        """Return the function on the ground set: a graph cut with a modular part."""
        private = self.sum_to(signals, ground, marked(signals, "private"))
        return self.cut(signals, ground, -2 * self.lam * self.nu * private)
