"""Which image of a pool a file of a tool means: its ids are the tool's own, its names are known."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import parse_qs, unquote, urlsplit

from coreset.vision.coco import SEVERAL, CocoPool, by_file

_UPLOADED = re.compile(r"^[0-9a-f]{8}-")  # Label Studio puts it before the name of an upload


def spellings(name: str) -> Iterator[str]:
    r"""Yield the ways a tool may have written a file name, the plain one first: as an address, with
    %20 for spaces, as a local file of Label Studio, with the prefix of an upload, with backslashes.

    >>> list(spellings("/data/upload/3/1a2b3c4d-street%201.jpg"))[-1]
    '/data/upload/3/street 1.jpg'
    """
    plain = name.replace("\\", "/")
    out = [name, plain]
    if "?" in plain:
        query = parse_qs(urlsplit(plain).query)
        out += [q for key in ("d", "fileuri") for q in query.get(key, ())]
    if "://" in plain:
        out.append(urlsplit(plain).path)
    out += [unquote(one) for one in list(out)]
    for one in list(out):
        folder, _, last = one.rpartition("/")
        bare = _UPLOADED.sub("", last)
        out.append(f"{folder}/{bare}" if folder else bare)
    yield from dict.fromkeys(out)


def place(pool: CocoPool, name: object, who: str) -> int:
    """Return the position of the image that a file of a tool names. Raises KeyError for none and
    ValueError for what is no name.
    """
    if not isinstance(name, str) or not name:
        raise ValueError(f"{who}: expected the name of an image, got {name!r:.80}")
    written = list(spellings(name))
    lasts = [one.rpartition("/")[2] for one in written]
    uploads = {_UPLOADED.sub("", last) for last in lasts if _UPLOADED.match(last)}
    for one, last in zip(written, lasts, strict=True):
        at = by_file(pool.files, one)
        if at < 0:
            continue
        known = str(pool.names[at])
        if last in uploads and not ("/" in known and one.endswith(known)):
            _check_upload(pool, last, name, who)
        return at
    for last in sorted(uploads):
        at = pool.uploads.get(last, -1)
        if at >= 0:
            return at
        _check_upload(pool, last, name, who)
    raise KeyError(f"{who}: {name!r:.200} is no image of {pool.source}")


def _check_upload(pool: CocoPool, last: str, name: str, who: str) -> None:
    """Raise KeyError where an upload may be of several images: one keeps its name, others get it."""
    if pool.uploads.get(last) == SEVERAL:
        raise KeyError(f"{who}: {name!r:.200} is the upload of several images of {pool.source}")


def category(pool: CocoPool, name: object, who: str) -> int:
    """Return the category of a class name: the tool's numbers are its own. Raises KeyError."""
    matches = [k for k, known in pool.categories.items() if known == name]
    if not matches:
        raise KeyError(
            f"{who}: class {name!r:.80} is none of {', '.join(pool.categories.values())}"
        )
    return matches[0]
