"""GradMatch: a weighted choice whose gradient is that of everything, by orthogonal matching pursuit
with weights of at least zero.

Killamsetty et al., "GRAD-MATCH: Gradient Matching based Data Subset Selection for Efficient Deep
Model Training", ICML 2021, Algorithm 2 (arXiv:2103.00123); last-layer gradients, per class, as in
the paper's section 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from coreset import Pool, Selection, Signals, Strategy
from coreset.core.ranges import check_range
from coreset.numerics.compiled import compiled
from coreset.numerics.gradients import (
    LastLayerGradients,
    cancels,
    matching_error,
    most_along,
)
from coreset.numerics.held_out import held_out
from coreset.strategies.gradient.least_squares import LeastSquares
from coreset.strategies.gradient.per_class import (
    SOURCES,
    check_source,
    gradient_columns,
    gradients_of,
    per_class,
)

Float = NDArray[np.floating]

VARIANTS = ("nonnegative", "released_code")
SETS = ("self", "column")
_COLUMNS = (
    2**28
    # numbers of inner products kept: 1 GB in float32; beyond, the residual is projected again at
    # every
    # pick
)


@compiled
def _products(residual: Float, features: Float, s: int, bias: float, out: Float) -> None:
    """Fill out (n,) with <g_i, g_s>, one pass over the factors."""
    zero = features[0, 0] * 0
    for i in range(len(features)):
        a = zero
        for d in range(features.shape[1]):
            a += features[i, d] * features[s, d]
        b = zero
        for c in range(residual.shape[1]):
            b += residual[i, c] * residual[s, c]
        out[i] = (a + bias) * b


def matching_pursuit(
    g: LastLayerGradients,
    k: int,
    ridge: float = 0.0,
    variant: str = "nonnegative",
    target: torch.Tensor | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return `k` rows in the order found and their weights w >= 0, which minimize ||Σ w_j g_j -
    T||² + λ ||w||² over the rows found.

    T: the target (C, D + bias), such as the summed gradient of validation examples; None: Σ g_i. A
    target that cancels (zero but for rounding) is matched by no weights at all: then every gradient
    gets one more entry, their root mean square length, so that the weights also fit their number n.

    λ = ridge times the mean squared gradient norm, so that scaling the gradients changes nothing.
    Each pick is the row with the largest product with what is left (ties to the lowest), then all
    weights are fitted again: to w >= 0, or, `released_code`, freely until the last is found. Where
    nothing points along what is left any more, picks go on in that order with weight 0; gradients
    that are all zero get equal weights that sum to n. Products are screened in the precision of the
    factors and decided in float64.

    >>> g = LastLayerGradients(torch.tensor([[1.0], [1.0], [-0.5]]), torch.ones(3, 1), bias=False)
    >>> matching_pursuit(g, 2)
    (array([0, 1]), array([1.5, 0. ]))
    """
    n = len(g)
    target = g.total() if target is None else target.double()
    norms = g.squared_norms.cpu().numpy()
    level = float(norms.mean()) if cancels(target, norms) else 0.0  # square of the entry more
    target = torch.zeros_like(target) if level else target
    problem = LeastSquares(k, ridge * float(norms.mean()), variant == "nonnegative")
    begin = g.along(target).double().cpu().numpy() + level * n
    length = float(target.norm()) + float(np.sqrt(level)) * n
    if not np.isfinite([*begin, length]).all():
        raise ValueError(
            "features: the products of the gradients with those to be matched are beyond float64;"
            " bring the rows to one scale"
        )
    unit = float(torch.finfo(g.features.dtype).eps) * 8 * float(np.sqrt(norms.max(initial=0.0)))
    stored = k * n <= _COLUMNS
    columns = np.empty(
        (k if stored else 0, n), np.float32 if g.features.dtype == torch.float32 else np.float64
    )
    plain = (g.residual.numpy(), g.features.numpy()) if g.features.device.type == "cpu" else None
    r, h = target.new_empty(k, g.residual.shape[1]), target.new_empty(k, g.features.shape[1])
    taken = np.zeros(n, bool)
    picks = np.empty(k, np.int64)
    for t in range(k):
        w = problem.weights
        if stored and t:
            score = begin - w.astype(columns.dtype) @ columns[:t]
        elif stored:
            score = begin.copy()
        else:
            score = g.along(target - _sum(r[:t], h[:t], w, g.bias)).double().cpu().numpy()
            score += level * (n - w.sum())
        score[taken] = -np.inf
        slack = unit * (length + float(np.abs(w) @ np.sqrt(norms[picks[:t]])))
        near = np.flatnonzero(score >= score.max() - slack)
        left = target - _sum(r[:t], h[:t], w, g.bias) if len(near) > 1 else target
        s = picks[t] = most_along(g, near, left)
        taken[s] = True
        r[t], h[t] = g.residual[s].double(), g.features[s].double()
        product = (h[: t + 1] @ h[t] + g.bias) * (r[: t + 1] @ r[t])
        along = target[:, : h.shape[1]] @ h[t] + (target[:, -1] if g.bias else 0)
        problem.add(product.cpu().numpy() + level, float(r[t] @ along) + level * n)
        if stored and t + 1 < k:
            if plain is not None:
                _products(plain[0], plain[1], s, float(g.bias), columns[t])
            else:
                columns[t] = g.inner(g.at(np.array([s])))[:, 0].cpu().numpy()
            columns[t] += level
    weights = problem.nonnegative()
    return picks, weights if weights.sum() > 0 else np.full(k, n / k)


