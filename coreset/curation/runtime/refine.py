"""Exact quantiles of rows that lie in many files: the first k of an order, found by counting.

Every row has a key of 64-bit words, compared one after the other: its score or a random number,
then its id, then its position. A target is the row of a rank in a group. A round counts, for every
target, the rows that share what is known of its key by their next bits, 12 or fewer; the counts of
all files say which bits are the target's, until the rows that are left are all on one side. So
counts pass whoever calls the steps, never rows, and no row is moved or sorted: at most 6 rounds a
word for few targets, 2 to 4 as a rule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from coreset.core.engine import Engine

Words = NDArray[np.uint64]
_BITS = 12  # of a round, at most: fewer where there are many targets
_HELD = 2**22  # counts held at a time


class Keyed(Protocol):
    """The keys of the rows of one item."""

    @property
    def group(self) -> NDArray[np.int64]:
        """The group of every row, (n,)."""
        ...

    def words(self, level: int, rows: NDArray[np.int64]) -> Words:
        """Return one word of the keys of some rows."""
        ...


@dataclass(frozen=True)
class Target:
    """The row of one rank in a group, as far as it is known. need: how many of the rows that share
    what is known stand up to it; words: whole words known; prefix: the first `bits` bits of the
    next.
    """

    group: int
    need: int
    words: tuple[int, ...] = ()
    prefix: int = 0
    bits: int = 0

    def up_to(self, keyed: Keyed, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which of some rows of the group stand up to the target."""
        inside = np.zeros(len(rows), bool)
        open_ = np.arange(len(rows))
        for level, word in enumerate(self.words):
            values = keyed.words(level, rows[open_])
            inside[open_[values < word]] = True
            open_ = open_[values == word]
        values = keyed.words(len(self.words), rows[open_]) if len(open_) else np.empty(0, np.uint64)
        inside[open_[_head(values, self.bits) <= self.prefix]] = True
        return inside

    def sharing(self, keyed: Keyed, rows: NDArray[np.int64], step: int) -> Words:
        """Return the next `step` bits of those of some rows of the group that share what is
        known.
        """
        for level, word in enumerate(self.words):
            rows = rows[keyed.words(level, rows) == word]
        values = keyed.words(len(self.words), rows)
        values = values[_head(values, self.bits) == self.prefix]
        return _head(values, self.bits + step) & np.uint64(2**step - 1)


def _head(values: Words, bits: int) -> Words:
    return values >> np.uint64(64 - bits) if bits else np.zeros(len(values), np.uint64)


@dataclass(frozen=True)
class Count:
    """Count the rows of one item for every target. load: gives the keys of an item; width: bits
    that are counted.
    """

    load: Callable[[Any], Keyed]
    targets: Mapping[int, Target]
    width: int

    def __call__(self, item: Any) -> list[tuple[int, NDArray[Any], NDArray[Any]]]:
        """Return (target, next bits, rows that have them)."""
        keyed, out = self.load(item), []
        rows = by_group(keyed.group)
        for number, target in self.targets.items():
            mine = rows.get(target.group)
            if mine is not None:
                bits, counts = np.unique(
                    target.sharing(keyed, mine, min(self.width, 64 - target.bits)),
                    return_counts=True,
                )
                if len(bits):
                    out.append((number, bits.astype(np.uint16), counts))
        return out


def by_group(group: NDArray[np.int64]) -> dict[int, NDArray[np.int64]]:
    """Return the rows of every group.

    >>> by_group(np.array([1, 0, 1]))[1].tolist()
    [0, 2]
    """
    if not len(group):
        return {}
    order = np.argsort(group, kind="stable")
    values, starts = np.unique(group[order], return_index=True)
    return dict(zip(values.tolist(), np.split(order, starts[1:]), strict=True))


def refine(
    engine: Engine,
    load: Callable[[Any], Keyed],
    items: Sequence[Any],
    targets: Sequence[Target],
) -> list[Target]:
    """Return the targets with as much of their keys as tells the rows up to them from the others.

    No two rows may have the same key. Each target's `need` must be at most the rows of its group.
    """
    done = list(targets)
    active = set(range(len(done)))
    while active:
        numbers = sorted(active)
        width = min(_BITS, max(1, (_HELD // len(numbers)).bit_length() - 1))
        counts = np.zeros((len(numbers), 2**width), np.int64)
        place = {number: i for i, number in enumerate(numbers)}
        step = Count(load, {i: done[i] for i in numbers}, width)
        for some in engine.map(step, items):
            for number, bits, rows in some:
                counts[place[number], bits] += rows
        for number in numbers:
            target, here = done[number], counts[place[number]]
            sums, new = np.cumsum(here), min(width, 64 - target.bits)
            assert sums[-1] >= target.need, "fewer rows than the target's rank"
            bit = int(np.searchsorted(sums, target.need))
            need = target.need - (int(sums[bit - 1]) if bit else 0)
            prefix, known = (target.prefix << new) | bit, target.bits + new
            done[number] = replace(target, need=need, prefix=prefix, bits=known)
            if need == here[bit]:  # all that share it stand up to it
                active.discard(number)
            elif known == 64:
                done[number] = Target(target.group, need, (*target.words, prefix))
    return done


def ascending(values: NDArray[np.float64]) -> Words:
    """Return words in the order of numbers, none of them NaN; both zeros are one.

    >>> np.argsort(ascending(np.array([1.5, -2.0, 0.0, -0.0, -np.inf])), kind="stable").tolist()
    [4, 1, 2, 3, 0]
    """
    bits = (values + 0.0).view(np.uint64)
    high = np.uint64(2**63)
    return np.where(bits >= high, ~bits, bits | high)


def text_words(texts: Sequence[bytes], level: int) -> Words:
    """Return eight bytes of every text as a word, zeros beyond its end: in the order of UTF-8,
    which is that of code points.

    >>> text_words([b"b", b"a"], 0)[0] > text_words([b"b", b"a"], 0)[1]
    np.True_
    """
    parts = b"".join(text[8 * level : 8 * level + 8].ljust(8, b"\0") for text in texts)
    return np.frombuffer(parts, ">u8").astype(np.uint64)
