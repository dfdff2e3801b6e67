"""How much a context helps: the loss of the same answer under two contexts, and their ratio.

IFD, and every score of its kind (what an image adds to a question, what a question adds to an
image), is one call: an answer after the full context and after a reduced one. What a context is
only the `Likelihood` knows: tokens here, images elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]


class Likelihood(Protocol):
    """Whatever can say how surprising an answer is after its context."""

    def totals(self, spans: Sequence[Any]) -> tuple[Float, NDArray[np.int64]]:
        """Return, per span, the summed negative log-likelihood of its scored tokens, in nats, and
        how many they are.
        """
        ...


@dataclass(frozen=True, eq=False)
class Contrast:
    """Mean loss per token under the full and the reduced context, (n,) each, NaN where no token is
    scored, and how many are.
    """

    full: Float
    reduced: Float
    n_full: NDArray[np.int64]
    n_reduced: NDArray[np.int64]

    def of_losses(self) -> Float:
        """Return full / reduced, NaN where it is undefined or infinite.

        >>> one = np.array([1])
        >>> Contrast(np.array([1.0]), np.array([2.0]), one, one).of_losses()
        array([0.5])
        """
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            return _finite(self.full / self.reduced)

    def of_perplexities(self) -> Float:
        """Return exp(full - reduced), the ratio of the two perplexities, NaN where it is undefined
        or infinite.
        """
        with np.errstate(over="ignore"):
            return _finite(np.exp(self.full - self.reduced))


def _finite(values: Float) -> Float:
    return np.where(np.isfinite(values), values, np.nan)


def contrast(
    model: Likelihood, full: Sequence[Sequence[Any]], reduced: Sequence[Sequence[Any]]
) -> Contrast:
    """Return the losses of n answers under two contexts. An answer is one or several spans (the
    turns of a conversation): all their tokens weigh the same.

    Both sides go to the model in one call, so that it can put them together as it likes.
    """
    if len(full) != len(reduced):
        raise ValueError(
            f"{len(full)} answers with a full context, {len(reduced)} with a reduced one"
        )
    sides = [full, reduced]
    spans = [span for side in sides for answer in side for span in answer]
    sums, counts = model.totals(spans)
    owner = np.repeat(np.arange(2 * len(full)), [len(answer) for side in sides for answer in side])
    total = np.bincount(owner, sums, 2 * len(full))
    n = np.bincount(owner, counts, 2 * len(full)).astype(np.int64)
    mean = np.divide(total, n, out=np.full(len(n), np.nan), where=n > 0)
    half = len(full)
    return Contrast(mean[:half], mean[half:], n[:half], n[half:])
