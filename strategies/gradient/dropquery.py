"""DropQuery: examples whose prediction does not survive dropout, one per cluster.

Gupte et al., "Revisiting Active Learning in the Era of Vision Foundation Models", TMLR 2024,
section 4 (arXiv:2401.14555).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from coreset import Pool, Selection, Signals, Strategy
from coreset.numerics.tensors import rows
from coreset.strategies.gradient.representatives import representatives


def flips(probs: Tensor, member_probs: Tensor) -> Tensor:
    """Return in how many of the T passes `member_probs` (n, T, C) the likeliest class differs from
    that of `probs` (n, C), (n,) int64.

    >>> import torch
    >>> flips(
    ...     torch.tensor([[0.9, 0.1]]), torch.tensor([[[0.6, 0.4], [0.3, 0.7], [0.2, 0.8]]])
    ... ).tolist()
    [2]
    """
    return (member_probs.argmax(dim=2) != probs.argmax(dim=1)[:, None]).sum(dim=1)


@dataclass(frozen=True)
class DropQuery(Strategy):
    """Take one example per cluster of those whose prediction flips in more than half of the dropout
    passes.

    `member_probs` (N, T, C) holds the passes (the paper: T = 3, dropout 0.75 on frozen features),
    `probs` the prediction without dropout. per_choice: while fewer than this many examples per
    choice flip often enough, one flip less will do, down to one; 0 keeps to the majority. Clusters:
    k-means on features of unit length, into as many as are asked for; where too few flip at all,
    others are drawn at random. info: `flips`, the number that was needed, and `eligible`, how many
    had it.

    >>> from coreset import select
    >>> p, m = np.array([[0.9, 0.1], [0.9, 0.1]]), np.array([[[0.9, 0.1]], [[0.1, 0.9]]])
    >>> select("dropquery", 1, features=np.eye(2), probs=p, member_probs=m).indices
    array([1])
    """

    per_choice: int = 25

    needs = frozenset({"features", "member_probs", "probs"})
    greedy = False
    random = True

    def __post_init__(self) -> None:
        if self.per_choice < 0:
            raise ValueError(
                f"per_choice: expected a whole number of at least 0, got {self.per_choice}"
            )

    @property
    def scales(self) -> Mapping[str, Mapping[str, float] | None]:
        """Columns whose multiples change no choice, with the power that scores and info carry."""
        return {"features": None}

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Count the flips, then cluster."""
        candidates = pool.candidates
        members = signals.column("member_probs")
        step = max(1, 2**22 // max(1, int(np.prod(members.shape[1:]))))
        parts = np.split(candidates, range(step, len(candidates), step))
        count = np.concatenate([_flips(signals, part) for part in parts])
        needed = members.shape[1] // 2 + 1
        while needed > 1 and (count >= needed).sum() < self.per_choice * k:
            needed -= 1
        eligible: NDArray[np.bool_] = count >= needed
        picks = representatives(
            rows(signals.column("features"), candidates), eligible, k, rng, pool.ids[candidates]
        )
        info = {"flips": needed, "eligible": int(eligible.sum())}
        return Selection(candidates[picks], scores=count[picks], info=info)


def _flips(signals: Signals, index: NDArray[np.int64]) -> NDArray[np.int64]:
    probs = rows(signals.column("probs"), index)
    return np.asarray(
        flips(probs, rows(signals.column("member_probs"), index).to(probs.device)).cpu().numpy()
    )
