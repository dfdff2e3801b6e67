"""Training rows whose label is probably wrong, and what share of them is, against rows whose labels
are known to be right.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from coreset.flywheel.label_errors import looks_wrong, thresholds_of
from coreset.flywheel.slices import Members
from coreset.flywheel.stage import Turn
from coreset.flywheel.versions import Version

FOLDS, PRECISION = 5, 0.7


def suspects(
    turn: Turn, version: Version, seeds: Sequence[int], folds: int, least: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the rows of a version whose labels look wrong, the likeliest first, and their scores:
    as many as an estimated share of at least `least` really is wrong.

    Rows look wrong by confident learning, out of fold, mean over the seeds. Among the development
    examples, whose labels are right, those that look wrong by the same thresholds to a model of
    the version tell how often a right label does: see `estimated_precision`. Each stands for as many
    training rows as its class has, inside or outside of the weak slices, per development example:
    the model errs more where it is weak, and there the training set has few rows. Rows with a label
    that an earlier second look has confirmed, or a person given, are not among them.
    """
    trainings, classes = turn.trainings, len(turn.data.classes)
    probs = np.mean([trainings.out_of_fold(version, folds, s) for s in seeds], axis=0)
    thresholds = thresholds_of(probs, version.labels)
    rows = np.flatnonzero(looks_wrong(probs, version.labels, thresholds)).astype(np.int64)
    scores = probs[rows, version.labels[rows]]
    order = np.argsort(scores, kind="stable")
    rows, scores = rows[order], scores[order]
    told = {**turn.confirmed, **turn.overruled.labels}
    settled = np.array(
        [
            told.get(i) == v
            for i, v in zip(version.ids[rows].tolist(), version.labels[rows], strict=True)
        ],
        bool,
    )

    dev = turn.data.at("dev")
    right = turn.data.labels[dev]
    seen = np.mean([_of_dev(turn, version, s) for s in seeds], axis=0)
    strange = looks_wrong(seen, right, thresholds)
    names = {w["name"] for w in turn.facts("diagnose")["weak"]}
    weak = [s for s in turn.slices if s["name"] in names]
    strata = []
    for places, labels in ((turn.data.where(version.ids), version.labels), (dev, right)):
        members = Members(turn.data, turn.slices, places, labels)
        inside = np.zeros(len(places), bool)
        for one in weak:
            inside |= members.of(one)
        strata.append(2 * labels + inside)
    train, known = (np.bincount(s, minlength=2 * classes) for s in strata)
    stands_for = (train / np.maximum(known, 1))[strata[1][strange]]
    precision = estimated_precision(
        scores[~settled], seen[strange, right[strange]], stands_for, scores[settled]
    )
    enough = np.flatnonzero(precision >= least)
    many = int(enough[-1]) + 1 if len(enough) else 0
    return rows[~settled][:many], scores[~settled][:many]


def _of_dev(turn: Turn, version: Version, seed: int) -> NDArray[np.float64]:
    """Return the class probabilities of the development examples by a version."""
    trainings = turn.trainings
    if "probs" in turn.measure.needs:
        at = trainings.of_role("dev")
        return np.asarray(trainings.columns(version, seed)["probs"][at], np.float64)
    told = trainings.signals(version, seed, turn.data.at("dev"), ["probs"])
    return np.asarray(told["probs"], np.float64)


def estimated_precision(
    scores: NDArray[np.float64],
    null: NDArray[np.float64],
    weights: NDArray[np.float64],
    settled: Sequence[float] | NDArray[np.float64] = (),
) -> NDArray[np.float64]:
    """Return the estimated share of wrong labels (k,) among the first 1, 2, ... k rows.

    scores (k,), rising: of rows that look wrong. null (m,): scores of rows that look wrong with a
    right label, each for `weights` (m,) rows. settled: scores of rows that look wrong and are known
    to be right. Of the rows up to a score as many are right as the null has there less those
    settled, and one: the estimate of a target and a decoy (Elias & Gygi, Nature Methods 2007;
    with one added, so that few rows prove nothing, Barber & Candès, Annals of Statistics 2015).

    >>> estimated_precision(np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.35]), np.array([2.0]))
    array([0.        , 0.5       , 0.66666667, 0.25      ])
    """
    order = np.argsort(null, kind="stable")
    total = np.concatenate([[0.0], np.cumsum(weights[order])])
    false = total[np.searchsorted(null[order], scores, side="right")]
    known = np.searchsorted(np.sort(np.asarray(settled, np.float64)), scores, side="right")
    false = 1 + np.maximum(false - known, 0)
    return np.asarray(1 - false / np.arange(1, len(scores) + 1), np.float64)
