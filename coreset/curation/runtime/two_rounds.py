"""Selection in two rounds through an engine: rows are brought to their shards through files, each step holds one shard, the driver the union of what the shards chose."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from coreset.core.batch import Batch
from coreset.core.selection import Selection
from coreset.core.store import to_json, write_atomic
from coreset.curation.engines.local import Engine
from coreset.curation.operators.select import Budgeted
from coreset.curation.operators.two_rounds import PLACE, audit, first_round, result, second_round, shard_of, union_of
from coreset.curation.runtime.checkpoint import Link, Piece, Work, is_whole, write_table
from coreset.curation.runtime.group_by_key import decoded, read_batch, write_batches
from coreset.curation.runtime.steps import Chain, named, read_columns, side_table

ABOUT = "rounds.json"  # what is said about an answer in two rounds: guarantee and certificate
_LEFT = (".split.arrow", ".first.parquet", ".audit.parquet", "union.parquet", "chosen.parquet")


def select_in_rounds(engine: Engine, chain: Chain, link: Link, pieces: Sequence[Piece], total: int) -> None:
    """Run a selection in two rounds over all pieces: afterwards its answers lie beside every piece, and `rounds.json` among them."""
    work, operator, folder = chain.work, _operator(link), chain.work.root / link.place
    if (folder / ABOUT).exists() and all(is_whole(work.side(link, p)) for p in pieces):
        return
    counts = np.sum(list(engine.map(SplitByShard(chain, link), list(enumerate(pieces)))), axis=0)
    shards, size = np.flatnonzero(counts).tolist(), int(counts.sum())
    k = operator.count(size, total)
    chosen, about = pa.table({n: pa.array([], pa.int64()) for n in (*PLACE, "rank", "gain")}), dict[str, Any]()
    if size:
        firsts = list(engine.map(FirstRound(work, link, tuple(pieces), k), shards))
        with named(link):
            union = union_of([read_columns(path) for path in firsts])
            answers = second_round(operator, union, k)
        write_table(folder / "union.parquet", union)
        step = Audit(work, link, tuple(pieces), folder / "union.parquet", tuple(answers))
        audits = np.stack(list(engine.map(step, shards)))
        with named(link):
            chosen, about = result(operator, union, answers, audits, size)
    write_table(folder / "chosen.parquet", chosen)
    write_atomic(folder / ABOUT, to_json(about))
    list(engine.map(JoinChosen(chain, link, folder / "chosen.parquet"), list(enumerate(pieces))))
    for left in folder.iterdir():
        if left.name.endswith(_LEFT):
            left.unlink()


def read_about(work: Work, link: Link) -> dict[str, Any]:
    """Return the guarantee and the certificate of a selection in two rounds, nothing of any other operator."""
    path = work.root / link.place / ABOUT
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def _operator(link: Link) -> Budgeted:
    assert isinstance(link.operator, Budgeted)
    return link.operator


def _shard(work: Work, link: Link, pieces: Sequence[Piece], number: int) -> pa.Table:
    """Return the candidates of one shard in the order of their ids."""
    parts = [read_batch(work.side(link, p, ".split.arrow"), number) for p in pieces]
    return pa.concat_tables([p for p in parts if p.num_rows], promote_options="permissive").sort_by("id")


@dataclass(frozen=True)
class SplitByShard:
    """Cut the candidates of one piece by shard."""

    chain: Chain
    link: Link

    def __call__(self, item: tuple[int, Piece]) -> NDArray[np.int64]:
        """Write them; return how many there are of each shard."""
        number, piece = item
        operator = _operator(self.link)
        assert operator.shards is not None
        path = self.chain.work.side(self.link, piece, ".split.arrow")
        if not path.exists():
            view = self.chain.view(piece)
            table = view.table(operator.needs, view.alive)
            with named(self.link):
                good = np.flatnonzero(operator.undefined(Batch(table)) == "")
            names = [n for n in table.schema.names if n == "id" or n in operator.needs]
            table = decoded(table.select(names))
            for name, values in zip(PLACE, (np.full(len(view.alive), number), view.alive), strict=True):
                table = table.append_column(name, pa.array(values))
            table = table.take(pa.array(good))
            shard = shard_of(operator, Batch(table)["id"])
            write_batches(path, [table.filter(pa.array(shard == i)) for i in range(operator.shards)])
        return np.array([read_batch(path, i).num_rows for i in range(operator.shards)])


@dataclass(frozen=True)
class FirstRound:
    """Let one shard choose."""

    work: Work
    link: Link
    pieces: tuple[Piece, ...]
    k: int

    def __call__(self, number: int) -> Path:
        """Write what it chooses; return where that is."""
        path = self.work.root / self.link.place / f"{number:05d}.first.parquet"
        if not is_whole(path):
            with named(self.link):
                shard = _shard(self.work, self.link, self.pieces, number)
                found = first_round(_operator(self.link), shard, self.k)
            write_table(path, found)
        return path


@dataclass(frozen=True)
class Audit:
    """Measure the answers on the rows of one shard."""

    work: Work
    link: Link
    pieces: tuple[Piece, ...]
    union: Path
    answers: tuple[Selection, ...]

    def __call__(self, number: int) -> NDArray[np.float64]:
        """Return what `TwoRounds.audit` does; it stays on disk until the answer is there."""
        path = self.work.root / self.link.place / f"{number:05d}.audit.parquet"
        if not is_whole(path):
            with named(self.link):
                shard = _shard(self.work, self.link, self.pieces, number)
                found = audit(_operator(self.link), shard, read_columns(self.union), self.answers)
            write_table(path, pa.table({f"n{j}": found[:, j] for j in range(found.shape[1])}))
        table = read_columns(path)
        return np.stack([table[n].to_numpy() for n in table.schema.names], axis=1)


@dataclass(frozen=True)
class JoinChosen:
    """Bring what was chosen back to one piece."""

    chain: Chain
    link: Link
    chosen: Path

    def __call__(self, item: tuple[int, Piece]) -> None:
        """Write the piece's side table."""
        number, piece = item
        operator = _operator(self.link)
        view = self.chain.view(piece)
        with named(self.link):
            reason = operator.undefined(Batch(view.table(operator.needs, view.alive)))
        chosen = read_columns(self.chosen)
        mine = chosen.filter(pa.array(chosen["_piece"].to_numpy() == number))
        at = np.searchsorted(view.alive, mine["_row"].to_numpy())
        rank, gain = np.full(len(view.alive), -1, np.int64), np.full(len(view.alive), np.nan)
        rank[at], gain[at] = mine["rank"].to_numpy(), mine["gain"].to_numpy()
        verdict = operator.verdict(reason, rank, gain, chosen.num_rows)
        write_table(self.chain.work.side(self.link, piece), side_table(view.alive, dict(verdict.columns), verdict))
