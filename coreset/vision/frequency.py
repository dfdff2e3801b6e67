"""Object frequency: images with many objects of many classes first, as in Lightly's open scorers.

No paper defines it; the definition is `ScorerObjectDetection` of lightly 1.2 (lightly-ai/lightly,
active_learning/scorers/detection.py), which its authors have taken out since (pull request 1251).
"""

from __future__ import annotations

import numpy as np

from coreset.core.ranges import check_range
from coreset.vision.aggregate import ImageScores, size_filter
from coreset.vision.boxes import Detections


def object_frequency(
    detections: Detections,
    *,
    score_threshold: float,
    min_size: float,
    empty: str,
    penalty: float = 0.25,
    min_score: float = 0.9,
) -> ImageScores:
    """Return the object frequency of each image (I,): the first box of a class counts 1, every
    further one `penalty`.

    The sums are brought linearly from [smallest, largest] to [min_score, 1], over all images, 0 for
    one without a box; where all are equal they become 1. penalty 0 counts classes, 1 counts boxes.
    Boxes that `size_filter` leaves out play no part; images with none left go by `empty` (the
    original: by the score 0, which is `last`). Raises ValueError for a penalty or min_score outside
    [0, 1].

    >>> ids, images, labels = np.array([7, 8, 9]), [0, 0, 0, 1], [1, 1, 2, 1]
    >>> table = Detections(ids, images, np.zeros((4, 4)), np.ones(4), labels)
    >>> scores = object_frequency(table, score_threshold=0, min_size=-1, empty="last")
    >>> scores.values.round(6).tolist()
    [1.0, 0.944444, nan]
    """
    for name, value in (("penalty", penalty), ("min_score", min_score)):
        check_range("a number in [0, 1]", **{name: value})
    keep = size_filter(detections, score_threshold, min_size)
    image, labels = detections.image[keep], detections.labels[keep]
    size = len(detections.ids)
    boxes = np.bincount(image, minlength=size)
    pairs = np.unique(np.stack([image, labels]), axis=1)
    classes = np.bincount(pairs[0], minlength=size)
    total = classes + penalty * (boxes - classes)
    low, high = total.min(initial=np.inf), total.max(initial=-np.inf)
    spread = high - low
    values = min_score + (1 - min_score) * (total - low) / spread if spread > 0 else np.ones(size)
    return ImageScores(
        detections.ids, np.where(boxes > 0, values, np.nan), empty, detections.source
    )
