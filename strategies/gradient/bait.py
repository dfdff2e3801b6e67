"""BAIT: examples whose Fisher information makes the last layer's parameters best determined where
the pool needs it.

Ash et al., "Gone Fishing: Neural Active Learning with Fisher Embeddings", NeurIPS 2021, Algorithm 1
(arXiv:2106.09675), with the weights of the authors' code; the binary form is Huseljic et al., "Fast
Fishing: Approximating BAIT for Efficient and Scalable Deep Active Image Classification", ECML PKDD
2024 (arXiv:2404.08981).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coreset import Pool, Selection, Signals, Strategy
from coreset.core.ranges import check_range
from coreset.numerics.tensors import rows

FISHERS = ("exact", "binary")
LIMIT = 2**28  # float64 numbers: 2 GB


def class_factor(probs: Tensor, fisher: str = "exact") -> Tensor:
    """Return L (n, C, C) with L L' = diag(p) - p p', the Fisher information of the logits; for
    `binary` (n, 1, 1), of the likeliest class against the rest.

    >>> class_factor(torch.tensor([[0.5, 0.5]]), "binary").tolist()
    [[[0.5]]]
    """
    p = probs.double()
    p = p / p.sum(dim=1, keepdim=True)
    if fisher == "binary":
        top = p.amax(dim=1)
        return (top * (1 - top)).clamp_min(0).sqrt()[:, None, None]
    root = p.sqrt()
    return torch.diag_embed(root) - p[:, :, None] * root[:, None, :]


class _Problem:
    """M⁻¹ and, per example with V = L ⊗ h, the two small matrices V' M⁻¹ V and V' M⁻¹ F M⁻¹ V, kept
    up to date as M changes.
    """

    def __init__(self, factor: Tensor, h: Tensor, matrix: Tensor, fisher: Tensor) -> None:
        self.factor, self.h, self.fisher = factor, h, fisher
        self.inverse = torch.cholesky_inverse(torch.linalg.cholesky(matrix))
        self.a = self._form(self.inverse)
        self.b = self._form(self.inverse @ fisher @ self.inverse)
        self.begin = self.b.diagonal(dim1=1, dim2=2).sum(dim=1)

    def blurred(self, fall: Tensor) -> bool:
        """Whether updates have taken so much off that what they leave is no longer known to about
        ten digits of the largest of `fall`.
        """
        lost = self.begin / (1 + self.a.diagonal(dim1=1, dim2=2).sum(dim=1))
        return bool(lost[fall > -torch.inf].max() > 1e3 * fall.max())

    def _project(self, w: Tensor) -> Tensor:
        """Return V' w per example, (n, q, m), for w (C D, m)."""
        classes = self.factor.shape[1]
        wide = w.reshape(classes, -1, w.shape[1]).permute(1, 0, 2).reshape(self.h.shape[1], -1)
        return self.factor.transpose(1, 2) @ (self.h @ wide).reshape(len(self.h), classes, -1)

    def _form(self, z: Tensor) -> Tensor:
        """Return V' z V per example, (n, q, q), for a symmetric z (C D, C D)."""
        classes, dim = self.factor.shape[1], self.h.shape[1]
        blocks = z.reshape(classes, dim, classes, dim)
        out = self.h.new_empty(len(self.h), classes, classes)
        for c in range(classes):
            for d in range(c, classes):
                out[:, c, d] = out[:, d, c] = ((self.h @ blocks[c, :, d]) * self.h).sum(dim=1)
        return self.factor.transpose(1, 2) @ out @ self.factor

    def change(self, sign: int) -> Tensor:
        """Return by how much tr(M⁻¹ F) falls when each example is added (sign 1), or minus how much
        it grows when taken out (-1).
        """
        small = torch.eye(self.a.shape[1], dtype=self.a.dtype, device=self.a.device) + sign * self.a
        fall: Tensor = torch.linalg.solve(small, self.b)
        return sign * fall.diagonal(dim1=1, dim2=2).sum(dim=1)

    def update(self, i: int, sign: int) -> None:
        """Add example `i` to M (sign 1) or take it out (-1): M⁻¹ loses or gains x x'."""
        v = torch.einsum("cq,d->cdq", self.factor[i], self.h[i]).reshape(len(self.inverse), -1)
        w = self.inverse @ v
        small = torch.eye(v.shape[1], dtype=v.dtype, device=v.device) + sign * (v.T @ w)
        x = torch.linalg.solve_triangular(torch.linalg.cholesky(small), w.T, upper=False).T
        fx = self.fisher @ x
        y = self.inverse @ fx
        both = self._project(torch.cat([x, y], dim=1))
        px, py = both[:, :, : x.shape[1]], both[:, :, x.shape[1] :]
        cross = px @ py.transpose(1, 2)
        self.b += px @ (x.T @ fx) @ px.transpose(1, 2) - sign * (cross + cross.transpose(1, 2))
        self.a -= sign * (px @ px.transpose(1, 2))
        self.inverse -= sign * (x @ x.T)


