"""Which examples the next epoch trains on, with which weights: selection that changes while a model
trains. Knows nothing of Lightning.

InfoBatch: Qin et al., "InfoBatch: Lossless Training Speed Up by Unbiased Dynamic Data Pruning",
ICLR 2024 (arXiv:2303.04947). RS2: Okanovic et al., "Repeated Random Sampling for Minimizing the
Time-to-Accuracy of Learning", ICLR 2024 (arXiv:2305.18424). Adaptive, with warm start: Killamsetty
et al., "GRAD-MATCH: Gradient Matching based Data Subset Selection for Efficient Deep Model
Training", ICML 2021 (arXiv:2103.00123), section 5.

All of them see the labels of the whole pool over time: at the same number of examples per epoch
they have more labels than a fixed subset.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import ArrayLike, NDArray

from coreset.core.pool import Pool, as_indices
from coreset.core.signals import Signals
from coreset.core.strategy import Strategy
from coreset.numerics.random import keyed_order

Choice = tuple[NDArray[np.int64], NDArray[np.float64]]
_ORDER, _PICK, _PASS = range(3)  # random streams of an epoch


class EpochPlan(ABC):
    """Rows and weights of one epoch after the other: `over` binds a plan to a pool, `update`
    records losses, `epoch` answers.

    Everything follows from (seed, epoch), keyed by row id, and from the recorded losses. A plan
    pickles and deep-copies; `state_dict` holds it in the middle of an epoch, in tensors. Where
    torch.distributed is initialized, `epoch` (at a new number) and `state_dict` gather the losses
    of all ranks, so every rank must call them; all ranks get the same choice.
    """

    by_strategy: ClassVar[bool] = False  # whether a Strategy chooses

    rows: NDArray[np.int64]
    ids: NDArray[Any]
    names: NDArray[Any] | None
    losses: NDArray[np.float64]
    k: int
    seed: int
    number: int

    def over(
        self,
        rows: int | ArrayLike,
        *,
        k: int | None = None,
        ids: ArrayLike | None = None,
        seed: int = 0,
    ) -> Self:
        """Return a fresh plan over a pool.

        rows: how many examples there are, or their positions in the whole dataset. k: examples per
        epoch, where the plan lets one say (default: all). ids: names of all examples of the dataset
        (default: their positions).
        """
        plan = copy.deepcopy(self)
        given = np.asarray(rows)
        if given.ndim == 0:
            given = np.arange(int(given))
        if not given.size:
            raise ValueError("rows: expected at least one example")
        plan.rows = np.sort(as_indices(given, int(given.max()) + 1, "rows"))
        plan.names = None if ids is None else np.asarray(ids)
        plan.ids = plan.rows if plan.names is None else plan.names[plan.rows]
        plan.k = len(plan.rows) if k is None else int(k)
        if not 1 <= plan.k <= len(plan.rows):
            raise ValueError(f"k: expected 1 to {len(plan.rows)} examples per epoch, got {k}")
        plan.seed, plan.number = int(seed), -1
        plan.losses = np.full(len(plan.rows), np.nan)
        plan._pending = []
        return plan

    _pending: list[tuple[Any, Any]]
    _places: NDArray[np.int64]
    _weights: NDArray[np.float64]

    @property
    def stretch(self) -> float:
        """How many planned epochs the first one is worth: progress in epochs must be multiplied by
        it. 1 where epochs are not planned in examples.
        """
        return 1.0

    def update(self, indices: Any, losses: Any) -> None:
        """Record one batch of this rank: positions (B,) in the whole dataset and their losses (B,),
        without weights, tensors or arrays. They count from the next epoch on.
        """
        shape = tuple(losses.shape if isinstance(losses, torch.Tensor) else np.shape(losses))
        if shape != (len(indices),):
            raise ValueError(
                f"losses: expected one per example, shape ({len(indices)},), got {shape}"
            )
        keep = [
            v.detach().clone() if isinstance(v, torch.Tensor) else np.array(v)
            for v in (indices, losses)
        ]
        # stays on its device until somebody asks: no wait in every step
        self._pending.append((keep[0], keep[1]))

    def due(self, number: int, progress: float) -> bool:
        """Return whether `choose` must be called before epoch `number`."""
        return False

    def epoch(self, number: int, progress: float = 0.0) -> Choice:
        """Return positions (m,) in the order of training and weights (m,) of epoch `number`.

        progress: share of the training that is done, in [0, 1]. Asked again for the same number it
        gives the same answer.
        """
        if number != self.number:
            rows, losses = self._gathered()
            self.losses[self._place(rows)] = losses
            self._pending = []
            places, weights = self._choose(number, progress)
            order = keyed_order(self._rng(number, _ORDER), self.ids[places])
            self._places, self._weights, self.number = places[order], weights[order], number
        return self.rows[self._places], self._weights

    @abstractmethod
    def _choose(self, number: int, progress: float) -> Choice:
        """Return places in `rows` and their weights, in any order."""

    def weights_of(self, indices: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the weights (B,) of positions in this epoch;
        ValueError for one that is not in it.
        """
        places = self._place(indices)
        column = np.full(len(self.rows), np.nan)
        column[self._places] = self._weights
        if np.isnan(column[places]).any():
            raise ValueError(
                f"indices: position {int(indices[np.isnan(column[places])][0])} is not in epoch"
                f" {self.number}"
            )
        return np.asarray(column[places])

    def _all(self) -> Choice:
        return np.arange(len(self.rows)), np.ones(len(self.rows))

    def _rng(self, number: int, stream: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, stream, number])

    def _place(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        place = np.minimum(np.searchsorted(self.rows, positions), len(self.rows) - 1)
        wrong = self.rows[place] != positions
        if wrong.any():
            raise ValueError(
                f"indices: position {int(positions[wrong][0])} is not in this plan's pool of"
                f" {len(self.rows)} examples"
            )
        return place

    def _gathered(self) -> Choice:
        """Return what was recorded since the epoch began on all ranks; whole numbers and losses
        never share an array.
        """
        mine = (
            _joined([p[0] for p in self._pending], np.int64),
            _joined([p[1] for p in self._pending], np.float64),
        )
        if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
            return mine
        everyone: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(everyone, mine)
        return np.concatenate([e[0] for e in everyone]), np.concatenate([e[1] for e in everyone])

    def state_dict(self) -> dict[str, Any]:
        """Return everything needed to go on from here, with the losses of all ranks."""
        rows, losses = self._gathered()
        arrays = {"losses": self.losses, "pending_rows": rows, "pending_losses": losses}
        if self.number >= 0:
            arrays |= {"places": self._places, "weights": self._weights}
        return {
            "size": len(self.rows),
            "k": self.k,
            "seed": self.seed,
            "number": self.number,
            **{n: torch.tensor(v) for n, v in arrays.items()},
        }

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Go on from `state_dict()`. ValueError when the pool, k or the seed is another."""
        for name, here in (("size", len(self.rows)), ("k", self.k), ("seed", self.seed)):
            if saved[name] != here:
                raise ValueError(f"{name}: this plan has {here} but the saved state {saved[name]}")
        arrays = {
            n: v.cpu().numpy().copy() for n, v in saved.items() if isinstance(v, torch.Tensor)
        }
        self.number, self.losses = int(saved["number"]), arrays["losses"]
        self._pending = [(arrays["pending_rows"], arrays["pending_losses"])]
        if self.number >= 0:
            self._places, self._weights = arrays["places"], arrays["weights"]


def _joined(parts: list[Any], kind: Any) -> NDArray[Any]:
    """Return tensors and arrays of one dimension as one array; losses of any precision become
    float64.
    """
    parts = [
        (
            p.double().cpu().numpy()
            if isinstance(p, torch.Tensor) and p.is_floating_point()
            else np.asarray(p.cpu() if isinstance(p, torch.Tensor) else p)
        )
        for p in parts
    ]
    return np.concatenate([np.empty(0, kind), *parts]).astype(kind)


@dataclass(eq=False)
class InfoBatch(EpochPlan):
    """Leave out a random part of the easy examples, and weigh those of them that stay so much more
    that the expected gradient is the same.

    Easy: last known loss below the mean of all. Of n easy examples int((1 - ratio) n) stay, with
    weight 1 / (1 - ratio); the others have weight 1. The first epoch takes all, and so does the
    last 1 - `delta` of the training. The choice is made anew each epoch; an example that was left
    out keeps its last loss, one without a finite loss is never easy. Weights are as published:
    their mean over an epoch is above 1, as its number of steps is below that of a full one.

    >>> plan = InfoBatch(ratio=0.5).over(4)
    >>> plan.update([0, 1, 2, 3], [0.0, 0.1, 0.2, 9.0])
    >>> sorted(plan.epoch(1)[1].tolist())
    [1.0, 2.0]
    """

    ratio: float = 0.5
    delta: float = 0.875

    def __post_init__(self) -> None:
        if not 0 <= self.ratio < 1:
            raise ValueError(
                "ratio: expected the share of easy examples to leave out, in [0, 1), got"
                f" {self.ratio}"
            )
        if not 0 <= self.delta <= 1:
            raise ValueError(
                "delta: expected the share of the training that leaves examples out, in [0, 1],"
                f" got {self.delta}"
            )

    def _choose(self, number: int, progress: float) -> Choice:
        known = np.isfinite(self.losses)
        if progress >= self.delta or not known.any():
            return self._all()
        easy = np.flatnonzero(
            known & (np.where(known, self.losses, np.inf) < self.losses[known].mean())
        )
        keep = 1 - self.ratio
        stay = easy[
            keyed_order(self._rng(number, _PICK), self.ids[easy])[: int(keep * len(easy) + 1e-9)]
        ]  # 0.1 * 10 is 1, not 0.99
        hard = np.setdiff1d(np.arange(len(self.rows)), easy)
        return np.concatenate([hard, stay]), np.concatenate(
            [np.ones(len(hard)), np.full(len(stay), 1 / keep)]
        )


@dataclass(eq=False)
class RS2(EpochPlan):
    """Take `k` examples at random each epoch, none again before all were taken: the baseline of
    selection that changes while training.

    Epochs are consecutive pieces of one random order after another. A piece that spans two orders
    holds the rest of the first and the beginning of the second without those.

    >>> plan = RS2().over(6, k=3)
    >>> sorted(np.concatenate([plan.epoch(n)[0] for n in (0, 1)]).tolist())
    [0, 1, 2, 3, 4, 5]
    """

    def __post_init__(self) -> None:
        self._turn: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, np.int64))

    def _order(self, turn: int) -> NDArray[np.int64]:
        """Return one order of all places; it begins with what completes the piece that the order
        before left unfinished.
        """
        size, k = len(self.rows), self.k
        if self._turn[0] > turn:
            self.__post_init__()
        while self._turn[0] < turn:
            now, before = self._turn[0] + 1, self._turn[1]
            order = keyed_order(self._rng(now, _PASS), self.ids)
            used = (now * size) % k
            wait = np.isin(order, before[size - used :])
            wait[np.flatnonzero(~wait)[(k - used) % k :]] = True
            self._turn = (now, np.concatenate([order[~wait], order[wait]]))
        return self._turn[1]

    def _choose(self, number: int, progress: float) -> Choice:
        size, start = len(self.rows), number * self.k
        turn, at = divmod(start, size)
        piece = self._order(turn)[at : at + self.k]
        if len(piece) < self.k:
            piece = np.concatenate([piece, self._order(turn + 1)[: self.k - len(piece)]])
        return piece, np.ones(self.k)


@dataclass(eq=False)
class Adaptive(EpochPlan):
    """Let a strategy choose `k` examples anew every `every` epochs from what the model at that
    moment says of them; its weights (mean 1) go to the loss.

    kappa: warm start on all data while less than this share of the training is done; of E epochs
    with k of N examples these are the published kappa E k / N full epochs. Before an epoch for
    which `due` says so, call `choose` with the model's signals.
    """

    every: int = 20
    kappa: float = 0.5
    strategy: Strategy | None = None

    by_strategy: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"every: expected a number of epochs of at least 1, got {self.every}")
        if not 0 <= self.kappa <= 1:
            raise ValueError(f"kappa: expected a share of the training in [0, 1], got {self.kappa}")
        self._chosen_at = -1
        self._subset, self._subset_weights = np.empty(0, np.int64), np.empty(0)

    @property
    def stretch(self) -> float:
        """N / k: so many planned epochs pass while the model sees all data once."""
        return len(self.rows) / self.k

    def due(self, number: int, progress: float) -> bool:
        """Return whether the warm start is over and the last choice, if any, `every` epochs old."""
        if self._chosen_at < 0:
            return number != self.number and progress >= self.kappa
        return number - self._chosen_at >= self.every

    def choose(self, number: int, signals: Signals) -> None:
        """Choose for the epochs from `number` on. signals: of the whole dataset, known at the rows
        of the pool.
        """
        if self.strategy is None:
            raise ValueError("strategy: adaptive selection needs one; give any registered strategy")
        pool = Pool(
            signals.size,
            candidates=self.rows,
            ids=np.arange(signals.size) if self.names is None else self.names,
        )
        chosen = self.strategy(pool, signals, self.k, self._rng(number, _PICK))
        weights = (
            np.ones(self.k)
            if chosen.weights is None
            else chosen.weights * (self.k / chosen.weights.sum())
        )
        self._subset, self._subset_weights, self._chosen_at = (
            self._place(chosen.indices),
            weights,
            number,
        )

    def _choose(self, number: int, progress: float) -> Choice:
        if self.due(number, progress):
            raise RuntimeError(
                f"epoch {number}: call choose({number}, signals) first, `due` says so"
            )
        return (self._subset, self._subset_weights) if self._chosen_at >= 0 else self._all()

    def state_dict(self) -> dict[str, Any]:
        """Return everything needed to go on from here."""
        state = super().state_dict() | {"chosen_at": self._chosen_at}
        return (
            state
            if self._chosen_at < 0
            else state
            | {
                "subset": torch.tensor(self._subset),
                "subset_weights": torch.tensor(self._subset_weights),
            }
        )

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Go on from `state_dict()`."""
        super().load_state_dict(saved)
        self._chosen_at = int(saved["chosen_at"])
        if self._chosen_at >= 0:
            self._subset, self._subset_weights = (
                saved["subset"].cpu().numpy().copy(),
                saved["subset_weights"].cpu().numpy().copy(),
            )
