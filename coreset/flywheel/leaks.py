"""Leaks between what is trained on and what versions are judged on: shared groups and near copies,
with evidence for every flag.

A near copy lies nearer to a frozen example than `near` times the usual distance between neighbors
there, which the median of the frozen examples' own nearest neighbors gives: the threshold is on
file, a person can look at both examples and allow the flag.
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


def copy_threshold(x: NDArray[np.float32], near: float) -> float:
    """Return the distance below which two rows are near copies: `near` times the median distance of
    the rows of x (n, D) to their nearest neighbor.

    >>> copy_threshold(np.array([[0.0], [1.0], [2.0]], np.float32), 0.5)
    0.5
    """
    if not 0 <= near < 1:
        raise ValueError(f"near: expected a number in [0, 1), got {near}")
    if len(x) < 2:
        return 0.0
    return near * float(np.median(knn(torch.from_numpy(x), 1)[0].numpy()))


def find_leaks(
    data: FlywheelData, rows: NDArray[np.int64], near: float, allowed: Iterable[str] = ()
) -> dict[str, Any]:
    """Return a table of the examples `rows` that share a group with a frozen one or nearly copy it.

    Columns: id, frozen_id, frozen_role, why (`same group`, `copy`, `near copy`), distance,
    threshold, allowed (whether a person has allowed the id).
    """
    frozen = data.at(*FROZEN)
    out: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    if not len(rows):
        return out
    x = np.ascontiguousarray(data.features[frozen])
    threshold = copy_threshold(x, near)
    queries = torch.from_numpy(np.ascontiguousarray(data.features[rows]))
    distance, index = (a[:, 0].numpy() for a in knn(torch.from_numpy(x), 1, queries))
    assert data.groups is not None
    first = {}
    for at in frozen[::-1].tolist():
        if data.groups[at]:
            first[str(data.groups[at])] = at
    permitted = set(allowed)
    for i, row in enumerate(rows.tolist()):
        twin, why = int(frozen[index[i]]), ""
        if distance[i] == 0:
            why = "copy"
        elif distance[i] < threshold:
            why = "near copy"
        elif str(data.groups[row]) in first:
            why, twin = "same group", first[str(data.groups[row])]
        if why:
            name = str(data.ids[row])
            values = (name, str(data.ids[twin]), str(data.roles[twin]), why, float(distance[i]))
            for column, value in zip(COLUMNS, (*values, threshold, name in permitted), strict=True):
                out[column].append(value)
    return out


def read_allowed(path: Any) -> frozenset[str]:
    """Return the ids of an allowlist: one a line, what follows a tab is a remark."""
    if path is None:
        return frozenset()
    lines = read_bytes(path).decode("utf-8").splitlines()
    return frozenset(line.split("\t")[0].strip() for line in lines if line.strip())
