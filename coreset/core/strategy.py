"""The interfaces of strategies, scorers and oracles."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from coreset.core.columns import POWER, largest, plain, rescaled, times
from coreset.core.pool import Array, Indices, Pool
from coreset.core.selection import Selection
from coreset.core.signals import Signals, check_column

# stands for a column that is not in `scales`
_NOT: Mapping[str, float] = MappingProxyType({"scores": float("nan")})
_LIMITED = frozenset(
    {"features", "gradients", "projected_gradients", "losses", "logits", "similarity", "distances"}
)

_MARKS = frozenset({"query", "private", "validation"})  # true where an example is one of those


class Strategy(ABC):
    """Decide which examples to take: a frozen dataclass whose fields are its parameters, beside the
    pure function that is the method.

    `needs`: signals read at the candidates; `needs_selected`: signals read at the examples already
    taken. `greedy`: a prefix of the answer is the answer for a smaller budget. `random`: the answer
    depends on the seed. `unbounded`: options that may be infinite. Calling a strategy checks the
    input, selects and checks the answer.
    `cold_start`: who chooses the first batch of a loop where nobody else is named; None: chance.
    `scales`: columns of which every positive multiple gives the same choice, with the power of the
    factor that `scores` and entries of `info` carry: they come in scaled by a power of two where
    their largest value lies outside 1e-12 ... 1e12 (None: any scale is read as it is). Of the
    others `features`, gradients and losses beyond 1e12 are refused.
    """

    needs_selected: frozenset[str] = frozenset()
    greedy: bool = True
    random: bool = False
    unbounded: frozenset[str] = frozenset()

    @property
    def cold_start(self) -> Strategy | None:
        """The strategy of the first batch, by signals that need no label."""
        return None

    @property
    def scales(self) -> Mapping[str, Mapping[str, float] | None]:
        """Columns whose multiples change no choice, with the power that scores and info carry."""
        return {}

    @property
    @abstractmethod
    def needs(self) -> frozenset[str]:
        """Names of the signals that must be known at every candidate."""

    @abstractmethod
    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Choose `k` of `pool.candidates`. Input is already checked; the answer will be."""

    def parameters(self) -> dict[str, Any]:
        """Return the strategy's fields: what its YAML file holds."""
        return {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]

    def check(self, pool: Pool, signals: Signals, k: int) -> frozenset[str]:
        """Raise KeyError, TypeError or ValueError when the question cannot be answered; return the
        columns whose scale may be out of the ordinary.
        """
        if isinstance(k, bool) or not isinstance(k, int | np.integer):
            raise TypeError(f"k: expected a whole number of examples, got {k!r}")
        for name, value in self.parameters().items():
            if isinstance(value, float) and not np.isfinite(value) and name not in self.unbounded:
                raise ValueError(f"{name}: expected a finite number, got {value}")
        if not 1 <= k <= len(pool.candidates):
            raise ValueError(
                f"k: expected 1 to {len(pool.candidates)} (the candidates left), got {k}"
            )
        if signals.size != pool.size:
            raise ValueError(
                f"signals describe {signals.size} examples but the pool has {pool.size}"
            )
        strange = set()
        for name in sorted(self.needs | self.needs_selected):
            rows = self._read(pool, name)
            ordinary = check_column(name, signals.check(name, rows), rows)
            marked = self._marked(name, signals)
            if not (check_column(name, signals.column(name), marked) and ordinary):
                strange.add(name)
        return frozenset(strange)

    def _read(self, pool: Pool, name: str) -> Indices:
        """Return the positions at which a column must be known."""
        parts = [pool.candidates] * (name in self.needs) + [pool.selected] * (
            name in self.needs_selected
        )
        return np.concatenate(parts)

    def _marked(self, name: str, signals: Signals) -> Indices:
        """Return the positions outside the candidates at which a column may be read as well: those
        that a column of `_MARKS` marks, where they are known.
        """
        parts = [np.empty(0, np.int64)]
        for mark in (_MARKS & self.needs & signals.names) - {name}:
            flags: Any = signals.column(mark)
            if hasattr(flags, "layout"):  # what is no plain tensor is refused when it is checked
                if flags.is_meta or "strided" not in str(flags.layout):
                    continue
                flags = flags.cpu()
            flags = np.asarray(flags)
            if flags.ndim == 1 and flags.dtype.kind in "biu":
                parts.append(signals.known(name, np.flatnonzero(flags)))
        return np.concatenate(parts)

    def ready(
        self, pool: Pool, signals: Signals, strange: Iterable[str] | None
    ) -> tuple[Signals, dict[str, int]]:
        """Return the checked columns as `select` reads them, and the power of two by which each of
        the `strange` was scaled, where it was.

        Raises ValueError for values beyond 1e12 that cannot be scaled.
        """
        columns = {n: signals.column(n) for n in (self.needs | self.needs_selected) & signals.names}
        new = {n: other for n, column in columns.items() if (other := plain(column)) is not column}
        powers: dict[str, int] = {}
        for name in strange or ():
            carried = self.scales.get(name, _NOT)
            if carried is None or (carried is _NOT and name not in _LIMITED):
                continue
            rows = np.concatenate([self._read(pool, name), self._marked(name, signals)])
            most = largest(new.get(name, columns[name]), rows)
            exponent = int(np.frexp(most)[1])
            if not most or abs(exponent) <= POWER:
                continue
            if carried is not _NOT:
                powers[name] = -exponent
                new[name] = rescaled(new.get(name, columns[name]), -exponent)
            elif exponent > 0:
                raise ValueError(
                    f"{name}: values up to {most:.2g} are too large for {type(self).__name__} with"
                    f" these parameters, expected at most {2.0**POWER:.2g}; scale the column"
                )
        return (signals.replaced(new) if new else signals), powers

    def _unscaled(self, answer: Selection, powers: Mapping[str, int]) -> Selection:
        """Return an answer from scaled columns in the units of those that came in."""
        scores, info = answer.scores, dict(answer.info)
        for name, power in powers.items():
            for what, degree in (self.scales[name] or {}).items():
                if what == "scores":
                    scores = None if scores is None else times(scores, -power * degree)
                elif isinstance(info.get(what), float | list | np.ndarray):
                    info[what] = times(info[what], -power * degree)
        return replace(answer, scores=scores, info=info) if powers else answer

    def __call__(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Check, select, check the answer: exactly `k` distinct candidates, finite weights of at
        least zero.
        """
        columns, powers = self.ready(pool, signals, self.check(pool, signals, k))
        try:
            answer = self._unscaled(self.select(pool, columns, int(k), rng), powers)
        except (TypeError, ValueError) as error:
            read = (self.needs | self.needs_selected) & columns.names
            texts = {
                n: c.dtype
                for n in read
                if getattr((c := columns.column(n)).dtype, "kind", "f") in "OSU"
            }
            if not texts or any(name in str(error) for name in read):
                raise
            raise TypeError(
                f"{listed(texts)}: expected numbers, got {listed(map(str, texts.values()))}"
            ) from error
        who = type(self).__name__
        got = answer.indices
        assert len(got) == k, f"{who} returned {len(got)} examples instead of {k}"
        assert len(np.unique(got)) == k, f"{who} returned an example twice"
        assert np.isin(got, pool.candidates).all(), (
            f"{who} returned an example that is no candidate"
        )
        if answer.weights is not None:
            assert np.isfinite(answer.weights).all(), f"{who} returned a weight that is not finite"
            assert (answer.weights >= 0).all(), f"{who} returned a negative weight"
            assert answer.weights.sum() > 0, f"{who} returned only zero weights"
        info = {"strategy": who, "parameters": self.parameters(), **answer.info}
        return Selection(got, answer.weights, answer.scores, answer.reasons, pool.ids[got], info)


@runtime_checkable
class Scorer(Protocol):
    """Write columns, row by row: any batching of the same rows gives the same values."""

    @property
    def needs(self) -> frozenset[str]:
        """Names of the columns that are read."""
        ...

    @property
    def gives(self) -> frozenset[str]:
        """Names of the columns that are written."""
        ...

    def __call__(self, batch: Mapping[str, Array]) -> dict[str, Array]:
        """Return one column per name in `gives`; first axis as in `batch`."""
        ...


@runtime_checkable
class Oracle(Protocol):
    """Give labels for examples: hidden ones (simulation), a file, a labeling tool."""

    def label(self, indices: Indices) -> NDArray[np.int64]:
        """Return one label per position, in order."""
        ...


def listed(names: Iterable[str]) -> str:
    """Join names for a message, in order: 'a, b'."""
    return ", ".join(sorted(names))
