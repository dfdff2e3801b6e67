"""WebDataset shards as rows by position: an index of where each image lies in its tar file.

A shard is read once, by its headers; what is kept is key, class and place (from byte, size) of
every image, in a file of its own, so that a shard that changes is indexed again and no other.
Nothing is unpacked: an image is opened inside its shard (`coreset.scorers.image.files`), of a store
(`s3://`, `memory://`, any of fsspec) one image in one request for its bytes.
"""

from __future__ import annotations

import io
import os
import re
import tarfile
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from glob import has_magic
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset.core.places import StoreError, in_words, is_remote, place, stamp
from coreset.core.store import fingerprint, write_atomic
from coreset.curation.io.discover import discover
from coreset.curation.io.formats import BadRow
from coreset.curation.io.webdataset import Sample, samples, tar_row
from coreset.scorers.image.files import MOST_BYTES, TooLarge
from coreset.trainers.progress import progress

NAMES = ("keys", "texts", "starts", "sizes", "without")
SECONDS = 10.0  # that a process trusts what a store said of a shard
BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")


@dataclass(frozen=True, eq=False)
class Rows:
    """The images of some shards, in the order of the shards' names and of their members.

    shards: the tar files, of a store their addresses: every process opens the store for itself;
    stamps: what they were when they were indexed. Per row: shard (N,) its number, keys (N,) and
    texts (N,) as bytes: its name inside and its class as it stands there, empty = none; starts,
    sizes (N,): the bytes of its image. 1.28 million rows take about 80 MB.
    """

    shards: tuple[Path | str, ...]
    names: tuple[str, ...]
    stamps: tuple[Any, ...]
    shard: NDArray[np.int32]
    keys: NDArray[np.bytes_]
    texts: NDArray[np.bytes_]
    starts: NDArray[np.int64]
    sizes: NDArray[np.int64]
    _checked: dict[int, float] = field(default_factory=dict, init=False, repr=False)

    def __len__(self) -> int:
        return len(self.keys)

    @cached_property
    def key(self) -> str:
        """16 hex digits that change when a shard does."""
        return fingerprint(list(map(str, self.shards)), list(map(list, self.stamps)))

    @cached_property
    def ids(self) -> NDArray[np.bytes_]:
        """The rows' names (N,): shard and key, as `00/train-0001.tar/n01440764_10026`."""
        heads = np.array([f"{name}/".encode() for name in self.names])
        return np.char.add(heads[self.shard], self.keys)

    def title(self, i: int) -> str:
        """Return a row's shard and key, for messages."""
        return f"{self.shards[self.shard[i]]}: {self.keys[i].decode()!r}"

    def image(self, i: int) -> str | bytes:
        """Return an image as `coreset.scorers.image.files.open_image` takes it: where it lies, of a
        store its bytes.

        Raises ValueError where the shard is another one than was indexed: the bytes there may be of
        any image by now. A store is asked for that once in `SECONDS`; StoreError names the sample
        where it refuses, or gives fewer bytes.
        """
        number = int(self.shard[i])
        shard, start, size = self.shards[number], int(self.starts[i]), int(self.sizes[i])
        if isinstance(shard, Path):
            self._check(number)
            return f"{shard}@{start}+{size}"
        if size > MOST_BYTES:
            raise TooLarge(f"{self.title(i)}: {size} bytes, more than {MOST_BYTES}")
        if time.monotonic() - self._checked.get(number, -SECONDS) >= SECONDS:
            self._check(number)
            self._checked[number] = time.monotonic()
        path = place(shard)
        try:
            with in_words(path, "read"):
                data: bytes = path.fs.cat_file(path.path, start=start, end=start + size)
        except StoreError as error:
            raise StoreError(
                f"{self.title(i)}, bytes {start} to {start + size}: {error}"
            ) from error
        if len(data) != size:
            raise StoreError(
                f"{self.title(i)}: expected {size} bytes from {start} on, got {len(data)}: the"
                " shard is shorter than when it was indexed"
            )
        return data

    def check(self) -> None:
        """Raise ValueError where a shard is another one than was indexed."""
        for number in range(len(self.shards)):
            self._check(number)

    def _check(self, number: int) -> None:
        shard = self.shards[number]
        now = stamp(place(shard))
        if now is None:
            raise ValueError(f"{shard}: is there no more, or cannot be read; start again")
        if now != self.stamps[number]:
            raise ValueError(f"{shard}: has changed since it was indexed; start again")


