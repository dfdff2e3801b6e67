"""Which files an input is: globs, folders, lists, saved Hugging Face datasets; every file becomes
one shard, in the order of names.
"""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coreset.core.places import in_words, is_remote, opened, place

SUFFIXES = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".tar": "tar",
}
CODECS = {".gz": "gzip", ".zst": "zstd"}
HUB = "hf:"  # a data set by its name; hf:// is a path


@dataclass(frozen=True)
class Shard:
    """One file of the input, or a range of one. name: its path below the folder all files share,
    '/' between parts; kind: jsonl, json, coco, parquet, arrow or tar; codec: gzip, zstd or None.

    start, stop: of JSON lines the bytes in which the lines of the range begin, of Parquet its row
    groups; stop None: the end. before: lines or rows before the range. part: the range's place in
    the file (`coreset.curation.io.split`).
    """

    path: Any
    name: str
    kind: str
    codec: str | None = None
    start: int = 0
    stop: int | None = None
    before: int = 0
    part: int = 0


def shard_kind(path: Path) -> tuple[str, str | None] | None:
    """Return kind and codec by the ending of a file's name, or None.

    >>> shard_kind(Path("a.jsonl.gz")), shard_kind(Path("a.csv"))
    (('jsonl', 'gzip'), None)
    """
    codec = CODECS.get(path.suffix)
    kind = SUFFIXES.get(path.with_suffix("").suffix if codec else path.suffix)
    return None if kind is None or (codec and kind not in ("jsonl", "json")) else (kind, codec)


def discover(source: str | Path | Sequence[str | Path], but: Sequence[Path] = ()) -> list[Shard]:
    """Return the shards of a path, a glob (`**` goes into folders), a folder, or a list of them.
    but: files and folders that are output, never input.

    Raises FileNotFoundError when nothing matches, and ValueError for a file whose ending says
    nothing or that is given twice.
    """
    given = [source] if isinstance(source, str | Path) else list(source)
    files: list[Any] = []
    for item in given:
        remote = is_remote(item := place(item))
        files += stored(item) if remote else _files(item)
    if any(is_remote(f) for f in files):
        return _of_store(given, files, but)
    but = [b for b in but if not is_remote(b)]
    files = [f for f in files if not any(f.resolve().is_relative_to(b.resolve()) for b in but)]
    if not files:
        raise FileNotFoundError(2, "expected at least one input file", ", ".join(map(str, given)))
    seen: dict[Path, Path] = {}
    for path in files:
        try:
            str(path).encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"input: the name of {str(path)!r} is not UTF-8; rename the file"
            ) from error
        real = path.resolve()
        if real in seen:
            raise ValueError(
                f"input: {path} is given twice; to weigh rows up give them a column 'repeat'"
            )
        seen[real] = path
    base = Path(os.path.commonpath([p.resolve().parent for p in files]))
    out = []
    for path in files:
        kind = shard_kind(path)
        if kind is None:
            raise ValueError(
                "input: expected .jsonl or .json (plain, .gz, .zst), .parquet, .arrow or .tar, got"
                f" {path}"
            )
        if kind == ("json", None) and _is_object(path):
            kind = ("coco", None)
        out.append(Shard(path, path.resolve().relative_to(base).as_posix(), *kind))
    return sorted(out, key=lambda s: s.name)


def stored(item: Any) -> list[Any]:
    """Return the files of a store that a path, a folder or a pattern means, in order.

    Raises OSError in words: no permission, no bucket, nothing there.
    """
    with in_words(item, "read"):
        if glob.has_magic(str(item)) and item.protocol not in ("http", "https"):
            names = sorted(item.fs.glob(item.path))
            if not names and item.fs.protocol != "memory":
                item.fs.ls(item.path.lstrip("/").partition("/")[0])  # whether there is a bucket
        elif item.fs.isfile(item.path):
            return [item]
        else:
            names = sorted(item.fs.find(item.path))
            names = [n for n in names if shard_kind(Path(n))]
            if not names and item.fs.protocol != "memory":
                item.fs.ls(item.path)  # says whether the bucket or the permission is missing
        root = str(item).partition("://")[0]
        return [place(f"{root}://{n.lstrip('/')}") for n in names]


