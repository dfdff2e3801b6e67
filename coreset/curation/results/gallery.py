"""The images of a run that a reader is shown: some of every outcome, groups of duplicates, a plane
through an embedding. References, never pixels.

Which ones is a hash of their ids, so that no sharding and no restart changes it. Held are those
few, and one count for every group of copies.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from coreset.core.batch import to_numpy
from coreset.core.places import parquet, table_files
from coreset.curation.runtime.checkpoint import Partition
from coreset.curation.runtime.steps import Pipeline
from coreset.numerics.pca import plane
from coreset.numerics.random import keyed_uniform

_KEPT, _GONE = 12, 6  # images shown of the rows kept, and of a reason
_GROUPS, _TWINS = 5, 3  # groups shown of an operator, and duplicates of a group
_MAP = 1500  # rows on the map
# of its own: a draw that some operator made too would show the rows that had luck
SALT = 0x6D756C6C65727931
_READ = ["id", "state", "operator", "reason", "duplicate_of"]


@dataclass(frozen=True)
class Gather:
    """Do `gather` as a step."""

    chain: Pipeline
    partitions: Sequence[Partition]

    def __call__(self, decisions: Any) -> dict[str, Any] | None:
        """Return what it returns."""
        return gather(self.chain, self.partitions, decisions)


def gather(
    chain: Pipeline, partitions: Sequence[Partition], decisions: Path
) -> dict[str, Any] | None:
    """Return what a page shows of the images of a finished run, or None where its partitions have
    none.

    `outcomes`: per state, operator and reason how many rows and some of them; `groups`: per
    operator that names duplicates, how many groups and some of them, the image that was kept first;
    `entries`: of a balancing, see `entries_shown`; `map`: the name of an embedding, the rows `xy`
    (P, 2) and whether they were `kept` (P,). A row is its `id`, `image`, `preview`, `state` and
    `reason`.
    """
    if not partitions or not _has_images(chain, partitions[0]):
        return None
    # loads compiled code, which no worker needs before it
    from coreset.curation.results.entries import entries_shown

    chosen = _Chosen()
    for path in table_files(decisions):
        with parquet(path) as file:
            for i in range(file.num_row_groups):
                chosen.add(file.read_row_group(i, _READ))
    entries = entries_shown(chain, partitions, SALT)
    wanted = chosen.ids()
    for end in ("head", "tail"):
        wanted |= {name for one in entries[end] for name in one["ids"]} if entries else set()
    rows = _rows(chain, partitions, wanted, decisions)
    if entries:
        for one in (*entries["head"], *entries["tail"]):
            one["rows"] = [rows[name] for name in one.pop("ids")]
    return {**chosen.shown(rows), "entries": entries, "map": _map(chain, partitions)}


def _has_images(chain: Pipeline, partition: Partition) -> bool:
    with parquet(chain.work.partition(partition), whole=True) as file:
        return "image" in file.schema_arrow.names


class _Chosen:
    """The ids that will be shown, collected over parts of the decisions."""

    def __init__(self) -> None:
        self.outcomes: dict[tuple[str, str, str], list[tuple[float, str]]] = {}
        self.sizes: Counter[tuple[str, str, str]] = Counter()
        self.groups: dict[str, dict[str, list[str]]] = {}
        self.duplicates: Counter[tuple[str, str]] = Counter()

    def add(self, table: pa.Table) -> None:
        """Take in one part."""
        # a row that could not be read has no id and no image
        table = table.filter(table["id"].is_valid())
        luck = keyed_uniform(SALT, to_numpy(table["id"]))
        columns = (table[n].to_pylist() for n in _READ)
        for u, (name, state, operator, reason, duplicate_of) in zip(
            luck.tolist(), zip(*columns, strict=True), strict=True
        ):
            if state == "rejected":
                continue
            key = (state, operator or "", reason or "")
            self.sizes[key] += 1
            held = self.outcomes.setdefault(key, [])
            heapq.heappush(held, (-u, name))
            if len(held) > (_KEPT if state == "kept" else _GONE):
                heapq.heappop(held)
            if duplicate_of is not None:
                self.duplicates[operator, duplicate_of] += 1
                self._group(operator, duplicate_of, name)

    def _group(self, operator: str, duplicate_of: str, name: str) -> None:
        """Add a duplicate_of to its group, unless enough groups have a smaller number: one that was
        refused or put out never comes back.
        """
        held = self.groups.setdefault(operator, {})
        held.setdefault(duplicate_of, []).append(name)
        held[duplicate_of] = sorted(held[duplicate_of])[:_TWINS]
        if len(held) > _GROUPS:
            names = np.array(sorted(held), object)
            del held[str(names[int(keyed_uniform(SALT, names).argmax())])]

    def ids(self) -> set[str]:
        """Return all ids that will be shown."""
        out = {name for held in self.outcomes.values() for _, name in held}
        for held in self.groups.values():
            out |= set(held) | {name for duplicates in held.values() for name in duplicates}
        return out

    def shown(self, rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
        """Return outcomes and groups with their rows."""
        outcomes = [
            {"state": state, "operator": operator, "reason": reason,
             "size": self.sizes[state, operator, reason],
             "rows": [rows[name]
                      for _, name in sorted(self.outcomes[state, operator, reason], reverse=True)]}
            for state, operator, reason in sorted(self.outcomes,
                                                  key=lambda k: (k[0] != "kept", -self.sizes[k], k))
        ]  # fmt: skip
        groups = [
            {"operator": operator, "size": sum(o == operator for o, _ in self.duplicates),
             "groups": [{"size": 1 + self.duplicates[operator, duplicate_of],
                         "rows": [rows[n] for n in (duplicate_of, *names)]}
                         for duplicate_of, names in sorted(held.items())]}
            for operator, held in sorted(self.groups.items())
        ]  # fmt: skip
        return {"outcomes": outcomes, "groups": groups}


def _rows(
    chain: Pipeline, partitions: Sequence[Partition], wanted: set[str], decisions: Path
) -> dict[str, dict[str, Any]]:
    """Return the wanted rows by id: their image and preview out of the partitions, what became of
    them out of the decisions.
    """
    out: dict[str, dict[str, Any]] = {}
    names = pa.array(sorted(wanted), pa.string())
    for partition in partitions:
        with parquet(chain.work.partition(partition), whole=True) as file:
            here = np.flatnonzero(pc.is_in(file.read(["id"])["id"], names).to_numpy())
            if len(here):
                records = file.read(["id", "image", "preview"]).take(pa.array(here)).to_pylist()
                out |= {row["id"]: row for row in records if row["id"] not in out}
    for path in table_files(decisions):
        with parquet(path) as file:
            for i in range(file.num_row_groups):
                table = file.read_row_group(i, ["id", "state", "operator", "reason"])
                for row in table.filter(pc.is_in(table["id"], names)).to_pylist():
                    out[row["id"]] |= row if row["state"] != "rejected" else {}
    return out


def _map(chain: Pipeline, partitions: Sequence[Partition]) -> dict[str, Any] | None:
    """Return some rows in the plane of the first embedding that an operator read or gave, chosen by
    a hash of their ids.
    """
    name = next(
        (embedding for partition in partitions if (embedding := _embedding(chain, partition))), None
    )
    held: list[tuple[float, NDArray[Any], bool]] = []
    for partition in partitions if name else ():
        view = chain.view(partition)
        x = to_numpy(view.column(str(name)))
        there = np.flatnonzero(np.isfinite(x).all(axis=1)) if x.ndim == 2 else np.zeros(0, np.int64)
        luck = keyed_uniform(SALT, to_numpy(view.column("id"))[there])
        first = np.argsort(luck, kind="stable")[:_MAP]
        alive = np.isin(there[first], view.alive).tolist()
        more = [
            (float(luck[i]), x[there[i]].copy(), kept)
            for i, kept in zip(first.tolist(), alive, strict=True)
        ]
        held = sorted([*held, *more], key=lambda r: r[0])[:_MAP]
    if len(held) < 3:
        return None
    return {
        "name": name,
        "xy": plane(np.stack([x for _, x, _ in held])),
        "kept": np.array([k for *_, k in held], bool),
    }


def _embedding(chain: Pipeline, partition: Partition) -> str | None:
    """Return the first column of vectors that belongs to a partition."""
    for path in (
        chain.work.partition(partition),
        *(chain.work.side(stage, partition) for stage in chain.stages),
    ):
        with parquet(path, whole=True) as file:
            for field in file.schema_arrow:
                if pa.types.is_fixed_size_list(field.type):
                    return str(field.name)
    return None