class _Dual:
    """The same for taking examples out, by the inverse P of I + V' S⁻¹ V over all of them, S: M
    without them. P_ii = I - V_i' M⁻¹ V_i is known to its own digits.

    An example that alone supports a direction has it near zero, where the difference would be
    rounding.
    """

    def __init__(self, factor: Tensor, h: Tensor, start: Tensor, fisher: Tensor) -> None:
        self.width = factor.shape[2]
        v = torch.einsum("ncq,nd->cdnq", factor, h).reshape(len(start), -1)
        w = torch.cholesky_solve(v, torch.linalg.cholesky(start))
        gram = v.T @ w
        gram.diagonal().add_(1)
        self.p = torch.cholesky_inverse(torch.linalg.cholesky(gram))
        self.b = self.p @ (w.T @ fisher @ w) @ self.p

    def _blocks(self, matrix: Tensor) -> Tensor:
        size = len(matrix) // self.width
        return (
            matrix.reshape(size, self.width, size, self.width)
            .diagonal(dim1=0, dim2=2)
            .permute(2, 0, 1)
        )

    def change(self, sign: int) -> Tensor:
        """Return minus how much tr(M⁻¹ F) grows when each example is taken out."""
        grown: Tensor = torch.linalg.solve(self._blocks(self.p), self._blocks(self.b))
        return sign * grown.diagonal(dim1=1, dim2=2).sum(dim=1)

    def update(self, i: int, sign: int) -> None:
        """Take example `i` out; its own block becomes that of an example without information."""
        part = slice(i * self.width, (i + 1) * self.width)
        own = self.p[part, part]
        e = torch.linalg.solve(own, self.p[part]).T
        self.b += e @ self.b[part, part] @ e.T - e @ self.b[part] - self.b[:, part] @ e.T
        self.p += sign * (e @ self.p[part])
        for matrix, value in ((self.p, 1.0), (self.b, 0.0)):
            matrix[part], matrix[:, part] = 0, 0
            matrix[part, part].diagonal().fill_(value)


def information(factor: Tensor, h: Tensor) -> Tensor:
    """Return the mean of L L' ⊗ h h' over the examples, (C D, C D)."""
    classes, dim = factor.shape[1], h.shape[1]
    out = torch.zeros(classes, dim, classes, dim, dtype=h.dtype, device=h.device)
    for start in range(0, len(h), 4096):
        f, x = factor[start : start + 4096], h[start : start + 4096]
        inner = f @ f.transpose(1, 2)
        for c in range(classes):
            for d in range(c, classes):
                out[c, :, d] += (x * inner[:, c, d, None]).T @ x
    for c in range(classes):
        for d in range(c):
            out[c, :, d] = out[d, :, c]
    return out.reshape(classes * dim, -1) / max(1, len(h))