def _of_store(given: Sequence[Any], files: Sequence[Any], but: Sequence[Any]) -> list[Shard]:
    """Return the shards of files of which some lie in a store."""
    texts = [str(f) for f in files]
    outs = [f"{str(b).rstrip('/')}/" for b in but]
    here = [i for i, t in enumerate(texts) if not any(t.startswith(o) for o in outs)]
    if not here:
        raise FileNotFoundError(2, "expected at least one input file", ", ".join(map(str, given)))
    again = [t for t in texts if texts.count(t) > 1] if len(set(texts)) < len(texts) else []
    if again:
        raise ValueError(
            f"input: {again[0]} is given twice; to weigh rows up give them a column 'repeat'"
        )
    inside = [t.partition("://")[2] or t for t in texts]
    base = os.path.commonpath([os.path.dirname(inside[i]) for i in here])  # noqa: PTH120
    out = []
    for i in here:
        kind = shard_kind(Path(texts[i].partition("?")[0]))
        if kind is None:
            raise ValueError(
                "input: expected .jsonl or .json (plain, .gz, .zst), .parquet, .arrow or .tar, got"
                f" {texts[i]}"
            )
        if kind == ("json", None) and _is_object(files[i]):
            kind = ("coco", None)
        out.append(Shard(files[i], inside[i][len(base) :].lstrip("/"), *kind))
    return sorted(out, key=lambda s: s.name)


def _is_object(path: Any) -> bool:
    """Return whether a JSON file begins as an object: COCO's form, not a list of rows."""
    try:
        with opened(path) as file:
            return file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{"
    except OSError:
        return False  # said when it is read


def _files(item: str | Path) -> list[Path]:
    path = Path(item)
    if path.is_dir():
        if (path / "dataset_dict.json").exists():
            splits = json.loads((path / "dataset_dict.json").read_text())["splits"]
            raise ValueError(
                f"input: {path} holds several splits, name one:"
                f" {', '.join(str(path / s) for s in splits)}"
            )
        if is_saved_dataset(path):
            return [
                path / f["filename"]
                for f in json.loads((path / "state.json").read_text())["_data_files"]
            ]
        return [p for p in sorted(path.rglob("*")) if p.is_file() and shard_kind(p)]
    if path.exists():
        if not path.is_file():
            raise ValueError(
                f"input: expected a file or a folder, {path} is a pipe, a device or a socket"
            )
        return [path]
    _check_links(str(item))
    # absolute patterns too
    matches = [Path(p) for p in sorted(glob.glob(str(item), recursive=True)) if Path(p).is_file()]  # noqa: PTH207
    if not matches:
        raise FileNotFoundError(2, "No such file or directory", str(item))
    return matches


def _check_links(pattern: str) -> None:
    """Raise ValueError where `**` would come to a folder twice, as by a link to a folder above it:
    two such links are 2^40 paths.
    """
    before, deep, _ = pattern.partition("**")
    if not deep:
        return
    for start in glob.glob(os.path.join(os.path.dirname(before), "")) or ["."]:  # noqa: PTH118, PTH120, PTH207
        seen: dict[str, str] = {}
        for where, _, _ in os.walk(start, followlinks=True):
            real = os.path.realpath(where)
            if real in seen:
                raise ValueError(
                    f"input: {where} and {seen[real]} are one folder, by a link; name folders"
                    " instead of **, or remove the link"
                )
            seen[real] = where


def is_saved_dataset(path: Path) -> bool:
    """Return whether a folder is what `datasets.Dataset.save_to_disk` writes."""
    return (path / "state.json").exists() and (path / "dataset_info.json").exists()


def save_dataset(dataset: Any, folder: Path) -> Path:
    """Return the folder of a Hugging Face dataset on disk, named by its fingerprint; written there
    unless it is there already.

    dataset: a `datasets.Dataset`, or "hf:NAME", "hf:NAME:SPLIT" to load (split: train). Raises
    ImportError with the install line without `datasets`.
    """
    if isinstance(dataset, str):
        try:
            from datasets import load_dataset
        except ImportError as error:
            raise ImportError(
                "reading from the Hugging Face hub needs datasets: pip install"
                " 'coreset-lightning[hf]'"
            ) from error
        name, _, split = dataset.removeprefix(HUB).partition(":")
        dataset = load_dataset(name, split=split or "train")
    place = folder / f"hf-{dataset._fingerprint}"
    if not is_saved_dataset(place):
        part = place.with_name(f"{place.name}.{os.getpid()}.part")
        dataset.save_to_disk(part)
        part.replace(place)
    return place
