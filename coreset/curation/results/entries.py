"""What balancing did to the entries, for a reader: how often each was seen before and after, the
commonest and the rarest with some of their rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from coreset.core.batch import to_numpy
from coreset.core.places import parquet
from coreset.curation.operators.mixing.entries import KeepByEntries
from coreset.curation.runtime.checkpoint import Partition, Stage
from coreset.curation.runtime.steps import Pipeline
from coreset.numerics.random import keyed_uniform
from coreset.scorers.text.entries import Entries

Whole = NDArray[np.int64]
_SHOWN, _ROWS, _BINS = 6, 2, 60


def entries_shown(
    chain: Pipeline, partitions: Sequence[Partition], salt: int
) -> dict[str, Any] | None:
    """Return what the last balancing of a chain did, or None where there is none.

    `seen`: entries that occur; `curve` (B, 3): rank, and the mean number of rows before and after
    of the entries about it, commonest first; `head` and `tail`: six entries each with `entry`,
    `before`, `after` and the `ids` of two of their rows that were kept and two that were thinned
    out; the tail is drawn among the rarest. salt: of the draws.
    """
    stage = next((k for k in reversed(chain.stages) if isinstance(k.operator, KeepByEntries)), None)
    if stage is None:
        return None
    before, after = np.zeros(0, np.int64), np.zeros(0, np.int64)
    for _, lists, keep in _parts(chain, stage, partitions):
        before, after = _added(before, lists), _added(after, lists.filter(pa.array(keep)))
    after = np.pad(after, (0, len(before) - len(after)))
    seen = np.flatnonzero(before)
    order = seen[np.lexsort((seen, -before[seen]))]
    rare = order[before[order] == before[order[-1]]]
    tail = np.sort(rare[np.argsort(keyed_uniform(salt, rare), kind="stable")[:_SHOWN]])
    wanted = np.unique(np.concatenate([order[:_SHOWN], tail]))
    ids, names = _ids(chain, stage, partitions, wanted, salt), _names(chain, stage)

    def about(entry: int) -> dict[str, Any]:
        name = names[entry] if entry < len(names) else f"entry {entry}"
        return {
            "entry": name,
            "before": int(before[entry]),
            "after": int(after[entry]),
            "ids": ids[entry],
        }

    return {
        "seen": len(seen),
        "curve": _curve(before[order], after[order]),
        "head": [about(e) for e in order[:_SHOWN].tolist()],
        "tail": [about(e) for e in tail.tolist()],
    }


def _parts(
    chain: Pipeline, stage: Stage, partitions: Sequence[Partition]
) -> Iterator[tuple[NDArray[Any], pa.Array, NDArray[np.bool_]]]:
    """Yield ids, lists of entries and decisions of the rows of each partition that came to the
    balancing.
    """
    assert isinstance(stage.operator, KeepByEntries)
    for partition in partitions:
        view = chain.view(partition)
        with parquet(chain.work.side(stage, partition), whole=True) as file:
            if "keep" not in file.schema_arrow.names:
                continue
            decided = file.read(["row", "keep"])
        row = pa.array(to_numpy(decided["row"]))
        lists = view.column(stage.operator.column).take(row)
        yield to_numpy(view.column("id").take(row)), lists, to_numpy(decided["keep"]).astype(bool)


def _added(counts: Whole, lists: pa.Array) -> Whole:
    """Return the counts with those of more lists."""
    flat = np.asarray(lists.flatten().to_numpy(zero_copy_only=False), np.int64)
    return np.bincount(flat, minlength=len(counts)) + np.pad(
        counts, (0, max(0, int(flat.max(initial=-1)) + 1 - len(counts)))
    )


def _ids(
    chain: Pipeline, stage: Stage, partitions: Sequence[Partition], wanted: Whole, salt: int
) -> dict[int, list[str]]:
    """Return some rows of each wanted entry, chosen by a hash of their ids: those kept, then the
    others.
    """
    held: dict[tuple[int, bool], list[tuple[float, str]]] = {
        (e, k): [] for e in wanted.tolist() for k in (True, False)
    }
    for ids, lists, keep in _parts(chain, stage, partitions):
        flat = np.asarray(lists.flatten().to_numpy(zero_copy_only=False), np.int64)
        sizes = np.asarray(
            lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False), np.int64
        )
        owner = np.repeat(np.arange(len(ids)), sizes)
        luck = keyed_uniform(salt, ids)
        for (e, kept), earlier in held.items():
            here = owner[(flat == e) & (keep[owner] == kept)]
            here = here[np.argsort(luck[here], kind="stable")[:_ROWS]]
            both = [*earlier, *((float(luck[i]), str(ids[i])) for i in here.tolist())]
            held[e, kept] = sorted(both)[:_ROWS]
    return {e: [name for k in (True, False) for _, name in held[e, k]] for e in wanted.tolist()}


def _names(chain: Pipeline, stage: Stage) -> Sequence[str]:
    """Return the vocabulary, where the entries were found by one."""
    assert isinstance(stage.operator, KeepByEntries)
    for one in chain.stages:
        if isinstance(one.operator, Entries) and stage.operator.column in one.operator.gives:
            return one.operator.entries()
    return ()


def _curve(before: Whole, after: Whole) -> NDArray[np.float64]:
    edges = np.unique(np.geomspace(1, len(before) + 1, _BINS).round().astype(np.int64)) - 1
    parts = [slice(a, b) for a, b in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)]
    return np.array(
        [((p.start + p.stop + 1) / 2, before[p].mean(), after[p].mean()) for p in parts], np.float64
    )
