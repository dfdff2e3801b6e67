"""MaxHerding: cover the pool softly, by a kernel, instead of by balls; steady across budgets.

Bae, Noh & Sutherland, "Generalized Coverage for More Robust Low-Budget Active Learning", ECCV 2024
(arXiv:2407.12212).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coreset import Pool, Selection, Signals, Strategy
from coreset.numerics.compiled import compiled
from coreset.numerics.neighbors.distances import Float
from coreset.numerics.similarity import EXACT_UP_TO, Similarity
from coreset.numerics.tensors import as_float, rows, unit_rows
from coreset.strategies.coverage.probcover import prob_cover
from coreset.strategies.submodular.common import NEIGHBORS
from coreset.strategies.submodular.facility_location import FacilityLocationFunction

KERNELS = ("rbf", "top_hat")
_BLOCK = 2**20  # kernel values held at a time: 8 MB
_KEEP = 2**28  # kernel values kept in float32 to tell most candidates away: 1 GB
# gains that agree to this share of the best count as tied: float64 rounding never decides
_TIE = 1e-10


def _kernel(a: Tensor, b: Tensor, width: float, squares: Tensor | None = None) -> Tensor:
    """Return the kernel of two sets of rows; squares: squared lengths of b, where known."""
    squares = b.square().sum(dim=1) if squares is None else squares
    square = (-2 * a @ b.T).add_(a.square().sum(dim=1)[:, None]).add_(squares).clamp_min_(0)
    return square.mul_(-1 / width**2).exp_()


@compiled
def _sums(
    product: Float,
    own: Float,
    half: Float,
    near: Float,
    floor: Float,
    weights: Float,
    rate: float,
    out: Float,
) -> None:
    """Add up weighted gains of a block. product <x_c, x_i>; own, half: half squared lengths; floor:
    log of `near`, below which nothing is gained.
    """
    for c in range(len(out)):
        total = 0.0
        for i in range(len(half)):
            exponent = min(0.0, (product[c, i] - own[c] - half[i]) * rate)
            if exponent > floor[i]:
                total += weights[i] * (np.exp(exponent) - near[i])
        out[c] = total


@compiled
def _exponents(product: Float, own: Float, half: Float, rate: float, out: Float) -> None:
    """Fill out with -(distance / width)^2, rounded to float32."""
    for c in range(len(own)):
        for i in range(len(half)):
            out[c, i] = np.float32(min(0.0, (product[c, i] - own[c] - half[i]) * rate))


@compiled
def _screen(kernel: Float, near: Float, weights: Float, at: NDArray[np.int64], out: Float) -> None:
    """Add up weighted gains of some candidates from the float32 kernel."""
    zero = np.float32(0)
    for t in range(len(at)):
        row = kernel[at[t]]
        total = 0.0
        for i in range(len(near)):
            total += weights[i] * np.float64(max(row[i] - near[i], zero))
        out[t] = total


def _on_cpu(x: Tensor) -> bool:
    return x.device.type == "cpu"


def max_herding(
    x: Tensor,
    k: int,
    taken: NDArray[np.int64],
    candidates: NDArray[np.int64],
    width: float = 1.0,
    weights: Tensor | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float64], float]:
    """Return `k` of `candidates` in order, what each added to the coverage, and the coverage
    reached.

    Coverage: the mean over rows i of x (n, D) of weights[i] * max over chosen s of exp(-(|x_i -
    x_s| / width)^2). taken: rows chosen before. candidates: ascending rows. weights (n,): default
    1. Float64; gains that agree to 1e-10 of the best, or to rounding, are ties, which go to the
    lowest row. Lazy greedy: gains only shrink, so only those that still look best are measured
    again. Up to 2^28 pairs of a candidate and a row (16,000 x 16,000) the kernel is kept in float32
    on the CPU, at most 1 GB, to tell most of them away by a bound on its rounding; beyond, they are
    measured from the features. Blocked, never n x n beyond that. Time: about 3 s for 200 picks at
    10,000 x 128 on one core, growing with n^2 D. Memory: that and one float64 copy of x.

    >>> x = torch.tensor([[0.0], [1.0], [5.0]])
    >>> max_herding(x, 2, np.array([], int), np.arange(3))[0].tolist()
    [1, 2]
    """
    mean = torch.stack([p.double().sum(dim=0) for p in torch.split(x, 8192)]).sum(dim=0) / len(x)
    y = x.double() - mean  # products of centerd rows cancel less
    w = (
        torch.ones(len(y), dtype=torch.float64, device=y.device)
        if weights is None
        else weights.to(y.device).double()
    )
    near = torch.zeros(len(y), dtype=torch.float64, device=y.device)
    where = torch.from_numpy(candidates).to(y.device)
    for part in torch.split(torch.from_numpy(taken).to(y.device), 64) if len(taken) else ():
        for rows_ in torch.split(torch.arange(len(y), device=y.device), max(1, _BLOCK // 64)):
            near[rows_] = torch.maximum(near[rows_], _kernel(y[rows_], y[part], width).amax(dim=1))

    half = y.square().sum(dim=1) / 2

    def gains(at: NDArray[np.int64]) -> NDArray[np.float64]:
        out, floor = np.empty(len(at)), near.log().cpu().numpy()
        step = max(1, _BLOCK // len(y))
        for start in range(0, len(at), step):
            part = where[torch.from_numpy(at[start : start + step]).to(y.device)]
            if _on_cpu(y):
                product, block = (y[part] @ y.T).numpy(), out[start : start + step]
                _sums(
                    product,
                    half[part].numpy(),
                    half.numpy(),
                    near.numpy(),
                    floor,
                    w.numpy(),
                    2 / width**2,
                    block,
                )
            else:
                out[start : start + step] = (
                    (_kernel(y[part], y, width).sub_(near).clamp_min_(0) @ w).cpu().numpy()
                )
        return out / len(y)

    keep = _on_cpu(y) and len(candidates) * len(y) <= _KEEP
    kernel = np.empty((len(candidates), len(y)) if keep else (0, 0), np.float32)
    step = max(1, _BLOCK // len(y))
    for start in range(0, len(kernel), step):
        part = where[start : start + step]
        block = kernel[start : start + step]
        _exponents((y[part] @ y.T).numpy(), half[part].numpy(), half.numpy(), 2 / width**2, block)
        torch.from_numpy(block).exp_()
    # The float32 values are off by at most 2^-21 (exponent and exponential), the difference from
    # `near` by 2^-23, the float64 exponent by its cancellation.
    cancel = 2.0**-50 * (y.shape[1] + 4) * 4 * float(half.max()) / width**2
    slack = float(w.abs().mean()) * (2.0**-20 + cancel)

    def tied(gain: float) -> float:
        """Return the least gain that counts as equal to this one."""
        return gain - _TIE * abs(gain) - float(w.abs().mean()) * (2.0**-50 + cancel)

    def above(at: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return a number that the gain of each of these cannot exceed."""
        out = np.empty(len(at))
        _screen(kernel, near.float().numpy(), w.numpy(), at, out)
        return out / len(y) + slack

    def screen(bound: NDArray[np.float64]) -> float:
        """Lower the bounds of those that may be best, most promising first; return a number that
        the best gain reaches.
        """
        low, size = -1.0, 64
        seen = bound < 0
        while True:
            open_ = np.flatnonzero(~seen & (bound >= low))
            if not len(open_):
                return low
            if len(open_) > size:
                open_ = open_[np.argpartition(-bound[open_], size)[:size]]
            bound[open_] = np.minimum(bound[open_], above(open_))
            seen[open_] = True
            low, size = max(low, float(bound[open_].max()) - 2 * slack), 2 * size

    bound = above(np.arange(len(candidates))) if keep else gains(np.arange(len(candidates)))
    fresh = np.full(len(candidates), not keep)
    picks, added = np.empty(k, np.int64), np.empty(k)
    for i in range(k):
        best, batch = float(bound[fresh].max(initial=-1.0)), 8
        low = screen(bound) if keep else -1.0
        while True:
            least = max(best, low)
            stale = np.flatnonzero(~fresh & (bound >= max(0.0, tied(least))))
            if not len(stale):
                break
            stale = stale[np.argsort(-bound[stale], kind="stable")[:batch]]
            bound[stale] = gains(stale)
            fresh[stale] = True
            best, batch = max(best, float(bound[stale].max())), min(2 * batch, 64)
        pick = int(np.flatnonzero(fresh & (bound > -0.5) & (bound >= tied(best)))[0])  # -1: taken
        picks[i], added[i] = pick, bound[pick]
        near = torch.maximum(near, _kernel(y[where[pick]][None], y, width, 2 * half)[0])
        bound[pick] = -1.0  # taken
        fresh = bound < 0
    return candidates[picks], added, float((near * w).sum() / len(y))


