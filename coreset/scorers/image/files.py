"""Image files opened safely: the one way in which this package, its loops and its reports open an
image.

A file's name says nothing of what is in it, and Pillow knows formats that are programs: a
PostScript file called `a.jpg` is run by Ghostscript. Opened are raster formats of a fixed list and
nothing else, out of regular files and nothing else (a pipe has no end, a device no size), up to a
number of bytes and of pixels. All threads of a process together decode no more than `AT_ONCE`
pixels at a time.
"""

from __future__ import annotations

import io
import os
import re
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import Condition, Lock, local
from typing import IO, Any, BinaryIO

from PIL import Image, ImageFile, UnidentifiedImageError

# raster formats that Pillow decodes inside the process; MPO is what cameras call a JPEG with a
# second one behind it
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP")
MOST_BYTES = 2**30
MOST_PIXELS = 89_478_485  # where Pillow begins to warn
PILLOW_REFUSES = 2 * MOST_PIXELS
MOST_FRAMES = 100_000  # counted no further
_READ = 1000  # directories of a TIFF that are read; further ones are counted only
AT_ONCE = 2**26  # pixels
_INSIDE = re.compile(r"(?P<path>.+)@(?P<start>\d+)\+(?P<size>\d+)")
# TIFF's tags of a tile's width and height, for which memory is taken before it is read
_TILE = (322, 323)


class NotAFile(OSError):
    """A name of something that is no regular file: a pipe, a socket, a device."""


class TooLarge(OSError):
    """A file of more bytes, or an image of more pixels, than may be opened."""


