"""What the files of an input hold: hashes of their content, and stamps by which a change is
noticed.

A stamp is size, times of the last change of content and of the entry, and the inode: writing into a
file changes it even when size and modification time are set back. Files are hashed again only when
their stamp has changed, so a copy of the same content still finds its state.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coreset.core.store import fingerprint, write_atomic
from coreset.curation.engines.local import Engine
from coreset.curation.io.discover import Shard
from coreset.curation.io.write import file_hash
from coreset.curation.runtime.checkpoint import Partition, StateStore
from coreset.curation.runtime.steps import read_columns

FILE = "files.json"
_INSIDE = re.compile(r"(.+)@\d+\+\d+")


def stamp(path: str | Path) -> tuple[int, ...] | None:
    """Return size, mtime_ns, ctime_ns and inode of a file, None for one that is not there."""
    try:
        about = Path(path).stat()
    except (OSError, ValueError):
        return None
    return about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino


def hashes(shards: Sequence[Shard], state: Path) -> tuple[dict[str, str], int]:
    """Return the SHA-256 of every shard by name, and of how many it was known from an earlier run.

    A file that cannot be read has the hash "".
    """
    known = _known(state / FILE)
    seen: dict[str, Any] = {}
    out, reused = {}, 0
    for shard in shards:
        path = str(shard.path.resolve())
        now = stamp(path)
        before = known.get(path)
        if now is not None and before is not None and before[:-1] == list(now):
            out[shard.name], reused = before[-1], reused + 1
        else:
            out[shard.name] = _hash(shard.path)
        if now is not None:
            seen[path] = [*now, out[shard.name]]
    if {**known, **seen} != known:
        write_atomic(state / FILE, json.dumps({**known, **seen}, indent=1))
    return out, reused


def _known(path: Path) -> dict[str, list[Any]]:
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    good = isinstance(plain, Mapping)
    return {k: v for k, v in plain.items() if isinstance(v, list) and len(v) == 5} if good else {}


def _hash(path: Path) -> str:
    try:
        return file_hash(path)
    except OSError:
        return ""  # said when it is read


@dataclass(frozen=True)
class StampImages:
    """Stamp the image files that the rows of a partition refer to by path."""

    work: StateStore

    def __call__(self, partition: Partition) -> str:
        """Return a hash of the stamps."""
        paths = read_columns(self.work.partition(partition), ["image"])["image"].to_pylist()
        stamps: dict[str, Any] = {}
        for path in paths:
            if path is None or "://" in path:
                continue
            inside = _INSIDE.fullmatch(path)
            name = path if inside is None or Path(path).exists() else inside[1]
            if name not in stamps:
                stamps[name] = stamp(name)
        return fingerprint(stamps)


def images_key(engine: Engine, work: StateStore, partitions: Sequence[Partition]) -> str:
    """Return a hash of the stamps of all image files that the rows of all partitions refer to."""
    return fingerprint(list(engine.map(StampImages(work), partitions)))
