"""A choice that people have overruled: what they dropped is no candidate, what they pinned comes
first, what they kept comes on top.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset.core.overrules import Overrules
from coreset.core.pool import Indices, Pool
from coreset.core.selection import Selection


@dataclass(frozen=True, eq=False)
class Overruling:
    """Decisions of people as positions in a pool. pinned, kept: in the order of the file, those
    that are selected already left out; dropped; labels: new label by position.

    >>> from coreset.core.overrules import Overrule
    >>> overrules = Overrules(
    ...     {"b": Overrule("b", "pin", "ana", "now"), "c": Overrule("c", "drop", "bo", "now")}, {}
    ... )
    >>> one = Overruling.of(overrules, Pool(4, ids=np.array(["a", "b", "c", "d"])))
    >>> one.pool.selected, one.pool.candidates
    (array([1]), array([0, 3]))
    >>> one.answer(Selection([3])).indices
    array([1, 3])
    """

    pool: Pool
    pinned: Indices
    kept: Indices
    dropped: Indices
    labels: Mapping[int, str]
    overrules: Overrules

    @classmethod
    def of(cls, overrules: Overrules, pool: Pool) -> Overruling:
        """Return the decisions about a pool, with the pool as they leave it.

        Raises ValueError for ids that the pool does not have. Without ids of its own a pool's rows
        are named by their positions.
        """
        places = {str(k): i for i, k in enumerate(pool.ids.tolist())}
        strange = [k for k in overrules.ids if k not in places]
        if strange:
            raise ValueError(
                f"{overrules.source}: {len(strange)} ids are in no row of the pool, first"
                f" {strange[0]!r}"
            )
        taken = set(pool.selected.tolist())

        def at(action: str) -> Indices:
            rows = [places[k] for k in overrules.of(action)]
            return np.array([i for i in rows if i not in taken], np.int64)

        pinned, kept, dropped = at("pin"), at("keep"), at("drop")
        free = np.setdiff1d(pool.candidates, np.concatenate([pinned, kept, dropped]))
        selected = np.concatenate([pool.selected, pinned])
        left = Pool(pool.size, selected, free, pool.ids)
        labels = {places[k]: label for k, label in overrules.labels.items()}
        return cls(left, pinned, kept, dropped, labels, overrules)

    def relabeled(self, labels: Any) -> NDArray[Any]:
        """Return a column of labels (N,) with the new ones in it. Raises ValueError for a label
        that is no whole number where the column holds such.
        """
        out = np.array(labels)
        for row, label in self.labels.items():
            try:
                out[row] = int(label) if out.dtype.kind in "iu" else label
            except ValueError as error:
                raise ValueError(
                    f"{self.overrules.source}: {label!r} is no class number, the labels are"
                    f" {out.dtype}"
                ) from error
        return out

    def answer(self, chosen: Selection) -> Selection:
        """Return a choice with the pinned rows before it and the kept ones behind it."""
        indices = np.concatenate([self.pinned, chosen.indices, self.kept])
        ends = (len(self.pinned), len(self.kept))

        def padded(values: NDArray[np.float64] | None, fill: float) -> NDArray[np.float64] | None:
            return None if values is None else np.pad(values, ends, constant_values=fill)

        ids = self.pool.ids[indices]
        sentences = {
            i: one.said for i, k in enumerate(ids.tolist()) if (one := self.overrules.get(str(k)))
        }
        mine = list(chosen.reasons) if chosen.reasons is not None else [""] * len(chosen)
        reasons = [""] * ends[0] + mine + [""] * ends[1]
        for i, text in sentences.items():
            reasons[i] = text
        counts = {a: len(self.overrules.of(a)) for a in ("pin", "keep", "drop")}
        about = {"overrules": {**counts, "relabel": len(self.labels)}}
        return Selection(
            indices, padded(chosen.weights, 1.0), padded(chosen.scores, np.nan),
            reasons if sentences or chosen.reasons is not None else None,
            ids if chosen.ids is not None or sentences else None, {**chosen.info, **about},
        )  # fmt: skip