@cache
def formats() -> tuple[str, ...]:
    """Return the formats of `FORMATS` that this Pillow can open.

    >>> "PNG" in formats(), "EPS" in formats()
    (True, False)
    """
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def open_regular(path: str | Path, most_bytes: int = MOST_BYTES) -> BinaryIO:
    """Return a regular file, or one that a link leads to, open for reading.

    Raises NotAFile for anything else, without waiting for it; TooLarge, IsADirectoryError and other
    OSErrors.
    """
    try:
        # before it is opened, which can do something to a device
        _check_regular(path, os.stat(path).st_mode)  # noqa: PTH116
        flags = os.O_RDONLY | sum(
            getattr(os, name, 0) for name in ("O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "O_BINARY")
        )
        descriptor = os.open(path, flags)
    except ValueError as error:  # a NUL, or half a surrogate pair
        raise FileNotFoundError(2, f"no file can be called so ({error})", repr(path)) from error
    try:
        about = os.fstat(descriptor)
        _check_regular(path, about.st_mode)  # again: the name may lead elsewhere by now
        if about.st_size > most_bytes:
            raise TooLarge(f"{path}: {about.st_size} bytes, more than {most_bytes}")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _check_regular(path: str | Path, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(21, "is a folder, expected a file", str(path))
    if not stat.S_ISREG(mode):
        raise NotAFile(f"{path}: a pipe, a socket or a device, expected a regular file")


def read_bytes(image: str | bytes, most_bytes: int = MOST_BYTES) -> bytes:
    """Return the bytes an `image` column names: a path, a part of a file (`shard.tar@512+2048`:
    from byte 512 on, 2,048 bytes), or the bytes themselves.

    Raises OSError when they are not there, NotAFile for a pipe or a device, TooLarge for more than
    `most_bytes`.
    """
    if isinstance(image, bytes):
        return _bounded(image, most_bytes)
    inside = _INSIDE.fullmatch(image)
    if inside is None or os.path.lexists(image):
        with open_regular(image, most_bytes) as file:
            # a file of /proc says it has 0 bytes
            return _bounded(file.read(most_bytes + 1), most_bytes)
    start, size = int(inside["start"]), int(inside["size"])
    if size > most_bytes:
        raise TooLarge(f"{image}: {size} bytes, more than {most_bytes}")
    with open_regular(inside["path"], 2**63) as file:
        if start >= os.fstat(file.fileno()).st_size:
            return b""
        file.seek(start)
        return file.read(size)


def _bounded(data: bytes, most_bytes: int) -> bytes:
    if len(data) > most_bytes:
        raise TooLarge(f"more than {most_bytes} bytes")
    return data


_lock, _readers, _before = Lock(), 0, False


@contextmanager
def whole_files() -> Iterator[None]:
    """Have Pillow refuse files that break off, though another library may have told it to fill them
    with gray (Data-Juicer does, for the process); threads may overlap.
    """
    global _readers, _before
    with _lock:
        if not _readers:
            _before, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
        _readers += 1
    try:
        yield
    finally:
        with _lock:
            _readers -= 1
            if not _readers:
                ImageFile.LOAD_TRUNCATED_IMAGES = _before


def _identified(file: IO[bytes]) -> Image.Image:
    """Return a file as the first of `FORMATS` that takes it, as `Image.open` does; not by it: other
    libraries put an `open` of their own in its place.
    """
    start = file.read(16)
    for name in formats():
        factory, accept = Image.OPEN[name]
        try:
            fits = accept is None or accept(start)
            if isinstance(fits, str) or not fits:  # a text says that a plug-in is not whole
                continue
            file.seek(0)
            return factory(file, "")
        except (SyntaxError, IndexError, TypeError, struct.error):
            continue
    raise UnidentifiedImageError(f"no image of the formats {', '.join(formats())}")


@contextmanager
def open_image(
    image: str | Path | bytes, most_pixels: int = PILLOW_REFUSES
) -> Iterator[Image.Image]:
    """Give an image whose head has been read and whose pixels have not: every image is opened here.
    A Path is a file's name, a str an `image` column: see `read_bytes`.

    Files that break off are refused as long as it is open. Raises NotAFile, TooLarge and other
    OSErrors of `open_regular`, TooLarge for more than `most_pixels`, PIL.UnidentifiedImageError for
    what is none of `FORMATS`, and what a decoder raises for a broken head.

    >>> with open_image(b"P5 2 1 255 ab") as two:
    ...     two.size
    (2, 1)
    """
    source = open_regular(image) if isinstance(image, Path) else io.BytesIO(read_bytes(image))
    with whole_files(), source as file, _identified(file) as opened:
        width, height = opened.size
        if width * height > most_pixels:
            raise TooLarge(f"{width} x {height} pixels, more than {most_pixels}")
        tags: Any = getattr(opened, "tag_v2", {})
        across, down = (tags.get(tag) for tag in _TILE)
        if isinstance(across, int) and isinstance(down, int) and across * down > most_pixels:
            raise TooLarge(f"a tile of {across} x {down} pixels, more than {most_pixels}")
        yield opened


def frames(image: Image.Image, most: int = MOST_FRAMES) -> int:
    """Return how many frames an open image has, counted to `most` at the furthest; it shows its
    first one afterwards. Raises what Pillow raises for broken frames.
    """
    step = getattr(image, "_seek", None)
    if image.format not in ("GIF", "TIFF") or step is None:  # the others say it in their heads
        return int(getattr(image, "n_frames", 1))
    count = image.tell() + 1
    if image.format == "TIFF":
        while getattr(image, "_n_frames", count) is None and count < _READ:
            step(count)
            count += 1
        if getattr(image, "_n_frames", count) is None:
            count = min(most, max(count, _directories(image.fp, most)))  # type: ignore[attr-defined]
    else:
        try:
            while count < most:
                step(count, False)  # passed over, not drawn
                count += 1
        except EOFError:
            pass
    image.seek(0)
    return count


def _directories(file: IO[bytes], most: int) -> int:
    """Return how many directories a TIFF has, by their links alone: Pillow compares each with all
    before it.
    """
    file.seek(0)
    head = file.read(16)
    order = "<" if head[:2] == b"II" else ">"
    big = head[2:4] in (b"\x2b\0", b"\0\x2b")
    at = struct.unpack_from(order + ("Q" if big else "I"), head, 8 if big else 4)[0]
    counted, entry, number = set[int](), *((20, "Q") if big else (12, "H"))
    link = "Q" if big else "I"
    while at and at not in counted and len(counted) < most:
        counted.add(at)
        file.seek(at)
        size = file.read(struct.calcsize(number))
        if len(size) < struct.calcsize(number):
            break
        file.seek(at + len(size) + entry * struct.unpack(order + number, size)[0])
        after = file.read(struct.calcsize(link))
        if len(after) < struct.calcsize(link):
            break
        at = struct.unpack(order + link, after)[0]
    return len(counted)


class DistillationContext:
    """So many of something for all threads together: who wants more waits until others have given
    theirs back. A thread that holds some is given more at once.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._reset()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._changed, self._mine, self.taken = Condition(), local(), 0

    @contextmanager
    def hold(self, amount: int) -> Iterator[None]:
        """Take some for the length of a block. More than there is means all of it: such a one has
        it to itself.
        """
        if getattr(self._mine, "inside", False):  # it would wait for itself
            yield
            return
        amount = min(amount, self.most)
        with self._changed:
            self._changed.wait_for(lambda: self.taken + amount <= self.most)
            self.taken += amount
        self._mine.inside = True
        try:
            yield
        finally:
            self._mine.inside = False
            with self._changed:
                self.taken -= amount
                self._changed.notify_all()


# of pixels, which every decoder of this package holds while it works
decoding = DistillationContext(AT_ONCE)
