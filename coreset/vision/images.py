"""What detections say about whole images: the class, whether there is anything, one vector of its
crops.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from coreset.core.pool import Indices
from coreset.vision.boxes import Detections, Float


def predicted_class(detections: Detections, score_threshold: float) -> Indices:
    """Return the category with the largest sum of scores per image (I,), -1 where no box has that
    score; ties go to the lowest id.

    >>> detections = Detections(
    ...     np.array([7, 8]), [0, 0, 0], np.zeros((3, 4)), [0.9, 0.5, 0.6], [3, 5, 5]
    ... )
    >>> predicted_class(detections, 0.3).tolist()
    [5, -1]
    """
    kept = detections.keep(detections.scores >= score_threshold)
    names, inverse = np.unique(kept.labels, return_inverse=True)
    out = np.full(len(kept.ids), -1, np.int64)
    if len(names):
        pair, at = np.unique(kept.image * len(names) + inverse, return_inverse=True)
        total = np.bincount(at, kept.scores)
        order = np.lexsort((pair, -total, pair // len(names)))
        image, first = np.unique(pair[order] // len(names), return_index=True)
        out[image] = names[pair[order][first] % len(names)]
    return out


def foreground(detections: Detections, score_threshold: float) -> Float:
    """Return how many boxes have at least that score per image (I,): more than 0 is foreground for
    `random_foreground`.
    """
    return np.bincount(
        detections.image[detections.scores >= score_threshold], minlength=len(detections.ids)
    ).astype(np.float64)


def crop_features(detections: Detections, score_threshold: float) -> NDArray[np.float32]:
    """Return the mean feature of each image's boxes (I, D), weighted by their scores; zeros where
    there is none. Raises ValueError without `features`.
    """
    if detections.features is None:
        raise ValueError(
            f"{detections.source}: crop features need the features of every box (`features`), which"
            " are not there"
        )
    kept = detections.keep(detections.scores >= score_threshold)
    assert kept.features is not None
    total = np.bincount(kept.image, kept.scores, minlength=len(kept.ids))
    full = np.flatnonzero(np.diff(kept.offsets) > 0)
    out = np.zeros((len(kept.ids), kept.features.shape[1]))
    if len(full):
        out[full] = np.add.reduceat(
            kept.features * kept.scores[:, None], kept.offsets[full]
        ) / np.maximum(total[full, None], 1e-300)
    return out.astype(np.float32)
