"""Planted tests in the drawings of the Debian package openclipart-png, as files in a folder."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from coreset.core.batch import objects
from coreset.curation.operators.dedup import (
    DecontaminateEmbeddings,
    ExactDuplicates,
    ImageDuplicates,
    SemanticDuplicates,
)
from coreset.curation.operators.rules import ReadableImage
from coreset.curation.operators.threshold import Threshold
from coreset.scorers.image.features import ImageFeatures
from coreset.scorers.image.files import open_image
from coreset.scorers.image.hashes import ImageHashes
from coreset.scorers.image.images import Images
from coreset.scorers.image.quality import Quality
from scripts.benchmarks.plants.ask import ask, planted
from scripts.benchmarks.plants.count import Plants, Task

DATA = "openclipart drawings"
DRAWINGS = Path("/usr/share/openclipart/png")
SIDES = (64, 600)  # of a drawing that is used, in pixels: decoding larger ones is most of the time
Change = Callable[[Image.Image, np.random.Generator], bytes]


def drawings(count: int, rng: np.random.Generator) -> list[Path]:
    """Return `count` files of drawings that differ in their 32 x 32 thumbnails and are no plain
    surface. Raises FileNotFoundError without the Debian package.
    """
    every = sorted(DRAWINGS.rglob("*.png"))
    if not every:
        raise FileNotFoundError(f"no drawings in {DRAWINGS}: apt-get install openclipart-png")
    out: dict[bytes, Path] = {}
    for at in rng.permutation(len(every)).tolist():
        try:
            # the collection holds a few that are huge: they are passed over
            with warnings.catch_warnings(action="ignore"), open_image(every[at]) as file:
                if not SIDES[0] <= min(file.size) <= max(file.size) <= SIDES[1]:
                    continue
                small = on_white(file).resize((32, 32))
        except OSError:
            continue
        if np.asarray(small).std() > 10:
            out.setdefault(small.tobytes(), every[at])
        if len(out) == count:
            break
    return list(out.values())


def on_white(image: Image.Image) -> Image.Image:
    """Return an image as RGB, what is transparent as white."""
    seen = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen).convert("RGB")


def coded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """Return the bytes of a file."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def scaled(share: float, image: Image.Image, _: np.random.Generator) -> bytes:
    """Return the image at a share of its sides."""
    return coded(image.resize([max(1, round(share * side)) for side in image.size]))


