"""Information that labels give about each other through an ensemble: the joint of several labels,
and of one label with a target's.

Members (MC dropout masks or networks) must be the same ones for every example, since they carry the
dependence: the joint of labels y_1 ... y_b is p(y_1 ... y_b) = mean_t prod_i p_t(y_i). All in
float64, in nats.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_BLOCK = 2**21  # values held at a time: 16 MB


class JointLabels:
    """The joint distribution of the labels of a growing batch, as label configurations with a
    weight and a posterior over the members each.

    members: T. configurations: at most that many are kept. Up to there the joint is exact, every
    configuration of non-zero probability once; beyond, that many are drawn from it, each one
    lengthened by a draw for each further label. `exact` says which.

    >>> p = torch.tensor([[1.0, 0.0], [0.0, 1.0]])  # two members who disagree
    >>> joint = JointLabels(2, 100)
    >>> first = joint.gains(p[None])
    >>> joint.add(p, np.random.default_rng(0))
    >>> (
    ...     first.tolist(),
    ...     joint.gains(p[None]).abs().tolist(),
    ...     joint.weights.tolist(),
    ... )  # the same label twice tells nothing new
    ([0.6931471805599453], [0.0], [0.5, 0.5])
    """

    def __init__(
        self, members: int, configurations: int, device: torch.device | None = None
    ) -> None:
        if configurations < 1:
            raise ValueError(f"configurations: expected at least 1, got {configurations}")
        self.limit = configurations
        self.exact = True
        self.weights = torch.ones(1, dtype=torch.float64, device=device)
        self.posterior = torch.full((1, members), 1 / members, dtype=torch.float64, device=device)

    def gains(self, probs: Tensor) -> Tensor:
        """Return I(y; w | labels of the batch) (n,) for `probs` (n, T, C): H(y | batch) - mean_t
        H(y | w_t); with an empty batch, BALD.
        """
        n, members, classes = probs.shape
        out = torch.empty(n, dtype=torch.float64, device=probs.device)
        step = max(1, _BLOCK // (max(len(self.weights), members) * classes))
        for start in range(0, n, step):
            part = slice(start, start + step)
            p = probs[part].double()
            predictive = self.posterior @ p.permute(1, 0, 2).reshape(members, -1)  # (M, n C)
            after = (
                torch.special.entr(predictive)
                .reshape(len(self.weights), len(p), classes)
                .sum(dim=2)
            )
            out[part] = self.weights @ after - torch.special.entr(p).sum(dim=2).mean(dim=1)
        return out

    def add(self, probs: Tensor, rng: np.random.Generator) -> None:
        """Put the label of one example with `probs` (T, C) into the batch; `rng` is read only once
        the joint is sampled.
        """
        p = probs.double()
        predictive = self.posterior @ p  # (M, C)
        if self.exact:
            weights = self.weights[:, None] * predictive
            at, label = torch.nonzero(weights > 0, as_tuple=True)
            if len(at) <= self.limit:
                self._extend(at, label, p, predictive)
                self.weights = weights[at, label] / weights.sum()
                return
            self.exact = False
            edges = torch.cumsum(self.weights, 0) / self.weights.sum()
            even = (
                torch.arange(self.limit, dtype=torch.float64) + rng.random()
            ) / self.limit  # one draw, evenly spread
            drawn = torch.searchsorted(edges, even.to(edges.device), right=True).clamp_max(
                len(edges) - 1
            )
            self.posterior, predictive = self.posterior[drawn], predictive[drawn]
            self.weights = torch.full(
                (self.limit,), 1 / self.limit, dtype=torch.float64, device=p.device
            )
        u = torch.from_numpy(rng.random(len(predictive)))[:, None].to(p.device)
        edges = torch.cumsum(predictive, dim=1)
        label = torch.searchsorted(edges, u * edges[:, -1:], right=True)[:, 0].clamp_max(
            p.shape[1] - 1
        )
        self._extend(torch.arange(len(label), device=p.device), label, p, predictive)

    def _extend(self, at: Tensor, label: Tensor, p: Tensor, predictive: Tensor) -> None:
        self.posterior = self.posterior[at] * p[:, label].T / predictive[at, label][:, None]


def expected_predictive_information(probs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean over targets of I(y; y*) (n,), for candidates' `probs` (n, T, C) and
    `targets` (m, T, C) of the same members.

    >>> p = torch.tensor([[1.0, 0.0], [0.0, 1.0]])[None]
    >>> sure = torch.tensor([[0.5, 0.5], [0.5, 0.5]])[None]
    >>> expected_predictive_information(torch.cat([p, sure]), p).tolist()
    [0.6931471805599453, 0.0]
    """
    n, members, classes = probs.shape
    if not len(targets):
        raise ValueError("targets: expected at least one")
    other = targets.double()
    columns = other.permute(1, 0, 2).reshape(members, -1)  # (T, m C)
    target_entropy = torch.special.entr(other.mean(dim=1)).sum(dim=1).mean()
    out = torch.empty(n, dtype=torch.float64, device=probs.device)
    step = max(1, _BLOCK // (classes * columns.shape[1]))
    for start in range(0, n, step):
        part = slice(start, start + step)
        p = probs[part].double()
        joint = p.permute(0, 2, 1).reshape(-1, members) @ columns / members  # (n C, m C)
        joint_entropy = torch.special.entr(joint).reshape(len(p), -1).sum(dim=1) / len(other)
        out[part] = torch.special.entr(p.mean(dim=1)).sum(dim=1) + target_entropy - joint_entropy
    return out
