"""What a label costs in boxes, pixels or seconds; `coreset.core.budget.Budget` holds a choice to
it.

No image is free: someone opens it, looks at all of it, and may draw what the detector has missed.
Costs in boxes are therefore at least `floor`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from coreset.core.columns import unmasked
from coreset.vision.aggregate import reduce_boxes
from coreset.vision.boxes import Detections, Float
from coreset.vision.coco import CocoPool


class Estimate(np.ndarray[Any, np.dtype[np.float64]]):
    """Costs per image (I,) float64 that know how they were estimated: `about`, which `select`
    writes into `info`.

    Whatever is computed from one is a plain estimate without `about`.
    """

    about: Mapping[str, Any]

    def __array_finalize__(self, other: Any) -> None:
        self.about = {}

    @classmethod
    def of(cls, values: ArrayLike, floor: float, **about: Any) -> Estimate:
        """Return values of at least `floor`. Raises ValueError for a floor that is negative or not
        finite.
        """
        if not (np.isfinite(floor) and floor >= 0):
            raise ValueError(f"floor: expected a number of at least 0, got {floor}")
        out = np.maximum(unmasked("costs", values).astype(np.float64), floor).view(cls)
        out.about = {**about, "floor": float(floor)}
        return out


def box_cost(detections: Detections, score_threshold: float, *, floor: float = 1.0) -> Estimate:
    """Return the number of predicted boxes with at least that score, per image (I,), and at least
    `floor`.
    """
    kept = detections.image[detections.scores >= score_threshold]
    counts = np.bincount(kept, minlength=len(detections.ids))
    return Estimate.of(
        counts, floor, estimate="predicted boxes", score_threshold=float(score_threshold)
    )


def expected_boxes(
    detections: Detections, *, floor: float = 1.0, calibrated: bool = True
) -> Estimate:
    """Return the expected number of true boxes per image (I,), at least `floor`: the sum of the
    scores, calibrated.

    calibrated: where `detections.known_boxes` tells what some images truly hold (a pool made with
    `labeled=FILE` brings it), the sum s becomes a + b s with `calibration` of these images; the
    detections must cover them too. Without any such image, or with False, it is s as it is, which a
    detector that is unsure puts too low. `about` says which. Images the detector was not trained on
    calibrate best: it is surer of the others.

    >>> detections = Detections(np.array([7, 8, 9]), [0, 2], np.zeros((2, 4)), [1.0, 0.5], [1, 1])
    >>> expected_boxes(detections).tolist(), expected_boxes(detections, floor=0).tolist()
    ([1.0, 1.0, 1.0], [1.0, 0.0, 0.5])
    >>> known = Detections(
    ...     detections.ids,
    ...     detections.image,
    ...     detections.boxes,
    ...     detections.scores,
    ...     detections.labels,
    ...     known_boxes=[4, 2, np.nan],
    ... )
    >>> expected_boxes(known).tolist()
    [4.0, 2.0, 3.0]
    """
    total = np.nan_to_num(reduce_boxes(detections.scores, detections.offsets, "sum"))
    known = (
        None if detections.known_boxes is None else np.asarray(detections.known_boxes, np.float64)
    )
    use = np.zeros(len(total), bool) if known is None or not calibrated else np.isfinite(known)
    a, b = (0.0, 1.0) if known is None or not use.any() else calibration(total[use], known[use])
    about = {
        "estimate": "expected boxes",
        "calibrated_on": int(use.sum()),
        "per_image": a,
        "per_score": b,
    }
    return Estimate.of(a + b * total, floor, **about)


def calibration(estimate: ArrayLike, true: ArrayLike) -> tuple[float, float]:
    """Return (a, b), both at least 0, of the line a + b s through the true numbers of boxes (n,) of
    labeled images.

    estimate (n,): the sum s of the scores in each of them. Least squares; where that puts a below
    0, the ratio of the sums, and where it puts b below 0, or all sums together come to less than
    one box, the mean of the true numbers alone. In all of these the fitted numbers add up to the
    true ones.

    >>> calibration([0, 1, 2], [2, 4, 6])
    (2.0, 2.0)
    >>> calibration([0, 0], [1, 2]), calibration([1, 3], [1, 7]), calibration([2], [5])
    ((1.5, 0.0), (0.0, 2.0), (0.0, 2.5))
    """
    s, t = np.asarray(estimate, np.float64), np.asarray(true, np.float64)
    if s.ndim != 1 or s.shape != t.shape or not len(s) or not ((s >= 0) & (t >= 0)).all():
        raise ValueError(
            "estimate, true: expected two lists of one length with numbers of at least 0, got"
            f" {s.shape} and {t.shape}"
        )
    spread = s - s.mean()
    square = float(spread @ spread)
    if s.sum() < 1:
        return float(t.mean()), 0.0
    if square == 0:
        return 0.0, float(t.sum() / s.sum())
    b = float(spread @ t) / square
    a = float(t.mean() - b * s.mean())
    if b < 0:
        return float(t.mean()), 0.0
    return (a, b) if a >= 0 else (0.0, float(t.sum() / s.sum()))


def pixel_cost(pool: CocoPool) -> Float:
    """Return width times height per image (N,)."""
    return np.asarray(pool.sizes.prod(axis=1), np.float64)


def seconds(boxes: ArrayLike, base: float, per_box: float) -> Float:
    """Return base + per_box * boxes per image: the time to open one and to draw so many.

    >>> seconds([0, 10], base=5, per_box=7).tolist()
    [5.0, 75.0]
    """
    if base < 0 or per_box < 0:
        raise ValueError(f"base, per_box: expected at least 0 seconds, got {base} and {per_box}")
    whole = base + per_box * np.asarray(boxes, np.float64)
    if not isinstance(boxes, Estimate) or not boxes.about:
        return whole
    out: Float = whole.view(Estimate)
    out.about = boxes.about  # type: ignore[attr-defined]
    return out


def recalibrate(estimate: ArrayLike, true: ArrayLike) -> float:
    """Return the factor sum(true) / sum(estimate) by which the estimates of labeled images have to
    be multiplied.

    >>> recalibrate([10, 20], [15, 30])
    1.5
    """
    a, b = np.asarray(estimate, np.float64), np.asarray(true, np.float64)
    if a.shape != b.shape or not a.sum() > 0:
        raise ValueError(
            "expected two lists of one length and estimates that add up to more than 0, got"
            f" {a.shape} (sum {a.sum()}) and {b.shape}"
        )
    return float(b.sum() / a.sum())


def in_words(about: Mapping[str, Any]) -> str:
    """Return how a cost was estimated, for people.

    >>> in_words({"estimate": "predicted boxes", "score_threshold": 0.3, "floor": 1.0})
    'predicted boxes of score 0.3 or more, at least 1 per image'
    """
    text = str(about["estimate"])
    if "score_threshold" in about:
        text += f" of score {about['score_threshold']:g} or more"
    elif about["calibrated_on"]:
        line = f"{about['per_image']:.3g} + {about['per_score']:.3g} x sum of scores"
        text += f", calibrated on {about['calibrated_on']} labeled images ({line})"
    else:
        text += ", not calibrated (the sum of scores: no boxes of labeled images are known)"
    return f"{text}, at least {about['floor']:g} per image"
