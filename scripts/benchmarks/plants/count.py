"""Counts of a planted test: which dropped rows were planted, against as many dropped at random."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

Drop = tuple[str, str | None]  # the reason, and the id of the row that it duplicates
DRAWS = 1000
TRAP = "trap: "  # begins a kind that must be kept


@dataclass(frozen=True)
class Plants:
    """Rows of real data and what was planted among them.

    columns: column to n values, `id` among them. kinds (n,): what was planted, "" for a row as it
    is; one that begins with `trap: ` looks like a plant and is none. families (n,): whole numbers;
    of a family of s rows s - 1 ought to go, where `copies` is true, and any of them may be the one
    that stays. Without copies the planted rows themselves ought to go. show (n,): each row in a
    few words.
    """

    columns: dict[str, Any]
    kinds: Sequence[str]
    families: NDArray[np.int64]
    copies: bool
    show: Sequence[str]

    def __post_init__(self) -> None:
        sizes = {len(v) for v in (*self.columns.values(), self.kinds, self.families, self.show)}
        if len(sizes) != 1:
            raise ValueError(f"expected columns, kinds and families of one length, got {sizes}")

    @cached_property
    def traps(self) -> NDArray[np.bool_]:
        """Return which rows are traps (n,)."""
        return np.array([k.startswith(TRAP) for k in self.kinds], bool)

    @cached_property
    def planted(self) -> NDArray[np.bool_]:
        """Return which rows are planted (n,), traps not."""
        return np.array([k != "" for k in self.kinds], bool) & ~self.traps


@dataclass(frozen=True)
class Operator:
    """What is asked. drops: the rows' columns to the dropped ids with their reasons."""

    name: str
    drops: Callable[[dict[str, Any]], dict[str, Drop]]


@dataclass(frozen=True)
class Task:
    """One question to one data set: its plants and the operators that claim to find them."""

    data: str
    what: str
    plants: Plants
    operators: Sequence[Operator]
    notes: Sequence[str] = field(default_factory=tuple)


def right(plants: Plants, dropped: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which of the dropped rows (n,) ought to go. Of a family that is dropped whole one is
    wrong: the one that was no plant.

    >>> kinds, families = ["", "exact", "", "exact", ""], np.array([0, 0, 1, 1, 2])
    >>> plants = Plants({"id": list("abcde")}, kinds, families, True, list("abcde"))
    >>> right(plants, np.array([True, False, True, True, True])).tolist()
    [True, False, False, True, False]
    """
    planted = plants.planted
    if not plants.copies:
        return dropped & planted
    size = np.bincount(plants.families[planted], minlength=plants.families.max() + 1)
    gone = np.bincount(plants.families[dropped], minlength=len(size))
    member = size[plants.families] > 0
    whole = gone[plants.families] > size[plants.families]
    good: NDArray[np.bool_] = dropped & member & ~plants.traps & (planted | ~whole)
    return good


def recalled(plants: Plants, good: NDArray[np.bool_]) -> dict[str, tuple[int, int]]:
    """Return by kind how many plants are gone, and how many there are. A family stands for the
    kind of its plant.

    >>> plants = Plants({"id": ["a", "b"]}, ["", "exact"], np.array([0, 0]), True, ["a", "b"])
    >>> recalled(plants, np.array([True, False]))
    {'exact': (1, 1)}
    """
    hit = np.bincount(plants.families[good], minlength=plants.families.max() + 1)
    out: dict[str, tuple[int, int]] = {}
    for row in np.flatnonzero(plants.planted).tolist():
        kind = plants.kinds[row]
        away = bool(hit[plants.families[row]]) if plants.copies else bool(good[row])
        have, of = out.get(kind, (0, 0))
        out[kind] = (have + away, of + 1)
    return out


def share(hits: int, of: int) -> dict[str, Any]:
    """Return a share with Wilson's 95 % interval, None of nothing.

    >>> share(0, 10)
    {'hits': 0, 'of': 10, 'share': 0.0, 'low': 0.0, 'high': 0.2775}
    """
    if of == 0:
        return {"hits": 0, "of": 0, "share": None, "low": None, "high": None}
    interval = binomtest(hits, of).proportion_ci(0.95, method="wilson")
    low, high = round(float(interval.low), 4), round(float(interval.high), 4)
    return {"hits": hits, "of": of, "share": round(hits / of, 4), "low": low, "high": high}


def at_random(plants: Plants, drops: int, seed: int) -> dict[str, Any]:
    """Return precision and recall of dropping as many rows at random: means of 1,000 draws and the
    range of the middle 95 %.
    """
    rng, n = np.random.default_rng(seed), len(plants.kinds)
    hits = np.empty(DRAWS)
    for draw in range(DRAWS):
        dropped = np.zeros(n, bool)
        dropped[rng.choice(n, drops, replace=False)] = True
        hits[draw] = right(plants, dropped).sum()
    out: dict[str, Any] = {"draws": DRAWS}
    for name, of in (("precision", drops), ("recall", int(plants.planted.sum()))):
        low, high = np.quantile(hits, [0.025, 0.975]) / max(1, of)
        out[name] = {
            "share": round(float(hits.mean()) / of, 4) if of else None,
            "low": round(float(low), 4),
            "high": round(float(high), 4),
        }
    return out


def judge(plants: Plants, drops: dict[str, Drop], seed: int = 0) -> dict[str, Any]:
    """Return precision, recall in all and by kind, random removal of equal size, which traps were
    dropped, and every false drop. A drop that names a row of another family as what it duplicates
    is false. Raises ValueError for an id that is in no row.
    """
    ids = list(plants.columns["id"])
    unknown = sorted(set(drops) - set(ids))
    if unknown:
        raise ValueError(f"expected ids of the rows, got {unknown[0]!r}")
    dropped = np.array([i in drops for i in ids], bool)
    family = dict(zip(ids, plants.families.tolist(), strict=True))
    others = [drops[i][1] if i in drops else None for i in ids]
    astray = [
        o is not None and family.get(o) != family[i] for i, o in zip(ids, others, strict=True)
    ]
    good = right(plants, dropped & ~np.array(astray, bool))
    kinds = recalled(plants, good)
    shown = dict(zip(ids, plants.show, strict=True))
    false = []
    for row in np.flatnonzero(dropped & ~good).tolist():
        reason, other = drops[ids[row]]
        about = {"id": ids[row], "kind": plants.kinds[row], "row": shown[ids[row]]}
        false.append({**about, "reason": reason, "duplicate_of": shown.get(other or "", other)})
    # of a trap and the row it looks like neither may go
    away = set(plants.families[dropped].tolist()) if plants.copies else set()
    lost = sum(
        bool(dropped[row]) or int(plants.families[row]) in away
        for row in np.flatnonzero(plants.traps).tolist()
    )
    hits, of = sum(h for h, _ in kinds.values()), int(plants.planted.sum())
    return {
        "rows": len(ids),
        "dropped": int(dropped.sum()),
        "precision": share(int(good.sum()), int(dropped.sum())),
        "recall": share(hits, of),
        "kinds": {k: share(h, n) for k, (h, n) in kinds.items()},
        "traps": share(lost, int(plants.traps.sum())) if plants.traps.any() else None,
        "random": at_random(plants, int(dropped.sum()), seed),
        "false_drops": false,
    }
