"""Sections of a measurement, each in a process of its own that is ended when its time is up."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]
Work = Callable[[str, bool], Iterator[Row]]


@dataclass(frozen=True)
class Section:
    """What is measured. work(device, small) yields rows: `what`, `value`, `unit` and what else is
    to be known; it raises NotRun where something that it needs is missing. seconds: its time box.
    """

    name: str
    seconds: float
    work: Work


class NotRun(Exception):
    """What keeps a section from running, in words."""


def _child(section: Section, device: str, small: bool, send: Any) -> None:
    os.setsid()  # what it starts is ended with it
    try:
        for row in section.work(device, small):
            send.send(("row", row))
        send.send(("end", None))
    except NotRun as reason:
        send.send(("why", f"not run: {reason}"))
    except BaseException as error:  # a section that fails does not lose the others
        send.send(("why", f"failed: {type(error).__name__}: {error}"[:500]))


def run(section: Section, device: str, small: bool) -> dict[str, Any]:
    """Return a section's rows, its seconds, and `why` where it did not come to its end. Rows that
    were there before stay.

    >>> def work(device, small):
    ...     yield {"what": "one", "value": 1.0, "unit": "s"}
    ...     raise ValueError("no more")
    >>> answer = run(Section("doctest", 30, work), "cpu", True)
    >>> answer["rows"][0]["what"], answer["why"]
    ('one', 'failed: ValueError: no more')
    """
    # forked: the parent has imported what every section needs, and never touched the device
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)
    worker = context.Process(target=_child, args=(section, device, small, send))
    begin = time.perf_counter()
    worker.start()
    send.close()
    rows: list[Row] = []
    why: str | None = f"stopped after its {section.seconds:g} s"
    while (left := begin + section.seconds - time.perf_counter()) > 0 and receive.poll(left):
        try:
            kind, value = receive.recv()
        except EOFError:
            why = f"the process died with exit code {_ended(worker)}"
            break
        if kind == "row":
            rows.append(value)
            continue
        why = value
        break
    assert worker.pid is not None  # it was started
    with suppress(ProcessLookupError):
        os.killpg(worker.pid, signal.SIGKILL) if _leads(worker.pid) else worker.kill()
    worker.join()
    seconds = round(time.perf_counter() - begin, 1)
    if not rows and why is None:
        why = "it gave no row"
    return {
        "section": section.name,
        "box": section.seconds,
        "seconds": seconds,
        "rows": rows,
        "why": why,
    }


def _ended(worker: Any) -> Any:
    worker.join(5)
    return worker.exitcode


def _leads(process: int | None) -> bool:
    """Return whether a process leads a group of its own; one that just began is in ours."""
    if process is None:
        return False
    with suppress(ProcessLookupError):
        return os.getpgid(process) == process
    return False
