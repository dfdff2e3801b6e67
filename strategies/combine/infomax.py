"""InfoMax: high scores, less the similarity of what is taken to its nearest neighbors that are
taken as well.

F(S) = sum over z in S of I(z) - alpha sum over z, s in S of K_zs, |S| = k; row z of K holds the
cosines, at least 0, of z to its `neighbors` nearest examples and zeros elsewhere. The paper relaxes
F and iterates a softmax; the solver here is `quadratic`, whose steps and rounding never lower F.

Tan, Wu, Huang, Zhao & Qi, "Data Pruning by Information Maximization", ICLR 2025 (arXiv:2506.01701).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix, diags
from torch import Tensor

from coreset import Pool, Selection, Signals
from coreset.numerics.similarity import Similarity
from coreset.numerics.tensors import rows
from coreset.score_based import ScoreBased
from coreset.strategies.combine.parts import ScoresAndCosines, base_scores
from coreset.strategies.combine.quadratic import relax, settle
from coreset.strategies.gradient.el2n import El2n


def redundancy(x: Tensor, neighbors: int) -> Any:
    """Return K + K^T of the rows of `x` (n, D), a sparse symmetric (n, n) matrix with a zero
    diagonal. Memory: 24 n `neighbors` bytes and what `Similarity.nearest` takes.

    >>> import torch
    >>> x = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
    >>> redundancy(x, 1).toarray().round(2).tolist()
    [[0.0, 2.0, 0.71], [2.0, 0.0, 0.0], [0.71, 0.0, 0.0]]
    """
    near, _ = Similarity.of(x, "cosine").nearest(neighbors)  # (1 + cos) / 2, and each row itself
    cosine = np.maximum(2 * near.value.astype(np.float64) - 1, 0)
    k = csr_matrix((cosine, near.column, near.start), shape=(len(x), len(x)))
    k = k - diags(k.diagonal())
    both = (k + k.T).tocsr()
    both.eliminate_zeros()
    both.sort_indices()
    return both


@dataclass(frozen=True)
class InfoMax(ScoresAndCosines):
    """Take high scores that are no near-copies of one another, by relaxation and rounding.

    base: the score; scaled so that its lowest candidate is at 0 and its highest at 1. alpha: weight
    of the similarities, at least 0. neighbors: how many nearest examples each is compared with.
    iterations: of the ascent. Pairs with what is already selected count. The order is by what F
    would lose, which the scores hold; info: `value`, F of the choice given what is selected.

    >>> from coreset import select
    >>> x = np.array([[1.0, 0.0], [1.0, 0.01], [0.0, 1.0], [0.1, 1.0]])
    >>> columns = {"probs": np.array([[0.1, 0.9], [0.2, 0.8], [0.3, 0.7], [0.9, 0.1]])}
    >>> columns |= {"features": x, "labels": np.zeros(4, int)}
    >>> select("infomax", 2, **columns, options={"neighbors": 1, "alpha": 0.5}).indices
    array([0, 2])
    """

    base: ScoreBased = field(default_factory=El2n)
    alpha: float = 0.3
    neighbors: int = 5
    iterations: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.alpha >= 0:
            raise ValueError(f"alpha: expected a number of at least 0, got {self.alpha}")
        for name in ("neighbors", "iterations"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name}: expected a whole number from 1 on, got {value!r}")

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Relax, round, and order by what each choice adds to the others."""
        scores = base_scores(self.base, pool, signals)
        n, spread = len(scores), scores.max() - scores.min()
        at = np.concatenate([pool.candidates, pool.selected])
        every = redundancy(rows(signals.column("features"), at), self.neighbors)
        pairs = every[:n, :n].tocsr()
        info = (scores - scores.min()) / spread if spread > 0 else np.zeros(n)
        info = info - self.alpha * np.asarray(every[:n, n:].sum(axis=1))[:, 0]
        picks = np.arange(n)
        if k < n:
            shares = relax(info, pairs, k, self.alpha, self.iterations)
            picks = settle(info, pairs, shares, k, self.alpha)
        inside = self.alpha * np.asarray(pairs[picks][:, picks].sum(axis=1))[:, 0]
        loss = info[picks] - inside
        order = np.argsort(-loss, kind="stable")
        value = float(info[picks].sum() - inside.sum() / 2)
        return Selection(pool.candidates[picks[order]], scores=loss[order], info={"value": value})
