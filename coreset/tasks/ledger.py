"""The ledger of a labelling project: one JSON line per event, from which every state can be told again.

An image is pending once a batch with it is committed, then labelled, skipped (it may be chosen again) or rejected (it may not).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from coreset.coco import positions, read_json
from coreset.store import to_json
from coreset.tasks.methods import narrow
from coreset.types import Pool, Selection

# event -> (states it may come from, state it leads to); None = never chosen
MOVES = {
    "commit": ((None, "skipped"), "pending"),
    "label": (("pending",), "labeled"),
    "skip": (("pending",), "skipped"),
    "reject": (("pending", "skipped", None), "rejected"),
}


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)


class Ledger:
    """A JSONL file that is only ever added to; opening one that exists goes on with it.

    A last line cut short by a crash is dropped. Raises ValueError naming file and line for anything else that is no event.

    >>> import tempfile
    >>> ledger = Ledger(Path(tempfile.mkdtemp()) / "al.jsonl")
    >>> ledger.commit(Selection([1, 0], ids=np.array([12, 11])))
    1
    >>> ledger.skip([11], "too dark")
    >>> ledger.ids("pending"), ledger.ids("skipped")
    ([12], [11])
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.events: list[dict[str, Any]] = []
        self._state: dict[Any, str] = {}
        if not self.path.exists():
            return
        data = self.path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        for number, line in enumerate(whole.decode().splitlines(), 1):
            try:
                event = json.loads(line)
                self._apply(event)
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{self.path}, line {number}: not an event that can follow ({error})") from error
        if len(whole) < len(data):
            with self.path.open("r+b") as f:
                f.truncate(len(whole))

    def _apply(self, event: Mapping[str, Any]) -> None:
        before, after = MOVES[event["event"]]
        for k in event["ids"]:
            state = self._state.get(k)
            if state not in before:
                raise ValueError(
                    f"{event['event']}: image {k!r} is {state or 'not in any batch'}; expected {' or '.join(str(b or 'new') for b in before)}"
                )
        if len(set(event["ids"])) != len(event["ids"]):
            raise ValueError(f"{event['event']}: an image occurs twice")
        self._state.update(dict.fromkeys(event["ids"], after))
        self.events.append(dict(event))

    def _write(self, event: str, ids: Iterable[Any], **more: Any) -> None:
        names = [k.item() if isinstance(k, np.generic) else k for k in ids]
        row = {
            "event": event,
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "batch": self.batches + (event == "commit"),
            "ids": names,
            **more,
        }
        line = to_json(row, _plain)
        self._apply(json.loads(line))  # refused before anything is written
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as f:
            f.write(line.encode() + b"\n")
            f.flush()
            os.fsync(f.fileno())

    @property
    def batches(self) -> int:
        """Return how many batches were committed."""
        return sum(e["event"] == "commit" for e in self.events)

    def ids(self, state: str) -> list[Any]:
        """Return the ids that are `pending`, `labeled`, `skipped` or `rejected`, in the order they were first committed."""
        if state not in ("pending", "labeled", "skipped", "rejected"):
            raise ValueError(f"state: expected pending, labeled, skipped or rejected, got {state!r}")
        return [k for k, s in self._state.items() if s == state]

    def commit(self, chosen: Selection) -> int:
        """Write down a batch as pending, with its order, scores and provenance; return its number. Raises ValueError for an image already taken."""
        if chosen.ids is None:
            raise ValueError("a selection without ids cannot be committed: positions mean nothing outside their pool")
        scores = None if chosen.scores is None else [float(s) if np.isfinite(s) else None for s in chosen.scores]
        self._write("commit", list(chosen.ids), scores=scores, info=dict(chosen.info))
        return self.batches

    def ingest(self, labeled: str | Path | Iterable[Any], pool: Pool | None = None) -> dict[str, int]:
        """Mark as labelled what a COCO file lists under `images` (with or without boxes in them), or these ids; return how many are labelled and still pending.

        Images that were labelled before may be in the file again. Raises ValueError naming file and image for one that was never committed, unless it is in
        `pool.selected`, the labels there were before the first batch.
        """
        source = str(labeled) if isinstance(labeled, str | Path) else "labeled"
        if isinstance(labeled, str | Path):
            data = read_json(labeled)
            if not isinstance(data, dict) or not data.get("images"):
                raise ValueError(
                    f"{source}: no labelled images, expected a COCO file with a list 'images' that is not empty"
                )
            names = [image["id"] for image in data["images"]]
        else:
            names = [k.item() if isinstance(k, np.generic) else k for k in labeled]
        before = set() if pool is None else set(pool.ids[pool.selected].tolist())
        new = [k for k in names if self._state.get(k) != "labeled" and k not in before]
        wrong = [k for k in new if self._state.get(k) != "pending"]
        if wrong:
            raise ValueError(
                f"{source}: image {wrong[0]!r} is {self._state.get(wrong[0], 'in no batch')}, expected one of the {len(self.ids('pending'))} pending"
            )
        if new:
            self._write("label", new, file=source)
        return {"labeled": len(new), "pending": len(self.ids("pending"))}

    def skip(self, ids: Iterable[Any], reason: str) -> None:
        """Give pending images back: they may be chosen again."""
        self._write("skip", ids, reason=reason)

    def reject(self, ids: Iterable[Any], reason: str) -> None:
        """Take images out for good: broken, private, out of scope."""
        self._write("reject", ids, reason=reason)

    def pool(self, pool: Pool) -> Pool:
        """Return the pool as it stands: labelled and pending images are selected, rejected ones no candidates, skipped ones candidates again."""
        taken = positions(pool, self.ids("labeled") + self.ids("pending"), str(self.path))
        gone = positions(pool, self.ids("rejected"), str(self.path))
        old = np.setdiff1d(pool.selected, taken)
        return narrow(pool, np.setdiff1d(pool.candidates, np.concatenate([taken, gone])), np.concatenate([old, taken]))
