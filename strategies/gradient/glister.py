"""GLISTER: examples whose gradient step lowers the validation loss most, the step looked at again
after every choice.

Killamsetty et al., "GLISTER: Generalization based Data Subset Selection for Efficient and Robust
Learning", AAAI 2021, Algorithm 2 with the Taylor approximation of section 3.3 (arXiv:2012.10630);
last-layer gradients.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coreset import Pool, Selection, Signals, Strategy
from coreset.numerics.gradients import (
    LastLayerGradients,
    known_labels,
    last_layer_gradients,
    matching_error,
    most_along,
)
from coreset.numerics.held_out import held_out
from coreset.numerics.tensors import as_float, rows, top_k
from coreset.strategies.gradient.per_class import (
    SOURCES,
    check_source,
    gradient_columns,
    gradients_of,
    per_class,
)

STEPS = ("sum", "mean")
SETS = ("self", "selected", "column")


class Validation(NamedTuple):
    """Validation examples: features (m, D), probs (m, C) of the current model, labels (m,)."""

    features: Tensor
    probs: Tensor
    labels: Tensor

    def where(self, mask: Tensor) -> Validation:
        """Return some of the examples."""
        return Validation(self.features[mask], self.probs[mask], self.labels[mask])


class Steps(NamedTuple):
    """Rows in order, the first-order drop in validation loss of each, and the summed validation
    loss before and after all steps.
    """

    picks: NDArray[np.int64]
    gains: NDArray[np.float64]
    before: float
    after: float


def glister(
    g: LastLayerGradients,
    k: int,
    validation: Validation,
    eta: float = 0.01,
    step: str = "sum",
    refresh: int = 1,
) -> Steps:
    """Return `k` rows, each the one with the largest η <g_i, ∇L_V(θ_S)>, ties to the lowest.

    L_V: mean cross-entropy on the validation examples. θ_S = θ - η Σ_S g (`sum`) or θ - η mean_S g
    (`mean`), followed exactly in the last layer: the logits of v move by -η r_j (h_j · h_v + 1) for
    every choice j. ∇L_V is taken anew every `refresh` choices. Cost per choice O((n + m) C D),
    memory O(m C) beside the factors.

    >>> g = LastLayerGradients(torch.tensor([[-0.5, 0.5], [0.5, -0.5]]), torch.ones(2, 1))
    >>> glister(
    ...     g, 1, Validation(torch.ones(1, 1), torch.full((1, 2), 0.5), torch.tensor([1]))
    ... ).picks
    array([1])
    """
    h = validation.features.to(g.features.dtype)
    begin = validation.probs.double().clamp_min(1e-30).log()
    at = torch.arange(len(h), device=h.device)
    moved = torch.zeros_like(begin)
    direction = torch.empty(
        (g.residual.shape[1], g.features.shape[1] + g.bias), dtype=g.features.dtype, device=h.device
    )
    picks, gains = np.empty(k, np.int64), np.empty(k)
    losses: list[float] = []
    size = len(h)
    score = torch.empty(0)
    unit = 8 * torch.finfo(h.dtype).eps * g.squared_norms.sqrt()

    def log_probs(t: int) -> Tensor:
        return (begin - (eta / (max(t, 1) if step == "mean" else 1)) * moved).log_softmax(dim=1)

    for t in range(k):
        if t % refresh == 0:
            p = log_probs(t)
            if not losses:
                losses.append(float(-p[at, validation.labels].sum()))
            error = p.exp_()
            error[at, validation.labels] -= 1
            error /= size
            direction[:, : g.features.shape[1]] = error.to(h.dtype).T @ h
            if g.bias:
                direction[:, -1] = error.sum(dim=0)
            score = g.along(direction).double()
            score[torch.from_numpy(picks[:t]).to(h.device)] = -torch.inf
        slack = unit * direction.norm()
        near = torch.nonzero(score + slack >= (score - slack).max())[:, 0].cpu().numpy()
        best = most_along(g, near, direction)
        picks[t], gains[t] = best, eta * float(score[best])
        score[best] = -torch.inf
        moved += torch.outer((h @ g.features[best] + g.bias).double(), g.residual[best].double())
    losses.append(float(-log_probs(k)[at, validation.labels].sum()))
    return Steps(picks, gains, losses[0], losses[1])


@dataclass(frozen=True)
class Glister(Strategy):
    """Lower the loss on validation examples by one gradient step on the choice.

    source: `last_layer` reads `features`, `probs` and `labels`; `gradients` a column of that name
    (N, P), a flat gradient per example, and labels only where classes matter: the validation
    gradient is then looked at once, as no model is there to take the step, and info has no loss.
    validation: `self`, the candidates (their training loss); `selected`, the examples already
    taken; `column`, the examples where the boolean column `validation` is true, which then may not
    be chosen. per_class: each class by itself, with its share of the budget and the validation
    examples of that class (all of them where it has none); otherwise all at once. eta: learning
    rate of the step; step: `sum` of the gradients (the paper) or their `mean` (DeepCore). refresh:
    choices between two looks at the validation gradient (1 = the paper's greedy). bias: count the
    bias in the gradient. Needs labels. info: `validation_loss` before and after the step,
    `matching_error` of the choice with equal weights. Scores: first-order drop in loss.

    >>> from coreset import select
    >>> p = np.array([[0.9, 0.1], [0.6, 0.4], [0.8, 0.2]])
    >>> select("glister", 1, features=np.ones((3, 2)), probs=p, labels=np.zeros(3, int)).indices
    array([1])
    """

    validation: str = "self"
    per_class: bool = True
    eta: float = 0.01
    step: str = "sum"
    refresh: int = 1
    bias: bool = True
    source: str = "last_layer"

    greedy = False

    def __post_init__(self) -> None:
        check_source(self.source, SOURCES)
        for name, known in (("validation", SETS), ("step", STEPS)):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name}: expected one of {', '.join(known)}, got {getattr(self, name)!r}"
                )
        if not 0 < self.eta < np.inf or self.refresh < 1:
            raise ValueError(
                f"expected eta > 0 and refresh >= 1, got eta {self.eta} and refresh {self.refresh}"
            )

    @property
    def needs(self) -> frozenset[str]:
        """Return the columns read; `validation` only where it is asked for."""
        more = {"validation"} if self.validation == "column" else set()
        return gradient_columns(self.source, self.per_class) | more

    @property
    def needs_selected(self) -> frozenset[str]:  # type: ignore[override]
        """Return what is read of the examples already taken."""
        return (
            gradient_columns(self.source, self.per_class)
            if self.validation == "selected"
            else frozenset()
        )

    @property
    def scales(self) -> Mapping[str, Mapping[str, float] | None]:
        """Columns whose multiples change no choice, with the power that scores and info carry."""
        return {"gradients": {"scores": 2}} if self.source == "gradients" else {}

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Run the greedy class by class."""
        candidates, known = pool.candidates, self._positions(pool, signals)
        if self.source == "gradients":
            return self._first_order(pool, signals, k, known)
        g = last_layer_gradients(signals, candidates, bias=self.bias)
        probs = as_float(rows(signals.column("probs"), known))
        held = Validation(
            as_float(rows(signals.column("features"), known)),
            probs,
            known_labels(signals, known, probs.shape[1]).to(probs.device),
        )
        labels = known_labels(signals, candidates, g.residual.shape[1]).cpu().numpy()
        losses: list[tuple[float, float, int]] = []

        def solve(
            mine: NDArray[np.int64], share: int
        ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
            part = held
            if self.per_class and bool((same := held.labels == int(labels[mine[0]])).any()):
                part = held.where(same)
            solution = glister(
                g if len(mine) == len(g) else g.at(mine),
                share,
                part,
                self.eta,
                self.step,
                self.refresh,
            )
            losses.append((solution.before, solution.after, len(part.labels)))
            return solution.picks, solution.gains

        picks, gains = per_class(labels, k, self.per_class, solve)
        before, after, count = (sum(values) for values in zip(*losses, strict=True))
        info = {
            "validation_loss": [before / count, after / count],
            "matching_error": matching_error(g, picks, np.full(k, len(g) / k)),
        }
        return Selection(candidates[picks], scores=gains, info=info)

    def _first_order(
        self, pool: Pool, signals: Signals, k: int, known: NDArray[np.int64]
    ) -> Selection:
        """Return the candidates whose gradients lie most along the mean validation gradient."""
        g, labels = gradients_of(signals, pool.candidates, self.source, self.per_class, self.bias)
        held, theirs = gradients_of(signals, known, self.source, self.per_class, self.bias)

        def solve(
            mine: NDArray[np.int64], share: int
        ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
            same = (
                np.flatnonzero(theirs == labels[mine[0]])
                if self.per_class
                else np.empty(0, np.int64)
            )
            part = held.at(same) if len(same) else held
            direction = part.total() / len(part)
            length = float(direction.norm()) * g.squared_norms.sqrt().max().item()
            along = g.at(mine).double().along(direction).cpu().numpy()
            tick = float(2.0 ** (np.floor(np.log2(length)) - 40)) if length > 0 else 1.0
            # a product rounds equal rows in more than one way
            gains = (along / tick).round() * tick
            best = top_k(gains, share)
            return best, self.eta * gains[best]

        picks, gains = per_class(labels, k, self.per_class, solve)
        error = matching_error(g, picks, np.full(k, len(g) / k))
        return Selection(pool.candidates[picks], scores=gains, info={"matching_error": error})

    def _positions(self, pool: Pool, signals: Signals) -> NDArray[np.int64]:
        """Return the positions of the validation examples."""
        if self.validation == "self":
            return pool.candidates
        if self.validation == "selected":
            if not len(pool.selected):
                raise ValueError(
                    "validation: nothing is selected yet, so there are no examples to validate on;"
                    " use validation=self or column"
                )
            return pool.selected
        return held_out(pool, signals, sorted(gradient_columns(self.source, self.per_class)))
