"""Inner loops compiled by numba: one thread, cached on disk, the same result on every call."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numba

Function = TypeVar("Function", bound=Callable[..., object])


def compiled(function: Function) -> Function:
    """Compile `function` on its first call and keep the machine code on disk.

    Sums may be reordered (that is what lets them use vector registers), but the order depends only on their length: equal rows give equal sums.
    Infinities keep their meaning.

    >>> compiled(lambda a, b: a + b)(1, 2)
    3
    """
    make = numba.njit(nogil=True, cache="<lambda>" not in function.__name__, fastmath={"reassoc", "contract", "nsz"})
    result: Function = make(function)
    return result
