"""Rows that operators took out inside Data-Juicer, written down with the reason: one JSON line per
row under `<work_dir>/dropped/`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from coreset.core.store import fingerprint, write_atomic
from coreset.curation.data_juicer.rows import OURS, STATS

FOLDER = "dropped"


def write_dropped(
    work_dir: str | Path, operator: str, rows: Sequence[Mapping[str, Any]], *batch: Any
) -> None:
    """Write rows, {field: value} with their stats, that an operator dropped or rejected. batch:
    what tells the batch they come from, such as the ids of all its rows and its place; it names the
    file, so that a task done twice writes the same one.

    Each line holds `id`, `state` (dropped or rejected), `operator`, `reason`, `duplicate_of` (the
    id of the row kept instead), `scores` and the `row` itself.
    """
    if not rows:
        return
    lines = []
    for row in rows:
        stats = {n.removeprefix(OURS): v for n, v in dict(row[STATS]).items() if n.startswith(OURS)}
        name, state, reason, duplicate_of = (
            stats.pop(n, "") for n in ("id", "state", "reason", "duplicate_of")
        )
        about = {
            "id": name,
            "state": state,
            "operator": operator,
            "reason": reason,
            "duplicate_of": duplicate_of or None,
            "scores": _plain(stats),
        }
        own = {n: v for n, v in row.items() if not n.startswith("__dj__")}
        lines.append(json.dumps({**about, "row": _plain(own)}, ensure_ascii=False, default=str))
    path = Path(work_dir) / FOLDER / f"{operator}-{fingerprint(*batch)}.jsonl"
    write_atomic(path, ("\n".join(lines) + "\n").encode("utf-8", "backslashreplace"))


def read_dropped(work_dir: str | Path) -> Iterator[dict[str, Any]]:
    """Yield what operators wrote down in a work folder of Data-Juicer, one row after the other.

    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> row = {
    ...     "text": "hi",
    ...     "__dj__stats__": {
    ...         "coreset_id": "a",
    ...         "coreset_state": "dropped",
    ...         "coreset_reason": "too short",
    ...         "coreset_words": 1.0,
    ...     },
    ... }
    >>> write_dropped(folder, "coreset_length", [row], ["a", "b"])
    >>> [(r["id"], r["reason"], r["scores"]) for r in read_dropped(folder)]
    [('a', 'too short', {'words': 1.0})]
    """
    for path in sorted((Path(work_dir) / FOLDER).glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").split("\n"):
            if line:
                yield json.loads(line)


def _plain(value: Any) -> Any:
    """Return a value that JSON has a word for: NaN is null."""
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