def _sum(r: torch.Tensor, h: torch.Tensor, w: NDArray[np.float64], bias: bool) -> torch.Tensor:
    """Return Σ w_j g_j as (C, D + bias), all float64."""
    return LastLayerGradients(r, h, bias, r.new_zeros(len(r))).total(
        torch.from_numpy(w).to(r.device)
    )


@dataclass(frozen=True)
class GradMatch(Strategy):
    """Match the full last-layer gradient by a weighted choice.

    source: `last_layer` reads `features`, `probs` and `labels`; `gradients` a column of that name
    (N, P), a flat gradient per example, and labels only where classes matter. validation: `self`
    matches the gradient of all candidates; `column` that of the examples where the boolean column
    `validation` is true, which then may not be chosen, scaled by n / m to n candidates (the paper's
    use for noisy or imbalanced data). per_class: match each class by itself with its share of the
    budget (default; with validation examples those of the class, all where it has none), or all at
    once. ridge: λ relative to the mean squared gradient norm. bias: count the bias in the gradient.
    variant: `nonnegative` fits weights of at least zero after every pick (the paper's problem),
    `released_code` fits them freely until all picks are found and to at least zero at last (CORDS,
    DeepCore). Needs the candidates' labels; examples already selected play no part. Weights fit the
    sum of gradients, so they add up to about the number of candidates; choices that cannot help
    have weight 0; gradients that cancel are matched with weights that add up to their number. info:
    `matching_error` of the whole, `unused` choices of weight 0.

    >>> from coreset import select
    >>> chosen = select(
    ...     "gradmatch",
    ...     1,
    ...     features=np.ones((4, 1)),
    ...     probs=np.full((4, 2), 0.5),
    ...     labels=np.zeros(4, int),
    ...     options={"ridge": 0.0},
    ... )
    >>> chosen.indices, chosen.weights, chosen.info["matching_error"]
    (array([0]), array([4.]), 0.0)
    """

    per_class: bool = True
    ridge: float = 0.01
    bias: bool = True
    variant: str = "nonnegative"
    source: str = "last_layer"
    validation: str = "self"

    greedy = False

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise ValueError(f"variant: expected {' or '.join(VARIANTS)}, got {self.variant!r}")
        check_source(self.source, SOURCES)
        if self.validation not in SETS:
            raise ValueError(f"validation: expected {' or '.join(SETS)}, got {self.validation!r}")
        check_range("a number in [0, inf)", ridge=self.ridge)

    @property
    def needs(self) -> frozenset[str]:
        """Return the columns read; `validation` only where it is asked for."""
        more = {"validation"} if self.validation == "column" else set()
        return gradient_columns(self.source, self.per_class) | more

    @property
    def scales(self) -> Mapping[str, Mapping[str, float] | None]:
        """Columns whose multiples change no choice, with the power that scores and info carry."""
        return {"gradients": {}} if self.bias else {"gradients": {}, "features": {}}

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Run the pursuit class by class."""
        g, labels = gradients_of(signals, pool.candidates, self.source, self.per_class, self.bias)
        held: LastLayerGradients | None = None
        if self.validation == "column":
            columns = gradient_columns(self.source, self.per_class)
            known = held_out(pool, signals, sorted(columns))
            held, theirs = gradients_of(signals, known, self.source, self.per_class, self.bias)

        def target(rows: NDArray[np.int64]) -> torch.Tensor | None:
            if held is None:
                return None
            same = (
                np.flatnonzero(theirs == labels[rows[0]])
                if self.per_class
                else np.empty(0, np.int64)
            )
            part = held.at(same) if len(same) else held
            return part.total() * (len(rows) / len(part))

        def solve(
            rows: NDArray[np.int64], share: int
        ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
            mine = g if len(rows) == len(g) else g.at(rows)
            return matching_pursuit(mine, share, self.ridge, self.variant, target(rows))

        picks, weights = per_class(labels, k, self.per_class, solve)
        whole = None if held is None else held.total() * (len(g) / len(held))
        info = {
            "variant": self.variant,
            "matching_error": matching_error(g, picks, weights, whole),
            "unused": int((weights == 0).sum()),
        }
        return Selection(pool.candidates[picks], weights, info=info)
