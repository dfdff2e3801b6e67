"""Images with captions in containers: WebDataset tar shards, and COCO's one file of images and
annotations. Rows out, and kept rows back into the same form.

A tar shard is read by its headers: of an image only the place is noted, `shard.tar@offset+size`.
Members whose names agree up to the first dot, one after another, are one row: its key, the image,
the text, and the fields of a `.json` member. What is written are the members' own bytes, header and
all; rows with a member that would be unpacked somewhere else, or as something else than a file, are
refused.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple

from coreset.core.places import opened
from coreset.curation.io.discover import Shard
from coreset.curation.io.formats import BadRow

IMAGE_SUFFIXES = frozenset({"jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "ppm"})
TEXT_SUFFIXES = frozenset({"txt", "text", "caption"})
_BLOCK = 512
_NAMING = frozenset(
    {"path", "linkpath", "size", "GNU.sparse.name", "GNU.sparse.major", "GNU.sparse.map"}
)


class Sample(NamedTuple):
    """One row of a tar shard: its key, its members by suffix, and the bytes (from, to) that each
    member takes in the file. unsafe: why it must not be unpacked, or None.
    """

    key: str
    members: dict[str, tarfile.TarInfo]
    twice: str | None
    spans: list[tuple[int, int]]
    unsafe: str | None = None

    @property
    def stop(self) -> int:
        """Where its last member ends."""
        return self.spans[-1][1]


def unsafe_member(member: tarfile.TarInfo) -> str | None:
    """Return why a member of a tar file must not be unpacked, or None: its name leads out of the
    folder, or it is a link, a device or a file with holes.

    >>> unsafe_member(tarfile.TarInfo("00/a.jpg")), unsafe_member(tarfile.TarInfo("../a.jpg"))
    (None, "the name '../a.jpg' leads out of the folder")
    """
    unix, windows = PurePosixPath(member.name), PureWindowsPath(member.name)
    if unix.is_absolute() or windows.root or ".." in (*unix.parts, *windows.parts):
        return f"the name {member.name!r} leads out of the folder"
    if any(ord(c) < 32 or ord(c) == 127 for c in member.name):
        return f"the name {member.name!r} has control characters"
    if member.issparse():
        return f"{member.name!r} is a file with holes"
    if not member.isfile():
        return f"{member.name!r} is a link, a device or a pipe"
    return None


def samples(path: Path) -> Iterator[tuple[Sample, tarfile.TarFile]]:
    """Yield the rows of a tar shard. Raises OSError where it breaks off or is no tar file: what was
    yielded until then is whole.
    """
    try:
        with opened(path) as source, tarfile.open(fileobj=source, mode="r:") as tar:
            held: Sample | None = None
            for member in tar:
                if (
                    tar.pax_headers.keys() & _NAMING
                ):  # of all members that follow: none of them would be written as it was read
                    raise OSError("a header for all members gives them their names or sizes")
                if member.isdir():
                    continue
                name = PurePosixPath(member.name)
                stem, _, suffix = name.name.partition(".")
                key = str(name.parent / stem)
                stop = member.offset_data + (
                    -(-member.size // _BLOCK) * _BLOCK if member.isfile() else 0
                )
                if held is not None and held.key != key:
                    yield held, tar
                    held = None
                if held is None:
                    held = Sample(key, {}, None, [])
                twice = suffix.lower() if suffix.lower() in held.members else held.twice
                held.members.setdefault(suffix.lower(), member)
                held.spans.append((member.offset, stop))
                held = held._replace(twice=twice, unsafe=held.unsafe or unsafe_member(member))
            if held is not None:
                if held.stop > path.stat().st_size:
                    raise OSError(f"the file breaks off inside '{held.key}'")
                yield held, tar
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        raise OSError(f"no tar file, or one that breaks off: {error}") from error


def tar_row(sample: Sample, tar: tarfile.TarFile, path: Path) -> dict[str, Any]:
    """Return a sample as a row. Raises BadRow for a member that must not be unpacked, two of one
    name, a `.json` member that is no object, or text that is no UTF-8.
    """
    if sample.unsafe is not None:
        raise BadRow("unsafe_member", sample.unsafe)
    if sample.twice is not None:
        raise BadRow("mixed_schema", f"'{sample.key}' has two members '.{sample.twice}'")
    row: dict[str, Any] = {}
    image = None
    for suffix, member in sample.members.items():
        last = suffix.rpartition(".")[2]
        if last in IMAGE_SUFFIXES:
            if image is not None:
                raise BadRow(
                    "several_images",
                    f"'{sample.key}' has the images '.{image}' and '.{suffix}', expected one",
                )
            image = suffix
            row["image"] = f"{path.absolute()}@{member.offset_data}+{member.size}"
        elif last in TEXT_SUFFIXES or last == "json":
            file = tar.extractfile(member)
            assert file is not None
            try:
                content = file.read().decode()
                value = json.loads(content) if last == "json" else content
            except UnicodeDecodeError as error:
                raise BadRow(
                    "wrong_encoding", f"'{member.name}': byte {error.start + 1} is not UTF-8"
                ) from error
            except json.JSONDecodeError as error:
                raise BadRow(
                    "not_json", f"'{member.name}': {error.msg} at character {error.pos + 1}"
                ) from error
            except (ValueError, RecursionError) as error:  # too many digits; nested too deeply
                raise BadRow("not_json", f"'{member.name}': {error}") from error
            if last != "json":
                row["text"] = value
            elif isinstance(value, dict):
                row = {**value, **row}
            else:
                raise BadRow(
                    "not_an_object",
                    f"'{member.name}' holds {type(value).__name__}, expected an object",
                )
    return {**row, "__key__": sample.key}


def read_tar(shard: Shard, after: int) -> Iterator[tuple[int, Any, BadRow | None]]:
    """Yield (number, row or None, what is wrong) of every sample whose number, from 1, is larger
    than `after`.
    """
    seen: set[str] = set()  # what would be written over when the shard is unpacked
    for number, (sample, tar) in enumerate(samples(shard.path), 1):
        again = sample.key in seen
        if not sample.unsafe and any(
            s.rpartition(".")[2] in IMAGE_SUFFIXES for s in sample.members
        ):
            seen.add(sample.key)
        if number > after:
            try:
                if again:
                    raise BadRow("duplicate_id", f"'{sample.key}' stands in this shard already")
                yield number, tar_row(sample, tar, shard.path), None
            except BadRow as bad:
                yield number, {"__key__": sample.key}, bad


def write_tar(shard: Shard, wanted: Iterator[int], part: Path) -> int:
    """Copy the bytes of the samples with these numbers, in order; return how many."""
    keep, written = set(wanted), 0
    with part.open("wb") as out, opened(shard.path) as source:
        try:
            for number, (sample, _) in enumerate(samples(shard.path), 1):
                if number in keep and sample.unsafe is None:
                    for start, stop in sample.spans:  # what lies between them is no part of the row
                        source.seek(start)
                        out.write(source.read(stop - start))
                    written += 1
        except OSError:
            pass  # that it breaks off was said when it was read first
        out.write(
            bytes(
                -(-(out.tell() + 2 * _BLOCK) // tarfile.RECORDSIZE) * tarfile.RECORDSIZE
                - out.tell()
            )
        )
    return written


def load_coco(path: Path) -> dict[str, Any]:
    """Return a COCO file of captions. Raises OSError for a file that is something else."""
    try:
        data = json.loads(path.read_text("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise OSError(f"the file is not UTF-8: {error.reason}") from error
    except json.JSONDecodeError as error:
        hint = (
            "; a file with one object a line is a .jsonl file" if error.msg == "Extra data" else ""
        )
        raise OSError(f"no JSON: {error.msg} at character {error.pos + 1}{hint}") from error
    except (ValueError, RecursionError) as error:
        raise OSError(f"no JSON that can be read: {error}") from error
    if not isinstance(data, dict):
        raise OSError(
            f"expected an object with COCO's images and annotations, got {type(data).__name__}"
        )
    wrong = [n for n in ("images", "annotations") if not isinstance(data.get(n), list)]
    if wrong:
        raise OSError(
            f"an object without a list '{wrong[0]}': expected a list of rows, or COCO's images and"
            " annotations"
        )
    return data


def read_coco(shard: Shard, after: int) -> Iterator[tuple[int, Any, BadRow | None]]:
    """Yield one row per annotation: its caption, with the file,
    size and other fields of its image.
    """
    data = load_coco(shard.path)
    images = {i["id"]: i for i in data["images"] if isinstance(i, dict) and _is_id(i.get("id"))}
    for number, note in enumerate(data["annotations"], 1):
        if number <= after:
            continue
        if not isinstance(note, dict):
            yield number, note, None
            continue
        image = images.get(note.get("image_id")) if _is_id(note.get("image_id")) else None
        row = {"text": note.get("caption"), "id": note.get("id"), "image_id": note.get("image_id")}
        if image is None:
            yield (
                number,
                row,
                BadRow(
                    "missing_field",
                    f"annotation {note.get('id')!r}: there is no image {note.get('image_id')!r}",
                ),
            )
        else:
            about = {k: v for k, v in image.items() if k not in ("id", "file_name")}
            yield number, {**about, **row, "image": image.get("file_name")}, None


def _is_id(value: Any) -> bool:
    return isinstance(value, int | float | str)


def write_coco(shard: Shard, wanted: Iterator[int], part: Path) -> int:
    """Write the annotations with these numbers, the images they belong to, and everything else as
    it was; return how many.
    """
    data, keep = load_coco(shard.path), set(wanted)
    notes = [a for number, a in enumerate(data["annotations"], 1) if number in keep]
    used = {a["image_id"] for a in notes}
    images = [
        i for i in data["images"] if isinstance(i, dict) and _is_id(i.get("id")) and i["id"] in used
    ]
    part.write_text(
        json.dumps({**data, "images": images, "annotations": notes}, ensure_ascii=False), "utf-8"
    )
    return len(notes)
