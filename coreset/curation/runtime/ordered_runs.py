"""The first k rows of an order, in all or in every group, cut exactly into runs that one task can
sort: keys lie in one file an item, cuts are found by counting (`refine`), and whoever calls the
steps sees counts alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from coreset.core.batch import to_numpy
from coreset.core.engine import Engine
from coreset.curation.runtime.refine import (
    Target,
    Words,
    ascending,
    by_group,
    refine,
    text_words,
)
from coreset.curation.runtime.steps import read_columns
from coreset.numerics.classes import interleave
from coreset.numerics.random import keyed_uniform

CHUNK = 1_000_000  # rows that one task sorts, about
MOST_GROUPS = 100_000


class Item(Protocol):
    """Rows whose keys lie in one file."""

    @property
    def number(self) -> int:
        """The place of the item among all."""
        ...

    @property
    def first(self) -> int:
        """Rows of all items before it."""
        ...


def keys_path(folder: Any, item: Item) -> Any:
    """Return the file of the keys of an item: `id`, `score`, `group`, each where there is one, and
    whatever else is to come along with a row that is chosen.
    """
    return folder / f"{item.number:06d}.parquet"


@dataclass(frozen=True)
class LoadKeys:
    """Load the keys of an item. salt: of the numbers drawn, where there is no score; levels: words
    of an id; groups: the groups in ascending order.
    """

    folder: Any
    salt: int | None
    levels: int
    groups: tuple[Any, ...]

    def __call__(self, item: Item) -> Keys:
        """Return the keys."""
        return Keys(self, item)


class Keys:
    """The keys of an item: score or number drawn, id, position; lower = taken sooner."""

    def __init__(self, load: LoadKeys, item: Item) -> None:
        self.item, self.load = item, load
        self.table = read_columns(keys_path(load.folder, item))
        self.position = item.first + np.arange(self.table.num_rows)
        self.group = np.zeros(self.table.num_rows, np.int64)
        named = "id" in self.table.schema.names
        self.ids = to_numpy(self.table["id"]) if named else self.position
        if self.table.num_rows and "group" in self.table.schema.names:
            place = {name: i for i, name in enumerate(load.groups)}
            coded = self.table["group"].combine_chunks().dictionary_encode()
            codes = np.array([place[v] for v in coded.dictionary.to_pylist()], np.int64)
            self.group = codes[to_numpy(coded.indices)]
        # lower first: scores with the other sign
        self.value = (
            keyed_uniform(load.salt, self.ids)
            if load.salt is not None
            else -to_numpy(self.table["score"])
            if self.table.num_rows
            else np.empty(0)
        ) + 0.0

    def words(self, level: int, rows: NDArray[np.int64]) -> Words:
        """Return one word of the keys of some rows."""
        if level == 0:
            return ascending(self.value[rows])
        if level > self.load.levels:
            return self.position[rows].astype(np.uint64)
        if self.ids.dtype != object:
            return self.ids[rows].astype(np.uint64) ^ np.uint64(2**63)  # in the order of int64
        return text_words([str(i).encode() for i in self.ids[rows].tolist()], level - 1)


@dataclass(frozen=True)
class Segment:
    """A run of rows chosen in one group: those up to `end` and not up to `start`; first: how many
    of the group stand before. part: the file of the answer they go to.
    """

    group: int
    start: Target | None
    end: Target
    first: int
    rows: int
    part: int


def segments(
    engine: Engine, load: LoadKeys, items: Sequence[Item], quota: NDArray[np.int64], chunk: int
) -> list[Segment]:
    """Return the rows chosen as runs of at most `chunk`, cut exactly; runs of small groups share a
    part.
    """
    targets = [
        Target(g, min(end, q))
        for g, q in enumerate(quota.tolist())
        for end in range(chunk, q + chunk, chunk)
    ]
    out: list[Segment] = []
    part, held = 0, 0
    for target, end in zip(targets, refine(engine, load, items, targets), strict=True):
        before = out[-1] if out and out[-1].group == target.group else None
        first = before.first + before.rows if before else 0
        rows = target.need - first
        if held and held + rows > chunk:
            part, held = part + 1, 0
        held += rows
        out.append(Segment(target.group, before.end if before else None, end, first, rows, part))
    return out


@dataclass(frozen=True)
class Runs:
    """The rows chosen as runs. quota: rows of every group; turns: whether a rank counts the rows of
    all groups, which take turns in proportion to their quotas, or those of its own.
    """

    segments: tuple[Segment, ...]
    quota: tuple[int, ...]
    turns: bool = True

    @property
    def parts(self) -> int:
        """Number of parts."""
        return self.segments[-1].part + 1 if self.segments else 0

    def chosen(self, keys: Keys) -> tuple[pa.Table, NDArray[np.int64]]:
        """Return those rows of an item that are chosen, with `_group`, `_value` and `_position` by
        which they are sorted, and the part (n,) of each.
        """
        part = np.full(keys.table.num_rows, -1, np.int64)
        rows = by_group(keys.group)
        for one in self.segments:
            mine = rows.get(one.group)
            if mine is not None:
                mine = mine[part[mine] < 0]  # not up to the end of the run before
                part[mine[one.end.up_to(keys, mine)]] = one.part
        at = np.flatnonzero(part >= 0)
        table = keys.table.take(pa.array(at))
        columns = (keys.group, keys.value, keys.position)
        for name, values in zip(_SORT, columns, strict=True):
            table = table.append_column(name, pa.array(values[at]))
        return table, part[at]

    def ranked(self, part: int, table: pa.Table) -> pa.Table:
        """Return the rows of a part in their order with `rank`, their place among all that are
        chosen.
        """
        ids = ["id"] if "id" in table.schema.names else []
        names = (*_SORT[:2], *ids, _SORT[2])
        table = table.sort_by([(n, "ascending") for n in names])
        mine = [s for s in self.segments if s.part == part]
        within = np.concatenate([np.arange(s.first, s.first + s.rows) for s in mine])
        assert len(within) == table.num_rows, "a part holds other rows than were counted"
        if self.turns and len(self.quota) > 1:
            order = np.empty(sum(self.quota), np.int64)
            order[interleave([q for q in self.quota if q])] = np.arange(len(order))
            starts = np.cumsum([0, *self.quota])
            within = order[starts[table["_group"].to_numpy()] + within]
        return table.append_column("rank", pa.array(within))


_SORT = ("_group", "_value", "_position")
