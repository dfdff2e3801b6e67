"""The loss on soft labels: a network learns a teacher's probabilities at a temperature, and the
hard label beside them.

Hinton, Vinyals & Dean, "Distilling the Knowledge in a Neural Network", 2015 (arXiv:1503.02531),
without the factor T^2, as in SRe2L and RDED.
"""

from __future__ import annotations

from torch import Tensor, nn


def soft_cross_entropy(
    logits: Tensor,
    probs: Tensor,
    temperature: float = 1.0,
    truth: Tensor | None = None,
    mix: float = 0.0,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Return (1 - mix) x cross-entropy of softmax(logits / temperature) with `probs` + mix x
    cross-entropy of softmax(logits) with `truth`, one number a row, (B,).

    logits, probs (B, classes); truth (B,) whole numbers, needed where mix is above 0. The first
    term is the divergence KL(probs || softmax) up to a constant. label_smoothing: of the hard
    label. Its gradient by the logits is (1 - mix) / temperature x (softmax(logits / temperature) -
    probs) + mix x (softmax(logits) - one-hot).

    >>> import torch
    >>> z, p = torch.zeros(1, 2), torch.tensor([[0.75, 0.25]])
    >>> round(soft_cross_entropy(z, p, 4.0, torch.tensor([0]), 0.5).item(), 4)
    0.6931
    """
    soft = nn.functional.cross_entropy(logits / temperature, probs, reduction="none")
    if not mix:
        return soft
    if truth is None:
        raise ValueError("truth: expected the hard labels to mix in")
    hard = nn.functional.cross_entropy(
        logits, truth, reduction="none", label_smoothing=label_smoothing
    )
    return (1 - mix) * soft + mix * hard