def index(source: str | Path | Sequence[str], label: str, cache: str | Path) -> Rows:
    """Return the images of WebDataset shards.

    source: a glob, a folder, a file or a list of them, here or in a store; `{000..127}` stands for
    numbers. label: the member that holds the class (`cls`), or the field of the `.json` member that
    does. cache: the folder that keeps the indexes. Samples without an image are left out with a
    warning. Raises FileNotFoundError where nothing matches, StoreError for what a store says is
    wrong, ValueError naming the shard that breaks off, holds no image, or has a member that must
    not be unpacked.
    """
    each = [source] if isinstance(source, str | Path) else list(source)
    each = [name for item in each for name in expand(str(item))]
    stores = [path for path in map(place, each) if is_remote(path)]
    for path in stores:
        path.fs.invalidate_cache()  # what it listed before
    given = discover(each)
    names = {str(s.path) for s in given}
    for path in stores:  # a store in memory does not say it
        if path.suffix == ".tar" and not has_magic(str(path)) and str(path) not in names:
            raise FileNotFoundError(2, "No such shard", str(path))
    other = next((s.path for s in given if s.kind != "tar"), None)
    if other is not None:
        raise ValueError(f"{other}: expected WebDataset shards, files called .tar")
    paths: tuple[Path | str, ...] = tuple(
        str(s.path) if is_remote(s.path) else Path(os.path.abspath(s.path))  # noqa: PTH100  # links stay links
        for s in given
    )
    stamps, parts = tuple(_stamp(path) for path in paths), []
    with progress("indexing shards", len(paths)) as advance:
        for shard, at in zip(paths, stamps, strict=True):
            parts.append(_stored(shard, at, label, Path(cache)))
            advance(1)
    lost = [f"{p}: {k.decode()!r}" for p, a in zip(paths, parts, strict=True) for k in a["without"]]
    if lost:
        warnings.warn(f"{len(lost)} samples have no image, first {lost[0]}; left out", stacklevel=2)
    columns = [np.concatenate([part[name] for part in parts]) for name in NAMES[:-1]]
    number = np.repeat(np.arange(len(paths), dtype=np.int32), [len(a["keys"]) for a in parts])
    return Rows(paths, tuple(s.name for s in given), stamps, number, *columns)


def expand(pattern: str) -> list[str]:
    """Return the names that a pattern with ranges of numbers stands for.

    >>> expand("a-{08..10}.tar")
    ['a-08.tar', 'a-09.tar', 'a-10.tar']
    """
    inside = BRACES.search(pattern)
    if inside is None:
        return [pattern]
    first, last = inside.groups()
    numbers = [f"{n:0{len(first)}}" for n in range(int(first), int(last) + 1)]
    head, tail = pattern[: inside.start()], pattern[inside.end() :]
    return [name for n in numbers for name in expand(f"{head}{n}{tail}")]


def _stamp(shard: Path | str) -> tuple[Any, ...]:
    now = stamp(place(shard))
    if now is None:
        raise FileNotFoundError(2, "No such shard, or it cannot be read", str(shard))
    return now


def _stored(path: Path | str, at: Any, label: str, cache: Path) -> dict[str, NDArray[Any]]:
    """Return the index of one shard, made where there is none of what the shard is now."""
    file = cache / f"shard-{fingerprint(str(path), list(at), label)}.npz"
    if not file.exists():
        buffer = io.BytesIO()
        columns: dict[str, Any] = _read(place(path), label)
        if _stamp(path) != at:
            raise ValueError(f"{path}: has changed while it was indexed; start again")
        np.savez(buffer, **columns)
        write_atomic(file, buffer.getvalue())
    with np.load(file, allow_pickle=False) as stored:
        return {name: stored[name] for name in NAMES}


