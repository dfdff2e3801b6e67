"""The images, boxes and masks that every round hands out, and what counts as lost or misassigned."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from coreset.core.selection import Selection
from coreset.vision import CocoPool, Detections, ImageSelection
from coreset.vision.handoff import Returned

Object = tuple[str, tuple[float, ...]]
CLASSES = {3: "cat", 1: "dog", 8: "bus"}


@dataclass
class Case:
    """pool: n images whose ids are a permutation, in five folders; names hold spaces, parentheses
    and a letter outside ASCII. objects: (class, corners in pixels) per position; maps: class maps by
    id. chosen: all of them, in an order of their own. files: the images are below this folder.
    """

    pool: CocoPool
    boxes: Detections
    maps: dict[int, NDArray[np.int64]]
    chosen: ImageSelection
    files: Path

    @property
    def objects(self) -> list[list[Object]]:
        """Return what is drawn in every image: a list of one's own, to be edited."""
        out: list[list[Object]] = [[] for _ in range(self.pool.size)]
        for i, box, label in zip(
            self.boxes.image, self.boxes.boxes, self.boxes.labels, strict=True
        ):
            out[int(i)].append((CLASSES[int(label)], tuple(box.tolist())))
        return out

    def begin(self, tool: str, form: str, by: str, *changed: str) -> Round:
        """Return the round of all images through a tool, before anything was counted. by: how the
        labels are edited there; changed: what the tool changes of its own.
        """
        return Round(tool, form, by, self.pool.size, changed=list(changed))


def make_case(n: int, folder: Path) -> Case:
    """Write n images and return them with random boxes (none in some) and class maps."""
    rng = np.random.default_rng(0)
    names = np.array([f"part_{i % 5}/street {i:04d} é ({i % 2}).jpg" for i in range(n)])
    sizes, ids = rng.integers(24, 64, (n, 2)), rng.permutation(10 * n)[:n]
    pool = CocoPool(n, ids=ids, names=names, sizes=sizes, categories=CLASSES)
    for name, size in zip(names.tolist(), sizes.tolist(), strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        color = rng.integers(0, 256, 3).tolist()
        Image.new("RGB", tuple(size), tuple(color)).save(folder / name)
    image = np.sort(rng.integers(0, n, 5 * n // 2))
    low = rng.random((len(image), 2)) * 0.5
    high = low + 0.1 + rng.random((len(image), 2)) * 0.35
    corners = np.round(np.concatenate([low, high], 1) * np.tile(sizes[image], 2), 2)
    labels = rng.choice(list(CLASSES), len(image))
    boxes = Detections(ids, image, corners, rng.random(len(image)), labels)
    maps = {
        int(k): rng.integers(-1, 3, (8, 8)).repeat(8, 0).repeat(8, 1)[:h, :w]
        for k, (w, h) in zip(ids, sizes, strict=True)
    }
    order = rng.permutation(n)
    whole = Selection(order, scores=np.linspace(1, 0, n), ids=ids[order])
    return Case(pool, boxes, maps, ImageSelection.over(pool, whole), folder)


@dataclass
class Round:
    """One way out and back. edits: images whose labels were changed in the tool; lost: images that
    were labeled there and are not back; misassigned: images that came back with another content
    than they had in the tool, or were not labeled there.
    """

    tool: str
    form: str
    by: str
    out: int = 0
    edits: int = 0
    skipped: int = 0
    back: int = 0
    lost: int = 0
    misassigned: int = 0
    seconds: float = 0.0
    changed: list[str] = field(default_factory=list)

    @contextmanager
    def clock(self) -> Iterator[None]:
        """Add the seconds of what is done inside."""
        begin = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - begin

    def count(self, expected: Collection[int], found: Collection[int], same: Any) -> Round:
        """Count; same: whether the content of an image is that of the tool."""
        self.back = len(found)
        self.lost = len(set(expected) - set(found))
        strange = set(found) - set(expected)
        self.misassigned = len(strange) + sum(
            not same(i) for i in sorted(set(found) & set(expected))
        )
        return self


def compare_objects(
    one: Round,
    returned: Returned,
    expected: Sequence[Sequence[Object]],
    labeled: Collection[int],
    tolerance: float,
) -> Round:
    """Count images by their objects; tolerance: pixels, half of the last digit that a file holds."""
    got: dict[int, list[Object]] = {int(i): [] for i in returned.labeled}
    for s in returned.shapes:
        assert s.box is not None
        got[s.position].append((returned.pool.categories[s.category], s.box))
    return one.count(labeled, got, lambda i: same_objects(got[i], expected[i], tolerance))


def same_objects(got: Sequence[Object], want: Sequence[Object], tolerance: float) -> bool:
    """Return whether each box has a partner of its class, no farther than the tolerance."""
    left = list(want)
    for name, box in got:
        near = [
            (float(np.abs(np.subtract(box, other)).max()), k)
            for k, (label, other) in enumerate(left)
            if label == name
        ]
        if not near or min(near)[0] > tolerance:
            return False
        del left[min(near)[1]]
    return not left


def compare_maps(
    one: Round,
    pool: CocoPool,
    back: Mapping[Any, NDArray[Any]],
    expected: Mapping[int, NDArray[Any]],
) -> Round:
    """Count images by their class maps, pixel by pixel."""
    place = {int(k): i for i, k in enumerate(pool.ids)}
    got = {place[int(k)]: v for k, v in back.items()}
    want = {place[k]: v for k, v in expected.items()}
    return one.count(want, got, lambda i: np.array_equal(got[i], want[i]))
