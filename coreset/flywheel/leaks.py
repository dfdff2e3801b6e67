"""Leaks between what is trained on and what versions are judged on: shared groups and near copies,
with evidence for every flag.

A near copy lies nearer to a frozen example than `near` times the distance from there to its own
nearest frozen neighbor (or the median of all such distances, where that is less): in the features,
or in the pictures where there are any, pooled to 14 x 14 without brightness and contrast. The
threshold is on file with every flag; a person can look at both examples and allow it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from coreset.core.files import read_bytes
from coreset.flywheel.data import FROZEN, FlywheelData
from coreset.numerics.neighbors.nearest import knn

COLUMNS = ("id", "frozen_id", "frozen_role", "why", "distance", "threshold", "allowed")
_SIDE = 14  # pixels of a picture as copies are looked for


def copy_scale(x: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the scale (n,) of near copies of each row of x (n, D): the distance to its nearest
    other row, or the median of those distances where that is less or the row is there twice.

    >>> copy_scale(np.array([[0.0], [1.0], [4.0], [9.0]], np.float32)).tolist()
    [1.0, 1.0, 2.0, 2.0]
    """
    if len(x) < 2:
        return np.zeros(len(x))
    own = knn(torch.from_numpy(x), 1)[0][:, 0].numpy()
    median = float(np.median(own))
    return np.where(own > 0, np.minimum(own, median), median)


def pooled_pictures(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return pictures (n, h, w, c) as rows of 14 x 14 gray values, mean 0 and length 1; 0 where a
    picture is of one color.
    """
    gray = pictures.astype(np.float32).mean(axis=3)
    rows = [part.mean(axis=1) for part in np.array_split(gray, min(_SIDE, gray.shape[1]), axis=1)]
    bands = np.stack(rows, axis=1)
    cells = [part.mean(axis=2) for part in np.array_split(bands, min(_SIDE, gray.shape[2]), axis=2)]
    flat = np.stack(cells, axis=2).reshape(len(gray), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.asarray(np.divide(flat, length, out=np.zeros_like(flat), where=length > 0))


def find_leaks(
    data: FlywheelData, rows: NDArray[np.int64], near: float, allowed: Iterable[str] = ()
) -> dict[str, Any]:
    """Return a table of the examples `rows` that share a group with a frozen one or nearly copy it.

    Columns: id, frozen_id, frozen_role, why (`same group`, `copy`, `near copy`, with the view),
    distance, threshold, allowed (whether a person has allowed the id).
    """
    if not 0 <= near < 1:
        raise ValueError(f"near: expected a number in [0, 1), got {near}")
    frozen = data.at(*FROZEN)
    out: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    if not len(rows):
        return out
    views = {"features": data.features}
    if data.pictures is not None:
        views["pictures"] = pooled_pictures(data.pictures)
    hits: dict[int, tuple[int, str, float, float]] = {}
    for view, x in views.items():
        there = np.ascontiguousarray(x[frozen])
        queries = torch.from_numpy(np.ascontiguousarray(x[rows]))
        distance, index = (a[:, 0].numpy() for a in knn(torch.from_numpy(there), 1, queries))
        threshold = near * copy_scale(there)[index]
        for i in np.flatnonzero((distance == 0) | (distance < threshold)).tolist():
            why = "copy" if distance[i] == 0 else f"near copy in {view}"
            hits.setdefault(
                i, (int(frozen[index[i]]), why, float(distance[i]), float(threshold[i]))
            )
    assert data.groups is not None
    first = {str(data.groups[at]): at for at in frozen[::-1].tolist() if data.groups[at]}
    for i, row in enumerate(rows.tolist()):
        if str(data.groups[row]) in first:
            hits.setdefault(i, (first[str(data.groups[row])], "same group", np.nan, np.nan))
    permitted = set(allowed)
    for i in sorted(hits):
        twin, why, value, limit = hits[i]
        name = str(data.ids[rows[i]])
        values = (name, str(data.ids[twin]), str(data.roles[twin]), why, value, limit)
        for column, entry in zip(COLUMNS, (*values, name in permitted), strict=True):
            out[column].append(entry)
    return out


def find_repeats(
    data: FlywheelData, rows: NDArray[np.int64], others: NDArray[np.int64], near: float
) -> dict[int, int]:
    """Return which of the examples `rows` nearly copy one of `others`, or an earlier one of `rows`
    that copies none, with the position of the twin.

    A near copy lies nearer than `near` times the median distance of the frozen examples to their
    nearest neighbors, in every view that there is: a generator that repeats itself repeats all. A
    child is no repeat of a parent that it differs from at all.
    """
    views = {"features": data.features}
    if data.pictures is not None:
        views["pictures"] = pooled_pictures(data.pictures)
    limits = {
        view: near * float(np.median(copy_scale(np.ascontiguousarray(x[data.at(*FROZEN)]))))
        for view, x in views.items()
    }
    if not len(rows):
        return {}
    assert data.parents is not None
    parents = [str(p).split() for p in data.parents[rows]]

    def repeats(row: int, among: NDArray[np.int64], own: list[str]) -> NDArray[np.int64]:
        near_all = np.ones(len(among), bool)
        same = np.ones(len(among), bool)
        for view, x in views.items():
            distance = np.linalg.norm(x[among].astype(np.float64) - x[row], axis=1)
            near_all &= distance <= limits[view]
            same &= distance == 0
        return among[near_all & (same | ~np.isin(data.ids[among], own))]

    k = min(len(others), 1 + max(map(len, parents)))
    index = np.empty((len(rows), 0), np.int64)
    if k:
        there, queries = (
            torch.from_numpy(np.ascontiguousarray(data.features[at])) for at in (others, rows)
        )
        index = knn(there, k, queries)[1].numpy()
    out: dict[int, int] = {}
    kept: list[int] = []
    for row, own, nearest in zip(rows.tolist(), parents, index, strict=True):
        twins = repeats(row, np.concatenate([others[nearest], np.array(kept, np.int64)]), own)
        if len(twins):
            out[row] = int(twins[0])
        else:
            kept.append(row)
    return out


def read_allowed(path: Any) -> frozenset[str]:
    """Return the ids of an allowlist: one a line, what follows a tab is a remark."""
    if path is None:
        return frozenset()
    lines = read_bytes(path).decode("utf-8").splitlines()
    return frozenset(line.split("\t")[0].strip() for line in lines if line.strip())
