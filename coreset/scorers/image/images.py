"""Decode each image once, for all the scorers that look at it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from coreset.core.batch import objects, to_numpy
from coreset.core.compute import Compute, compute_of, largest
from coreset.core.pool import Array
from coreset.core.strategy import Scorer
from coreset.registry import IMAGES, create
from coreset.scorers.image.decode import MOST_PIXELS, Decoded, decode
from coreset.scorers.image.files import PILLOW_REFUSES
from coreset.scorers.image.hashes import ImageHashes
from coreset.scorers.image.quality import Quality

ABOUT = ("width", "height", "frames", "bytes")


@dataclass(frozen=True)
class Images:
    """Decode the images of one column and let `scorers` see the pixels: one scorer in a recipe,
    whatever is in it.

    Gives `image_status` (see `decode.Decoded`), `image_width`, `image_height` (pixels, upright),
    `image_frames`, `image_bytes`, `image_format`, and what the scorers give. They read `pixels`
    (object array: (H, W, 3) uint8, or None where the status is not ok) and `pixels_status`,
    `image_bytes` and other columns of the rows. most_pixels: larger images are not decoded.
    at_once: pixels held at a time, beyond one image; it does not change any value. Raises
    ValueError for scorers that give the same column.

    >>> Images([Quality()])({"image": ["/nowhere.png"]})["image_status"]
    array(['missing_file'], dtype=object)
    """

    scorers: Sequence[Scorer] = (Quality(), ImageHashes())
    column: str = "image"
    most_pixels: int = MOST_PIXELS
    at_once: int = 2**24

    def __post_init__(self) -> None:
        parts: list[Any] = [
            create(s, None, "image scorer", IMAGES, object) if isinstance(s, str | Mapping) else s
            for s in self.scorers
        ]
        object.__setattr__(self, "scorers", tuple(parts))
        if not 1 <= self.most_pixels <= PILLOW_REFUSES:
            raise ValueError(
                f"most_pixels: expected 1 to {PILLOW_REFUSES}, where Pillow itself refuses, got"
                f" {self.most_pixels}"
            )
        if self.at_once < 1:
            raise ValueError(
                f"at_once: expected a number of pixels, at least 1, got {self.at_once}"
            )
        seen = set(self._own)
        for scorer in self.scorers:
            if twice := seen & scorer.gives:
                raise ValueError(
                    f"images: column '{sorted(twice)[0]}' is given twice, the second time by"
                    f" {type(scorer).__name__}"
                )
            seen |= scorer.gives
        object.__setattr__(self, "scorers", tuple(self.scorers))

    @property
    def _own(self) -> frozenset[str]:
        return frozenset(f"image_{name}" for name in (*ABOUT, "format", "status"))

    @property
    def _intermediate(self) -> frozenset[str]:
        return self._own | {"pixels", "pixels_status"}

    @property
    def needs(self) -> frozenset[str]:
        """Return the image column and what the scorers read besides."""
        return frozenset({self.column}).union(*(s.needs - self._intermediate for s in self.scorers))

    @property
    def gives(self) -> frozenset[str]:
        """Return the columns about the file and those of the scorers."""
        return self._own.union(*(s.gives for s in self.scorers))

    @property
    def compute(self) -> Compute:
        """Return what the scorers need of a machine, one after the other."""
        return largest([compute_of(s) for s in self.scorers])

    def __call__(self, batch: Mapping[str, Array]) -> dict[str, Array]:
        """Return the columns of every image."""
        parts = list(self._parts(batch))
        return (
            {n: _join([p[n] for p in parts]) for n in sorted(self.gives)}
            if parts
            else self._answers(batch, [], np.arange(0))
        )

    def _parts(self, batch: Mapping[str, Array]) -> Iterator[dict[str, Any]]:
        held: list[Decoded] = []
        start = pixels = 0
        images = batch[self.column]
        for at, image in enumerate(images):
            one = decode(image, self.most_pixels)
            size = 0 if one.pixels is None else one.pixels.shape[0] * one.pixels.shape[1]
            if held and pixels + size > self.at_once:
                yield self._answers(batch, held, np.arange(start, at))
                held, start, pixels = [], at, 0
            held.append(one)
            pixels += size
            # a large one does not wait for the next to be decoded beside it
            if pixels >= self.at_once:
                yield self._answers(batch, held, np.arange(start, at + 1))
                held, start, pixels = [], at + 1, 0
        if held:
            yield self._answers(batch, held, np.arange(start, len(images)))

    def _answers(
        self, batch: Mapping[str, Array], held: Sequence[Decoded], rows: Any
    ) -> dict[str, Any]:
        status = objects([d.status for d in held])
        rest = {n: np.asarray(batch[n])[rows] for s in self.scorers for n in s.needs if n in batch}
        out: dict[str, Any] = {
            f"image_{n}": np.array([getattr(d, n) or np.nan for d in held], np.float64)
            for n in ABOUT
        }
        unknown = (
            np.isnan(out["image_width"])
            | np.isnan(out["image_frames"])
            | np.isnan(out["image_bytes"])
        )
        assert not (unknown & (status == "ok")).any()
        out |= {"image_format": objects([d.format or None for d in held]), "image_status": status}
        seen = {**rest, **out, "pixels": objects([d.pixels for d in held]), "pixels_status": status}
        for scorer in self.scorers:
            out |= dict(scorer(seen))
        return out


def _join(parts: Sequence[Any]) -> Any:
    if len(parts) == 1:
        return parts[0]
    return np.concatenate([to_numpy(p) if hasattr(p, "to_numpy") else np.asarray(p) for p in parts])
