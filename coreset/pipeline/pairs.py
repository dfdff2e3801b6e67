"""Images with captions in containers: WebDataset tar shards, and COCO's one file of images and annotations. Rows out, and kept rows back into the same form.

A tar shard is read by its headers: of an image only the place is noted, `shard.tar@offset+size`. Members whose names agree up to the first dot, one after another, are one
row: its key, the image, the text, and the fields of a `.json` member. What is written are the members' own bytes, header and all.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from coreset.pipeline.formats import BadRow
from coreset.pipeline.shards import Shard

IMAGE_SUFFIXES = frozenset({"jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "ppm"})
TEXT_SUFFIXES = frozenset({"txt", "text", "caption"})
_BLOCK = 512


class Sample(NamedTuple):
    """One row of a tar shard: its key, its members by suffix, and the bytes it takes in the file."""

    key: str
    members: dict[str, tarfile.TarInfo]
    twice: str | None
    start: int
    stop: int


def samples(path: Path) -> Iterator[tuple[Sample, tarfile.TarFile]]:
    """Yield the rows of a tar shard. Raises OSError where it breaks off or is no tar file: what was yielded until then is whole."""
    try:
        with tarfile.open(path, "r:") as tar:
            held: Sample | None = None
            for member in tar:
                if not member.isfile():
                    continue
                name = PurePosixPath(member.name)
                stem, _, suffix = name.name.partition(".")
                key = str(name.parent / stem)
                stop = member.offset_data + -(-member.size // _BLOCK) * _BLOCK
                if held is not None and held.key != key:
                    yield held, tar
                    held = None
                if held is None:
                    held = Sample(key, {}, None, member.offset, stop)
                twice = suffix.lower() if suffix.lower() in held.members else held.twice
                held.members.setdefault(suffix.lower(), member)
                held = held._replace(twice=twice, stop=stop)
            if held is not None:
                if held.stop > path.stat().st_size:
                    raise OSError(f"the file breaks off inside '{held.key}'")
                yield held, tar
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        raise OSError(f"no tar file, or one that breaks off: {error}") from error


def tar_row(sample: Sample, tar: tarfile.TarFile, path: Path) -> dict[str, Any]:
    """Return a sample as a row. Raises BadRow for two members of one name, a `.json` member that is no object, or text that is no UTF-8."""
    if sample.twice is not None:
        raise BadRow("mixed_schema", f"'{sample.key}' has two members '.{sample.twice}'")
    row: dict[str, Any] = {}
    image = None
    for suffix, member in sample.members.items():
        last = suffix.rpartition(".")[2]
        if last in IMAGE_SUFFIXES:
            if image is not None:
                raise BadRow(
                    "several_images", f"'{sample.key}' has the images '.{image}' and '.{suffix}', expected one"
                )
            image = suffix
            row["image"] = f"{path.absolute()}@{member.offset_data}+{member.size}"
        elif last in TEXT_SUFFIXES or last == "json":
            file = tar.extractfile(member)
            assert file is not None
            try:
                content = file.read().decode()
                found = json.loads(content) if last == "json" else content
            except UnicodeDecodeError as error:
                raise BadRow("wrong_encoding", f"'{member.name}': byte {error.start + 1} is not UTF-8") from error
            except json.JSONDecodeError as error:
                raise BadRow("not_json", f"'{member.name}': {error.msg} at character {error.pos + 1}") from error
            except (ValueError, RecursionError) as error:  # too many digits; nested too deeply
                raise BadRow("not_json", f"'{member.name}': {error}") from error
            if last != "json":
                row["text"] = found
            elif isinstance(found, dict):
                row = {**found, **row}
            else:
                raise BadRow("not_an_object", f"'{member.name}' holds {type(found).__name__}, expected an object")
    return {**row, "__key__": sample.key}


def read_tar(shard: Shard, after: int) -> Iterator[tuple[int, Any, BadRow | None]]:
    """Yield (number, row or None, what is wrong) of every sample whose number, from 1, is larger than `after`."""
    for number, (sample, tar) in enumerate(samples(shard.path), 1):
        if number > after:
            try:
                yield number, tar_row(sample, tar, shard.path), None
            except BadRow as bad:
                yield number, {"__key__": sample.key}, bad


def write_tar(shard: Shard, wanted: Iterator[int], part: Path) -> int:
    """Copy the bytes of the samples with these numbers, in order; return how many."""
    keep, written = set(wanted), 0
    with part.open("wb") as out, shard.path.open("rb") as source:
        try:
            for number, (sample, _) in enumerate(samples(shard.path), 1):
                if number in keep:
                    source.seek(sample.start)
                    out.write(source.read(sample.stop - sample.start))
                    written += 1
        except OSError:
            pass  # that it breaks off was said when it was read first
        out.write(bytes(-(-(out.tell() + 2 * _BLOCK) // tarfile.RECORDSIZE) * tarfile.RECORDSIZE - out.tell()))
    return written


def load_coco(path: Path) -> dict[str, Any]:
    """Return a COCO file of captions. Raises OSError for a file that is something else."""
    try:
        data = json.loads(path.read_text("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise OSError(f"the file is not UTF-8: {error.reason}") from error
    except json.JSONDecodeError as error:
        hint = "; a file with one object a line is a .jsonl file" if error.msg == "Extra data" else ""
        raise OSError(f"no JSON: {error.msg} at character {error.pos + 1}{hint}") from error
    except (ValueError, RecursionError) as error:
        raise OSError(f"no JSON that can be read: {error}") from error
    if not isinstance(data, dict):
        raise OSError(f"expected an object with COCO's images and annotations, got {type(data).__name__}")
    wrong = [n for n in ("images", "annotations") if not isinstance(data.get(n), list)]
    if wrong:
        raise OSError(
            f"an object without a list '{wrong[0]}': expected a list of rows, or COCO's images and annotations"
        )
    return data


def read_coco(shard: Shard, after: int) -> Iterator[tuple[int, Any, BadRow | None]]:
    """Yield one row per annotation: its caption, with the file, size and other fields of its image."""
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
                BadRow("missing_field", f"annotation {note.get('id')!r}: there is no image {note.get('image_id')!r}"),
            )
        else:
            about = {k: v for k, v in image.items() if k not in ("id", "file_name")}
            yield number, {**about, **row, "image": image.get("file_name")}, None


def _is_id(value: Any) -> bool:
    return isinstance(value, int | float | str)


def write_coco(shard: Shard, wanted: Iterator[int], part: Path) -> int:
    """Write the annotations with these numbers, the images they belong to, and everything else as it was; return how many."""
    data, keep = load_coco(shard.path), set(wanted)
    notes = [a for number, a in enumerate(data["annotations"], 1) if number in keep]
    used = {a["image_id"] for a in notes}
    images = [i for i in data["images"] if isinstance(i, dict) and _is_id(i.get("id")) and i["id"] in used]
    part.write_text(json.dumps({**data, "images": images, "annotations": notes}, ensure_ascii=False), "utf-8")
    return len(notes)
