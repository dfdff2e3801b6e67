"""What workers of Ray call: a step on an item, the rows of an item on their way to parts, a step on
a part.

Nothing is taken to have come because Ray says no error. An item sends one message to every part,
empty ones too, with the number of its rows; a part calls its step only when the message of every
item is there with as many rows as it says.
"""

from __future__ import annotations

import pickle
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pyarrow as pa

from coreset.core.engine import PART
from coreset.curation.engines.spill import by_part, plain
from coreset.runs.run_folder import versions

FAILED = -1  # rows of a message that holds an error instead


class RowsLost(RuntimeError):
    """Rows or answers that were sent and have not come, without an error of Ray."""


@dataclass(frozen=True)
class Task:
    """A step on its way to workers: its bytes, which Ray sends with what is called, and where its
    modules are. name: what errors call the step; version: of this package where the run began.
    """

    step: bytes
    path: tuple[str, ...]
    name: str = ""
    version: str = ""

    def load(self) -> Callable[[Any], Any]:
        """Return the step. Raises ImportError on a node that has another version of this package:
        its operators may answer otherwise.
        """
        here = own_version()
        if self.version and here != self.version:
            raise ImportError(
                f"coreset-lightning {here} is installed, the run began with {self.version}: pip"
                f" install 'coreset-lightning[ray]=={self.version}'"
            )
        return _loaded(self.step, self.path)


def own_version() -> str:
    """Return the version of this package that is installed here."""
    return versions("coreset-lightning").get("coreset-lightning", "")


@lru_cache(8)
def _loaded(data: bytes, path: tuple[str, ...]) -> Callable[[Any], Any]:
    sys.path.extend(p for p in path if p not in sys.path)
    step: Callable[[Any], Any] = pickle.loads(data)
    return step


def _answer(call: Callable[[], Any]) -> bytes:
    """Return (True, what a call returns) or (False, its error), pickled: errors are answers, so
    that they come back as what they were.
    """
    try:
        return pickle.dumps((True, call()))
    except ImportError as error:
        return pickle.dumps((False, on_node(error)))
    except Exception as error:
        return pickle.dumps((False, error))


def on_node(error: ImportError) -> ImportError:
    """Return an error about what is not installed with the node that says so."""
    return ImportError(
        f"{error} (on the node {socket.gethostname()}; every node of the cluster needs what the"
        " recipe needs)"
    )


def call_items(batch: pa.Table, task: Task) -> pa.Table:
    """Return the answers of a step about a batch of items."""
    answers = []
    for item in batch["item"].to_pylist():
        answers.append(_answer(lambda item=item: task.load()(pickle.loads(item))))  # type: ignore[misc]
    place = batch["place"].to_pylist()
    return pa.table({"place": place, "answer": pa.array(answers, pa.large_binary())})


class CallItems:
    """`call_items` in an actor that stays, so that a model is loaded once."""

    def __init__(self, task: Task) -> None:
        self.task = task

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Return the answers about a batch of items."""
        return call_items(batch, self.task)


def read_items(batch: pa.Table, task: Task, parts: int) -> pa.Table:
    """Return the messages of a batch of items to `parts` parts: `_part`, the `place` of the item,
    how many `rows` are sent and the rows as an Arrow stream (`sent`); of an item that cannot be
    read its error, to every part.
    """
    places: list[int] = []
    rows: list[int] = []
    sent: list[bytes] = []
    for place, item in zip(batch["place"].to_pylist(), batch["item"].to_pylist(), strict=True):
        count, streams = [0] * parts, [b""] * parts
        try:
            table = plain(task.load()(pickle.loads(item)))
            for part, held in by_part(table) if table.num_rows else ():
                count[part], streams[part] = held.num_rows, _stream(held)
        except Exception as error:
            told = on_node(error) if isinstance(error, ImportError) else error
            count, streams = [FAILED] * parts, [pickle.dumps(told)] * parts
        places += [place] * parts
        rows += count
        sent += streams
    return pa.table(
        {
            PART: pa.array(list(range(parts)) * batch.num_rows, pa.int64()),
            "place": pa.array(places, pa.int64()),
            "rows": pa.array(rows, pa.int64()),
            "sent": pa.array(sent, pa.large_binary()),
        }
    )


class ReadItems:
    """`read_items` in an actor that stays."""

    def __init__(self, task: Task, parts: int) -> None:
        self.task, self.parts = task, parts

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Return the messages of a batch of items."""
        return read_items(batch, self.task, self.parts)


def _stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as out:
        out.write_table(table.combine_chunks())
    data: bytes = sink.getvalue().to_pybytes()
    return data


def call_part(group: pa.Table, task: Task, items: int) -> pa.Table:
    """Return the answer of a step about one part, its rows put together, with the `rows`, `bytes`
    and `messages` that came; a part without rows has an empty answer.

    items: how many send. Messages of an item are taken once: what a task sent before its node was
    lost comes again from the task in its place. The answer is the error of an item that could not
    be read, or RowsLost where messages or rows of them have not come.
    """
    part = group[PART][0].as_py()
    once = {
        place: (rows, sent)
        for place, rows, sent in zip(
            group["place"].to_pylist(), group["rows"].to_pylist(), group["sent"], strict=True
        )
    }
    failed = [place for place, (rows, _) in once.items() if rows == FAILED]
    count = sum(rows for rows, _ in once.values() if rows > 0)
    size = sum(len(sent.as_buffer()) for _, sent in once.values())
    if failed:
        answer = pickle.dumps((False, pickle.loads(once[min(failed)][1].as_py())))
    elif count or len(once) < items:
        answer = _answer(lambda: task.load()((part, _together(part, once, task.name, items))))
    else:
        answer = b""
    return pa.table(
        {
            "place": [part],
            "answer": pa.array([answer], pa.large_binary()),
            "rows": [count],
            "bytes": [size],
            "messages": [len(once)],
        }
    )


def _together(part: int, once: dict[int, tuple[int, Any]], name: str, items: int) -> pa.Table:
    """Return the rows of a part. Raises RowsLost, before anything is done with them, where not all
    have come.
    """
    if len(once) < items:
        first = next(i for i in range(items) if i not in once)
        raise RowsLost(
            f"{name}: part {part} expected the rows of {items} senders, got those of {len(once)};"
            f" nothing has come from sender {first}. {AGAIN}"
        )
    tables = []
    for place, (rows, sent) in sorted(once.items()):
        table = pa.ipc.open_stream(sent.as_buffer()).read_all() if rows else None
        got = 0 if table is None else table.num_rows
        if got != rows:
            raise RowsLost(
                f"{name}: part {part} expected {rows} rows of sender {place}, got {got}. {AGAIN}"
            )
        if table is not None:
            tables.append(table)
    return pa.concat_tables(tables, promote_options="permissive")


AGAIN = "The part is not finished; start the run again, it goes on from what is"
