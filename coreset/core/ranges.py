"""Numbers held to a range, refused in the same words everywhere."""

from __future__ import annotations

import re

_END = re.compile(r"([\[(])(\S+), (\S+)([\])])$")


def check_range(expected: str, /, **values: float) -> None:
    """Raise ValueError for a value outside a range, with its name, what was expected and the value.

    expected: words that end with the range, closed by `[` and `]`, open by `(` and `)`: "a share in
    [0, 1)", "a number in (0, inf)". NaN lies in no range.

    >>> check_range("a share in [0, 1)", ratio=0.5)
    >>> check_range("a share in [0, 1)", ratio=1)
    Traceback (most recent call last):
    ValueError: ratio: expected a share in [0, 1), got 1
    """
    match = _END.search(expected)
    assert match is not None, f"no range at the end of {expected!r}"
    left, low, high, right = match[1], float(match[2]), float(match[3]), match[4]
    for name, value in values.items():
        above = value >= low if left == "[" else value > low
        below = value <= high if right == "]" else value < high
        if not (above and below):
            raise ValueError(f"{name}: expected {expected}, got {value}")
