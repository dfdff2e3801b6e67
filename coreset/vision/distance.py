"""Distances between images as sets of boxes: CCMS and chamfer, a block of images at a time, never N
x N.

    ccms     category-conditioned matching similarity, as 1 - similarity: each box is matched with
             the most similar box (cosine) of its own category in the other image, similarity -1
             where there is none; the mean over boxes weighted by their scores; the mean of both
             directions. In [0, 2].
    chamfer  the mean over boxes of the Euclidean distance to the nearest box of the other image,
             whatever its category; the mean of both directions.

Yang, Huang & Crowley (PPAL), CVPR 2024, section 3.3 (arXiv:2211.11612). By definition: the authors'
code sets the distance between box u of one image and box u of another to zero and adds 1e-5 to the
weights, which we do not. They leave images without boxes open; here two of them are at 0, and one
of them is as far as can be from any image with boxes (ccms: 2; chamfer: twice the largest feature
norm after centering).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coreset.core.pool import Indices
from coreset.vision.boxes import Detections, Float

KINDS = ("ccms", "chamfer")
_BLOCK = 2**21  # products held at a time: 16 MB in float64
_ROWS = 64  # images on one side of a block


@dataclass(frozen=True, eq=False, repr=False)
class BoxSets:
    """The boxes of I images, ready for distances, sorted by category and then by image.

    ids (I,): the images. x (B, D) features; image (B,); weights (B,) that add up to 1 in each
    image; starts (G + 1,) where each category's boxes start (chamfer: one category); farthest: the
    distance of an image with boxes from one without.
    """

    kind: str
    ids: NDArray[Any]
    x: NDArray[Any]
    image: Indices
    weights: Float
    starts: Indices
    by_image: Indices
    offsets: Indices
    farthest: float

    @classmethod
    def of(
        cls, detections: Detections, kind: str = "ccms", score_threshold: float = 0.0
    ) -> BoxSets:
        """Return the boxes of at least that score. Raises ValueError when the detections have no
        `features`, or a feature is zero under ccms.

        >>> detections = Detections(
        ...     np.array([1, 2]),
        ...     [0, 1],
        ...     np.zeros((2, 4)),
        ...     [0.9, 0.8],
        ...     [5, 5],
        ...     features=np.array([[1.0, 0.0], [0.0, 3.0]]),
        ... )
        >>> BoxSets.of(detections).between([0], [0, 1]).tolist()
        [[0.0, 1.0]]
        """
        if kind not in KINDS:
            raise ValueError(f"kind: expected {' or '.join(KINDS)}, got {kind!r}")
        if detections.features is None:
            raise ValueError(
                f"{detections.source}: distances between boxes need the features of every box"
                " (`features`), which are not there"
            )
        kept = detections.keep(detections.scores >= score_threshold)
        assert kept.features is not None
        x = kept.features.astype(np.result_type(kept.features.dtype, np.float32), copy=False)
        weights = kept.scores if kind == "ccms" else np.ones(len(kept))
        farthest = 2.0
        if kind == "ccms":
            length = np.sqrt(np.einsum("bd,bd->b", x, x, dtype=np.float64))
            if (length == 0).any():
                raise ValueError(
                    f"{kept.source}: image {kept.ids[kept.image[np.argmin(length)]].item()!r}: a"
                    " box with an all-zero feature has no direction"
                )
            x = (x / length[:, None]).astype(x.dtype)
        elif len(x):
            x = x - x.mean(axis=0, dtype=np.float64).astype(x.dtype)
            farthest = 2 * float(np.sqrt(np.einsum("bd,bd->b", x, x, dtype=np.float64).max()))
        total = np.bincount(kept.image, weights, minlength=len(kept.ids))
        if (total[np.diff(kept.offsets) > 0] <= 0).any():
            at = int(np.argmax((total <= 0) & (np.diff(kept.offsets) > 0)))
            raise ValueError(
                f"{kept.source}: image {kept.ids[at].item()!r}: all of its boxes have score 0;"
                " raise score_threshold"
            )
        group = (
            np.unique(kept.labels, return_inverse=True)[1]
            if kind == "ccms"
            else np.zeros(len(kept), np.int64)
        )
        order = np.lexsort((kept.image, group))
        starts = np.concatenate([[0], np.cumsum(np.bincount(group))]).astype(np.int64)
        by_image = np.argsort(kept.image[order], kind="stable").astype(np.int64)
        weights = (weights / total[kept.image])[order]
        return cls(
            kind,
            kept.ids,
            x[order],
            kept.image[order],
            weights,
            starts,
            by_image,
            kept.offsets,
            farthest,
        )

    def check(self, ids: NDArray[Any]) -> None:
        """Raise ValueError unless the images are these, in this order."""
        if not np.array_equal(self.ids, ids):
            raise ValueError(
                f"distance: its {len(self)} images are not the pool's {len(ids)} in their order;"
                " make it of detections.align(pool)"
            )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def between(self, rows: ArrayLike, columns: ArrayLike | None = None) -> Float:
        """Return the distances (R, C) in float64 between images `rows` and images `columns` (None:
        all); symmetric. Memory: the answer and one block.
        """
        a, back_a = np.unique(np.asarray(rows, np.int64), return_inverse=True)
        b, back_b = np.arange(len(self)), np.arange(len(self))
        if columns is not None:
            b, back_b = np.unique(np.asarray(columns, np.int64), return_inverse=True)
        counts = np.diff(self.offsets)
        out = np.empty((len(a), len(b)))
        for i in range(0, len(a), _ROWS):
            part = a[i : i + _ROWS]
            step = max(1, _BLOCK // max(1, int(counts[part].sum())))  # boxes
            cuts = np.searchsorted(
                np.cumsum(counts[b]), np.arange(step, counts[b].sum() + step, step)
            )
            for start, stop in zip([0, *cuts + 1], [*cuts + 1, len(b)], strict=True):
                if start < min(stop, len(b)):
                    out[i : i + _ROWS, start:stop] = self._tile(part, b[start:stop])
        whole = columns is None and len(a) == len(back_a) and (back_a == np.arange(len(a))).all()
        return out if whole else out[np.ix_(back_a, back_b)]

    def blocks(self, columns: ArrayLike, size: int = 256) -> Iterator[tuple[slice, Float]]:
        """Yield the distances from all images to `columns` in blocks of rows."""
        for start in range(0, len(self), size):
            part = slice(start, min(start + size, len(self)))
            yield part, self.between(np.arange(part.start, part.stop), columns)

    def _tile(self, a: Indices, b: Indices) -> Float:
        """Return the distances (len(a), len(b)): per category the products of boxes, their best per
        image on either side, the weighted sums of these.
        """
        box = np.sort(
            np.concatenate(
                [self.by_image[self.offsets[i] : self.offsets[i + 1]] for i in a.tolist()]
            )
        )
        place_a, place_b = np.searchsorted(a, self.image[box]), np.full(len(self), -1)
        place_b[b] = np.arange(len(b))
        gain = np.zeros(
            (len(a), len(b))
            # ccms: what matches of the same category take off the distance 2; chamfer: minus the
            # distance
        )
        group = np.searchsorted(self.starts, box, side="right") - 1
        for g in np.unique(group).tolist():
            mine = slice(*np.searchsorted(group, [g, g + 1]).tolist())
            low, high = (
                self.starts[g]
                + np.searchsorted(
                    self.image[self.starts[g] : self.starts[g + 1]], [b[0], b[-1] + 1]
                )
            ).tolist()
            in_a, in_b = place_a[mine], place_b[self.image[low:high]]
            other: Any = slice(low, high) if (in_b >= 0).all() else low + np.flatnonzero(in_b >= 0)
            in_b = in_b[in_b >= 0]
            if not len(in_b):
                continue
            near = self._nearness(self.x[box[mine]], self.x[other])
            at_a, start_a = np.unique(in_a, return_index=True)
            at_b, start_b = np.unique(in_b, return_index=True)
            forth = np.maximum.reduceat(near, start_b, axis=1) * self.weights[box[mine]][:, None]
            back = np.maximum.reduceat(near, start_a, axis=0) * self.weights[other]
            gain[np.ix_(at_a, at_b)] += np.add.reduceat(forth, start_a, axis=0) + np.add.reduceat(
                back, start_b, axis=1
            )
        far = self.farthest if self.kind == "ccms" else 0.0
        distance = np.maximum(far - gain / 2, 0.0)
        none_a, none_b = (np.diff(self.offsets)[s] == 0 for s in (a, b))
        distance[none_a[:, None] != none_b] = self.farthest
        distance[none_a[:, None] & none_b] = 0.0
        return np.asarray(distance)

    def _nearness(self, x: NDArray[Any], y: NDArray[Any]) -> Float:
        """Return 1 + cosine (ccms) or minus the Euclidean distance (chamfer) of every box of x and
        of y, in float64.
        """
        product = (x @ y.T).astype(np.float64)
        if self.kind == "ccms":
            return np.asarray(1 + product)
        square = (
            np.einsum("bd,bd->b", x, x, dtype=np.float64)[:, None]
            + np.einsum("bd,bd->b", y, y, dtype=np.float64)
            - 2 * product
        )
        return np.asarray(-np.sqrt(np.maximum(square, 0)))
