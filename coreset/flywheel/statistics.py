"""Intervals and tests of the flywheel that are about its slices alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

Values = NDArray[np.float64]
_DRAWS = 9999  # permutations of a slice too small for the normal law
_SMALL = 200
_CELLS = 2**22  # of the table of draws and distinct values that is held at a time


def mean_interval(errors: Values, alpha: float = 0.05) -> tuple[float, float]:
    """Return a two-sided interval for the mean of errors (n,).

    Of 0/1 errors, or their means over seeds: Wilson's ("Probable inference", JASA 1927) with the
    mean as the count; of others the normal one with the sample's deviation.

    >>> low, high = mean_interval(np.zeros(10))
    >>> round(low, 3), round(high, 3)
    (0.0, 0.278)
    """
    n, mean = len(errors), float(np.mean(errors)) if len(errors) else 0.5
    z = float(norm.ppf(1 - alpha / 2))
    if n == 0:
        return 0.0, 1.0
    if errors.min() >= 0 and errors.max() <= 1:
        middle = (mean + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * np.sqrt(mean * (1 - mean) / n + z * z / (4 * n * n))
        return max(0.0, float(middle - half)), min(1.0, float(middle + half))
    half = z * float(np.std(errors, ddof=1)) / np.sqrt(n) if n > 1 else float("inf")
    return mean - half, mean + half


def excess_test(
    errors: Values, inside: NDArray[np.bool_], strata: NDArray[np.int64], rng: np.random.Generator
) -> tuple[float, float]:
    """Return by how much the mean error inside a slice is above what its strata have in all, and
    the one-sided p of a permutation of `inside` within the strata.

    errors (n,), inside (n,) bool, strata (n,) whole numbers. Mean and variance of the permuted sum
    are exact (of 0/1 errors this is the test of Mantel & Haenszel, JNCI 1959); the law is normal,
    with 9,999 permutations drawn instead where the slice has fewer than 200 rows. Strata that lie
    wholly in or out of the slice say nothing; when all do, p is 1.

    >>> errors = np.r_[np.ones(30), np.zeros(170)]
    >>> excess, p = excess_test(
    ...     errors, np.arange(200) < 40, np.zeros(200, int), np.random.default_rng(0)
    ... )
    >>> round(excess, 2), p
    (0.6, 0.0001)
    """
    total = expected = variance = 0.0
    mixed: list[tuple[Values, int]] = []
    size = 0
    for stratum in np.unique(strata[inside]):
        rows = strata == stratum
        n, k = int(rows.sum()), int((rows & inside).sum())
        values = errors[rows]
        if k == n or n < 2:
            continue
        size += k
        total += float(errors[rows & inside].sum())
        expected += k * float(values.mean())
        variance += k * (n - k) / (n - 1) * float(values.var())
        mixed.append((values, k))
    if not size:
        return 0.0, 1.0
    excess = (total - expected) / size
    if variance <= 0:
        return excess, 1.0
    if size >= _SMALL:
        return excess, float(norm.sf((total - expected) / np.sqrt(variance)))
    drawn = np.zeros(_DRAWS)
    for values, k in mixed:
        drawn += _sums(values, k, rng)
    return excess, float((1 + (drawn >= total - 1e-9).sum()) / (_DRAWS + 1))


def _sums(values: Values, k: int, rng: np.random.Generator) -> Values:
    """Return the sums (`_DRAWS`,) of `k` of the values (n,), drawn without replacement: how often
    each distinct value is among them is multivariate hypergeometric.
    """
    levels, counts = np.unique(values, return_counts=True)
    sums = np.empty(_DRAWS)
    step = max(1, _CELLS // len(levels))
    for start in range(0, _DRAWS, step):
        size = min(step, _DRAWS - start)
        often = rng.multivariate_hypergeometric(counts, k, size, method="count")
        sums[start : start + size] = often @ levels
    return sums


def rows_needed(rows: int, p: float, bar: float, power: float = 0.8) -> float:
    """Return how many rows a slice must have for its excess to have a p of at most `bar` with
    probability `power`, were the excess what its `rows` rows with this p say, by the normal law;
    infinity for a p of 1/2 or more. Of a slice picked for its small p the excess is overrated, the
    number too small.

    >>> round(rows_needed(82, 0.004, 0.05 / 30))
    166
    """
    if p >= 0.5:
        return float("inf")
    wanted = float(norm.isf(bar)) + float(norm.isf(1 - power))
    return rows * (wanted / float(norm.isf(max(p, 1e-12)))) ** 2


def share_ratio(
    few: int, of_few: int, many: int, of_many: int, alpha: float = 0.05
) -> tuple[float, float]:
    """Return the ratio of two shares, few / of_few over many / of_many, and the upper end of its
    one-sided interval on the log scale (Katz et al., Biometrics 1978; 1/2 added to counts).

    >>> ratio, upper = share_ratio(10, 1000, 100, 1000)
    >>> round(ratio, 2), round(upper, 2)
    (0.1, 0.18)
    """
    if not of_few or not many:
        return 1.0, float("inf")
    ratio = (few / of_few) / (many / of_many)
    smooth = ((few + 0.5) / (of_few + 1)) / ((many + 0.5) / (of_many + 1))
    spread = 1 / (few + 0.5) - 1 / (of_few + 1) + 1 / (many + 0.5) - 1 / (of_many + 1)
    upper = smooth * float(np.exp(norm.ppf(1 - alpha) * np.sqrt(max(spread, 0.0))))
    return float(ratio), upper


def paired_gain(before: Values, after: Values, alpha: float = 0.05) -> tuple[float, float, float]:
    """Return by how much errors fall from one arm to another, with a two-sided interval.

    before, after (S, n): errors by seed and example, the same seeds and examples. Seeds and
    examples are both drawn: the variance is the sum of that of the examples' means and that of the
    seeds' means (Owen, "The pigeonhole bootstrap", 2007, the closed form for means, which does not
    fall short), the law normal.

    >>> gain, low, high = paired_gain(np.ones((3, 50)), np.zeros((3, 50)))
    >>> gain, low, high
    (1.0, 1.0, 1.0)
    """
    gains = before - after
    seeds, n = gains.shape
    mean = float(gains.mean())
    variance = float(gains.mean(axis=0).var(ddof=1)) / n if n > 1 else np.inf
    variance += float(gains.mean(axis=1).var(ddof=1)) / seeds if seeds > 1 else 0.0
    half = float(norm.ppf(1 - alpha / 2)) * float(np.sqrt(variance))
    return mean, mean - half, mean + half
