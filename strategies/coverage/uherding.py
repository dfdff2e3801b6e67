"""UHerding: MaxHerding in which uncertain examples count more; coverage at small budgets,
uncertainty at large ones.

Bae, Sutherland & Oliveira, "Uncertainty Herding: One Active Learning Method for All Label Budgets",
ICLR 2025 (arXiv:2412.20644); calibration error as in Guo, Pleiss, Sun & Weinberger, "On Calibration
of Modern Neural Networks", ICML 2017 (arXiv:1706.04599).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coreset import Pool, Selection, Signals, Strategy
from coreset.core.pool import Indices
from coreset.numerics.gradients import known_labels
from coreset.numerics.held_out import held_out
from coreset.numerics.neighbors.nearest import knn
from coreset.numerics.tensors import as_float, as_tensor, rows, unit_rows
from coreset.strategies.coverage.maxherding import check_neighbors, coverage_sums, herd
from coreset.strategies.uncertainty.margin import margin
from coreset.two_rounds import TwoRounds, filled_up, greedi

TEMPERATURES = np.arange(10, 200) / 10  # 1.0 to 19.9, as in the released code
_BINS = 15


def tempered(probs: Tensor, temperature: float) -> Tensor:
    """Return softmax(log(probs) / temperature), (N, C) float64: what a temperature on the logits
    would have given; zeros stay zeros.

    >>> tempered(torch.tensor([[0.2, 0.8]]), 0.5).tolist()[0][1].__round__(6)
    0.941176
    """
    return (probs.double().log() / temperature).softmax(dim=1)


def calibration_error(probs: Tensor, labels: Tensor) -> float:
    """Return how far confidence is from accuracy, 0 to 1: the mean of their difference over 15 bins
    of equal width, weighted by the examples (m,) in them.

    >>> calibration_error(torch.tensor([[0.75, 0.25], [0.75, 0.25]]), torch.tensor([0, 1]))
    0.25
    """
    confidence, predicted = probs.double().max(dim=1)
    bin_of = (confidence * _BINS).ceil().long().clamp(1, _BINS) - 1
    gap = (predicted == labels).double() - confidence
    return float(
        torch.zeros(_BINS, dtype=torch.float64, device=gap.device)
        .index_add(0, bin_of, gap)
        .abs()
        .sum()
        / len(gap)
    )


def calibrated_temperature(probs: Tensor, labels: Tensor) -> float:
    """Return the one of `TEMPERATURES` under which `probs` (m, C) have the smallest calibration
    error, ties to the lowest.
    """
    known = labels.to(probs.device)
    return float(
        min(TEMPERATURES, key=lambda t: calibration_error(tempered(probs, float(t)), known))
    )


def smallest_gap(x: Tensor) -> float:
    """Return the smallest positive distance between two rows of `x`; 1 when there is none.

    >>> smallest_gap(torch.tensor([[0.0], [3.0], [5.0], [5.0]]))
    2.0
    """
    distinct = torch.unique(x, dim=0)
    return float(knn(distinct, 1)[0].min()) if len(distinct) > 1 else 1.0


@dataclass(frozen=True)
class UHerding(Strategy, TwoRounds):
    """Take the candidate that adds most to the coverage of what the model is unsure about.

    Every candidate and every selected example is weighted by 1 - (p1 - p2). temperature: divides
    the logits first; `ece` takes, as the paper does, the one with the smallest expected calibration
    error on labeled examples that the model was not trained on, which the boolean column
    `validation` marks and which may not be chosen. width: the kernel's h; None takes the smallest
    positive distance between two selected examples (1, MaxHerding's, with fewer than two), as the
    paper does, so that the kernel sharpens as labels grow. normalize: unit length first. neighbors:
    see `MaxHerding`. Scores: weighted coverage added. info: `temperature`, `width`, `coverage`,
    `variant`.

    >>> from coreset import select
    >>> import numpy as np
    >>> x, p = np.array([[0.0], [1.0], [5.0]]), np.array([[1.0, 0.0], [1.0, 0.0], [0.5, 0.5]])
    >>> select("uherding", 1, features=x, probs=p, options={"normalize": False}).indices
    array([2])
    """

    temperature: float | str = 1.0
    width: float | None = None
    normalize: bool = True
    neighbors: int | str = "auto"

    sampled = True

    def __post_init__(self) -> None:
        check_neighbors(self.neighbors)
        if self.temperature != "ece" and (
            isinstance(self.temperature, str) or not self.temperature > 0
        ):
            raise ValueError(
                f"temperature: expected a positive number or 'ece', got {self.temperature!r}"
            )
        if self.width is not None and not self.width > 0:
            raise ValueError(f"width: expected a positive number, got {self.width}")

    @property
    def needs(self) -> frozenset[str]:
        """Return the columns read; `validation` only where the temperature is looked for."""
        return frozenset(
            {"features", "probs"} | ({"validation"} if self.temperature == "ece" else set())
        )

    @property
    def needs_selected(self) -> frozenset[str]:  # type: ignore[override]
        """Return what is read of the examples already taken, among which the held-out ones usually
        are.
        """
        return frozenset(
            {"features", "probs"} | ({"labels"} if self.temperature == "ece" else set())
        )

    @property
    def scales(self) -> Mapping[str, Mapping[str, float] | None]:
        """Columns whose multiples change no choice, with the power that scores and info carry."""
        return {"features": None} if self.normalize else {}

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Run the weighted greedy from `pool.selected`."""
        at = np.concatenate([pool.selected, pool.candidates])
        # ties go to the lowest id: by default the lowest position
        at = at[np.argsort(pool.ids[at])]
        x = as_float(rows(signals.column("features"), at))
        if self.normalize:
            x = unit_rows(x)
        temperature = self._temperature(pool, signals)
        weights = margin(tempered(rows(signals.column("probs"), at), temperature))
        taken = np.isin(at, pool.selected)
        labeled = np.flatnonzero(taken)
        width = self.width or smallest_gap(x[torch.from_numpy(labeled).to(x.device)])
        picks, added, coverage, variant = herd(
            x, k, labeled, np.flatnonzero(~taken), width, self.neighbors, weights
        )
        info = {
            "temperature": temperature,
            "width": width,
            "coverage": coverage,
            "variant": variant,
        }
        return Selection(at[picks], scores=added, info=info)

    def _temperature(self, pool: Pool, signals: Signals) -> float:
        """Return the temperature, looked for where it is not given."""
        if not isinstance(self.temperature, str):
            return self.temperature
        known = held_out(pool, signals, ("labels", "probs"))
        probs = rows(signals.column("probs"), known)
        return calibrated_temperature(probs, known_labels(signals, known, probs.shape[1]))

    def no_rounds(self) -> str:
        """Return that a temperature looked for has no two-round form: every part would find its
        own.
        """
        return "temperature=ece would be another in every part" if self.temperature == "ece" else ""

    def guarantee(self, partitions: int, k: int) -> tuple[str, float]:
        """Return GreeDi's factor, of the coverage over all pairs."""
        return greedi("weighted coverage", partitions, k)

    def _rows(self, signals: Signals) -> tuple[Tensor, Tensor]:
        """Return features and weights of all rows."""
        x = as_float(as_tensor(signals.column("features")))
        assert not isinstance(self.temperature, str)
        weights = margin(tempered(as_tensor(signals.column("probs")), self.temperature))
        return (unit_rows(x) if self.normalize else x), weights

    def merge(
        self,
        pool: Pool,
        signals: Signals,
        k: int,
        rng: np.random.Generator,
        firsts: Sequence[Selection],
        sample: Indices,
    ) -> list[Selection]:
        """Return the greedy choice from the union for the rows of the sample, and every partition's
        own choice, filled up from it where a partition had fewer rows.
        """
        x, weights = self._rows(signals)
        asked = torch.zeros_like(weights)
        asked[torch.from_numpy(sample)] = weights[torch.from_numpy(sample)]
        none = np.empty(0, np.int64)
        width = self.width or 1.0
        picks, added, _, _ = herd(x, k, none, pool.candidates, width, self.neighbors, asked)
        return [
            Selection(picks, scores=added * pool.size / max(1, len(sample))),
            *(filled_up(one, picks, k) for one in firsts),
        ]

    def audit(
        self, partition: Signals, union: Signals, answers: Sequence[Selection]
    ) -> NDArray[np.float64]:
        """Return the sum over the rows of the partition of their weighted coverage by each
        answer.
        """
        x, weights = self._rows(partition)
        centers = self._rows(union)[0]
        parts = [centers[torch.from_numpy(one.indices)] for one in answers]
        return coverage_sums(x, weights, parts, self.width or 1.0)[:, None]

    def certify(
        self, audits: NDArray[np.float64], answers: Sequence[Selection], size: int
    ) -> tuple[int, dict[str, Any]]:
        """Return the answer with the largest coverage over the whole pool,
        and those of both kinds.
        """
        values = audits[:, :, 0].sum(axis=0) / size
        best = int(values.argmax())
        names = {
            "coverage": values[best],
            "of_union": values[0],
            "of_best_partition": values[1:].max(),
        }
        return best, {name: float(value) for name, value in names.items()}
