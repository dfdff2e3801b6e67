"""Inner loops compiled by numba: one thread, cached on disk, the same result on every call."""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

Function = TypeVar("Function", bound=Callable[..., object])


class _Compiled:
    """A function that is compiled on its first call: numba is not imported before."""

    def __init__(self, function: Callable[..., Any], relaxed: set[str]) -> None:
        update_wrapper(self, function)
        self.function = function
        self.relaxed = relaxed
        self.code: Callable[..., Any] | None = None

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return (self.code or self.compile())(*arguments, **named)

    def compile(self) -> Callable[..., Any]:
        """Return the machine code; compiled functions that this one calls come first."""
        import numba

        names = self.function.__globals__
        for name in self.function.__code__.co_names:
            if isinstance(other := names.get(name), _Compiled):
                names[name] = other.code or other.compile()  # numba calls no Python object
        self.code = numba.njit(
            nogil=True,
            cache="<lambda>" not in self.function.__name__,
            fastmath=self.relaxed,
        )(self.function)
        return self.code


def compiled(function: Function) -> Function:
    """Compile `function` on its first call and keep the machine code on disk.

    Sums may be reordered (that is what lets them use vector registers), but the order depends only
    on their length: equal rows give equal sums. Infinities keep their meaning.

    >>> compiled(lambda a, b: a + b)(1, 2)
    3
    """
    return cast(Function, _Compiled(function, {"reassoc", "contract", "nsz"}))


def exact(function: Function) -> Function:
    """Compile `function` as `compiled` does, but every operation on floats in the order in which it
    is written: what another program computes in that order is equal bit by bit.

    >>> exact(lambda a, b: (a + b) - a)(1e16, 1.0)
    0.0
    """
    return cast(Function, _Compiled(function, set()))


@compiled
def largest(values: NDArray[np.float32]) -> float:
    """Return the largest of some float32 numbers, none of them NaN: as whole numbers in the same
    order, since these go through vector registers.

    >>> float(largest(np.array([-2.0, 3.5, 1.0], np.float32)))
    3.5
    """
    bits = values.view(np.int32)
    top = np.int32(-(2**31))
    for j in range(len(bits)):
        top = max(top, np.int32(bits[j] ^ ((bits[j] >> np.int32(31)) & np.int32(0x7FFFFFFF))))
    back = np.empty(1, np.int32)
    back[0] = top ^ ((top >> np.int32(31)) & np.int32(0x7FFFFFFF))
    top_value: float = back.view(np.float32)[0]
    return top_value
