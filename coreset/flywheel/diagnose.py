"""Weak slices: where the model in force errs more than elsewhere, and more rows would help."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset.flywheel.slices import UNKNOWN, Members, Slice
from coreset.flywheel.stage import Artifact, Turn
from coreset.flywheel.statistics import excess_test, mean_interval, rows_needed, share_ratio

COLUMNS = (
    "name", "kind", "rows", "error", "low", "high", "rest", "excess", "p", "share_train",
    "share_dev", "ratio", "verdict",
)  # fmt: skip

_FAR = 10  # times a slice's rows, beyond which its excess is too small to speak of


@dataclass(frozen=True)
class Diagnose:
    """Name the slices of the development set whose error is above the rest after Holm.

    A metadata slice is compared with the other rows of the same classes: a camera with hard classes
    is not weak for that. Of a class, a pair or a cluster, error alone says nothing, since some
    classes are hard however many rows there are: it is weak only when it is also *lacking*, its
    share among the training rows below `lack` times its share in the development set (upper end of
    the interval). One that errs more but lacks nothing is listed as `hard`, one that lacks rows but
    does not err provably more as `lacking`, and nothing is bought for either. How many development
    rows would prove a lacking one's excess, were it as large as it looks, is in the fact `unproven`
    (see `rows_needed`), as far as it is at most ten times the rows that there are.

    content: metadata columns that say what is in an example, as the size of objects, and not whence
    it comes: their slices are hard or easy as classes are and are named as those are.

    The slice of the smallest p is named first and its rows are taken out before the next is looked
    for, so that a cluster is not named for the rows of a camera; pairs come after classes and
    metadata, clusters last. Slices of fewer than `smallest` rows are too small to tell. alpha:
    chance of any false name (Holm, 1979).
    """

    alpha: float = 0.05
    smallest: int = 30
    lack: float = 0.8
    content: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1 or not 0 < self.lack <= 1 or self.smallest < 2:
            raise ValueError(
                "diagnose: expected alpha in (0, 1), lack in (0, 1] and smallest of at least 2, got"
                f" {self.alpha}, {self.lack}, {self.smallest}"
            )

    def run(self, turn: Turn) -> Artifact:
        """Return the weak slices, the hard ones, and the table of all that were looked at."""
        data, trainings = turn.data, turn.trainings
        at = trainings.of_role("dev")
        rows = trainings.rows[at]
        errors = trainings.errors(turn.version, turn.seeds)[:, at].mean(axis=0)
        columns = {n: c[at] for n, c in trainings.columns(turn.version, turn.seeds[0]).items()}
        predicted = turn.measure.predicted(columns)
        members = Members(data, turn.slices, rows)
        train = Members(data, turn.slices, turn.train_rows(), turn.version.labels)
        candidates = [
            _Candidate(s, members.of(s), pair_errors(s, errors, members.labels, predicted),
                       int(train.of(s).sum()), *_known(turn, s), self.lack,
                       s["kind"] == "metadata" and s["column"] not in self.content)
            for s in turn.slices
            if s["kind"] != "pair" or predicted is not None
        ]  # fmt: skip
        small = [c.name for c in candidates if 0 < c.inside.sum() < self.smallest]
        tested = [c for c in candidates if c.inside.sum() >= self.smallest]
        weak, hard = self._name(tested, members.labels, turn)
        table = [c.row(errors) for c in tested]
        weak_names = [w["name"] for w in weak]
        rare = [
            c.name
            for c in tested
            if c.kind in ("class", "metadata") and c.lacking and c.name not in weak_names
        ]
        verdicts = {n: "lacking" for n in rare} | {n: "hard" for n in hard}
        verdicts |= {n: "weak" for n in weak_names}
        for row in table:
            row["verdict"] = verdicts.get(row["name"], "")
        answer = (
            f"{len(weak)} weak: {', '.join(weak_names)}" if weak else "no weak slice: random audit"
        )
        low, high = mean_interval(errors)
        facts = {
            "answer": answer,
            "weak": weak,
            "hard": hard,
            "lacking": rare,
            "unproven": self._unproven([c for c in tested if c.name in rare], len(tested)),
            "too_small": small,
            "tested": len(tested),
            "error": float(errors.mean()),
            "interval": [low, high],
            "measured_on": len(rows),
        }
        return Artifact(facts, {"slices": {n: [r[n] for r in table] for n in COLUMNS}})

    def _unproven(self, lacking: Sequence[_Candidate], tested: int) -> list[dict[str, Any]]:
        """Return rows, excess and p of the lacking slices, with the rows that would prove them."""
        out = []
        for c in lacking:
            rows = int(c.inside.sum())
            needed = rows_needed(rows, c.p, self.alpha / max(tested, 1))
            if needed <= _FAR * rows:
                about = {"name": c.name, "rows": rows, "excess": c.excess, "p": c.p}
                out.append({**about, "needed": int(np.ceil(needed))})
        return sorted(out, key=lambda line: line["p"])

    def _name(
        self, tested: Sequence[_Candidate], labels: NDArray[np.int64], turn: Turn
    ) -> tuple[list[dict[str, Any]], list[str]]:
        """Return the weak slices in the order of their naming, and the names of the hard ones."""
        free = np.ones(len(labels), bool)
        weak: list[dict[str, Any]] = []
        left = len(tested)
        for tier in (("class", "metadata"), ("pair",), ("cluster",)):
            open_ = [c for c in tested if c.kind in tier]
            while open_:
                for c in open_:
                    c.test(free, labels, turn.rng("diagnose", len(weak)), self.smallest)
                best = min(
                    (c for c in open_ if c.source or c.lacking),
                    key=lambda c: c.p,
                    default=None,
                )
                if best is None or best.p * left > self.alpha:
                    break
                weak.append(
                    {**best.about(), "rows": int((best.inside & free).sum()), "p": best.p,
                     "p_holm": min(1.0, best.p * left), "excess": best.excess}
                )  # fmt: skip
                free &= ~best.inside
                open_.remove(best)
                left -= 1
        named = {w["name"] for w in weak}
        everywhere = np.ones(len(labels), bool)
        for c in tested:
            c.test(everywhere, labels, turn.rng("diagnose", len(weak)), self.smallest)
        bar = self.alpha / max(len(tested), 1)
        hard = [
            c.name
            for c in tested
            if c.kind in ("class", "metadata")
            and not c.source
            and c.p <= bar
            and not c.lacking
            and c.name not in named
        ]
        return weak, hard


def _known(turn: Turn, one: Slice) -> tuple[int, int]:
    """Return of how many training and development rows it is known whether they lie in a slice."""
    rows, dev = turn.train_rows(), turn.data.at("dev")
    if one["kind"] != "metadata":
        return len(rows), len(dev)
    column = turn.data.metadata[one["column"]]
    return int((column[rows] != UNKNOWN).sum()), int((column[dev] != UNKNOWN).sum())


class _Candidate:
    """A slice under test: inside (n,) of the development rows, errors (n,) as it counts them.

    trained: training rows in it; version, dev: rows of which that is known; source: whether it says
    whence examples come, so that errors alone make it weak.
    """

    def __init__(
        self, one: Slice, inside: NDArray[np.bool_], errors: NDArray[np.float64],
        trained: int, version: int, dev: int, lack: float, source: bool,
    ) -> None:  # fmt: skip
        self.name, self.kind, self.inside, self.errors = one["name"], one["kind"], inside, errors
        self.trained, self.share = trained, trained / max(version, 1)
        self.ratio, upper = share_ratio(trained, version, int(inside.sum()), dev)
        self.lacking = self.ratio < lack and upper < lack
        self.source = source
        self.production = int(inside.sum()) / max(dev, 1)
        self.excess, self.p = 0.0, 1.0

    def test(
        self,
        free: NDArray[np.bool_],
        labels: NDArray[np.int64],
        rng: np.random.Generator,
        smallest: int,
    ) -> None:
        """Test the slice on the rows that no other slice explains."""
        inside = (self.inside & free)[free]
        strata = labels[free] if self.kind == "metadata" else np.zeros(int(free.sum()), np.int64)
        if inside.sum() < smallest:
            self.excess, self.p = 0.0, 1.0
        else:
            self.excess, self.p = excess_test(self.errors[free], inside, strata, rng)

    def about(self) -> dict[str, Any]:
        """Return what the slice is, for the facts."""
        ratio = self.ratio
        return {"name": self.name, "kind": self.kind, "lacking": self.lacking, "ratio": ratio}

    def row(self, errors: NDArray[np.float64]) -> dict[str, Any]:
        """Return the slice's line in the table, tested on all rows."""
        own = self.errors[self.inside]
        low, high = mean_interval(own)
        return {
            "name": self.name,
            "kind": self.kind,
            "rows": int(self.inside.sum()),
            "error": float(own.mean()),
            "low": low,
            "high": high,
            "rest": float(errors[~self.inside].mean()) if not self.inside.all() else float("nan"),
            "excess": self.excess,
            "p": self.p,
            "share_train": self.share,
            "share_dev": self.production,
            "ratio": self.ratio,
        }


def pair_errors(
    one: Slice,
    errors: NDArray[np.float64],
    labels: NDArray[np.int64],
    predicted: NDArray[np.int64] | None,
) -> NDArray[np.float64]:
    """Return the errors as a slice counts them: of a pair of classes only confusions between the
    two, while the rest keeps all its errors.
    """
    if one["kind"] != "pair" or predicted is None:
        return errors
    i, j = one["labels"]
    inside = np.isin(labels, (i, j))
    confused = inside & np.isin(predicted, (i, j)) & (predicted != labels)
    out = errors.copy()
    out[inside] = confused[inside]
    return out
