"""What strategies made of other strategies share: joined needs, narrower pools, one answer out of
several.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset import Pool, Selection, Signals, Strategy
from coreset.core.pool import Indices
from coreset.registry import resolve_parts
from coreset.score_based import ScoreBased


class Combined(Strategy):
    """A strategy made of others: it needs what they need, and what `own` names. A prefix of its
    answer is in general no answer for a smaller budget. A part may be given by its name.
    """

    own: frozenset[str] = frozenset()
    greedy = False

    def __post_init__(self) -> None:
        resolve_parts(self)

    @property
    @abstractmethod
    def parts(self) -> tuple[Strategy, ...]:
        """The strategies it is made of."""

    @property
    def needs(self) -> frozenset[str]:
        """Return the signals that any part reads at the candidates."""
        return self.own.union(*(p.needs for p in self.parts))

    @property
    # a plain attribute in strategies that are no combination
    def needs_selected(self) -> frozenset[str]:  # type: ignore[override]
        """Return the signals that any part reads at the examples already taken."""
        return frozenset[str]().union(*(p.needs_selected for p in self.parts))

    @property
    def random(self) -> bool:  # type: ignore[override]
        """Return whether the answer depends on the seed."""
        return any(p.random for p in self.parts)

    @property
    def scales(self) -> Mapping[str, Mapping[str, float] | None]:
        """Columns whose multiples change no choice, with the power that scores and info carry."""
        mine = frozenset[str]().union(*(part.needs | part.needs_selected for part in self.parts))
        return dict.fromkeys(mine - self.own)


class ScoresAndCosines(Combined):
    """A combination of the scores of one `base` and the cosines between features: features may have
    any scale.
    """

    base: ScoreBased

    own = frozenset({"features"})

    @property
    def parts(self) -> tuple[Strategy, ...]:
        """Return the base."""
        return (self.base,)

    @property
    def needs_selected(self) -> frozenset[str]:  # type: ignore[override]
        """Return what the base reads of what is selected, and what `own` names."""
        return super().needs_selected | self.own

    @property
    def scales(self) -> Mapping[str, Mapping[str, float] | None]:
        """Columns whose multiples change no choice, with the power that scores and info carry."""
        return {**super().scales, "features": {}}


def narrow(pool: Pool, candidates: Indices, selected: Indices | None = None) -> Pool:
    """Return `pool` with other candidates (sorted positions, trusted) and, where given, other
    positions taken; O(1), ids are shared.

    >>> narrow(Pool(4, [0]), np.array([2])).candidates
    array([2])
    """
    other = copy.copy(pool)
    object.__setattr__(other, "candidates", candidates)
    if selected is not None:
        object.__setattr__(other, "selected", selected)
    return other


def base_scores(base: Strategy, pool: Pool, signals: Signals) -> NDArray[np.float64]:
    """Return the scores of a scored strategy at the candidates, (n,) float64, higher = better,
    after the checks that calling it would make.

    Raises TypeError when `base` is no `Scored`, and ValueError when a score is not finite.
    """
    if not isinstance(base, ScoreBased):
        raise TypeError(
            f"base: expected a strategy that scores every candidate, got {type(base).__name__}"
        )
    return base.scores(pool, signals)


def column_at(signals: Signals, name: str, indices: Indices) -> NDArray[Any]:
    """Return the values of a column (N,) at positions, as an array. Raises ValueError when it holds
    more than one value per example.
    """
    values = signals.at(name, indices)
    array = values if isinstance(values, np.ndarray) else values.cpu().numpy()
    if array.ndim != 1:
        raise ValueError(
            f"{name}: expected one value per example, shape (N,), got {array.ndim} dimensions"
        )
    return array


def numbers_at(signals: Signals, name: str, indices: Indices) -> NDArray[np.float64]:
    """Return the numbers of a column (N,) at positions. Raises ValueError for what holds no number,
    such as None, or more than one per example.
    """
    array = column_at(signals, name, indices)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name}: expected one number per example, got {array.dtype}")
    return array.astype(np.float64)


def interleave(answers: Sequence[Selection], **info: Any) -> Selection:
    """Return several disjoint answers as one, in turns in proportion to their lengths, ties to the
    earlier answer.

    Weights and scores are kept when every answer has them.

    >>> interleave([Selection([1, 2, 3, 4]), Selection([8, 9])]).indices
    array([1, 8, 2, 3, 9, 4])
    """
    place = np.concatenate([(np.arange(len(a)) + 0.5) / len(a) for a in answers])
    order = np.lexsort((np.repeat(np.arange(len(answers)), [len(a) for a in answers]), place))

    def joined(name: str) -> NDArray[np.float64] | None:
        values = [getattr(a, name) for a in answers]
        return None if any(v is None for v in values) else np.concatenate(values)[order]

    indices = np.concatenate([a.indices for a in answers])[order]
    return Selection(indices, joined("weights"), joined("scores"), info=info)
