"""MetaCLIP's balancing: rows of common entries are thinned out until no entry is seen much more
than t times.

Xu et al., "Demystifying CLIP Data", ICLR 2024 (arXiv:2309.16671), algorithm 1: with c_e the number
of rows that have entry e, p_e = min(1, t / c_e), and a row is kept with probability 1 - prod over
its entries of (1 - p_e). The paper's t is 20,000 for 400 million pairs and 170,000 for 2.5 billion.
Balance last: counts go stale when rows are dropped afterwards. Here a row's draw hangs on its id
alone, so that no sharding and no restart changes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset.core.batch import Batch, objects
from coreset.core.budget import budget_size
from coreset.curation.operators.base import Decision, Estimator, Filter
from coreset.numerics.random import keyed_uniform

Counts = NDArray[np.int64]
_SAMPLE = 2**17  # rows from which t is found for a target; a smaller pool is taken whole
ALL = ""


def keep_probability(
    entries: Sequence[Sequence[int]], p: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return 1 - prod (1 - p_e) over the entries of each row (n,); p (E,): the probability of each
    entry.

    >>> keep_probability([[0, 1], []], np.array([0.5, 0.2])).round(12).tolist()
    [0.6, 0.0]
    """
    return np.array([1 - np.prod(1 - p[np.asarray(e, np.int64)]) for e in entries], np.float64)


def tail_share(counts: Counts, t: float) -> float:
    """Return the share of all matches that belong to entries seen fewer than t times.

    >>> tail_share(np.array([1, 3, 6]), 5)
    0.4
    """
    return float(counts[counts < t].sum() / counts.sum())


def t_of_tail(counts: Counts, share: float) -> int:
    """Return the count up to which the rarest entries make up a share of all matches, the nearest
    there is: how t is carried over to another language.

    >>> t_of_tail(np.array([1, 3, 6]), 0.4)
    3
    """
    rising = np.sort(counts)
    return int(rising[int(np.abs(np.cumsum(rising) / rising.sum() - share).argmin())])


@dataclass(frozen=True, eq=False)
class EntryState:
    """counts: per group; sample: the entries, group and id hash of the rows with the smallest
    hashes.
    """

    counts: Mapping[str, Counts]
    rows: int
    sample: Sequence[tuple[float, str, tuple[int, ...]]]


def _added(a: Counts, b: Counts) -> Counts:
    long, short = (a, b) if len(a) >= len(b) else (b, a)
    out = long.copy()
    out[: len(short)] += short
    return out


