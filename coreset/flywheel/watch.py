"""Drift: whether what production sends is still what versions are judged on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from coreset.flywheel.assemble import arm
from coreset.flywheel.slices import Members
from coreset.flywheel.stage import Artifact, Turn
from coreset.flywheel.versions import Version
from coreset.numerics.random import keyed_order

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Watch:
    """Compare production with the development set, in all and in every metadata slice: features by
    MMD (permutation test), predicted classes by total variation (the same); Holm over all.

    Production: the observed rows of this turn, else a random sample of the pool. sample: rows of
    each side at most; permutations: of every test. An alarm is a reason to look, and to open a
    turn.
    """

    alpha: float = 0.01
    sample: int = 400
    permutations: int = 999
    smallest: int = 50

    def run(self, turn: Turn) -> Artifact:
        """Return the comparisons and the alarms."""
        data = turn.data
        seen = turn.table("observe", "observations")["id"]
        source = "observations" if len(seen) else "pool"
        rows = np.unique(data.where(seen)) if len(seen) else data.at("pool")
        dev = data.at("dev")
        lines: list[tuple[str, str, int, float, float]] = []
        version = arm(turn, "candidate") if turn.facts("gate")["promoted"] else turn.version
        here, there = Members(data, turn.slices, dev), Members(data, turn.slices, rows)
        pairs: list[tuple[int, str, NDArray[np.int64], NDArray[np.int64]]] = []
        names = ["all", *(s["name"] for s in turn.slices if s["kind"] == "metadata")]
        by_name = {s["name"]: s for s in turn.slices}
        for i, name in enumerate(names):
            a = dev if name == "all" else dev[here.of(by_name[name])]
            b = rows if name == "all" else rows[there.of(by_name[name])]
            if min(len(a), len(b)) < self.smallest:
                continue
            rng = turn.rng("watch", i)
            a = a[keyed_order(rng, data.ids[a])][: self.sample]
            b = b[keyed_order(rng, data.ids[b])][: self.sample]
            pairs.append((i, name, a, b))
        predicted = self._predicted(turn, version, pairs)
        for i, name, a, b in pairs:
            rng = turn.rng("watch", i, 1)
            x = data.features[np.concatenate([a, b])]
            value, p = mmd_test(x, len(a), rng, self.permutations)
            lines.append((name, "features", len(b), value, p))
            if predicted:
                labels = np.array([predicted[r] for r in [*a.tolist(), *b.tolist()]])
                value, p = share_test(labels, len(a), rng, self.permutations)
                lines.append((name, "class share", len(b), value, p))
        order = np.argsort([line[4] for line in lines], kind="stable")
        alarms: list[str] = []
        for rank, at in enumerate(order.tolist()):
            name, what, _, _, p = lines[at]
            if p * (len(lines) - rank) > self.alpha:
                break
            alarms.append(f"{what} of {name}")
        facts = {
            "compared": source,
            "rows": len(rows),
            "alarms": sorted(alarms),
            "shared_with_training": int(np.isin(data.ids[rows], version.ids).sum()),
        }
        columns_of = ("slice", "what", "rows", "value", "p")
        table = {n: [line[i] for line in lines] for i, n in enumerate(columns_of)}
        return Artifact(facts, {"drift": table})

    def _predicted(self, turn: Turn, version: Version, pairs: Any) -> dict[int, int]:
        """Return the predicted class of every row that is compared; of no other, since a pool may
        be large. Empty where nothing is classified.
        """
        kept = turn.trainings.columns(version, turn.seeds[0])
        if not pairs or turn.measure.predicted(kept) is None:
            return {}
        rows = np.unique(np.concatenate([part for _, _, a, b in pairs for part in (a, b)]))
        reads = sorted(turn.measure.needs)
        columns = turn.trainings.signals(version, turn.seeds[0], rows, reads)
        classes = turn.measure.predicted(columns)
        assert classes is not None
        return dict(zip(rows.tolist(), classes.tolist(), strict=True))


def mmd_test(
    x: NDArray[np.float32], first: int, rng: np.random.Generator, permutations: int
) -> tuple[float, float]:
    """Return the squared MMD (unbiased, Gaussian kernel, width the median distance) of the first
    rows of x (n, D) and the others, and the p of a permutation test.

    Gretton et al., "A Kernel Two-Sample Test", JMLR 2012.
    """
    rows = torch.from_numpy(np.ascontiguousarray(x)).double()
    square = torch.cdist(rows, rows).square().numpy()
    width = float(np.median(square[square > 0])) if (square > 0).any() else 1.0
    kernel = np.exp(-square / width)
    np.fill_diagonal(kernel, 0.0)
    n, m = first, len(x) - first
    sides = np.zeros((permutations + 1, len(x)))
    sides[0, :first] = 1
    for i in range(1, permutations + 1):
        sides[i, rng.permutation(len(x))[:first]] = 1
    products = sides @ kernel
    aa = (products * sides).sum(axis=1)
    total = kernel.sum()
    ab = (products * (1 - sides)).sum(axis=1)
    bb = total - aa - 2 * ab
    values = aa / (n * (n - 1)) + bb / (m * (m - 1)) - 2 * ab / (n * m)
    return float(values[0]), float((values[1:] >= values[0] - 1e-12).sum() + 1) / (permutations + 1)


def share_test(
    labels: NDArray[np.int64], first: int, rng: np.random.Generator, permutations: int
) -> tuple[float, float]:
    """Return the total variation of the class shares of the first labels and the others, and the p
    of a permutation test.
    """
    classes = int(labels.max()) + 1
    hot = np.eye(classes)[labels]
    total = hot.sum(axis=0)
    values = []
    for i in range(permutations + 1):
        rows = np.arange(first) if i == 0 else rng.permutation(len(labels))[:first]
        own = hot[rows].sum(axis=0)
        values.append(
            0.5 * float(np.abs(own / first - (total - own) / (len(labels) - first)).sum())
        )
    above = sum(v >= values[0] - 1e-12 for v in values[1:])
    return values[0], (above + 1) / (permutations + 1)