def _reduced(factor: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """Return both without the directions in which no example carries information: equal logits for
    all classes, and what the features do not span.
    """
    classes, dim = factor.shape[1], h.shape[1]
    if classes > 1:
        flat = torch.linalg.qr(
            torch.ones(classes, 1, dtype=h.dtype, device=h.device), mode="complete"
        ).Q
        factor = flat[:, 1:].T @ factor
    _, length, axes = torch.linalg.svd(torch.linalg.qr(h, mode="r").R, full_matrices=False)
    kept = length > 2.0**-52 * max(h.shape) * length.max()
    return factor, h @ axes[kept].T if 0 < int(kept.sum()) < dim else h


def bait(
    factor: Tensor, h: Tensor, k: int, taken: tuple[Tensor, Tensor], ridge: float = 1.0
) -> tuple[NDArray[np.int64], NDArray[np.float64], list[float]]:
    """Return `k` rows in the order they came in, what tr(M⁻¹ F) fell by as each came, and that
    trace before and after.

    factor (n, C, q) and h (n, D) of the candidates, `taken` the same of what is already labeled (m
    examples). F: mean information of both together; M = λ I + m / (m + k) (mean information of the
    taken) + k / (m + k) (sum of that of the choice). Forward: the row that lowers the trace most,
    2k times (or until none is left); backward: the row whose loss raises it least goes, until k are
    left. Ties to the lowest row. Memory O((C D)² + n C² + n D), float64.

    >>> factor, h = (
    ...     class_factor(torch.full((3, 2), 0.5)),
    ...     torch.tensor([[1.0], [0.1], [2.0]]).double(),
    ... )
    >>> bait(factor, h, 1, (factor[:0], h[:0]))[0]
    array([2])
    """
    m, size = len(taken[1]), len(h)
    share = m / (m + k)
    factor, h = _reduced(torch.cat([factor, taken[0]]), torch.cat([h, taken[1]]))
    fisher = information(factor, h)
    start = share * information(factor[size:], h[size:])
    start.diagonal().add_(ridge)
    factor, h = factor[:size] * np.sqrt(1 - share), h[:size]
    chosen: list[int] = []

    def problem_of(index: list[int] | slice) -> _Problem:
        return _Problem(
            factor[index],
            h[index],
            start + len(chosen) * information(factor[chosen], h[chosen]),
            fisher,
        )

    problem = problem_of(slice(None))
    trace = [float((problem.inverse * fisher).sum())]
    gains: dict[int, float] = {}
    out = torch.zeros(size, dtype=torch.bool, device=h.device)
    for _ in range(min(2 * k, size)):
        fall = problem.change(1).masked_fill(out, -torch.inf)
        if problem.blurred(fall):
            problem = problem_of(slice(None))
            fall = problem.change(1).masked_fill(out, -torch.inf)
        best = int(fall.argmax())
        gains[best] = float(fall[best])
        chosen.append(best)
        out[best] = True
        problem.update(best, 1)
    few = len(chosen) * factor.shape[2] <= len(fisher)
    small = _Dual(factor[chosen], h[chosen], start, fisher) if few else problem_of(chosen)
    kept = torch.ones(len(chosen), dtype=torch.bool, device=h.device)
    for _ in range(len(chosen) - k):
        worst = int(small.change(-1).masked_fill(~kept, -torch.inf).argmax())
        kept[worst] = False
        small.update(worst, -1)
    chosen = [c for c, keep in zip(chosen, kept.tolist(), strict=True) if keep]
    trace.append(float((problem_of([]).inverse * fisher).sum()))
    return np.array(chosen, np.int64), np.array([gains[c] for c in chosen]), trace


@dataclass(frozen=True)
class Bait(Strategy):
    """Choose for the last layer's Fisher information: greedy forward to twice the budget, then
    backward.

    fisher: `exact` takes the expectation over all classes; its matrices have (C D)² entries, so it
    is refused beyond 2 GB (C D about 6,500: 6 at a time). `binary` asks only whether the likeliest
    class is right: D² entries. ridge: λ, the weight of the prior on the parameters. info: `trace`,
    tr(M⁻¹ F) before and after. Scores: what the trace fell by as each came in.

    >>> from coreset import select
    >>> select(
    ...     "bait", 1, features=np.array([[1.0], [0.1], [2.0]]), probs=np.full((3, 2), 0.5)
    ... ).indices
    array([2])
    """

    fisher: str = "exact"
    ridge: float = 1.0

    needs = frozenset({"features", "probs"})
    needs_selected = frozenset({"features", "probs"})
    greedy = False

    def __post_init__(self) -> None:
        if self.fisher not in FISHERS:
            raise ValueError(f"fisher: expected {' or '.join(FISHERS)}, got {self.fisher!r}")
        check_range("a number in (0, inf)", ridge=self.ridge)

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Run forward and backward greedy over the candidates."""
        column = signals.column("features")
        classes = 1 if self.fisher == "binary" else signals.column("probs").shape[1]
        dim, n = column.shape[1], len(pool.candidates) + len(pool.selected)
        size = 6 * (classes * dim) ** 2 + n * (4 * classes**2 + dim)
        if size > LIMIT:
            raise ValueError(
                f"features: the {self.fisher} Fisher information for {n} examples, {classes}"
                f" classes and {dim} features needs {size / 2**27:.0f} GB; "
                + (
                    "use fisher=binary, fewer candidates or projected features"
                    if classes > 1
                    else "use fewer candidates or projected features"
                )
            )

        def parts(index: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
            return (
                class_factor(rows(signals.column("probs"), index), self.fisher),
                rows(column, index).double(),
            )

        try:
            picks, gains, trace = bait(*parts(pool.candidates), k, parts(pool.selected), self.ridge)
        except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
            raise ValueError(
                f"features: with ridge {self.ridge:g} the information matrix is not positive"
                " definite in float64; scale the features down or raise the ridge"
            ) from error
        return Selection(
            pool.candidates[picks], scores=gains, info={"trace": trace, "fisher": self.fisher}
        )