def cropped(image: Image.Image, _: np.random.Generator) -> bytes:
    """Return the image without 5 % at every edge."""
    w, h = image.size
    return coded(image.crop((w // 20, h // 20, w - w // 20, h - h // 20)))


def hue(image: Image.Image, _: np.random.Generator) -> bytes:
    """Return the image with every hue a third of the circle further."""
    own = np.asarray(image.convert("HSV")).copy()
    own[..., 0] += 85
    return coded(Image.fromarray(own, "HSV").convert("RGB"))


COPIES: dict[str, Change] = {
    "PNG again": lambda im, _: coded(im, compress_level=1),
    "JPEG 75": lambda im, _: coded(im, "JPEG", quality=75),
    "JPEG 30": lambda im, _: coded(im, "JPEG", quality=30),
    "half size": partial(scaled, 0.5),
    "10 % brighter": lambda im, _: coded(ImageEnhance.Brightness(im).enhance(1.1)),
    "hue turned": hue,
    "5 % cropped": cropped,
    "mirrored": lambda im, _: coded(ImageOps.mirror(im)),
}


def noise(_: Image.Image, rng: np.random.Generator) -> bytes:
    """Return random pixels."""
    return coded(Image.fromarray(rng.integers(0, 256, (128, 128, 3), dtype=np.uint8)))


JUNK: dict[str, Change] = {
    "cut file": lambda im, _: (lambda data: data[: len(data) // 2])(coded(im)),
    "text as a file": lambda im, _: f"<svg width='{im.width}'></svg>".encode(),
    "one color": lambda im, rng: coded(
        Image.new("RGB", im.size, tuple(rng.integers(0, 256, 3).tolist()))
    ),
    "random pixels": noise,
    "12 pixels wide": lambda im, _: coded(im.resize((12, 12))),
    "stretched 8 : 1": lambda im, _: coded(im.resize((800, 100))),
    "blurred": lambda im, _: coded(im.filter(ImageFilter.GaussianBlur(max(im.size) / 12))),
}


def plant(
    folder: Path,
    base: list[Path],
    kinds: dict[str, Change],
    each: int,
    rng: np.random.Generator,
    copies: bool,
    sources: list[Path] | None = None,
) -> Plants:
    """Return the drawings with `each` plants of every kind, made of `sources` (default: base)."""
    folder.mkdir(parents=True, exist_ok=True)
    of = base if sources is None else sources
    rows = [{"image": str(file)} for file in base]
    added: list[tuple[str, int, dict[str, Any]]] = []
    for at, source in enumerate(rng.permutation(len(of))[: each * len(kinds)].tolist()):
        kind = list(kinds)[at % len(kinds)]
        with open_image(of[source]) as file:
            data = kinds[kind](on_white(file), rng)
        place = folder / f"{at:04d}.img"
        place.write_bytes(data)
        added.append((kind, source if sources is None else 0, {"image": str(place)}))
    names = {str(f): str(f.relative_to(DRAWINGS)) for f in base}
    names |= {row["image"]: kind for kind, _, row in added}
    return planted(rows, added, copies, lambda row: names[row["image"]])


_SEEN: dict[str, dict[str, Any]] = {}


def looked(files: Sequence[str]) -> dict[str, Any]:
    """Return hashes, measures and Lite0's features of files, each looked at once in a process."""
    new = sorted({f for f in files if f not in _SEEN})
    if new:
        scorers = (Quality(), ImageHashes(), ImageFeatures(device="cpu"))
        columns = Images(scorers)({"image": objects(new)})
        for at, file in enumerate(new):
            _SEEN[file] = {name: values[at] for name, values in columns.items()}
    names = _SEEN[files[0]]
    every = {n: [_SEEN[f][n] for f in files] for n in names}
    return {
        n: objects(v) if isinstance(v[0], str | None) else np.stack(v) for n, v in every.items()
    }


def duplicates(folder: Path, base: list[Path], each: int, rng: np.random.Generator) -> Task:
    """Copies, coded, scaled and colored anew."""
    plants = plant(folder, base, COPIES, each, rng, True)
    plants.columns.update(looked(plants.columns["image"]))
    operators = [
        ask("exact_duplicates (pixel_hash)", ExactDuplicates("pixel_hash")),
        ask("exact_duplicates (thumbnail_hash)", ExactDuplicates("thumbnail_hash")),
        ask("image_duplicates", ImageDuplicates()),
        ask("both, as recipe=images_clean", ExactDuplicates("pixel_hash"), ImageDuplicates()),
        ask("image_duplicates radius 8", ImageDuplicates(radius=8)),
        ask("image_duplicates colors=null", ImageDuplicates(colors=None)),
        ask("semantic_duplicates Lite0, eps 0.05", SemanticDuplicates("image_features")),
        ask("semantic_duplicates Lite0, eps 0.02", SemanticDuplicates("image_features", eps=0.02)),
    ]
    flat = sum(h is None for h in plants.columns["phash"])
    notes = (
        f"{flat} rows have too little texture for a perceptual hash, and image_duplicates says"
        " nothing of these",
        "drawings of the same 32 x 32 thumbnail were taken out before; near copies that the"
        " collection itself holds count as false drops",
    )
    return Task(DATA, "duplicates", plants, operators, notes)


def junk(folder: Path, base: list[Path], each: int, rng: np.random.Generator) -> Task:
    """Files and pictures that show nothing."""
    plants = plant(folder, base, JUNK, each, rng, False)
    plants.columns.update(looked(plants.columns["image"]))
    readable, blank = ReadableImage(), Threshold("entropy", low=0.1)
    sides = (Threshold("image_width", low=32), Threshold("image_height", low=32))
    long = Threshold("aspect", high=3.0)
    operators = [
        ask("readable_image", readable),
        ask("threshold width and height 32", *sides),
        ask("threshold aspect 3", long),
        ask("threshold entropy 0.1", blank),
        ask("the filters of recipe=images_clean", readable, *sides, long, blank),
    ]
    notes = ("a threshold drops what could not be read, too: its measure is undefined",)
    return Task(DATA, "junk", plants, operators, notes)


def contamination(
    folder: Path, base: list[Path], test: list[Path], each: int, rng: np.random.Generator
) -> Task:
    """Copies of test drawings in the pool."""
    plants = plant(folder, base, COPIES, each, rng, False, test)
    plants.columns.update(looked(plants.columns["image"]))
    vectors, column = looked([str(f) for f in test])["image_features"], "image_features"
    operators = [
        ask("decontaminate_embeddings Lite0, 0.95", DecontaminateEmbeddings(vectors, column)),
        ask("decontaminate_embeddings Lite0, 0.98", DecontaminateEmbeddings(vectors, column, 0.98)),
    ]
    return Task(DATA, "contamination", plants, operators, (f"{len(test)} test drawings",))


def tasks(folder: Path, each: int, seed: int, count: int) -> list[Task]:
    """Return the three tasks among `count` drawings with `each` plants of every kind; planted
    files are written into `folder`.
    """
    rng = np.random.default_rng(seed)
    files = drawings(count, rng)
    split = max(each * len(COPIES), count // 5)
    test, base = files[:split], files[split:]
    return [
        duplicates(folder / "copies", base, each, rng),
        junk(folder / "junk", base, each, rng),
        contamination(folder / "leaks", base, test, each, rng),
    ]
