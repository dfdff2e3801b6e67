"""Selection in two rounds through an engine: rows are brought to their parts by an exchange, each
step holds one part or the union of what the parts chose; whoever calls the steps holds neither.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from coreset.core.batch import Batch
from coreset.core.engine import PART, Engine
from coreset.core.selection import Selection
from coreset.core.store import to_json, write_atomic
from coreset.curation.engines.spill import plain
from coreset.curation.operators.select import Select
from coreset.curation.operators.two_rounds import (
    PLACE,
    audit,
    first_round,
    part_of,
    result,
    second_round,
    union_of,
)
from coreset.curation.runtime.checkpoint import (
    Partition,
    Stage,
    StateStore,
    is_whole,
    remove_folder,
    write_table,
)
from coreset.curation.runtime.group_by_key import HasSide, JoinRest
from coreset.curation.runtime.steps import Pipeline, named, read_columns, side_table

ABOUT = "rounds.json"  # what is said about an answer in two rounds: guarantee and certificate


def select_in_rounds(
    engine: Engine, chain: Pipeline, stage: Stage, partitions: Sequence[Partition], total: int
) -> None:
    """Run a selection in two rounds over all partitions: afterwards its answers lie beside every
    partition, and `rounds.json` among them.
    """
    work, operator, folder = chain.work, _operator(stage), chain.work.root / stage.place
    if (folder / ABOUT).exists() and all(engine.map(HasSide(work, stage), partitions)):
        return
    assert operator.partitions is not None
    items = list(enumerate(partitions))
    sizes = dict(
        engine.exchange(ReadCandidates(chain, stage), items, WritePart(folder), operator.partitions)
    )
    size = sum(sizes.values())
    rounds = Rounds(folder, stage, tuple(sorted(sizes)), size, operator.count(size, total))
    for _ in engine.map(FirstRound(rounds), rounds.parts):
        pass
    if size:
        next(engine.map(Union(rounds), [None]))
        for _ in engine.map(Audit(rounds), rounds.parts):
            pass
    chosen = next(engine.map(Certify(rounds), [None]))
    step = JoinChosen(chain, stage, tuple(partitions), chosen)
    for _ in engine.exchange(ReadChosen(), [folder / "chosen.parquet"], step, len(items)):
        pass
    for _ in engine.map(JoinRest(step), range(len(items))):
        pass
    for name in ("candidates", "firsts", "audits"):
        remove_folder(folder / name)
    for name in ("union.parquet", "answers.parquet", "chosen.parquet"):
        (folder / name).unlink(missing_ok=True)


def read_about(work: StateStore, stage: Stage) -> dict[str, Any]:
    """Return the guarantee and the certificate of a selection in two rounds, nothing of any other
    operator.
    """
    path = work.root / stage.place / ABOUT
    content: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return content


def _operator(stage: Stage) -> Select:
    assert isinstance(stage.operator, Select)
    return stage.operator


@dataclass(frozen=True)
class Rounds:
    """One selection: where its files lie, the parts that have rows, candidates and choices."""

    folder: Any
    stage: Stage
    parts: tuple[int, ...]
    size: int
    k: int

    def path(self, kind: str, number: int) -> Any:
        """Return the file of a part: of `candidates`, `firsts` or `audits`."""
        return self.folder / kind / f"{number:05d}.parquet"

    def answers(self) -> list[Selection]:
        """Return the answers of the second round."""
        table = read_columns(self.folder / "answers.parquet")
        return [
            Selection(
                np.array(table["indices"][i].as_py(), np.int64),
                scores=np.array(table["scores"][i].as_py(), np.float64),
            )
            for i in range(table.num_rows)
        ]


@dataclass(frozen=True)
class ReadCandidates:
    """Read the candidates of one partition by their part."""

    chain: Pipeline
    stage: Stage

    def __call__(self, item: tuple[int, Partition]) -> pa.Table:
        """Return what the operator needs of them and their place."""
        number, partition = item
        operator = _operator(self.stage)
        view = self.chain.view(partition)
        table = view.table(operator.needs, view.alive)
        with named(self.stage):
            good = np.flatnonzero(operator.undefined(Batch(table)) == "")
        names = [n for n in table.schema.names if n == "id" or n in operator.needs]
        table = plain(table.select(names))
        for name, values in zip(PLACE, (np.full(len(view.alive), number), view.alive), strict=True):
            table = table.append_column(name, pa.array(values))
        table = table.take(pa.array(good))
        part = part_of(operator, Batch(table)["id"]) if len(good) else good
        return table.append_column(PART, pa.array(part.astype(np.int64)))


@dataclass(frozen=True)
class WritePart:
    """Write the candidates of one part in the order of their ids."""

    folder: Any

    def __call__(self, item: tuple[int, pa.Table]) -> tuple[int, int]:
        """Return the part and how many candidates it has."""
        number, table = item
        write_table(self.folder / "candidates" / f"{number:05d}.parquet", table.sort_by("id"))
        return number, table.num_rows


@dataclass(frozen=True)
class FirstRound:
    """Let one part choose."""

    rounds: Rounds

    def __call__(self, number: int) -> None:
        """Write what it chooses."""
        path = self.rounds.path("firsts", number)
        if not is_whole(path):
            with named(self.rounds.stage):
                part = read_columns(self.rounds.path("candidates", number))
                chosen = first_round(_operator(self.rounds.stage), part, self.rounds.k)
            write_table(path, chosen)


@dataclass(frozen=True)
class Union:
    """Choose among what all parts chose."""

    rounds: Rounds

    def __call__(self, _: None) -> int:
        """Write the union and the answers; return how many rows the union has."""
        rounds = self.rounds
        with named(rounds.stage):
            union = union_of([read_columns(rounds.path("firsts", n)) for n in rounds.parts])
            answers = second_round(_operator(rounds.stage), union, rounds.k)
        write_table(rounds.folder / "union.parquet", union)
        scores = [np.full(len(a), np.nan) if a.scores is None else a.scores for a in answers]
        table = {"indices": [a.indices.tolist() for a in answers]}
        table["scores"] = [s.tolist() for s in scores]
        kinds = pa.schema([("indices", pa.list_(pa.int64())), ("scores", pa.list_(pa.float64()))])
        write_table(rounds.folder / "answers.parquet", pa.table(table, kinds))
        return int(union.num_rows)


@dataclass(frozen=True)
class Audit:
    """Measure the answers on the rows of one part."""

    rounds: Rounds

    def __call__(self, number: int) -> None:
        """Write what `TwoRounds.audit` returns."""
        path, rounds = self.rounds.path("audits", number), self.rounds
        if not is_whole(path):
            with named(rounds.stage):
                part = read_columns(rounds.path("candidates", number))
                union = read_columns(rounds.folder / "union.parquet")
                measured = audit(_operator(rounds.stage), part, union, rounds.answers())
            columns = {f"n{j:03d}": measured[:, j] for j in range(measured.shape[1])}
            write_table(path, pa.table(columns))


@dataclass(frozen=True)
class Certify:
    """Take the best answer."""

    rounds: Rounds

    def __call__(self, _: None) -> int:
        """Write the rows chosen and what is to be said about them; return how many."""
        rounds = self.rounds
        chosen, about = (
            pa.table({n: pa.array([], pa.int64()) for n in (*PLACE, "rank", "gain")}),
            dict[str, Any](),
        )
        if rounds.size:
            union = read_columns(rounds.folder / "union.parquet")
            audits = np.stack([self._audit(number) for number in rounds.parts])
            with named(rounds.stage):
                chosen, about = result(
                    _operator(rounds.stage), union, rounds.answers(), audits, rounds.size
                )
        write_table(rounds.folder / "chosen.parquet", chosen)
        write_atomic(rounds.folder / ABOUT, to_json(about))
        return int(chosen.num_rows)

    def _audit(self, number: int) -> NDArray[np.float64]:
        table = read_columns(self.rounds.path("audits", number))
        return np.stack([table[n].to_numpy() for n in table.schema.names], axis=1)


@dataclass(frozen=True)
class ReadChosen:
    """Read a file of rows chosen by their partition."""

    def __call__(self, path: Any) -> pa.Table:
        """Return `_row`, `rank` and `gain`."""
        table = read_columns(path)
        return table.rename_columns([PART if n == PLACE[0] else n for n in table.schema.names])


@dataclass(frozen=True)
class JoinChosen:
    """Bring what was chosen back to one partition. k: how many were chosen in all."""

    chain: Pipeline
    stage: Stage
    partitions: tuple[Partition, ...]
    k: int

    def __call__(self, item: tuple[int, pa.Table | None]) -> None:
        """Write the partition's stage output."""
        number, mine = item
        operator, partition = _operator(self.stage), self.partitions[number]
        view = self.chain.view(partition)
        with named(self.stage):
            reason = operator.undefined(Batch(view.table(operator.needs, view.alive)))
        rank, gain = np.full(len(view.alive), -1, np.int64), np.full(len(view.alive), np.nan)
        if mine is not None:
            at = np.searchsorted(view.alive, mine[PLACE[1]].to_numpy())
            rank[at], gain[at] = mine["rank"].to_numpy(), mine["gain"].to_numpy()
        decision = operator.decision(reason, rank, gain, self.k)
        write_table(
            self.chain.work.side(self.stage, partition),
            side_table(view.alive, dict(decision.columns), decision),
        )
