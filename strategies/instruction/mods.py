"""MoDS: rows of good quality that cover the instructions, and those at which a model trained on
them fails.

Du, Zong & Zhang, "MoDS: Model-oriented Data Selection for Instruction Tuning", 2023
(arXiv:2311.15653). Quality and necessity are both a reward model's: of the row's own response, and
of the response of the model that was fine-tuned on the seeds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from coreset import Pool, Selection, Signals, Strategy
from coreset.core.pool import Indices
from coreset.strategies.combine.parts import narrow, numbers_at
from coreset.strategies.coverage.kcenter import KCenterGreedy
from coreset.strategies.instruction.common import by_id

Necessity = Callable[[Indices, Indices], ArrayLike]


@dataclass(frozen=True)
class Mods(Strategy):
    """Take seeds by k-center among the candidates of good quality, then those of good quality to
    which the model fine-tuned on the seeds responds badly, worst first.

    `reward` (N,): of the responses in the data; good quality lies above alpha. `features` (N, D):
    embeddings of the instructions alone; k-center is Euclidean and begins nearest to their mean.
    seeds: a count, or a share of the budget. necessity: a function (seeds, rows) that fine-tunes on
    the positions `seeds` and returns the reward of the new model's response for each of the
    positions `rows`; None: these rewards are the column `response_reward` (N,), of the seeds this
    strategy names for the same budget. Necessary is what lies below beta. Seeds that are necessary
    too stand once. Where both parts are fewer than the budget, other candidates fill it up, those
    of good quality first, by response reward, then by reward; info `filled` says how many, `seeds`
    and `necessary` how many of each were taken. Ties go to the lowest id. Raises ValueError when no
    candidate is of good quality, and when `necessity` returns anything but one finite number per
    row.

    >>> from coreset import select
    >>> x = np.array([[0.0], [1.0], [5.0], [9.0]])
    >>> columns = {"reward": [1.0, 1.0, 1.0, -1.0], "response_reward": [-2.0, 3.0, 4.0, 0.0]}
    >>> select("mods", 3, features=x, options={"seeds": 2}, **columns).indices
    array([1, 2, 0])
    """

    alpha: float = 0.0
    beta: float = 0.0
    seeds: int | float = 0.25
    necessity: Necessity | None = None

    def __post_init__(self) -> None:
        share = isinstance(self.seeds, float)
        if isinstance(self.seeds, bool) or (not 0 < self.seeds <= 1 if share else self.seeds < 1):
            raise ValueError(
                f"seeds: expected a count of at least 1 or a share in (0, 1], got {self.seeds!r}"
            )
        if self.necessity is not None and not callable(self.necessity):
            raise TypeError(
                f"necessity: expected a function of seeds and rows, or None, got {self.necessity!r}"
            )

    @property
    def needs(self) -> frozenset[str]:
        """Return the reward, the embeddings and, without a function, the response reward."""
        return frozenset(
            {"reward", "features"} | (set() if self.necessity else {"response_reward"})
        )

    @property
    def greedy(self) -> bool:  # type: ignore[override]
        """Return whether the number of seeds is the same for every budget."""
        return not isinstance(self.seeds, float)

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Return seeds, necessary rows, and what fills them up."""
        at = by_id(pool)
        reward = numbers_at(signals, "reward", at)
        good = at[reward > self.alpha]
        if not len(good):
            raise ValueError(
                f"reward: no candidate lies above alpha = {self.alpha:g}, the highest is"
                f" {reward.max():g}"
            )
        wanted = (
            int(np.ceil(self.seeds * k - 1e-9)) if isinstance(self.seeds, float) else self.seeds
        )
        cover = narrow(pool, np.sort(good), np.empty(0, np.int64))
        seeds = KCenterGreedy(first="center")(
            cover, signals, min(wanted, k, len(good)), rng
        ).indices
        rest = good[~np.isin(good, seeds)]
        answered = self._responses(signals, seeds, good)[~np.isin(good, seeds)]
        order = np.argsort(answered, kind="stable")
        necessary = int((answered < self.beta).sum())
        bad = at[reward <= self.alpha]
        bad = bad[np.argsort(-reward[reward <= self.alpha], kind="stable")]
        picks = np.concatenate([seeds, rest[order], bad])[:k]
        necessary = min(necessary, k - len(seeds))
        info = {"seeds": len(seeds), "necessary": necessary, "filled": k - len(seeds) - necessary}
        return Selection(picks, info=info)

    def _responses(self, signals: Signals, seeds: Indices, good: Indices) -> np.ndarray:
        """Return the reward of the fine-tuned model's response to each row of good quality."""
        if self.necessity is None:
            return numbers_at(signals, "response_reward", good)
        rewards = np.asarray(self.necessity(seeds, good), np.float64)
        if rewards.shape != good.shape or not np.isfinite(rewards).all():
            raise ValueError(
                f"necessity: expected {len(good)} finite rewards, one per row asked for, got shape"
                f" {rewards.shape} with {int((~np.isfinite(rewards)).sum())} that are not finite"
            )
        return rewards
