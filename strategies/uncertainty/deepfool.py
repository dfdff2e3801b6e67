"""DeepFool active learning: the distance to the nearest decision boundary, smallest first.

Ducoffe & Precioso, "Adversarial Active Learning for Deep Networks: a Margin Based Approach", 2018
(arXiv:1802.09841); the perturbation is DeepFool, Moosavi-Dezfooli, Fawzi & Frossard, CVPR 2016
(arXiv:1511.04599).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from coreset import Pool, Signals
from coreset.numerics.tensors import rows
from coreset.score_based import ScoreBased
from coreset.strategies.baseline.top_k import TopK


def deepfool(
    model: nn.Module, x: Tensor, max_iter: int = 50, classes: int = 10, overshoot: float = 0.02
) -> Tensor:
    """Return the length of the perturbation that changes the prediction for each input of `x` (B,
    ...), (B,) float64; exact in one step for a linear model.

    model: inputs to logits (B, C), in eval mode. Each step goes to the nearest boundary of the
    linearised model, among the `classes` likeliest classes, and `overshoot` beyond; an input whose
    prediction has not changed after `max_iter` steps gets the length so far. `x` and the
    parameters' gradients are not touched.

    >>> linear = nn.Linear(2, 2, bias=False)
    >>> linear.weight = nn.Parameter(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
    >>> deepfool(linear.eval(), torch.tensor([[3.0, 7.0]])).tolist()
    [3.0]
    """
    if model.training:
        raise ValueError(
            "model: expected eval mode, in which examples of a batch do not change each other"
        )
    start = x.detach()
    moved = torch.zeros_like(start)
    with torch.no_grad():
        top = model(start).argsort(dim=1, descending=True, stable=True)[:, :classes]
    if top.shape[1] < 2:
        raise ValueError(f"a boundary needs at least two classes, got {top.shape[1]}")
    active = torch.ones(len(start), dtype=torch.bool, device=start.device)
    for _ in range(max_iter):
        at = active.nonzero()[:, 0]
        if not len(at):
            break
        here = (start[at] + (1 + overshoot) * moved[at]).requires_grad_()
        with torch.enable_grad():
            logits = model(here).gather(1, top[at])
            slopes = [
                torch.autograd.grad(logits[:, j].sum(), here, retain_graph=True)[0]
                for j in range(logits.shape[1])
            ]
        logits = logits.detach()
        still = (logits[:, 0:1] >= logits[:, 1:]).all(dim=1)
        active[at[~still]] = False
        w = torch.stack(slopes[1:], dim=1) - slopes[0][:, None]  # (b, c - 1, ...)
        length = w.flatten(2).norm(dim=2).clamp_min(1e-12)
        gap = (logits[:, 1:] - logits[:, 0:1]).abs()
        step, nearest = (gap / length).min(dim=1)
        row = torch.arange(len(at), device=at.device)
        shape = (-1, *[1] * (start.ndim - 1))
        direction = w[row, nearest] / length[row, nearest].reshape(shape)
        moved[at[still]] += (step.reshape(shape) * direction)[still]
    return moved.double().flatten(1).square().sum(dim=1).sqrt()


def head_distance(features: Tensor, logits: Tensor) -> Tensor:
    """Return the distance in feature space to the nearest boundary of a linear head, min_c (z_y -
    z_c) / |w_y - w_c| with y the predicted class, (n,) float64.

    features (n, D) and logits (n, C) = features W + b, from which W is recovered by least squares:
    the distance is within the span of the features. Raises ValueError when the logits are no linear
    function of the features (residual above 1 %).

    >>> x = torch.tensor([[3.0, 1.0], [-1.0, 2.0], [0.5, 4.0], [0.0, 9.0]])
    >>> head_distance(x, x @ torch.tensor([[1.0, -1.0], [0.0, 0.0]])).round(decimals=6).tolist()
    [3.0, 1.0, 0.5, 0.0]
    """
    x = features.double() - features.double().mean(dim=0)
    z = logits.double()
    if z.shape[1] < 2:
        raise ValueError(
            f"logits: a boundary needs at least two classes, got shape {tuple(z.shape)}"
        )
    centerd = z - z.mean(dim=0)
    w = torch.linalg.pinv(x.T @ x, rtol=1e-10, hermitian=True) @ (x.T @ centerd)  # (D, C)
    left = float((centerd - x @ w).norm()) / max(float(centerd.norm()), 1e-300)
    if left > 0.01:
        raise ValueError(
            f"logits: expected a linear function of the features, but {left:.1%} of them is left"
            " over; features must be the head's input"
        )
    gram = w.T @ w
    square = gram.diagonal()[:, None] + gram.diagonal() - 2 * gram
    predicted = z.argmax(dim=1)
    length = square[predicted].clamp_min(1e-24).sqrt()  # (n, C)
    distance: Tensor = (z.gather(1, predicted[:, None]) - z) / length
    distance.scatter_(1, predicted[:, None], torch.inf)
    return distance.min(dim=1).values


@dataclass(frozen=True)
class DeepFool(ScoreBased):
    """Take the candidates closest to a decision boundary.

    source: `head` (default) measures in feature space, from `features` and `logits`, exactly, for a
    network that ends in a linear layer; `column` reads the signal `deepfool` (N,), distances in
    input space, which the function `deepfool` makes from the network and the inputs. Scores: minus
    the distance.

    >>> from coreset import select
    >>> select("deepfool", 1, deepfool=[0.3, 0.1, 0.2], options={"source": "column"}).indices
    array([1])
    """

    source: str = "head"

    def __post_init__(self) -> None:
        if self.source not in ("column", "head"):
            raise ValueError(f"source: expected column or head, got {self.source!r}")

    @property
    def needs(self) -> frozenset[str]:
        """Return the column, or what the head's distance is computed from."""
        return frozenset({"deepfool"} if self.source == "column" else {"features", "logits"})

    @property
    def scales(self) -> Mapping[str, Mapping[str, float] | None]:
        """Columns whose multiples change no choice, with the power that scores and info carry."""
        return {"features": {"scores": 1}, "logits": {}}

    def score(self, pool: Pool, signals: Signals) -> NDArray[np.float64]:
        """Return minus the distance per candidate."""
        if self.source == "column":
            return TopK("deepfool", highest=False).score(pool, signals)
        x, z = (rows(signals.column(name), pool.candidates) for name in ("features", "logits"))
        return -head_distance(x, z.to(x.device)).cpu().numpy()
