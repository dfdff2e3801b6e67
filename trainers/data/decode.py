"""Images of any kind to one array: decoded once to uint8 squares in a memory-mapped cache; what
cannot be read is named and counted.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from coreset.core.places import StoreError
from coreset.core.store import Store, fingerprint
from coreset.scorers.image.decode import STRIP, upright
from coreset.scorers.image.files import decoding, whole_files
from coreset.trainers.data.base import channel_stats
from coreset.trainers.progress import progress

WIDE = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")  # more than 8 bits a channel


def square(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """Return an image as (size, size, 3) RGB: turned as its EXIF says, transparency on white,
    shorter side resized (bilinear), center cut out.

    16-bit gray becomes 8-bit. Raises ValueError for images of floats or of 32-bit numbers, whose
    range is not known.
    """
    longer = max(size, round(size * max(image.size) / min(image.size)))
    # a large JPEG is decoded at a half, a quarter or an eighth
    image.draft("RGB", (2 * size, 2 * size))
    image = upright(image)
    if image.mode in WIDE:
        if not image.mode.startswith("I;16"):
            raise ValueError(
                f"images of mode {image.mode} have no known range; expected 8 or 16 bits a channel"
            )
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info:
        image = _on_white(image)
    elif image.mode != "RGB":
        image = image.convert("RGB")
    width, height = (longer, size) if image.width > image.height else (size, longer)
    left, top = (width - size) // 2, (height - size) // 2
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(image.crop((left, top, left + size, top + size)))


def _on_white(image: Image.Image) -> Image.Image:
    """Return an image with transparency laid on white, as RGB; in strips, so that a large one is
    not held four times.
    """
    paper = Image.new("RGB", image.size)
    rows = max(1, STRIP // image.width)
    for top in range(0, image.height, rows):
        part = image.crop((0, top, image.width, min(top + rows, image.height))).convert("RGBA")
        part = Image.alpha_composite(Image.new("RGBA", part.size, "white"), part)
        paper.paste(part.convert("RGB"), (0, top))
    return paper


@dataclass(frozen=True, eq=False)
class Decoded:
    """Images (N, S, S, 3) of those of the names that could be read, in order; kept: a mask over the
    names. The first `pool` of the images are the pool.

    content: a hash of the images; mean, std: of the pool, per channel.
    """

    images: NDArray[np.uint8]
    kept: NDArray[np.bool_]
    pool: int
    content: str
    mean: tuple[float, ...]
    std: tuple[float, ...]


def decode(
    store: Store,
    key: str,
    names: list[str],
    load: Callable[[int], AbstractContextManager[Image.Image]],
    size: int,
    pool: int,
    on_corrupt: str,
    check: Callable[[], None] | None = None,
) -> Decoded:
    """Return the images `load(0)`, `load(1)`, ... as squares of `size`; decoded by threads at the
    first call, memory-mapped from `store` afterwards.

    load: what opens an image and closes it, `coreset.scorers.image.files.open_image`; all threads
    together decode so many pixels at a time as that module allows. names: one per image, the pool's
    `pool` first, then the test set's. on_corrupt: `error` raises ValueError with the count, the
    first names and reasons of images that cannot be read, after all have been tried; `skip` leaves
    them out with a warning that says the same. check: raises where what was read has changed
    meanwhile; nothing is kept then, nor where a store refuses (StoreError).
    """
    if on_corrupt not in ("error", "skip"):
        raise ValueError(f"on_corrupt: expected error or skip, got {on_corrupt!r}")
    if size < 1:
        raise ValueError(f"size: expected at least 1 pixel, got {size}")
    about: dict[str, Any] = {"corrupt": {}}

    def attempt(i: int) -> NDArray[np.uint8] | str:
        try:
            with whole_files(), load(i) as image:
                # before it is asked how many pixels will be decoded
                image.draft("RGB", (2 * size, 2 * size))
                with decoding.hold(image.width * image.height):
                    return square(image, size)
        except StoreError:
            raise  # says nothing of the image
        # decoders raise almost anything on a broken file; each is counted and named below
        except Exception as error:
            return f"{type(error).__name__}: {error}"

    def fill(out: NDArray[np.uint8]) -> None:
        written = read_pool = 0
        with progress("decoding images", len(names)) as advance:
            for i, result in enumerate(_ordered(attempt, len(names))):
                if isinstance(result, str):
                    about["corrupt"][str(i)] = result
                else:
                    out[written] = result
                    written += 1
                    read_pool += i < pool
                advance(1)
        if check is not None:
            check()
        mean, std = channel_stats(out[:read_pool]) if read_pool else ((), ())
        about.update(pool=read_pool, content=fingerprint(out[:written]), mean=mean, std=std)

    images = store.create("images", key, (len(names), size, size, 3), np.uint8, fill, about)
    about = json.loads(store.path("images", key).with_suffix(".json").read_text())
    broken = {int(i): reason for i, reason in about["corrupt"].items()}
    if broken:
        first = "; ".join(f"{names[i]} ({reason})" for i, reason in islice(broken.items(), 5))
        message = f"{len(broken)} of {len(names)} images cannot be read, first: {first}"
        if on_corrupt == "error":
            raise ValueError(f"{message}. Repair or remove them, or set data.on_corrupt=skip")
        warnings.warn(f"{message}; left out", stacklevel=3)
    kept = np.ones(len(names), bool)
    kept[list(broken)] = False
    mean, std = tuple(about["mean"]), tuple(about["std"])
    return Decoded(images[: int(kept.sum())], kept, about["pool"], about["content"], mean, std)


def _ordered(attempt: Callable[[int], Any], count: int) -> Iterator[Any]:
    """Yield `attempt(0)`, `attempt(1)`, ... in order, computed by threads in blocks, so that memory
    stays small.
    """
    workers = os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as threads:
        for start in range(0, count, 64 * workers):
            yield from threads.map(attempt, range(start, min(start + 64 * workers, count)))