def _samples(path: Any) -> Iterator[tuple[Sample, tarfile.TarFile]]:
    with in_words(path, "read"):
        yield from samples(path)


def _read(path: Any, label: str) -> dict[str, NDArray[Any]]:
    keys, texts, places, without = (
        list[bytes](),
        list[bytes](),
        list[tuple[int, int]](),
        list[bytes](),
    )
    seen, number = set[bytes](), 0
    try:
        for sample, tar in _samples(path):
            number += 1
            row = tar_row(sample, tar, path)
            key = sample.key.encode()
            if key in seen:
                raise BadRow("duplicate_key", f"two samples are called {sample.key!r}")
            seen.add(key)
            if "image" not in row:
                without.append(key)
                continue
            member = sample.members.get(label)
            file = None if member is None else tar.extractfile(member)
            value = row.get(label) if file is None else file.read(2**16).decode()
            keys.append(key)
            texts.append(b"" if value is None else _text(value, sample.key, label).encode())
            start, _, size = str(row["image"]).rpartition("@")[2].partition("+")
            places.append((int(start), int(size)))
    except StoreError as error:
        raise StoreError(f"{error}, after sample {number}") from error
    except OSError as error:
        raise ValueError(f"{path}: {error}, after sample {number}") from error
    except (BadRow, UnicodeError) as error:
        raise ValueError(f"{path}: {error} (sample {number})") from error
    if not keys:
        raise ValueError(f"{path}: expected images beside their classes, found none in this shard")
    starts, sizes = np.array(places, np.int64).T
    columns = (np.array(keys), np.array(texts), starts, sizes, np.array(without, "S"))
    return dict(zip(NAMES, columns, strict=True))


def _text(value: Any, key: str, label: str) -> str:
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise BadRow(
            "label", f"{label!r} of {key!r} is {value!r}, expected a class's name or number"
        )
    return str(value).strip()


def check_apart(pool: Rows, test: Rows) -> None:
    """Raise ValueError for a shard that is in the pool and in the test set."""
    both = sorted(set(pool.shards) & set(test.shards))
    if both:
        raise ValueError(
            f"{both[0]}: is in the pool and in the test set, which would be measured on what it was"
            " trained on"
        )


def class_numbers(
    rows: Rows, label: str, classes: Sequence[str] | None, labeled: bool = True
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return class numbers (N,), -1 where there is none, and the classes' names.

    Texts are names of `classes`, or all of them whole numbers: positions in it. Without `classes`
    numbers are their own names, names are sorted. labeled: every row must have a class. Raises
    ValueError naming shard and sample.
    """
    texts = np.char.decode(rows.texts) if len(rows) else np.empty(0, np.str_)
    unique, first, inverse = np.unique(texts, return_index=True, return_inverse=True)
    known = [(str(t), int(i)) for t, i in zip(unique, first, strict=True) if t]
    if labeled and "" in unique:
        at = int(first[unique == ""][0])
        raise ValueError(
            f"{rows.title(at)} has no class: expected a member '.{label}', or a field {label!r} of"
            " its '.json' (data.label)"
        )
    names = tuple(map(str, classes or ()))
    whole = [text.isdecimal() for text, _ in known]
    if not names and any(whole) and not all(whole):
        number, name = known[whole.index(True)], known[whole.index(False)]
        raise ValueError(
            f"classes are numbers and names: {number[0]!r} of {rows.title(number[1])},"
            f" {name[0]!r} of {rows.title(name[1])}; name them with data.classes"
        )
    if not names:
        most = max((int(text) for text, _ in known), default=-1) if all(whole) else 0
        names = tuple(map(str, range(most + 1))) if all(whole) else tuple(t for t, _ in known)
    number_of = {"": -1, **{name: i for i, name in enumerate(names)}}
    for text, at in known:
        if text in number_of:
            continue
        if not text.isdecimal() or int(text) >= len(names):
            raise ValueError(
                f"{rows.title(at)} has the class {text!r}, which is not in data.classes:"
                f" {', '.join(names[:10])}"
            )
        number_of[text] = int(text)
    of_unique = np.array([number_of[str(t)] for t in unique], np.int64)
    return of_unique[inverse].reshape(-1), names
