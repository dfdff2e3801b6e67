"""Decisions of people over those of a turn: what is out, what is bought before all else, labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset.core.overrules import Overrules
from coreset.flywheel.data import FROZEN, FlywheelData

SLICE = "overruled"  # stands for a slice in the batch


@dataclass(frozen=True)
class Overruled:
    """What people say about the examples of a flywheel, by id.

    pinned: in the batch before all others, within the budget. kept: in the batch on top of the
    budget. dropped: no candidate, and out of the training set. labels: class numbers that replace
    those of the training set and of the oracle, which is not asked. said: every decision in words.

    >>> from coreset.core.overrules import Overrule
    >>> data = FlywheelData(
    ...     ["a", "b", "c", "d"],
    ...     [0, -1, 1, 0],
    ...     ["train", "pool", "test", "dev"],
    ...     [[0.0], [1.0], [2.0], [3.0]],
    ...     ("x", "y"),
    ... )
    >>> overrules = Overrules({"b": Overrule("b", "pin", "ana", "now", "rare")}, {"a": "y"})
    >>> one = Overruled.of(overrules, data)
    >>> one.pinned, dict(one.labels), one.said["b"]
    (('b',), {'a': 1}, 'pin by ana: rare')
    """

    pinned: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    dropped: frozenset[str] = frozenset()
    labels: Mapping[str, int] = field(default_factory=dict)
    said: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, overrules: Overrules, data: FlywheelData) -> Overruled:
        """Return decisions as they hold for a flywheel's data.

        Raises ValueError for ids that the data do not have, examples that are frozen (dev, test,
        canary: versions are judged on them) and labels that are no class.
        """
        ids = np.array(overrules.ids, str)
        strange = ids[~data.knows(ids)] if len(ids) else ids
        if len(strange):
            raise ValueError(
                f"{overrules.source}: {len(strange)} ids are not in the data, first"
                f" {str(strange[0])!r}"
            )
        rows = data.where(ids) if len(ids) else np.empty(0, np.int64)
        frozen = np.isin(data.roles[rows], FROZEN)
        if frozen.any():
            at = rows[frozen][0]
            raise ValueError(
                f"{overrules.source}: {str(data.ids[at])!r} is of {data.roles[at]}: versions are"
                " judged on it, nobody's decision changes it"
            )
        labels = {
            k: _number(v, data.classes, overrules.source) for k, v in overrules.labels.items()
        }
        sentences = {k: one.said for k, one in overrules.items()}
        for key, label in overrules.labels.items():
            sentences[key] = "; ".join(
                [*([sentences[key]] if key in sentences else []), f"relabel to {label}"]
            )
        return cls(
            tuple(overrules.of("pin")), tuple(overrules.of("keep")),
            frozenset(overrules.of("drop")), labels, sentences,
        )  # fmt: skip

    def wanted(self, data: FlywheelData, version_ids: Any, clean: NDArray[np.int64]) -> None:
        """Raise ValueError where a row to be bought is a leak: `clean` (n,) are the positions of
        the pool's rows that are none.
        """
        for name in (*self.pinned, *self.kept):
            if name not in version_ids and int(data.where([name])[0]) not in clean:
                raise ValueError(
                    f"overrules: {name!r} shares a group with a frozen example or copies one; a"
                    " person can allow it (allowed=FILE), pin and keep cannot"
                )


def _number(label: str, classes: tuple[str, ...], source: str) -> int:
    if label in classes:
        return classes.index(label)
    if label.isdigit() and int(label) < len(classes):
        return int(label)
    raise ValueError(
        f"{source}: label {label!r:.80} is no class; expected {', '.join(classes[:20])}"
    )
