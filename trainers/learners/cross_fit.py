"""Signals by models that did not train on what they judge.

A model fits its own training examples, so that scores of them are squeezed together (UNSEEN,
arXiv:2511.12988): here every example is measured by the model of the folds it is not in.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset.core.learner import Learner
from coreset.core.pool import as_indices
from coreset.trainers.learners.heads import stratified_folds


def cross_fit(
    learner: Learner,
    indices: NDArray[Any],
    labels: NDArray[Any],
    names: Iterable[str],
    *,
    folds: int = 5,
    seed: Sequence[int] = (0,),
) -> dict[str, NDArray[Any]]:
    """Return the columns `names` at `indices` (n,), each row by a model that did not train on it.

    labels: column (N,) over the whole pool, known at indices. Classes are spread evenly over the
    folds. The learner trains `folds` times, each fold's model with a seed of its own; afterwards
    its current model is that of the last fold. Raises ValueError for fewer than two folds, fewer
    examples than folds, or a signal the learner does not give.
    """
    rows, wanted = as_indices(indices, learner.size, "indices"), list(names)
    odd = set(wanted) - learner.available
    if odd:
        raise ValueError(
            f"names: expected signals of {sorted(learner.available)}, got {sorted(odd)}"
        )
    if not 2 <= folds <= len(rows):
        raise ValueError(f"folds: expected 2 to {len(rows)} (the examples), got {folds}")
    known = np.asarray(labels)[rows].astype(np.int64)
    fold = stratified_folds(known, folds, np.random.default_rng([*seed, folds]))
    out: dict[str, NDArray[Any]] = {}
    for number in range(folds):
        held = fold == number
        learner.fit(rows[~held], labels, seed=[*seed, number])
        for name, values in learner.signals(rows[held], wanted).items():
            if name not in out:
                out[name] = np.empty((len(rows), *values.shape[1:]), values.dtype)
            out[name][held] = values
    return out
