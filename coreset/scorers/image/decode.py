"""One image file to pixels, by stated rules: what every image scorer sees, and a status word for what cannot be seen.

Upright (EXIF orientation applied), RGB, 8 bits. Transparent parts are laid on white; CMYK, palettes and grey become RGB as Pillow converts them; 16 bits a channel are
divided by 257, to the nearest; of an animation the first frame counts. Nothing is guessed: a file that breaks off, lies or would not fit in memory has no pixels.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

MOST_PIXELS = 89_478_485  # where Pillow begins to warn; at twice as many it refuses
_INSIDE = re.compile(r"(?P<path>.+)@(?P<start>\d+)\+(?P<size>\d+)")
_DEEP = ("I;16", "I;16L", "I;16B", "I;16N")
_UNDEFINED = ("I", "F")  # numbers without a scale


@dataclass(frozen=True, eq=False)
class Decoded:
    """One image. pixels: (H, W, 3) uint8, or None where `status` is not ok. width, height: upright, 0 where unknown. bytes: of the file.

    status: ok, missing_field, missing_file, empty_file, not_an_image, truncated, unreadable, too_large, unsupported.
    """

    pixels: NDArray[np.uint8] | None
    status: str
    width: int = 0
    height: int = 0
    format: str = ""
    mode: str = ""
    frames: int = 0
    bytes: int = 0


_lock, _readers, _found = Lock(), 0, False


@contextmanager
def whole_files() -> Iterator[None]:
    """Have Pillow refuse files that break off, though another library may have told it to fill them with grey (Data-Juicer does, for the process); threads may overlap."""
    global _readers, _found
    with _lock:
        if not _readers:
            _found, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
        _readers += 1
    try:
        yield
    finally:
        with _lock:
            _readers -= 1
            if not _readers:
                ImageFile.LOAD_TRUNCATED_IMAGES = _found


def read_bytes(image: str | bytes) -> bytes:
    """Return the bytes an `image` column names: a path, a part of a file (`shard.tar@512+2048`: from byte 512 on, 2,048 bytes), or the bytes themselves.

    Raises OSError when they are not there.
    """
    if isinstance(image, bytes):
        return image
    inside = _INSIDE.fullmatch(image)
    if inside is None or Path(image).exists():
        return Path(image).read_bytes()
    with Path(inside["path"]).open("rb") as file:
        file.seek(int(inside["start"]))
        return file.read(int(inside["size"]))


def decode(image: str | bytes | None, most_pixels: int = MOST_PIXELS) -> Decoded:
    """Return an image by its `image` column (see `read_bytes`); never raises for what is wrong with a file.

    >>> decode(b"GIF89a no more").status, decode(None).status, decode("/nowhere.png").status
    ('not_an_image', 'missing_field', 'missing_file')
    """
    if image is None:
        return Decoded(None, "missing_field")
    try:
        data = read_bytes(image)
    except OSError:
        return Decoded(None, "missing_file")
    if not data:
        return Decoded(None, "empty_file")
    known: dict[str, Any] = {"bytes": len(data)}
    try:
        with whole_files(), warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # Pillow warns of large files, palettes and odd metadata: the status says what matters
            with Image.open(io.BytesIO(data)) as file:
                known |= {"width": file.width, "height": file.height, "format": file.format or "", "mode": file.mode}
                if file.width * file.height > most_pixels:
                    return Decoded(None, "too_large", **known)
                known["frames"] = int(getattr(file, "n_frames", 1))
                file.seek(0)
                file.load()
                upright = ImageOps.exif_transpose(file)
                known |= {"width": upright.width, "height": upright.height}
                if upright.mode in _UNDEFINED:
                    return Decoded(None, "unsupported", **known)
                return Decoded(_rgb(upright), "ok", **known)
    except UnidentifiedImageError:
        return Decoded(None, "not_an_image", **known)
    except Image.DecompressionBombError:
        return Decoded(None, "too_large", **known)
    except (
        Exception
    ) as error:  # a decoder raises what it likes: OSError, SyntaxError, struct.error, ValueError, EOFError ...
        if isinstance(error.__context__, UnidentifiedImageError):  # ultralytics' own `open` then wants another package
            return Decoded(None, "not_an_image", **known)
        words = str(error).lower()
        cut = isinstance(error, EOFError) or any(
            w in words for w in ("truncated", "broken data stream", "unexpected end", "not enough")
        )
        return Decoded(None, "truncated" if cut else "unreadable", **known)


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Return upright pixels as (H, W, 3)."""
    if image.mode in _DEEP:
        deep = np.asarray(image).astype(np.uint32)
        return np.repeat(((deep + 128) // 257).astype(np.uint8)[:, :, None], 3, axis=2)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        above = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", above.size, (255, 255, 255, 255)), above)
    return np.array(image.convert("RGB"))
