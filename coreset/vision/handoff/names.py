"""Which image of a pool a file of a tool means: its ids are the tool's own, its names are known."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import parse_qs, unquote, urlsplit

from coreset.vision.coco import CocoPool, by_file

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
    for one in spellings(name):
        at = by_file(pool.files, one)
        if at >= 0:
            return at
    for one in spellings(name):
        last = one.rpartition("/")[2]
        if _UPLOADED.match(last):
            at = pool.uploads.get(_UPLOADED.sub("", last), -1)
            if at >= 0:
                return at
    raise KeyError(f"{who}: {name!r:.200} is no image of {pool.source}")


def category(pool: CocoPool, name: object, who: str) -> int:
    """Return the category of a class name: the tool's numbers are its own. Raises KeyError."""
    matches = [k for k, known in pool.categories.items() if known == name]
    if not matches:
        raise KeyError(
            f"{who}: class {name!r:.80} is none of {', '.join(pool.categories.values())}"
        )
    return matches[0]
