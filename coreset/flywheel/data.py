"""The examples a flywheel turns over: ids, labels, what each is for, and what is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset.core.store import fingerprint

ROLES = ("train", "pool", "dev", "test", "canary", "child")
FROZEN = ("dev", "test", "canary")  # never trained on, never mined
Strings = NDArray[np.str_]


@dataclass(frozen=True, eq=False)
class FlywheelData:
    """N examples, in the order of the learner's pool.

    ids (N,): unique texts, the only name by which an example is remembered. labels (N,) int64: of
    class or domain, -1 where unknown. roles (N,): `train` (version 1), `pool` (may be bought),
    `dev` (labeled, where weak slices are looked for), `test` (labeled, where versions are judged),
    `canary` (labeled, a small set that must never get worse), `child` (labeled, synthetic, made of
    other examples; never mined). features (N, D): where neighbors are
    looked for. classes: names of the label numbers. metadata: name to column (N,) of texts, ""
    where unknown. groups (N,): source of an example (a patient, a video, a site), "" for none; no
    group may stand on both sides of the split. costs (N,): what a label costs, default 1.
    pictures (N, h, w, c) uint8, texts (N,): shown on the page. parents (N,): of a child the ids it
    was made of, joined by blanks, "" for the others.

    >>> data = FlywheelData(
    ...     ["a", "b", "c"], [0, 1, 0], ["train", "test", "dev"], [[0.0], [1.0], [2.0]], ("x", "y")
    ... )
    >>> data.at("test"), data.where(["b", "a"])
    (array([1]), array([1, 0]))
    """

    ids: Strings
    labels: NDArray[np.int64]
    roles: Strings
    features: NDArray[np.float32]
    classes: tuple[str, ...]
    metadata: Mapping[str, Strings] = field(default_factory=dict)
    groups: Strings | None = None
    costs: NDArray[np.float64] | None = None
    pictures: NDArray[np.uint8] | None = None
    texts: Strings | None = None
    parents: Strings | None = None

    def __post_init__(self) -> None:
        ids = np.asarray(self.ids).astype(str)
        size = len(ids)
        costs = np.ones(size) if self.costs is None else np.asarray(self.costs, np.float64)
        groups = np.full(size, "") if self.groups is None else np.asarray(self.groups).astype(str)
        parents = (
            np.full(size, "") if self.parents is None else np.asarray(self.parents).astype(str)
        )
        columns: dict[str, Any] = {
            "parents": parents,
            "ids": ids,
            "labels": np.asarray(self.labels, np.int64),
            "roles": np.asarray(self.roles).astype(str),
            "features": np.asarray(self.features, np.float32),
            "costs": costs,
            "groups": groups,
        }
        for name, shown in (("pictures", self.pictures), ("texts", self.texts)):
            if shown is not None and len(shown) != size:
                raise ValueError(f"{name}: expected {size} rows, one per id, got {len(shown)}")
        metadata = {str(k): np.asarray(v).astype(str) for k, v in self.metadata.items()}
        for name, column in [*columns.items(), *metadata.items()]:
            if len(column) != size:
                raise ValueError(f"{name}: expected {size} rows, one per id, got {len(column)}")
            object.__setattr__(self, name, column) if name in columns else None
        object.__setattr__(self, "metadata", metadata)
        object.__setattr__(self, "classes", tuple(map(str, self.classes)))
        self._check()

    def _check(self) -> None:
        unique, counts = np.unique(self.ids, return_counts=True)
        if (counts > 1).any():
            twice = str(unique[counts > 1][0])
            roles = ", ".join(self.roles[self.ids == twice])
            raise ValueError(f"ids: {twice!r} stands there {counts.max()} times, as {roles}")
        strange = sorted(set(self.roles) - set(ROLES))
        if strange:
            raise ValueError(f"roles: expected {', '.join(ROLES)}, got {', '.join(strange)}")
        for role in ("train", "dev", "test"):
            if not (self.roles == role).any():
                raise ValueError(f"roles: expected examples of {role}, there is none")
        bare = (self.labels < 0) & np.isin(self.roles, FROZEN)
        if bare.any():
            raise ValueError(
                f"labels: {int(bare.sum())} examples of {', '.join(FROZEN)} have none, first"
                f" {str(self.ids[bare][0])!r}; what a version is judged on must be labeled"
            )
        if self.labels.max() >= len(self.classes):
            raise ValueError(
                f"labels: expected numbers below {len(self.classes)}, the classes, got"
                f" {int(self.labels.max())}"
            )
        self._check_children()
        if self.features.ndim != 2 or not np.isfinite(self.features).all():
            raise ValueError(
                "features: expected finite numbers (N, D), got shape"
                f" {self.features.shape}, {int((~np.isfinite(self.features)).sum())} not finite"
            )
        if not np.isfinite(self.costs).all() or (self.costs <= 0).any():  # type: ignore[operator, arg-type, union-attr]
            raise ValueError("costs: expected finite numbers above 0")

    def _check_children(self) -> None:
        assert self.parents is not None
        child = self.roles == "child"
        wrong = (self.parents != "") != child
        if wrong.any():
            raise ValueError(
                f"parents: expected ids for the examples of role child and for no other, not so for"
                f" {str(self.ids[wrong][0])!r}"
            )
        if (self.labels[child] < 0).any():
            raise ValueError("labels: a child needs the label that its parents give it")
        known = dict(zip(self.ids.tolist(), self.roles.tolist(), strict=True))
        for name, parents in zip(self.ids[child], self.parents[child], strict=True):
            for one in str(parents).split():
                if known.get(one) not in ("train", "pool"):
                    raise ValueError(
                        f"parents: {str(name)!r} is made of {one!r}, expected an example of train or"
                        f" pool, got {known.get(one, 'an unknown id')}"
                    )

    def at(self, *roles: str) -> NDArray[np.int64]:
        """Return the positions of the examples of some roles, in order."""
        return np.flatnonzero(np.isin(self.roles, roles)).astype(np.int64)

    def where(self, ids: Any) -> NDArray[np.int64]:
        """Return the positions of ids, in their order. Raises KeyError for one that is unknown."""
        wanted = np.asarray(ids).astype(str)
        order = np.argsort(self.ids, kind="stable")
        at = np.searchsorted(self.ids[order], wanted).clip(max=len(order) - 1)
        rows = order[at]
        wrong = np.asarray(self.ids[rows] != wanted)
        if wrong.any():
            raise KeyError(
                f"ids: {int(wrong.sum())} are not in the data, first {str(wanted[wrong][0])!r}"
            )
        return np.asarray(rows, np.int64)

    def knows(self, ids: Any) -> NDArray[np.bool_]:
        """Return which ids are in the data."""
        return np.isin(np.asarray(ids).astype(str), self.ids)

    def fingerprint(self, *roles: str) -> str:
        """Return 16 hex digits of the content of the examples of some roles, whatever else there
        is: the pool may grow from turn to turn.
        """
        rows = self.at(*roles)
        rows = rows[np.argsort(self.ids[rows], kind="stable")]
        parts = [self.ids, self.labels, self.roles, self.groups, self.features]
        parts += [self.metadata[name] for name in sorted(self.metadata)]
        texts = [p[rows].tolist() if p.dtype.kind == "U" else p[rows] for p in parts]  # type: ignore[union-attr,index]
        return fingerprint(texts, list(self.classes))
