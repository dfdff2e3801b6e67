"""Large files cut into ranges, so that one file is many tasks: JSON lines by bytes, Parquet by row
groups. A line belongs to the range in which it begins; every range knows how many lines or rows
stand before it, so that positions are those of the whole file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from coreset.core.engine import Engine
from coreset.core.places import parquet, stamp
from coreset.curation.io.discover import Shard
from coreset.curation.io.read import count_lines

SIZE = 64 * 2**20  # bytes of a file that one task reads


def split(engine: Engine, shards: Sequence[Shard], size: int = SIZE) -> list[Shard]:
    """Return the ranges of all shards in their order, each of about `size` bytes; a file that is
    not larger, is compressed, or has another form, is one.

    A file that cannot be read is one range: what is wrong is said by whoever reads its rows.
    """
    cut: list[list[Shard]] = [[shard] for shard in shards]
    large = [i for i, shard in enumerate(shards) if _is_large(shard, size)]
    for i, ranges in zip(large, engine.map(Cut(size), [shards[i] for i in large]), strict=True):
        cut[i] = ranges
    # nothing stands after the last
    lines = [r for ranges in cut for r in ranges[:-1] if r.kind == "jsonl"]
    counts = iter(engine.map(CountLines(), lines))
    for ranges in cut:
        for i in range(len(ranges) - 1) if ranges[0].kind == "jsonl" else ():
            ranges[i + 1] = replace(ranges[i + 1], before=ranges[i].before + next(counts))
    return [r for ranges in cut for r in ranges]


def _bytes(shard: Shard) -> int:
    mark = stamp(shard.path)
    return 0 if mark is None or mark[0] is None else int(mark[0])


def _is_large(shard: Shard, size: int) -> bool:
    return shard.kind in ("jsonl", "parquet") and not shard.codec and _bytes(shard) > size


@dataclass(frozen=True)
class Cut:
    """Cut one file that is larger. size: bytes of a range, about."""

    size: int

    def __call__(self, shard: Shard) -> list[Shard]:
        """Return its ranges; those of JSON lines do not know yet what stands before them."""
        if shard.kind == "jsonl":
            total = _bytes(shard)
            edges = [i * self.size for i in range(-(-total // self.size))]
            ends = [*edges[1:], None]
            pairs = enumerate(zip(edges, ends, strict=True))
            return [replace(shard, start=a, stop=b, part=i) for i, (a, b) in pairs]
        return self._groups(shard)

    def _groups(self, shard: Shard) -> list[Shard]:
        out: list[Shard] = []
        start = before = rows = held = 0
        try:
            with parquet(shard.path) as file:
                groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
                sizes = [
                    sum(g.column(c).total_compressed_size for c in range(g.num_columns))
                    for g in groups
                ]
        except (OSError, pa.ArrowException):
            return [shard]
        for i, (group, size) in enumerate(zip(groups, sizes, strict=True)):
            if held and held + size > self.size:
                out.append(replace(shard, start=start, stop=i, before=before, part=len(out)))
                start, before, held = i, before + rows, 0
                rows = 0
            held, rows = held + size, rows + group.num_rows
        return [*out, replace(shard, start=start, before=before, part=len(out))]


@dataclass(frozen=True)
class CountLines:
    """Count the lines that begin in a range."""

    def __call__(self, shard: Shard) -> int:
        """Return how many; 0 where it cannot be read: said when it is."""
        try:
            return count_lines(shard)[0]
        except OSError:
            return 0
