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

from coreset.core.engine import Engine
from coreset.core.places import is_remote, stamp
from coreset.core.store import fingerprint, write_atomic
from coreset.curation.io.discover import Shard
from coreset.curation.io.write import file_hash
from coreset.curation.runtime.checkpoint import Partition, StateStore
from coreset.curation.runtime.steps import read_columns

FILE = "files.json"
_INSIDE = re.compile(r"(.+)@\d+\+\d+")


def hashes(
    engine: Engine, shards: Sequence[Shard], state: Any
) -> tuple[dict[str, str], dict[str, Any], int]:
    """Return what identifies the content of every shard by name, the stamps of all, and of how many
    the content was known from an earlier run.

    The content of a file of this machine is its SHA-256, of a store its size and entity tag. A file
    that cannot be read has the content "".
    """
    known = _known(state / FILE)
    now = {s.name: stamp(s.path) for s in shards}
    out, seen, reused, unknown = {}, dict[str, Any](), 0, []
    for shard in shards:
        mark, before = now[shard.name], known.get(_key(shard))
        if is_remote(shard.path):
            out[shard.name] = fingerprint(mark) if mark is not None else ""
        elif mark is not None and before is not None and before[:-1] == list(mark):
            out[shard.name], reused = before[-1], reused + 1
        else:
            unknown.append(shard)
    out |= zip((s.name for s in unknown), engine.map(HashShard(), unknown), strict=True)
    for shard in shards:
        mark = now[shard.name]
        if mark is not None and not is_remote(shard.path):
            seen[_key(shard)] = [*mark, out[shard.name]]
    if {**known, **seen} != known:
        write_atomic(state / FILE, json.dumps({**known, **seen}, indent=1))
    return out, now, reused


def check_unchanged(shards: Sequence[Shard], stamps: Mapping[str, Any]) -> None:
    """Raise OSError for a file that is another than the one whose stamp was taken before it was
    read: its lines have been written as rows that were decided about.
    """
    for shard in shards:
        if stamp(shard.path) != stamps[shard.name]:
            raise OSError(
                f"{shard.path} changed between the time it was read and the time its rows were"
                " written; start again when it is whole"
            )


def _key(shard: Shard) -> str:
    return str(shard.path.resolve())


def _known(path: Any) -> dict[str, list[Any]]:
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    good = isinstance(plain, Mapping)
    return {k: v for k, v in plain.items() if isinstance(v, list) and len(v) == 5} if good else {}


@dataclass(frozen=True)
class HashShard:
    """Hash a file."""

    def __call__(self, shard: Shard) -> str:
        """Return the SHA-256 of its bytes, "" where it cannot be read: said when it is."""
        try:
            return file_hash(shard.path)
        except OSError:
            return ""


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
