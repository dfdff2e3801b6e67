"""Slices: named sets of examples by class, pair of classes, metadata or cluster of features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from coreset.flywheel.data import FlywheelData
from coreset.numerics.neighbors.kmeans import assign, kmeans

Slice = Mapping[str, Any]
UNKNOWN = ""


def propose(data: FlywheelData, clusters: int, seed: int) -> list[dict[str, Any]]:
    """Return all slices that are looked at, in the order class, metadata, pair, cluster; frozen
    with version 1.

    Every class; every value of every metadata column; every pair of classes; k-means clusters of
    the features of the development set (their centers are part of the slice).
    """
    out: list[dict[str, Any]] = []
    names = data.classes
    for i, name in enumerate(names):
        out.append({"name": f"class={name}", "kind": "class", "labels": [i]})
    for column in sorted(data.metadata):
        values = set(data.metadata[column][data.at("dev", "test")].tolist()) - {UNKNOWN}
        for value in sorted(values):
            about = {"kind": "metadata", "column": column, "value": value}
            out.append({"name": f"{column}={value}", **about})
    for i in range(len(names)):
        for j in range(i + 1, len(names)):
            pair = {"kind": "pair", "labels": [i, j]}
            out.append({"name": f"pair={names[i]}|{names[j]}", **pair})
    rows = data.at("dev")
    if clusters:
        k = min(clusters, len(rows))
        x = torch.from_numpy(data.features[rows])
        centers = kmeans(x, k, np.random.default_rng([seed, 7]), data.ids[rows]).centers
        for i, center in enumerate(np.asarray(centers, np.float32)):
            about = {"kind": "cluster", "cluster": i, "center": center.astype(float).tolist()}
            out.append({"name": f"cluster={i}", **about})
    return out


def clusters_of(slices: Sequence[Slice], x: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the cluster (n,) of every row of features, -1 where there are no clusters."""
    centers = np.array([s["center"] for s in slices if s["kind"] == "cluster"], np.float64)
    if not len(centers) or not len(x):
        return np.full(len(x), -1, np.int64)
    return assign(torch.from_numpy(np.ascontiguousarray(x)), centers)[0]


class Members:
    """Which of some examples lie in a slice, by what is known of them: labels, metadata, cluster.

    labels: of the rows, -1 where unknown; those lie in no class.
    """

    def __init__(
        self,
        data: FlywheelData,
        slices: Sequence[Slice],
        rows: NDArray[np.int64],
        labels: NDArray[np.int64] | None = None,
    ) -> None:
        self.data, self.rows = data, rows
        self.labels = data.labels[rows] if labels is None else labels
        self.cluster = clusters_of(slices, data.features[rows])

    def of(self, one: Slice) -> NDArray[np.bool_]:
        """Return whether each row lies in a slice."""
        if one["kind"] in ("class", "pair"):
            return np.isin(self.labels, one["labels"])
        if one["kind"] == "metadata":
            return np.asarray(self.data.metadata[one["column"]][self.rows] == one["value"])
        if one["kind"] == "cluster":
            return np.asarray(self.cluster == one["cluster"])
        raise ValueError(f"slice {one['name']!r}: unknown kind {one['kind']!r}")


def frozen_slices(data: FlywheelData, slices: Sequence[Slice], smallest: int) -> list[str]:
    """Return the names of the slices that versions are judged on: classes and metadata of which the
    test set has `smallest` examples.
    """
    members = Members(data, slices, data.at("test"))
    kinds = ("class", "metadata")
    return [s["name"] for s in slices if s["kind"] in kinds and members.of(s).sum() >= smallest]
