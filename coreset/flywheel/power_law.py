"""The power law of a learning curve, error = a + b n^-c, and what it says of more labels.

Hestness et al., "Deep Learning Scaling is Predictable, Empirically", 2017 (arXiv:1712.00409).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
_EXPONENTS = np.linspace(0.05, 2.0, 79)


def fit_power_law(sizes: Values, errors: Values) -> Values:
    """Return a, b, c (K, 3) of the curves `errors` (K, P) at `sizes` (P,), by least squares with
    a >= 0 and b >= 0; c is looked for on a grid from 0.05 to 2 in steps of 0.025.

    >>> n = np.array([100.0, 200.0, 400.0, 800.0])
    >>> fit_power_law(n, (0.1 + 2.0 * n**-0.5)[None]).round(3).tolist()
    [[0.1, 2.0, 0.5]]
    """
    if len(sizes) < 3:
        raise ValueError(f"sizes: expected at least 3 points of a curve, got {len(sizes)}")
    best = np.full(len(errors), np.inf)
    out = np.zeros((len(errors), 3))
    for c in _EXPONENTS:
        x = (sizes / sizes[0]) ** -c
        center = x - x.mean()
        b = (errors @ center) / (center @ center)
        a = errors.mean(axis=1) - b * x.mean()
        low = a < 0
        b = np.where(low, (errors @ x) / (x @ x), b)
        a = np.where(low, 0.0, a)
        flat = b < 0
        a, b = np.where(flat, errors.mean(axis=1), a), np.where(flat, 0.0, b)
        loss = ((a[:, None] + b[:, None] * x - errors) ** 2).sum(axis=1)
        better = loss < best - 1e-15
        best = np.where(better, loss, best)
        row = np.stack([a, b * sizes[0] ** c, np.full(len(errors), c)], axis=1)
        out[better] = row[better]
    return out


def forecast(
    sizes: Values,
    errors: Values,
    now: float,
    ahead: Sequence[float],
    rng: np.random.Generator,
    draws: int = 200,
) -> tuple[Values, Values, Values]:
    """Return the fall of the error from `now` labels to each of `ahead`, with a 95 % interval.

    errors (P, n): of every test example at every size; the interval is that of `draws` bootstrap
    samples of the examples, each with its own fit.
    """
    n = errors.shape[1]
    weights = rng.multinomial(n, np.full(n, 1 / n), size=draws) / n
    laws = fit_power_law(sizes, np.vstack([errors.mean(axis=1), weights @ errors.T]))
    _, b, c = laws.T

    def fall(size: float) -> Values:
        return np.asarray(b * now**-c - b * size**-c)

    falls = np.stack([fall(size) for size in ahead])
    return (
        falls[:, 0],
        np.quantile(falls[:, 1:], 0.025, axis=1),
        np.quantile(falls[:, 1:], 0.975, axis=1),
    )
