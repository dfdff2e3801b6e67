"""DoReMi: domains on which a small model can still learn most, against a reference, weigh more.

Xie et al., "DoReMi: Optimizing Data Mixtures Speeds Up Language Model Pretraining", NeurIPS 2023
(arXiv:2305.10429), Algorithm 1. A step multiplies a domain's weight by exp(eta x excess), its
excess the mean loss of a proxy model above that of a reference, clipped at 0; weights are scaled
to sum to one and mixed with equal ones; the answer is their mean over the steps. eta 1 and a
smoothing of 1e-4 are the authors' code; their README calls another number by the latter's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from coreset.core.batch import Batch, objects
from coreset.core.pool import Array
from coreset.core.ranges import check_range
from coreset.curation.operators.base import Estimator

Float = NDArray[np.float64]
_QUANTUM = 2.0**-30  # sums are of whole numbers of it: the same however rows are cut


def doremi_step(weights: Float, excess: Float, eta: float = 1.0, smoothing: float = 1e-4) -> Float:
    """Return the weights (G,) after one step, for the excess loss (G,) of each domain, in nats.

    >>> excess = np.array([np.log(3), -1.0])
    >>> doremi_step(np.array([0.5, 0.5]), excess, smoothing=0.0).round(9).tolist()
    [0.75, 0.25]
    """
    logs = np.log(weights) + eta * np.maximum(excess, 0.0)
    share = np.exp(logs - logs.max())
    out: Float = (1 - smoothing) * share / share.sum() + smoothing / len(share)
    return out


def doremi_weights(
    excess: Float, eta: float = 1.0, smoothing: float = 1e-4, start: Float | None = None
) -> Float:
    """Return the domain weights (G,), a mean over steps, for excess losses (T, G) at T steps.

    NaN: no token of the domain was seen in the step; its last excess stands, 0 at first. start:
    weights before the first step, None = equal ones.

    >>> doremi_weights(np.array([[0.0, 0.0], [np.log(3), np.nan]]), smoothing=0.0).round(9).tolist()
    [0.625, 0.375]
    """
    steps, domains = excess.shape
    weights = (
        np.full(domains, 1 / domains)
        if start is None
        else np.asarray(start, np.float64) / np.sum(start)
    )
    last, total = np.zeros(domains), np.zeros(domains)
    for now in excess:
        last = np.where(np.isnan(now), last, np.maximum(now, 0.0))
        weights = doremi_step(weights, last, eta, smoothing)
        total += weights
    mean: Float = total / steps
    return mean


@dataclass(frozen=True)
class DoReMi(Estimator):
    """Domain weights from the losses of a proxy and of a reference model.

    Gives `domain_weight`, the weight of the row's domain, and its status.

    by: the column that names the domain. proxy, reference: columns of mean losses per token, in
    nats: one number, or one per step of the proxy's training (NaN or null where the row was not in
    the step); the reference's is one number. The excess is clipped at 0 row by row: give losses of
    short partitions of text where the paper clips token by token. tokens: a column by which rows
    weigh, None = all alike. eta, smoothing: of a step. start: {domain: weight} before the first
    step (a domain not named has 1), None = equal. A row without a domain (missing_field) or losses
    has no part in the fit; no row of a domain without any losses has a weight (no_losses).

    For mixing: `StratifiedSample` with `weigh: domain_weight` and `temperature: .inf` gives each
    domain a share of the budget in proportion to its weight.
    """

    gives = frozenset({"domain_weight", "domain_weight_status"})

    by: str = "source"
    proxy: str = "proxy_loss"
    reference: str = "reference_loss"
    tokens: str | None = None
    eta: float = 1.0
    smoothing: float = 1e-4
    start: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        check_range("a number in (0, inf)", eta=self.eta)
        check_range("a number in [0, 1]", smoothing=self.smoothing)
        for domain, weight in (self.start or {}).items():
            if not 0 < weight < np.inf:
                raise ValueError(f"start: expected weights above 0, got {weight} for '{domain}'")

    @property
    def needs(self) -> frozenset[str]:
        """Return the domain, the losses and the numbers of tokens."""
        return frozenset(
            {self.by, self.proxy, self.reference} | ({self.tokens} if self.tokens else set())
        )

    def fit(self, batch: Batch) -> dict[str, list[list[int]]]:
        """Return, per domain and step, the sums of excess x tokens and of tokens, whole numbers."""
        state: dict[str, list[list[int]]] = {}
        losses = steps_of(batch[self.proxy], self.proxy)
        reference = numbers(batch[self.reference], self.reference)
        weight = (
            np.ones(batch.rows) if self.tokens is None else numbers(batch[self.tokens], self.tokens)
        )
        if (weight < 0).any():
            raise ValueError(
                f"{self.tokens}: expected numbers of at least 0, got {np.nanmin(weight):g}"
            )
        domains = batch[self.by].tolist()
        rows = zip(domains, losses, reference.tolist(), weight.tolist(), strict=True)
        for domain, own, base, tokens in rows:
            if domain is None or not np.isfinite(base) or not np.isfinite(tokens):
                continue
            seen = np.isfinite(own)
            above = np.where(seen, np.maximum(own - base, 0.0), 0.0) * tokens
            sums = [int(v) for v in np.rint(above / _QUANTUM)]
            counts = [int(v) for v in np.rint(np.where(seen, tokens, 0.0) / _QUANTUM)]
            state = self.merge(state, {str(domain): [sums, counts]})
        return state

    def merge(
        self, a: dict[str, list[list[int]]], b: dict[str, list[list[int]]]
    ) -> dict[str, list[list[int]]]:
        """Return the sums of both."""
        out = dict(a)
        for domain, more in b.items():
            out[domain] = (
                [added(x, y) for x, y in zip(out[domain], more, strict=True)]
                if domain in out
                else more
            )
        return out

    def finish(self, state: dict[str, list[list[int]]]) -> DomainWeight:
        """Return the scorer. Raises ValueError when no row has a domain and losses."""
        names = sorted(domain for domain, (_, counts) in state.items() if any(counts))
        if not names:
            raise ValueError(
                f"doremi: no row has a {self.by}, a {self.proxy} and a {self.reference}"
            )
        steps = max(len(state[name][0]) for name in names)
        excess = np.full((steps, len(names)), np.nan)
        for g, name in enumerate(names):
            for t, (total, count) in enumerate(zip(*state[name], strict=True)):
                excess[t, g] = total / count if count else np.nan
        start = None
        if self.start is not None:
            unknown = sorted(set(self.start) - set(names))
            if unknown:
                raise ValueError(
                    f"start: no row has {self.by} '{unknown[0]}'; there are {', '.join(names)}"
                )
            start = np.array([self.start.get(name, 1.0) for name in names])
        weights = doremi_weights(excess, self.eta, self.smoothing, start)
        return DomainWeight(self.by, dict(zip(names, weights.tolist(), strict=True)))


def added(a: list[int], b: list[int]) -> list[int]:
    """Return the sums of two lists, the shorter one as if it went on with zeros.

    >>> added([1, 2], [3])
    [4, 2]
    """
    long, short = (a, b) if len(a) >= len(b) else (b, a)
    return [x + (short[i] if i < len(short) else 0) for i, x in enumerate(long)]


def numbers(values: NDArray, name: str) -> Float:  # type: ignore[type-arg]
    """Return a column of numbers (n,), NaN where one is missing."""
    if values.ndim != 1 or values.dtype.kind not in "fiuO":
        raise ValueError(
            f"{name}: expected one number per row, got {values.dtype} with shape {values.shape}"
        )
    return np.array([np.nan if v is None else v for v in values.tolist()], np.float64)


def steps_of(values: NDArray, name: str) -> list[Float]:  # type: ignore[type-arg]
    """Return the losses of each row at the steps, NaN where missing; a number is one step."""
    if values.ndim == 2:
        return list(values.astype(np.float64))
    out = []
    for value in values.tolist():
        own = value if isinstance(value, list) else [value]
        try:
            out.append(np.array([np.nan if v is None else v for v in own], np.float64))
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{name}: expected a loss or a list of losses per row, got {value!r}"
            ) from error
    return out


@dataclass(frozen=True)
class DomainWeight:
    """Fitted domain weights. weights: {domain: weight}, summing to one."""

    by: str
    weights: Mapping[str, float] = field(default_factory=dict)

    gives = frozenset({"domain_weight", "domain_weight_status"})

    @property
    def needs(self) -> frozenset[str]:
        """Return the domain."""
        return frozenset({self.by})

    def __call__(self, batch: Mapping[str, Array]) -> dict[str, Array]:
        """Return the weight of each row's domain; a domain without losses has none."""
        domains = list(batch[self.by])
        status = [
            "missing_field" if d is None else "ok" if str(d) in self.weights else "no_losses"
            for d in domains
        ]
        weight = np.array(
            [self.weights.get(str(d), np.nan) if d is not None else np.nan for d in domains],
            np.float64,
        )
        return {"domain_weight": weight, "domain_weight_status": objects(status)}
