"""Training dynamics of a linear head on frozen features."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from coreset.numerics.dynamics import DynamicsRecorder
from coreset.numerics.softmax_regression import softmax_rows

EPOCHS, BATCH, MOMENTUM = 30, 128, 0.9


def head_dynamics(
    x: NDArray[np.floating],
    y: NDArray[np.int64],
    classes: int,
    statistics: Iterable[str],
    rng: np.random.Generator,
) -> dict[str, NDArray[np.float64]]:
    """Return the columns `statistics` (N,) of `coreset.numerics.dynamics.DynamicsRecorder`.

    x (N, D) features; y (N,) in 0 .. classes - 1. A linear head from zero, 30 epochs of stochastic
    gradient descent in batches of 128 with momentum 0.9; the step falls from 1 / mean |x|^2 to 0
    along half a cosine, so that the scale of the features does not matter.

    >>> x = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [1.0, 0.0]], np.float32)
    >>> columns = head_dynamics(x, np.array([0, 0, 1, 1]), 2, ["aum"], np.random.default_rng(0))
    >>> int(columns["aum"].argmin())  # the last has the label of another place
    3
    """
    wanted = list(statistics)
    recorder = DynamicsRecorder(len(x), wanted)
    inputs = np.concatenate([x, np.ones((len(x), 1))], axis=1)  # float64; the last: the bias
    weight = velocity = np.zeros((inputs.shape[1], classes))
    lr = 1 / max(float((inputs[:, :-1] ** 2).sum(axis=1).mean()), 1e-12)
    steps, done = EPOCHS * -(-len(x) // BATCH), 0
    for epoch in range(EPOCHS):
        order = rng.permutation(len(x))
        for begin in range(0, len(x), BATCH):
            rows = order[begin : begin + BATCH]
            logits = inputs[rows] @ weight
            recorder.update(rows, logits, y[rows], epoch)
            error = softmax_rows(logits)
            error[np.arange(len(rows)), y[rows]] -= 1
            velocity = MOMENTUM * velocity - inputs[rows].T @ (error / len(rows))
            weight = weight + lr * (1 + math.cos(math.pi * done / steps)) / 2 * velocity
            done += 1
    columns = recorder.finish()
    return {name: columns[name] for name in wanted}
