"""Two rounds of selection on tables: what is done in a partition, what with the union, what is
measured. An engine calls these where it likes; `in_rounds` calls them here.

A row's partition is a hash of its id, so that no cut of the input changes an answer; inside a
partition, and in the union, rows stand in the order of their ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from coreset.core.batch import Batch
from coreset.core.pool import Pool
from coreset.core.selection import Selection
from coreset.core.signals import Signals
from coreset.core.strategy import Strategy
from coreset.numerics.random import keyed_uniform, salt
from coreset.two_rounds import TwoRounds


class PartitionedSelect(Protocol):
    """What two rounds need of a selection operator."""

    @property
    def seed(self) -> int:
        """Seed of every random choice."""
        ...

    @property
    def strategy(self) -> Strategy:
        """What chooses."""
        ...

    @property
    def partitions(self) -> int | None:
        """Number of partitions of the first round."""
        ...

    def rounds(self) -> TwoRounds:
        """Return the strategy in its two-round form."""
        ...

    def signals(self, rows: Batch) -> Signals:
        """Return the columns of rows as the strategy's signals."""
        ...


PLACE = ("_partition", "_row")  # where a row came from: these columns come back


def part_of(operator: PartitionedSelect, ids: NDArray[Any]) -> NDArray[np.int64]:
    """Return the partition (n,) of every id."""
    assert operator.partitions is not None
    return np.floor(_chance(operator, 1, ids) * operator.partitions).astype(np.int64)


def _chance(operator: PartitionedSelect, stream: int, ids: NDArray[Any]) -> NDArray[np.float64]:
    """Return a number per id: other ones than the strategy's own."""
    return keyed_uniform(salt(np.random.default_rng([operator.seed, stream])), ids)


def first_round(operator: PartitionedSelect, partition: pa.Table, k: int) -> pa.Table:
    """Return the rows of one partition that it chooses (`_order` from 0 on, `_score`), and those of
    the sample (`_sampled`).
    """
    rounds, n = operator.rounds(), partition.num_rows
    rows = Batch(partition)
    chosen = operator.strategy(
        Pool(n, ids=rows["id"]),
        operator.signals(rows),
        min(k, n),
        np.random.default_rng(operator.seed),
    )
    order, score, sampled = np.full(n, -1), np.full(n, np.nan), np.zeros(n, bool)
    order[chosen.indices] = np.arange(len(chosen))
    if chosen.scores is not None:
        score[chosen.indices] = chosen.scores
    if rounds.sampled:
        assert operator.partitions is not None
        chance = _chance(operator, 2, rows["id"])
        sampled[np.argsort(chance, kind="stable")[: -(-n // operator.partitions)]] = True
    for name, values in (("_order", order), ("_score", score), ("_sampled", sampled)):
        partition = partition.append_column(name, pa.array(values))
    return partition.filter(pa.array((order >= 0) | sampled))


def union_of(firsts: Sequence[pa.Table]) -> pa.Table:
    """Return what the partitions chose and sampled as one table in the order of ids, with their
    number as `_shard`.
    """
    tables = [
        t.append_column("_shard", pa.array(np.full(t.num_rows, i))) for i, t in enumerate(firsts)
    ]
    return pa.concat_tables(tables, promote_options="permissive").sort_by("id")


def second_round(operator: PartitionedSelect, union: pa.Table, k: int) -> list[Selection]:
    """Return the answers to measure, as positions in the union."""
    order, score, partition = (union[n].to_numpy() for n in ("_order", "_score", "_shard"))
    sample = np.flatnonzero(union["_sampled"].to_numpy())
    firsts = []
    for number in np.unique(partition).tolist():
        mine = np.flatnonzero((partition == number) & (order >= 0))
        mine = mine[np.argsort(order[mine])]
        firsts.append(Selection(mine, scores=score[mine]))
    rows = Batch(union)
    pool = Pool(union.num_rows, candidates=np.flatnonzero(order >= 0), ids=rows["id"])
    rng = np.random.default_rng(operator.seed)
    return operator.rounds().merge(pool, operator.signals(rows), k, rng, firsts, sample)


def audit(
    operator: PartitionedSelect, partition: pa.Table, union: pa.Table, answers: Sequence[Selection]
) -> NDArray[np.float64]:
    """Return what the rows of one partition say about the answers, (answers, numbers)."""
    return operator.rounds().audit(
        operator.signals(Batch(partition)), operator.signals(Batch(union)), answers
    )


def result(
    operator: PartitionedSelect,
    union: pa.Table,
    answers: Sequence[Selection],
    audits: NDArray[np.float64],
    size: int,
) -> tuple[pa.Table, dict[str, Any]]:
    """Return the rows chosen (their place, `rank`, `gain`) and what is to be said about them: the
    guarantee by name and the certificate.
    """
    rounds = operator.rounds()
    best, certificate = rounds.certify(audits, answers, size)
    chosen = answers[best]
    assert chosen.scores is not None
    assert operator.partitions is not None
    words, factor = rounds.guarantee(operator.partitions, len(chosen))
    about = {
        "partitions": operator.partitions,
        "pool": size,
        "union": int((union["_order"].to_numpy() >= 0).sum()),
        "chosen": len(chosen),
        "guarantee": words,
        "factor": factor,
        "certificate": certificate,
    }
    table = union.select(PLACE).take(pa.array(chosen.indices))
    table = table.append_column("rank", pa.array(np.arange(len(chosen))))
    return table.append_column("gain", pa.array(chosen.scores)), about


def in_rounds(
    operator: PartitionedSelect, rows: pa.Table, k: int
) -> tuple[pa.Table, dict[str, Any]]:
    """Return what `result` does, for candidates in the order of their ids, all in memory: what an
    engine must return too.
    """
    number = part_of(operator, Batch(rows)["id"])
    partitions = [rows.filter(pa.array(number == i)) for i in np.unique(number)]
    union = union_of([first_round(operator, s, k) for s in partitions])
    answers = second_round(operator, union, k)
    audits = np.stack([audit(operator, s, union, answers) for s in partitions])
    return result(operator, union, answers, audits, rows.num_rows)