@dataclass(frozen=True)
class BalanceEntries(Estimator):
    """Count every entry, then thin out: gives `keep_probability`. Reads `column`, lists of whole
    numbers such as `entries` of the scorer of that name.

    t: the count that an entry is brought down to, or target: rows to keep, as a count or a share of
    the rows counted, from which t follows (by bisection on the expected number; from a sample of
    131,072 rows in a larger pool). by: a column (language) whose values are balanced apart; t then
    belongs to `reference`, and every other value gets the t at which its tail has the same share of
    the matches. Rows without an entry are dropped. Raises ValueError for both or neither of t and
    target, and when nothing matched at all.
    """

    gives = frozenset({"keep_probability"})

    t: float | None = None
    target: int | float | None = None
    column: str = "entries"
    by: str | None = None
    reference: str = "en"
    seed: int = 0

    def __post_init__(self) -> None:
        if (self.t is None) == (self.target is None):
            raise ValueError(
                f"expected t or target, one of them, got t={self.t} and target={self.target}"
            )
        if self.t is not None and not self.t > 0:
            raise ValueError(f"t: expected a number above 0, got {self.t}")

    @property
    def needs(self) -> frozenset[str]:
        """Return the id, the entries and the groups."""
        return frozenset({"id", self.column, *([self.by] if self.by else [])})

    def _groups(self, batch: Batch) -> list[str]:
        return (
            [ALL] * batch.rows
            if self.by is None
            else ["" if g is None else str(g) for g in batch[self.by].tolist()]
        )

    def fit(self, batch: Batch) -> EntryState:
        """Return the counts and the sample of a batch."""
        groups, lists = self._groups(batch), batch[self.column].tolist()
        counts: dict[str, Counts] = {}
        for group in sorted(set(groups)):
            flat = [
                e
                for g, entries in zip(groups, lists, strict=True)
                if g == group
                for e in entries or ()
            ]
            counts[group] = np.bincount(np.array(flat, np.int64)).astype(np.int64)
        luck = keyed_uniform(self.seed + 1, batch["id"]).tolist()
        sample = (
            [(u, g, tuple(map(int, e))) for u, g, e in zip(luck, groups, lists, strict=True) if e]
            if self.target is not None
            else []
        )
        return EntryState(counts, sum(bool(e) for e in lists), sorted(sample)[:_SAMPLE])

    def to_state(self, state: EntryState) -> Any:
        """Return the counts, the rows and the sample in columns."""
        luck = np.array([u for u, _, _ in state.sample], np.float64)
        groups = [g for _, g, _ in state.sample]
        lists = [e for _, _, e in state.sample]
        ends = np.cumsum([len(e) for e in lists], dtype=np.int64)
        flat = np.array([i for e in lists for i in e], np.int64)
        return dict(state.counts), state.rows, luck, groups, flat, ends

    def from_state(self, plain: Any) -> EntryState:
        """Return the state of its plain form."""
        counts, rows, luck, groups, flat, ends = plain
        lists = [tuple(p.tolist()) for p in np.split(flat, ends[:-1])] if len(ends) else []
        return EntryState(counts, rows, list(zip(luck.tolist(), groups, lists, strict=True)))

    def merge(self, a: EntryState, b: EntryState) -> EntryState:
        """Return the sums and the smallest of both samples."""
        none = np.zeros(0, np.int64)
        counts = {
            g: _added(a.counts.get(g, none), b.counts.get(g, none))
            for g in sorted({*a.counts, *b.counts})
        }
        return EntryState(counts, a.rows + b.rows, sorted([*a.sample, *b.sample])[:_SAMPLE])

    def finish(self, state: EntryState) -> KeepByEntries:
        """Return the rule with a probability per entry and group."""
        if not state.rows:
            raise ValueError(f"{self.column}: no row has an entry, there is nothing to balance")
        t = self.t if self.t is not None else self._t_of_target(state)
        return KeepByEntries(self._probabilities(state.counts, t), self.column, self.by, self.seed)

    def _probabilities(
        self, counts: Mapping[str, Counts], t: float
    ) -> dict[str, NDArray[np.float64]]:
        own = {ALL: t} if self.by is None else self._by_tail(counts, t)
        return {g: np.minimum(1.0, own[g] / np.maximum(c, 1)) for g, c in counts.items()}

    def _by_tail(self, counts: Mapping[str, Counts], t: float) -> dict[str, float]:
        if not counts.get(self.reference, np.zeros(0)).any():
            raise ValueError(
                f"reference: no row with an entry has {self.by} '{self.reference}'; there are"
                f" {', '.join(sorted(counts))}"
            )
        share = tail_share(counts[self.reference], t)
        return {
            g: t if g == self.reference or not c.any() else float(t_of_tail(c[c > 0], share))
            for g, c in counts.items()
        }

    def _t_of_target(self, state: EntryState) -> float:
        assert self.target is not None
        wanted = budget_size(self.target, state.rows) / state.rows
        low, high = 0.0, float(max(c.max(initial=1) for c in state.counts.values()))
        for _ in range(60):
            middle = (low + high) / 2
            p = self._probabilities(state.counts, middle)
            share = np.mean([1 - np.prod(1 - p[g][list(e)]) for _, g, e in state.sample])
            low, high = (middle, high) if share < wanted else (low, middle)
        return high


@dataclass(frozen=True)
class KeepByEntries(Filter):
    """Keep a row with the probability that its entries give it. probabilities: {group: (E,)}, one
    group "" where there is no `by`.
    """

    gives = frozenset({"keep_probability"})

    probabilities: Mapping[str, Any] = field(default_factory=dict)
    column: str = "entries"
    by: str | None = None
    seed: int = 0

    @property
    def needs(self) -> frozenset[str]:
        """Return the id, the entries and the groups."""
        return frozenset({"id", self.column, *([self.by] if self.by else [])})

    def decide(self, batch: Batch) -> Decision:
        """Return the decision, drawn by id."""
        groups = (
            [ALL] * batch.rows
            if self.by is None
            else ["" if g is None else str(g) for g in batch[self.by].tolist()]
        )
        lists = [e or [] for e in batch[self.column].tolist()]
        p = np.array(
            [
                keep_probability([e], self.probabilities[g])[0]
                for g, e in zip(groups, lists, strict=True)
            ],
            np.float64,
        )
        keep = keyed_uniform(self.seed, batch["id"]) < p
        matched = np.array([bool(e) for e in lists], bool)
        reason = objects(
            [
                ("" if k else "thinned out: its entries are common") if m else "no entry"
                for k, m in zip(keep, matched, strict=True)
            ]
        )
        return Decision(keep & matched, reason, columns={"keep_probability": p})
