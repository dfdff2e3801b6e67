"""One image file to pixels, by stated rules: what every image scorer sees, and a status word for
what cannot be seen.

Upright (EXIF orientation applied), RGB, 8 bits. Transparent parts are laid on white; CMYK, palettes
and gray become RGB as Pillow converts them; 16 bits a channel are divided by 257, to the nearest;
of an animation the first frame counts. Nothing is guessed: a file that breaks off, lies or would
not fit in memory has no pixels.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from coreset.scorers.image.files import (
    MOST_PIXELS,
    NotAFile,
    TooLarge,
    decoding,
    frames,
    open_image,
    read_bytes,
    whole_files,
)

__all__ = ["MOST_PIXELS", "Decoded", "decode", "read_bytes", "rgb", "upright", "whole_files"]

STRIP = 2**21  # pixels converted at a time
_DEEP = ("I;16", "I;16L", "I;16B", "I;16N")
_UNDEFINED = ("I", "F")  # numbers without a scale


@dataclass(frozen=True, eq=False)
class Decoded:
    """One image. pixels: (H, W, 3) uint8, or None where `status` is not ok. width, height: upright,
    0 where unknown. bytes: of the file.

    status: ok, missing_field, missing_file, not_a_file, empty_file, not_an_image, truncated,
    unreadable, too_large, unsupported.
    """

    pixels: NDArray[np.uint8] | None
    status: str
    width: int = 0
    height: int = 0
    format: str = ""
    mode: str = ""
    frames: int = 0
    bytes: int = 0


def decode(image: str | bytes | None, most_pixels: int = MOST_PIXELS) -> Decoded:
    """Return an image by its `image` column (see `read_bytes`); never raises for what is wrong with
    a file.

    >>> decode(b"GIF89a no more").status, decode(None).status, decode("/nowhere.png").status
    ('not_an_image', 'missing_field', 'missing_file')
    """
    if image is None:
        return Decoded(None, "missing_field")
    try:
        data = read_bytes(image)
    except NotAFile:
        return Decoded(None, "not_a_file")
    except TooLarge:
        return Decoded(None, "too_large")
    except OSError:
        return Decoded(None, "missing_file")
    if not data:
        return Decoded(None, "empty_file")
    known: dict[str, Any] = {"bytes": len(data)}
    try:
        # Pillow warns of large files, palettes and odd metadata: the status says what matters
        with warnings.catch_warnings(action="ignore"), open_image(data) as file:
            known |= {
                "width": file.width,
                "height": file.height,
                "format": file.format or "",
                "mode": file.mode,
            }
            if file.width * file.height > most_pixels:
                return Decoded(None, "too_large", **known)
            known["frames"] = frames(file)
            with decoding.hold(file.width * file.height):
                file.seek(0)
                file.load()
                seen = upright(file)
                known |= {"width": seen.width, "height": seen.height}
                if seen.mode in _UNDEFINED:
                    return Decoded(None, "unsupported", **known)
                return Decoded(rgb(seen), "ok", **known)
    except UnidentifiedImageError:
        return Decoded(None, "not_an_image", **known)
    except (TooLarge, Image.DecompressionBombError):
        return Decoded(None, "too_large", **known)
    except (
        Exception
        # a decoder raises what it likes: OSError, SyntaxError, struct.error, ValueError, EOFError
        # ...
    ) as error:
        # ultralytics' own `open` then wants another package
        if isinstance(error.__context__, UnidentifiedImageError):
            return Decoded(None, "not_an_image", **known)
        words = str(error).lower()
        cut = isinstance(error, EOFError) or any(
            w in words for w in ("truncated", "broken data stream", "unexpected end", "not enough")
        )
        return Decoded(None, "truncated" if cut else "unreadable", **known)


def upright(image: Image.Image) -> Image.Image:
    """Return the image turned as its EXIF orientation says; itself, not a copy, where that is not
    at all.
    """
    image.load()
    turned = image.getexif().get(274, 1) != 1
    return ImageOps.exif_transpose(image) if turned else image


def rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Return upright pixels as (H, W, 3) uint8, converted in strips so that a large image is not
    held several times over.
    """
    out = np.empty((image.height, image.width, 3), np.uint8)
    rows = max(1, STRIP // max(1, image.width))
    for top in range(0, image.height, rows):
        below = min(top + rows, image.height)
        part = image if rows >= image.height else image.crop((0, top, image.width, below))
        out[top:below] = _rgb(part)
    return out


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode in _DEEP:
        deep = np.asarray(image).astype(np.uint32)
        return np.repeat(((deep + 128) // 257).astype(np.uint8)[:, :, None], 3, axis=2)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        above = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", above.size, (255, 255, 255, 255)), above)
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
