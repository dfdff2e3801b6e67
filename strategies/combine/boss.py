"""BoSS, an oracle: of many batches of several strategies the one whose true labels teach most.

Huseljic, Hahn, Herde, Sandrock & Sick, "BoSS: A Best-of-Strategies Selector as an Oracle for Deep
Active Learning", 2026 (arXiv:2603.13109).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from coreset import Pool, Selection, Signals, Strategy
from coreset.numerics.held_out import held_out
from coreset.numerics.softmax_regression import fit_softmax, softmax_rows
from coreset.numerics.tensors import rows
from coreset.strategies.baseline.random import Random
from coreset.strategies.combine.parts import Combined, narrow
from coreset.strategies.combine.progressive import child, drawn
from coreset.strategies.coverage.kcenter import KCenterGreedy
from coreset.strategies.coverage.maxherding import MaxHerding
from coreset.strategies.coverage.typiclust import TypiClust
from coreset.strategies.coverage.uherding import UHerding
from coreset.strategies.gradient.alfamix import AlfaMix
from coreset.strategies.gradient.badge import Badge
from coreset.strategies.gradient.bait import Bait
from coreset.strategies.gradient.dropquery import DropQuery
from coreset.strategies.uncertainty.margin import Margin

LOSSES = ("zero_one", "cross_entropy")


def published_members() -> tuple[Strategy, ...]:
    """Return the members of the released code that read no labels of candidates, in its order."""
    return (
        Random(),
        Margin(),
        KCenterGreedy(),
        Badge(),
        Bait(),
        TypiClust(),
        AlfaMix(),
        DropQuery(),
        MaxHerding(),
        UHerding(),
    )


def head_loss(
    x: NDArray[np.float64],
    y: NDArray[np.int64],
    test_x: NDArray[np.float64],
    test_y: NDArray[np.int64],
    c: float = 1.0,
    loss: str = "zero_one",
) -> float:
    """Return the mean loss at test_x (m, D), test_y of a linear head fitted to x (n, D), y (n,).

    The head: logistic regression with a squared penalty |W|^2 / (2 c) on the summed cross-entropy,
    none on the bias. Classes that are not in y have probability 0, kept at 1e-12 for cross_entropy.

    >>> x = np.array([[-1.0], [1.0]])
    >>> head_loss(x, np.array([0, 1]), 2 * x, np.array([0, 0]))
    0.5
    """
    classes, place = np.unique(y, return_inverse=True)
    probs = softmax_rows(fit_softmax(x, place, len(classes), c).logits(test_x))
    if loss == "zero_one":
        return float((classes[probs.argmax(axis=1)] != test_y).mean())
    place = np.searchsorted(classes, test_y).clip(max=len(classes) - 1)
    right = np.where(classes[place] == test_y, probs[np.arange(len(test_y)), place], 0.0)
    return float(-np.log(right.clip(min=1e-12)).mean())


@dataclass(frozen=True)
class Boss(Combined):
    """Take the best of many batches by their true labels: an upper curve, no way to label.

    Each batch is chosen by a member, drawn with equal chances, from a random part of the
    candidates. A linear head on the features is fitted to what is selected and the batch, and the
    batch of the lowest loss on the examples marked in the boolean column `validation` (N,), which
    are no candidates, is taken; ties to the first. Needs the labels of all of them, so that a run
    can use it in prune mode only.

    members: strategies. batches: how many are tried. subset: candidates in a random part, at least
    k. c: penalty of the head, see `head_loss`. loss: `zero_one` or `cross_entropy`. Weights and
    scores are the member's; info: `loss` of the batch taken, `losses` of all, `member` whose batch
    it is.

    >>> from coreset import select
    >>> x = np.array([[-2.0], [-1.0], [1.0], [2.0], [-1.5], [1.5]])
    >>> columns = {"features": x, "labels": np.array([0, 0, 1, 1, 0, 1])}
    >>> columns["validation"] = np.arange(6) > 3
    >>> options = {"members": [Random()], "batches": 20}
    >>> chosen = select("boss", 1, selected=[0], candidates=[1, 2, 3], options=options, **columns)
    >>> chosen.info["loss"]
    0.0
    """

    members: Sequence[Strategy] = field(default_factory=published_members)
    batches: int = 100
    subset: int = 2500
    c: float = 1.0
    loss: str = "zero_one"

    own = frozenset({"features", "labels", "validation"})
    random = True

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "members", tuple(self.members))
        strange = [type(s).__name__ for s in self.members if not isinstance(s, Strategy)]
        if strange:
            raise TypeError(
                f"members: expected strategies, got {strange}; from Hydra, instantiate with"
                " _convert_='all'"
            )
        if not self.members:
            raise ValueError("members: expected at least one strategy")
        for name in ("batches", "subset"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name}: expected a whole number from 1 on, got {value!r}")
        if not self.c > 0:
            raise ValueError(f"c: expected a positive number, got {self.c}")
        if self.loss not in LOSSES:
            raise ValueError(f"loss: expected {' or '.join(LOSSES)}, got {self.loss!r}")

    @property
    def parts(self) -> tuple[Strategy, ...]:
        """Return the members."""
        return tuple(self.members)

    @property
    def needs_selected(self) -> frozenset[str]:  # type: ignore[override]
        """Return what the members and the head read of what is selected."""
        return super().needs_selected | {"features", "labels"}

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Return the best of the batches."""
        test = held_out(pool, signals, ("features", "labels"))
        test = test[np.argsort(pool.ids[test])]
        labels = rows(signals.column("labels"), np.arange(pool.size)).cpu().numpy().astype(np.int64)
        read = np.concatenate([pool.candidates, pool.selected, test])
        unknown = read[labels[read] < 0]
        if len(unknown):
            raise ValueError(
                f"labels: an oracle knows all, but {len(unknown)} of {len(read)} are unknown (-1), "
                f"first position {int(unknown.min())}"
            )

        def features(at: NDArray[np.int64]) -> NDArray[np.float64]:
            return rows(signals.column("features"), at).double().cpu().numpy()

        best: Selection | None = None
        losses: list[float] = []
        member = ""
        for which in rng.integers(len(self.members), size=self.batches):
            part = narrow(pool, drawn(rng, pool, pool.candidates, max(k, self.subset)))
            answer = self.members[which](part, signals, k, child(rng))
            at = np.concatenate([pool.selected, answer.indices])
            at = at[np.argsort(pool.ids[at])]  # sums in the order of ids, however rows are arranged
            value = head_loss(
                features(at), labels[at], features(test), labels[test], self.c, self.loss
            )
            if best is None or value < min(losses):
                best, member = answer, type(self.members[which]).__name__
            losses.append(value)
        assert best is not None
        info = {"loss": min(losses), "losses": losses, "member": member}
        return Selection(best.indices, best.weights, best.scores, best.reasons, info=info)