def sparse_herding(
    x: Tensor,
    k: int,
    taken: NDArray[np.int64],
    candidates: NDArray[np.int64],
    width: float,
    neighbors: int,
    weights: Tensor | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float64], float]:
    """Return what `max_herding` does, from the kernel between each row and its nearest `neighbors`
    alone; all other values are taken to be at a floor.

    The floor of a row lies halfway between its kernel to the last neighbor and that at its root
    mean square distance, as in facility location (`Similarity.nearest`), and the coverage returned
    is that of this function. Beyond 50,000 rows the neighbors are approximate. Memory: 16 n
    neighbors bytes, no copy of x but a quarter of one.
    """
    graph, floor = Similarity.of(x, "rbf", 1 / width**2).nearest(neighbors)
    w = np.ones(len(x), np.float32) if weights is None else weights.cpu().numpy().astype(np.float32)
    function = FacilityLocationFunction(
        replace(graph, value=graph.value * w[graph.column]), floor * w
    )
    for item in taken.tolist():
        function.add(item)
    herded = function.exact(k, candidates)
    return herded.picks, herded.gains / len(x), float(function.best.sum(dtype=np.float64) / len(x))


def herd(
    x: Tensor,
    k: int,
    taken: NDArray[np.int64],
    candidates: NDArray[np.int64],
    width: float,
    neighbors: int | str,
    weights: Tensor | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float64], float, str]:
    """Return what `max_herding` or `sparse_herding` does, and which of them it was: `auto` is exact
    up to 50,000 rows, with 32 neighbors beyond.
    """
    width = max(width, 1e-150)  # its square must not vanish
    near = (0 if len(x) <= EXACT_UP_TO else NEIGHBORS) if isinstance(neighbors, str) else neighbors
    if near:
        return (
            *sparse_herding(x, k, taken, candidates, width, near, weights),
            f"{near} nearest neighbors",
        )
    return *max_herding(x, k, taken, candidates, width, weights), "all pairs"


