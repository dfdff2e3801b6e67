"""Regions of images, the boxes that a detector gives, and of which class their look says they are.

An image is as near to a class as the nearest of its regions is to regions on drawn objects of it
(Kothawade et al., "TALISMAN: Targeted Active Learning for Object Detection with Rare Classes and
Slices using Submodular Mutual Information", ECCV 2022). There a region is compared with regions of
the class alone; here with all known regions, so that one that looks like the background is not
taken for an object.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from coreset.flywheel.boxes import Drawn
from coreset.numerics.neighbors.nearest import knn

_MEETS = 0.5  # IoU at which a region lies on an object


def region_classes(boxes: NDArray[np.float32], drawn: Sequence[Drawn]) -> NDArray[np.int64]:
    """Return what each region (n, K) of n images lies on: the class of the drawn object that it
    meets best, at IoU 0.5 or more, 0 for none, -1 where there is no region.

    boxes (n, K, 6): x1, y1, x2, y2, score, class, with score -1 where there is none. Crowds are no
    objects.
    """
    out = np.where(boxes[:, :, 4] >= 0, 0, -1).astype(np.int64)
    for row, table, one in zip(out, boxes.astype(np.float64), drawn, strict=True):
        objects, labels = one.boxes[~one.crowd].astype(np.float64), one.labels[~one.crowd]
        if not len(labels):
            continue
        low = np.maximum(table[:, None, :2], objects[None, :, :2])
        high = np.minimum(table[:, None, 2:4], objects[None, :, 2:])
        shared = np.clip(high - low, 0, None).prod(axis=2)
        areas = (table[:, 2:4] - table[:, :2]).prod(axis=1)
        union = areas[:, None] + (objects[:, 2:] - objects[:, :2]).prod(axis=1) - shared
        meets = shared / np.maximum(union, np.spacing(1))
        best = meets.argmax(axis=1)
        on = (row == 0) & (meets.max(axis=1) >= _MEETS)
        row[on] = labels[best[on]]
    return out


def class_scores(
    regions: NDArray[np.float32],
    there: NDArray[np.bool_],
    known: NDArray[np.float32],
    labels: NDArray[np.int64],
    classes: int,
    neighbors: int = 10,
) -> NDArray[np.float64]:
    """Return how much the nearest region of each image looks like each class (n, C), in [0, 1]: the
    largest, over its regions, of the mean over the `neighbors` nearest known regions of their
    cosine similarity, 0 for those of other classes and for negative similarities.

    regions (n, K, D): features of the regions; there (n, K): which of them exist. known (m, D):
    features of known regions; labels (m,): their classes, 0 for the background.
    """
    out = np.zeros((len(regions), classes))
    if not there.any() or not len(known):
        return out
    asked, known = _unit(regions[there]), _unit(known)
    k = min(neighbors, len(known))
    distance, index = (a.numpy() for a in knn(torch.from_numpy(known), k, torch.from_numpy(asked)))
    similar = np.clip(1 - distance**2 / 2, 0, 1)
    votes = np.zeros((len(asked), classes))
    for place in range(k):
        np.add.at(votes, (np.arange(len(asked)), labels[index[:, place]]), similar[:, place] / k)
    np.maximum.at(out, np.nonzero(there)[0], votes)
    return out


def _unit(x: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
    return np.ascontiguousarray(x / np.maximum(lengths, np.finfo(np.float32).tiny), np.float32)
