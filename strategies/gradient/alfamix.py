"""ALFA-Mix: examples whose prediction changes when a little of the labeled classes' mean features
is mixed into their own.

Parvaneh et al., "Active Learning by Feature Mixing", CVPR 2022 (arXiv:2203.07034), closed form of
the mixing ratio (equation 5).

The ratio is α = ε ||z* - z|| ∇ / ||∇|| ⊘ (z* - z), per feature, with ∇ the gradient in z of the
loss at the predicted label. Mixed in, α ⊙ (z* - z), the division cancels: z moves by ε ||z* - z||
along ∇ / ||∇||. With a linear head W that is a move of the logits by ε ||z* - z|| r K / sqrt(r K
r'), r = p - onehot(prediction), K = W W': C x C numbers stand for the head, and no gradient is
written out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from coreset import Pool, Selection, Signals, Strategy
from coreset.core.ranges import check_range
from coreset.numerics.tensors import as_float, rows
from coreset.strategies.gradient.representatives import representatives


def linear_head(features: Tensor, logits: Tensor) -> Tensor:
    """Return W (C, D), float64, of the head W h + b that made `logits` (n, C) from `features` (n,
    D), by least squares.

    Exact when the features span all directions; otherwise the part of W they do span, the rest
    zero. Raises ValueError when the logits are no affine function of the features.

    >>> x = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> linear_head(x, x @ torch.tensor([[1.0], [2.0]]) + 3).round(decimals=6).tolist()
    [[1.0, 2.0]]
    """
    n, dim = features.shape
    blocks = list(zip(torch.split(features, 4096), torch.split(logits, 4096), strict=True))
    middle = sum(h.double().sum(dim=0) for h, _ in blocks) / n
    level = sum(z.double().sum(dim=0) for _, z in blocks) / n
    square = torch.zeros(dim, dim, dtype=torch.float64, device=features.device)
    cross = torch.zeros(dim, logits.shape[1], dtype=torch.float64, device=features.device)
    for h, z in blocks:
        centerd = h.double() - middle
        square += centerd.T @ centerd
        cross += centerd.T @ (z.double() - level)
    head = (torch.linalg.pinv(square, rtol=1e-10, hermitian=True) @ cross).T
    missed = spread = 0.0
    for h, z in blocks:
        z = z.double() - level
        missed += float((z - (h.double() - middle) @ head.T).square().sum())
        spread += float(z.square().sum())
    if missed > 1e-4 * spread:
        raise ValueError(
            "logits: expected an affine function of the features (a linear last layer), but a"
            f" least-squares fit leaves {np.sqrt(missed / spread):.1%} of their spread; record both"
            " from one model, the features right before its last layer"
        )
    return torch.as_tensor(head)


def moves(logits: Tensor, head: Tensor) -> Tensor:
    """Return by how much each logit grows per unit step along the normalized gradient in the
    features, (n, C) float64; zero where the gradient is.
    """
    z = logits.double()
    r = z.softmax(dim=1)
    r[torch.arange(len(r), device=r.device), z.argmax(dim=1)] -= 1
    moved = r @ (head @ head.T)
    length = (moved * r).sum(dim=1, keepdim=True).clamp_min(0).sqrt()
    return torch.where(length > 0, moved / torch.where(length > 0, length, 1.0), 0.0)


@dataclass(frozen=True)
class AlfaMix(Strategy):
    """Take one example per cluster of those whose prediction changes under the mix with some class.

    step: ε = step / sqrt(D), raised by as much again until more examples change than are asked for,
    or step reaches 1. Anchors are the mean features of the selected examples of each class (of all
    where a class has none); so labels are needed of what is selected, and something must be. The
    head is recovered from `features` and `logits`. Clusters: k-means on features of unit length;
    where too few change, others are drawn at random. info: the last `epsilon` times sqrt(D), and
    how many changed.

    >>> from coreset import select
    >>> x = np.array([[-2.0], [2.0], [0.1], [-3.0]])
    >>> select(
    ...     "alfamix",
    ...     1,
    ...     features=x,
    ...     logits=x @ [[-1.0, 1.0]],
    ...     labels=np.array([0, 1, -1, -1]),
    ...     selected=[0, 1],
    ... ).indices
    array([2])
    """

    step: float = 0.2

    needs = frozenset({"features", "logits"})
    needs_selected = frozenset({"features", "labels"})
    greedy = False
    random = True

    def __post_init__(self) -> None:
        check_range("a number in [0.001, 1]", step=self.step)

    @property
    def scales(self) -> Mapping[str, Mapping[str, float] | None]:
        """Columns whose multiples change no choice, with the power that scores and info carry."""
        return {"features": {}}

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Find what changes, then cluster."""
        if not len(pool.selected):
            raise ValueError(
                "selected: ALFA-Mix mixes with labeled examples, and nothing is selected yet"
            )
        x, z = (as_float(rows(signals.column(n), pool.candidates)) for n in ("features", "logits"))
        z = z.to(x.device)
        taken = as_float(rows(signals.column("features"), pool.selected)).double()
        labels = rows(signals.column("labels"), pool.selected).to(taken.device)
        classes = z.shape[1]
        if bool(((labels < 0) | (labels >= classes)).any()):
            raise ValueError(
                f"labels: expected 0 to {classes - 1} for everything selected, as there are"
                f" {classes} logits"
            )
        anchors = torch.stack(
            [
                taken[labels == c].mean(dim=0) if bool((labels == c).any()) else taken.mean(dim=0)
                for c in range(classes)
            ]
        )
        moved = moves(z, linear_head(x, z))
        away = torch.cat(
            [
                torch.cdist(block.double(), anchors, compute_mode="donot_use_mm_for_euclid_dist")
                for block in torch.split(x, 4096)
            ]
        )
        changed = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        before, cap = z.argmax(dim=1), 0.0
        while cap < 1 and int(changed.sum()) <= k:
            cap += self.step
            for distance in away.T:
                mixed = z.double() + (cap / np.sqrt(x.shape[1]) * distance)[:, None] * moved
                changed |= mixed.argmax(dim=1) != before
        eligible = changed.cpu().numpy()
        picks = representatives(x, eligible, k, rng, pool.ids[pool.candidates])
        return Selection(
            pool.candidates[picks], info={"epsilon": cap, "eligible": int(eligible.sum())}
        )
