"""What workers of Ray call: a step on an item, the rows of an item on their way to parts, a step on
every part of a bucket.

Nothing is taken to have come because Ray says no error. An item sends one message to every bucket,
empty ones too, with the number of its rows; a bucket calls the step on its parts only when the
message of every item is there with as many rows as it says.
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
from coreset.curation.engines.spill import bucket_of, by_part, cut, plain
from coreset.runs.run_folder import versions

BUCKET = "_bucket"  # the column that says which bucket a message goes to
FAILED = -1  # rows of a message that holds an error instead
WHOLE = -1  # the part of the row that speaks of the whole bucket


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


def read_items(batch: pa.Table, task: Task, parts: int, buckets: int) -> pa.Table:
    """Return the messages of a batch of items to the `buckets` that `parts` parts lie in:
    `_bucket`, the `place` of the item, how many `rows` are sent and the rows, each with its
    `_part`, as an Arrow stream (`sent`); of an item that cannot be read its error, to every bucket.
    """
    places: list[int] = []
    rows: list[int] = []
    sent: list[bytes] = []
    for place, item in zip(batch["place"].to_pylist(), batch["item"].to_pylist(), strict=True):
        count, streams = [0] * buckets, [b""] * buckets
        try:
            table = plain(task.load()(pickle.loads(item)))
            if table.num_rows:
                for i, held in cut(table, bucket_of(table[PART].to_numpy(), parts, buckets)):
                    count[i], streams[i] = held.num_rows, _stream(held)
        except Exception as error:
            told = on_node(error) if isinstance(error, ImportError) else error
            count, streams = [FAILED] * buckets, [pickle.dumps(told)] * buckets
        places += [place] * buckets
        rows += count
        sent += streams
    return pa.table(
        {
            BUCKET: pa.array(list(range(buckets)) * batch.num_rows, pa.int64()),
            "place": pa.array(places, pa.int64()),
            "rows": pa.array(rows, pa.int64()),
            "sent": pa.array(sent, pa.large_binary()),
        }
    )


class ReadItems:
    """`read_items` in an actor that stays."""

    def __init__(self, task: Task, parts: int, buckets: int) -> None:
        self.task, self.parts, self.buckets = task, parts, buckets

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Return the messages of a batch of items."""
        return read_items(batch, self.task, self.parts, self.buckets)


def _stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as out:
        out.write_table(table.combine_chunks())
    data: bytes = sink.getvalue().to_pybytes()
    return data


def call_bucket(group: pa.Table, task: Task, items: int) -> pa.Table:
    """Return the answers of a step about the parts of one bucket that have rows: `part`, `answer`.
    The row before them, of the part `WHOLE`, says how many `parts` there are and what `rows`,
    `bytes` and `messages` came; its answer is empty, or an error for which no part was looked at.

    items: how many send. Messages of an item are taken once: what a task sent before its node was
    lost comes again from the task in its place. The error is that of an item that could not be
    read, or RowsLost where messages or rows of them have not come.
    """
    bucket = group[BUCKET][0].as_py()
    once = {
        place: (rows, sent)
        for place, rows, sent in zip(
            group["place"].to_pylist(), group["rows"].to_pylist(), group["sent"], strict=True
        )
    }
    failed = [place for place, (rows, _) in once.items() if rows == FAILED]
    count = sum(rows for rows, _ in once.values() if rows > 0)
    size = sum(len(sent.as_buffer()) for _, sent in once.values())
    whole, answers = b"", dict[int, bytes]()
    if failed:
        whole = pickle.dumps((False, pickle.loads(once[min(failed)][1].as_py())))
    elif count or len(once) < items:
        try:
            table = _together(bucket, once, task.name, items)
        except RowsLost as error:
            whole = pickle.dumps((False, error))
        else:
            for part, rows in by_part(table):
                answers[part] = _answer(lambda p=part, r=rows: task.load()((p, r)))  # type: ignore[misc]
    nothing = [0] * len(answers)
    return pa.table(
        {
            BUCKET: [bucket] * (1 + len(answers)),
            "part": [WHOLE, *answers],
            "answer": pa.array([whole, *answers.values()], pa.large_binary()),
            "parts": [len(answers), *nothing],
            "rows": [count, *nothing],
            "bytes": [size, *nothing],
            "messages": [len(once), *nothing],
        }
    )


def _together(bucket: int, once: dict[int, tuple[int, Any]], name: str, items: int) -> pa.Table:
    """Return the rows of a bucket. Raises RowsLost, before anything is done with them, where not
    all have come.
    """
    if len(once) < items:
        first = next(i for i in range(items) if i not in once)
        raise RowsLost(
            f"{name}: bucket {bucket} expected the rows of {items} senders, got those of"
            f" {len(once)}; nothing has come from sender {first}. {AGAIN}"
        )
    tables = []
    for place, (rows, sent) in sorted(once.items()):
        table = pa.ipc.open_stream(sent.as_buffer()).read_all() if rows else None
        got = 0 if table is None else table.num_rows
        if got != rows:
            raise RowsLost(
                f"{name}: bucket {bucket} expected {rows} rows of sender {place}, got {got}."
                f" {AGAIN}"
            )
        if table is not None:
            tables.append(table)
    return pa.concat_tables(tables, promote_options="permissive")


AGAIN = "Start the run again: it goes on from what is finished"
