"""The ledger of a labeling project: one JSON line per event, from which every state can be told
again.

The images it starts from are written down once. Any other is pending once a batch with it is
committed, then labeled, skipped (it may be chosen again) or rejected (it may not).
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from coreset.core.files import read_bytes
from coreset.core.pool import Pool
from coreset.core.selection import Selection
from coreset.core.store import to_json
from coreset.vision.coco import CocoPool, match_images, positions, read_json
from coreset.vision.methods import narrow

# event -> (states it may come from, state it leads to); None = never chosen
MOVES = {
    "start": ((None,), "start"),
    "commit": ((None, "skipped"), "pending"),
    "label": (("pending",), "labeled"),
    "skip": (("pending",), "skipped"),
    "reject": (("pending", "skipped", "start", None), "rejected"),
}
STATES = ("pending", "labeled", "skipped", "rejected", "start")
_FIRST = b'{"event": "'  # how every line begins


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)


def _item(key: Any) -> Any:
    key = key.item() if isinstance(key, np.generic) else key
    if isinstance(key, bool) or not isinstance(key, int | str | float) or key != key:
        raise TypeError(f"an image id is a whole number or a text, got {key!r:.80}")
    return key


def _names(pool: Pool | None, ids: list[Any], source: str) -> dict[str, list[str]]:
    """Return the file names of images for an event, where the pool knows them."""
    if not isinstance(pool, CocoPool):
        return {}
    return {"names": pool.names[positions(pool, ids, source)].tolist()}


def _same_file(a: str, b: str) -> bool:
    """Return whether one path ends with the other."""
    x, y = PurePath(a).parts, PurePath(b).parts
    n = min(len(x), len(y))
    return x[len(x) - n :] == y[len(y) - n :]


class Ledger:
    """A JSONL file that is only ever added to; opening one that exists goes on with it.

    The first batch that is committed writes down the images its pool began with (`start`): they are
    never chosen, whatever a later pool says, and a pool that contradicts them is refused. A last
    line cut short by a crash is dropped. Ledgers from before this was kept are read as they are;
    `start` completes them. Raises ValueError naming file and line for anything else that is no
    event.

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
        self._files: dict[Any, str] = {}
        if not self.path.exists():
            return
        data = read_bytes(self.path)
        whole = data[: data.rfind(b"\n") + 1]
        for number, line in enumerate(whole.split(b"\n")[:-1], 1):
            try:
                event = json.loads(line)
                self._apply(event)
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                raise ValueError(
                    f"{self.path}, line {number}: not an event that can follow ({error})"
                ) from error
        rest = data[len(whole) :]
        if rest and rest[: len(_FIRST)] != _FIRST[: len(rest)]:
            raise ValueError(
                f"{self.path}: no ledger, its last line is neither an event nor the beginning"
                " of one"
            )
        if rest:
            with self.path.open("r+b") as f:
                f.truncate(len(whole))

    def _check(self, event: str, ids: list[Any]) -> None:
        before, _ = MOVES[event]
        for k in ids:
            state = self._state.get(k)
            if state not in before:
                raise ValueError(
                    f"{event}: image {k!r} is {state or 'not in any batch'}; expected"
                    f" {' or '.join(str(b or 'new') for b in before)}"
                )
        if len(set(ids)) != len(ids):
            raise ValueError(f"{event}: an image occurs twice")
        if event == "start" and self.started:
            raise ValueError("start: is written down already, and only once")

    def _apply(self, event: Mapping[str, Any]) -> None:
        ids, names = event["ids"], event.get("names")
        if not isinstance(ids, list) or (names is not None and len(names) != len(ids)):
            raise ValueError("expected a list of ids, and as many names where there are any")
        ids = [_item(k) for k in ids]
        self._check(event["event"], ids)
        self._state.update(dict.fromkeys(ids, MOVES[event["event"]][1]))
        self._files.update(zip(ids, map(str, names or ()), strict=False))
        self.events.append(dict(event))

    def _write(self, event: str, ids: Iterable[Any], **more: Any) -> None:
        row = {
            "event": event,
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "batch": self.batches + (event == "commit"),
            "ids": [_item(k) for k in ids],
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

    @property
    def started(self) -> bool:
        """Return whether the images the project began with are written down."""
        return any(e["event"] == "start" for e in self.events)

    def ids(self, state: str) -> list[Any]:
        """Return the ids that are `pending`, `labeled`, `skipped`, `rejected` or of the `start`, in
        the order they were first written down.
        """
        if state not in STATES:
            raise ValueError(
                f"state: expected pending, labeled, skipped, rejected or start, got {state!r}"
            )
        return [k for k, s in self._state.items() if s == state]

    def start(self, known: Pool | Iterable[Any]) -> int:
        """Write down the images that were labeled before the first batch, once: a pool's selected
        ones, or ids; return their number.

        Images of a batch are none of them. Raises ValueError where others are written down already.
        """
        pool = known if isinstance(known, Pool) else None
        ids = [_item(k) for k in (known if pool is None else pool.ids[pool.selected])]  # type: ignore[union-attr]
        new = [k for k in ids if self._state.get(k) in (None, "start")]
        if self.started:
            if pool is not None:
                self._match(pool)
            elif set(new) != set(self.ids("start")):
                raise ValueError(
                    f"{self.path}: it began with {len(self.ids('start'))} other images than these"
                    f" {len(new)}"
                )
        else:
            self._write("start", new, **_names(pool, new, str(self.path)))
        return len(self.ids("start"))

    def commit(self, chosen: Selection) -> int:
        """Write down a batch as pending, with its order, scores and provenance; return its number.
        Raises ValueError for an image already taken.

        With the first batch of a selection that knows its pool, what is selected there is written
        down as the start.
        """
        if chosen.ids is None:
            raise ValueError(
                "a selection without ids cannot be committed: positions mean nothing outside their"
                " pool"
            )
        ids = [_item(k) for k in chosen.ids]
        self._check("commit", ids)
        pool: Pool | None = getattr(chosen, "pool", None)
        if pool is not None:
            self._match(pool)
            before = [k for k in pool.ids[pool.selected].tolist() if k not in self._state]
            both = sorted(set(before) & set(ids), key=str)
            if both:
                raise ValueError(f"commit: image {both[0]!r} is selected in the pool already")
            if not self.started and (before or not self.batches):
                self.start(pool)
        scores = (
            None
            if chosen.scores is None
            else [float(s) if np.isfinite(s) else None for s in chosen.scores]
        )
        self._write(
            "commit",
            ids,
            scores=scores,
            info=dict(chosen.info),
            **_names(pool, ids, str(self.path)),
        )
        return self.batches

    def ingest(
        self,
        labeled: str | Path | Iterable[Any],
        pool: Pool | None = None,
        *,
        renumbered: bool = False,
    ) -> dict[str, int]:
        """Mark as labeled what a COCO file lists under `images` (with or without boxes in them), or
        these ids; return how many are labeled and still pending.

        The images of a file are known by their file name, and their id must be that of the pool (of
        the ledger, without one). renumbered: the file comes from a tool that numbers images anew;
        its ids mean nothing and file names alone count, for which the pool is needed. Images that
        were labeled before may be in the file again. Raises ValueError or KeyError naming file and
        image for one whose name and id contradict each other, and for one that was never committed,
        unless it is in the start or in `pool.selected`, the labels there were before the first
        batch.
        """
        source = str(labeled) if isinstance(labeled, str | Path) else "labeled"
        if isinstance(labeled, str | Path):
            data = read_json(labeled)
            if (
                not isinstance(data, dict)
                or not isinstance(data.get("images"), list)
                or not data["images"]
            ):
                raise ValueError(
                    f"{source}: no labeled images, expected a COCO file with a list 'images' that"
                    " is not empty"
                )
            if isinstance(pool, CocoPool):
                self._match(pool)
                names = pool.ids[match_images(pool, data["images"], source, renumbered)].tolist()
            elif renumbered:
                raise ValueError("renumbered: file names alone need pool=CocoPool.from_coco(...)")
            else:
                names = [self._known(image, i, source) for i, image in enumerate(data["images"])]
        else:
            names = [_item(k) for k in labeled]
        twice = [k for k, n in Counter(names).items() if n > 1]
        if twice:
            raise ValueError(f"{source}: image {twice[0]!r} occurs twice")
        before = {*self.ids("start"), *(() if pool is None else pool.ids[pool.selected].tolist())}
        new = [k for k in names if self._state.get(k) != "labeled" and k not in before]
        wrong = [k for k in new if self._state.get(k) != "pending"]
        if wrong:
            raise ValueError(
                f"{source}: image {wrong[0]!r} is {self._state.get(wrong[0], 'in no batch')},"
                f" expected one of the {len(self.ids('pending'))} pending"
            )
        if new:
            self._write("label", new, file=source)
        return {"labeled": len(new), "pending": len(self.ids("pending"))}

    def _known(self, image: Any, number: int, source: str) -> Any:
        """Return the id of an image entry after comparing its file name with the one in the
        ledger.
        """
        key = image.get("id") if isinstance(image, Mapping) else None
        if isinstance(key, bool) or not isinstance(key, int | str):
            raise ValueError(f"{source}: entry {number} of 'images' has no 'id': {image!r:.80}")
        name = image.get("file_name")
        if "file_name" not in image or key not in self._state:
            return key
        if not isinstance(name, str):
            raise ValueError(
                f"{source}: image {key!r}: file_name: expected a text, got {name!r:.80}"
            )
        if key not in self._files:
            raise ValueError(
                f"{source}: image {key!r} is {name!r:.200} here, and {self.path} keeps no file name"
                " of it: give pool=CocoPool.from_coco(...), which knows it"
            )
        if not _same_file(name, self._files[key]):
            raise ValueError(
                f"{source}: image {key!r} is {name!r:.200} here and {self._files[key]!r} in"
                f" {self.path}"
            )
        return key

    def skip(self, ids: Iterable[Any], reason: str) -> None:
        """Give pending images back: they may be chosen again."""
        self._write("skip", ids, reason=reason)

    def reject(self, ids: Iterable[Any], reason: str) -> None:
        """Take images out for good: broken, private, out of scope."""
        self._write("reject", ids, reason=reason)

    def pool(self, pool: Pool) -> Pool:
        """Return the pool as it stands: the start, labeled and pending images are selected,
        rejected ones no candidates, skipped ones candidates again.

        Raises ValueError or KeyError naming the image for a pool that contradicts the ledger:
        selected images of neither the start nor a batch, another file name of an image, an image
        that is not there.
        """
        self._match(pool)
        taken = positions(pool, self.ids("labeled") + self.ids("pending"), str(self.path))
        gone = positions(pool, self.ids("rejected"), str(self.path))
        begun = positions(pool, self.ids("start"), str(self.path))
        old = np.setdiff1d(np.union1d(pool.selected, begun), taken)
        free = np.setdiff1d(pool.candidates, np.concatenate([taken, gone, begun]))
        return narrow(pool, free, np.concatenate([old, taken]))

    def _match(self, pool: Pool) -> None:
        """Raise ValueError or KeyError for a pool that contradicts the ledger."""
        if isinstance(pool, CocoPool) and self._files:
            at = {k: i for i, k in enumerate(pool.ids.tolist())}
            for k, name in self._files.items():
                there = name if k not in at else str(pool.names[at[k]])
                if not _same_file(name, there):
                    raise ValueError(
                        f"{self.path}: image {k!r} is {name!r} here and {there!r} in {pool.source}"
                    )
        strange = (
            [k for k in pool.ids[pool.selected].tolist() if k not in self._state]
            if self.started
            else []
        )
        if strange:
            raise ValueError(
                f"{self.path}: image {strange[0]!r} is labeled in"
                f" {getattr(pool, 'source', 'the pool')}, but is neither one of the"
                f" {len(self.ids('start'))} images the ledger began with nor in a batch"
                f" ({len(strange)} in all): commit and ingest what was labeled elsewhere, or give"
                " the pool that the ledger began with"
            )