def coverage_sums(
    x: Tensor, weights: Tensor, centers: Sequence[Tensor], width: float
) -> NDArray[np.float64]:
    """Return the sum over rows of x (n, D) of weights (n,) times the kernel to the nearest of some
    centers (m, D), one number for each set of centers; float64, in blocks.

    >>> x = torch.tensor([[0.0], [1.0]])
    >>> coverage_sums(x, torch.ones(2), [x[:1]], 1.0).round(4).tolist()
    [1.3679]
    """
    out = np.zeros(len(centers))
    mean = x.double().mean(dim=0)  # products of centered rows cancel less
    held = [c.double() - mean for c in centers]
    step = max(1, _BLOCK // max(1, *map(len, held)))
    for start in range(0, len(x), step):
        rows_, w = x[start : start + step].double() - mean, weights[start : start + step].double()
        for i, part in enumerate(held):
            out[i] += float((_kernel(rows_, part, width).amax(dim=1) * w).sum())
    return out


def check_neighbors(neighbors: int | str) -> None:
    """Raise ValueError for what is neither 'auto' nor a number of neighbors."""
    if neighbors != "auto" and (isinstance(neighbors, bool | str) or neighbors < 0):
        raise ValueError(
            f"neighbors: expected 'auto' or a whole number of at least 0, got {neighbors!r}"
        )


@dataclass(frozen=True)
class MaxHerding(Strategy):
    """Take the candidate that adds most to the mean kernel coverage of candidates and selected.

    kernel: `rbf`, exp(-(d / width)^2), or `top_hat`, 1 where d <= width and else 0, under which
    this is ProbCover's greedy with closed balls (Bae et al., section 3); it counts all pairs within
    the width and, when all is covered, goes on with the lowest ids. width: of the kernel.
    normalize: scale features to unit length first, as the paper does. neighbors: 0 measures all
    pairs; k only those of each example and its k nearest neighbors, all others taken to be at a
    floor; `auto` does the second beyond 50,000 examples, with 32 (see `sparse_herding`). Scores:
    coverage added. info: `coverage` reached, 0 to 1, and `variant`.

    >>> from coreset import select
    >>> import numpy as np
    >>> x = np.array([[0.0], [1.0], [5.0]])
    >>> select("maxherding", 2, features=x, options={"normalize": False}).indices
    array([1, 2])
    """

    width: float = 1.0
    normalize: bool = True
    neighbors: int | str = "auto"
    kernel: str = "rbf"

    needs = frozenset({"features"})
    needs_selected = frozenset({"features"})

    def __post_init__(self) -> None:
        check_neighbors(self.neighbors)
        if self.kernel not in KERNELS:
            raise ValueError(f"kernel: expected {' or '.join(KERNELS)}, got {self.kernel!r}")
        if self.kernel == "top_hat" and self.neighbors not in ("auto", 0):
            raise ValueError(
                "neighbors: kernel=top_hat counts all pairs within the width, so auto or 0, got"
                f" {self.neighbors}"
            )
        if not self.width > 0:
            raise ValueError(f"width: expected a positive number, got {self.width}")

    @property
    def scales(self) -> Mapping[str, Mapping[str, float] | None]:
        """Columns whose multiples change no choice, with the power that scores and info carry."""
        return {"features": None} if self.normalize else {}

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Run the greedy from `pool.selected`."""
        at = np.concatenate([pool.selected, pool.candidates])
        # ties go to the lowest id: by default the lowest position
        at = at[np.argsort(pool.ids[at])]
        x = as_float(rows(signals.column("features"), at))
        if self.normalize:
            x = unit_rows(x)
        taken = np.isin(at, pool.selected)
        if self.kernel == "top_hat":
            picks, counts, coverage = prob_cover(
                x, k, self.width, taken, ~taken, closed=True, layers=False
            )
            info = {"coverage": coverage, "variant": "all pairs within the width"}
            return Selection(at[picks], scores=counts / len(x), info=info)
        picks, added, coverage, variant = herd(
            x, k, np.flatnonzero(taken), np.flatnonzero(~taken), self.width, self.neighbors
        )
        return Selection(at[picks], scores=added, info={"coverage": coverage, "variant": variant})
