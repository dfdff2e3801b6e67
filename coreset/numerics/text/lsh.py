"""The curve of locality-sensitive hashing by bands of MinHash positions, its threshold, and the
bands for a threshold.

Leskovec, Rajaraman & Ullman, "Mining of Massive Datasets", chapter 3.4. Two texts whose n-grams
have the Jaccard similarity s agree in a position with probability s, in all r positions of a band
with s^r, and share one of b bands with 1 - (1 - s^r)^b.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coreset.core.ranges import check_range

LONGEST = 2**14  # positions of a signature


def _checked(bands: int, rows: int) -> None:
    if not all(isinstance(n, int | np.integer) and n >= 1 for n in (bands, rows)):
        raise ValueError(
            f"bands, rows: expected whole numbers of at least 1, got {bands} and {rows}"
        )


def lsh_probability(similarity: ArrayLike, bands: int, rows: int) -> NDArray[np.float64]:
    """Return the probability that two texts share a band, 1 - (1 - s^rows)^bands, in the shape of
    `similarity`.

    similarity: Jaccard similarities in [0, 1]. Raises ValueError for one outside, and for bands or
    rows below 1.

    >>> lsh_probability([0.5, 0.72, 0.8, 0.9], bands=14, rows=8).round(2).tolist()
    [0.05, 0.65, 0.92, 1.0]
    """
    _checked(bands, rows)
    s = np.asarray(similarity, np.float64)
    if not ((s >= 0) & (s <= 1)).all():
        raise ValueError(f"similarity: expected Jaccard similarities in [0, 1], got {similarity!r}")
    with np.errstate(divide="ignore"):
        return np.asarray(-np.expm1(bands * np.log1p(-(s**rows))))


def lsh_threshold(bands: int, rows: int, probability: float = 0.5) -> float:
    """Return the Jaccard similarity at which two texts share a band with `probability`: where the
    curve passes it.

    The inverse of `lsh_probability`. (1 / bands)^(1 / rows), which is often given instead, is where
    the probability is 1 - (1 - 1 / bands)^bands, about 0.63. Raises ValueError for a probability
    outside (0, 1), and for bands or rows below 1.

    >>> round(lsh_threshold(14, 8), 3), round(lsh_threshold(14, 8, 0.95), 3)
    (0.685, 0.814)
    """
    _checked(bands, rows)
    check_range("a number in (0, 1)", probability=probability)
    return float((-np.expm1(np.log1p(-probability) / bands)) ** (1 / rows))


def areas(threshold: float, bands: int, rows: int) -> tuple[float, float]:
    """Return the areas under the curve below `threshold` (false candidates) and above the curve
    from there on (misses).

    With u = s^rows the integral of (1 - s^rows)^bands is an incomplete beta function, so neither
    area is a sum over steps. Raises ValueError for a threshold outside (0, 1), and for bands or
    rows below 1.

    >>> [round(a, 4) for a in areas(0.7, bands=14, rows=8)]
    [0.0521, 0.0258]
    """
    from scipy.special import beta, betainc

    _checked(bands, rows)
    check_range("a Jaccard similarity in (0, 1)", threshold=threshold)
    whole = beta(1 / rows, bands + 1) / rows  # the integral over [0, 1]
    below = whole * betainc(1 / rows, bands + 1, threshold**rows)
    return float(threshold - below), float(whole - below)


def best_bands(
    threshold: float, positions: int = 128, false_positive: float = 0.5, false_negative: float = 0.5
) -> tuple[int, int]:
    """Return the (bands, rows) of at most `positions` MinHash positions whose curve comes closest
    to a step at `threshold`.

    Closest: the least of false_positive x the area of false candidates + false_negative x the area
    of misses (see `areas`), the choice of datasketch and of Data-Juicer; of equals the one of fewer
    positions. Where candidates are verified, as by `near_duplicates`, a false one costs time alone
    and a missed pair is never seen: a larger false_negative is right there. Raises ValueError for a
    threshold outside (0, 1), positions below 1 or above 2^14, weights that are negative or both 0.

    >>> best_bands(0.7, 112), best_bands(0.7, 112, false_positive=0.1, false_negative=0.9)
    ((12, 9), (18, 6))
    """
    if not isinstance(positions, int | np.integer) or not 1 <= positions <= LONGEST:
        raise ValueError(f"positions: expected a whole number from 1 to {LONGEST}, got {positions}")
    weights = (false_positive, false_negative)
    if not all(0 <= w < np.inf for w in weights) or sum(weights) <= 0:
        raise ValueError(
            "false_positive, false_negative: expected weights of at least 0, not both 0, "
            f"got {false_positive} and {false_negative}"
        )
    best, chosen = np.inf, (1, 1)
    for bands in range(1, positions + 1):
        for rows in range(1, positions // bands + 1):
            early, late = areas(threshold, bands, rows)
            cost = false_positive * early + false_negative * late
            smaller = bands * rows < chosen[0] * chosen[1]
            if cost < best * (1 - 1e-12) or (cost <= best * (1 + 1e-12) and smaller):
                best, chosen = cost, (bands, rows)
    return chosen
