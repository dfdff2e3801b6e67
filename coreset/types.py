"""The words: Pool, Signals, Selection, Strategy, Scorer, Oracle.

Scorers write columns, strategies read columns and return positions in the whole dataset. Only numpy is needed here; torch tensors are
accepted as columns and kept as they are, so that a column on a GPU stays there.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coreset.catalog import source
from coreset.columns import POWER, check_kind, kept, largest, plain, rescaled, times

if TYPE_CHECKING:
    from coreset.coco import CocoPool

Indices = NDArray[np.int64]
Array = Any  # a numpy array or a torch tensor; its first axis is the dataset


def as_indices(values: ArrayLike, size: int, what: str) -> Indices:
    """Return `values` as distinct int64 positions in a dataset of `size` examples, in the order given.

    Raises TypeError for anything but whole numbers (a boolean mask of length `size` is accepted) and ValueError for positions outside the dataset
    or given twice.

    >>> as_indices([2, 0], 3, "selected")
    array([2, 0])
    >>> as_indices([True, False, True], 3, "selected")
    array([0, 2])
    """
    array = np.asarray(values)
    if array.dtype == bool:
        if array.shape != (size,):
            raise ValueError(
                f"{what}: a mask must have shape ({size},), one entry per example, but has shape {array.shape}"
            )
        return np.flatnonzero(array).astype(np.int64)
    if array.size == 0:
        return np.empty(0, np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise TypeError(
            f"{what}: expected a one-dimensional list of whole numbers, got {array.dtype} with shape {array.shape}"
        )
    array = array.astype(np.int64)
    outside = array[(array < 0) | (array >= size)]
    if outside.size:
        raise ValueError(
            f"{what}: {outside.size} positions lie outside the dataset of {size} examples, first {int(outside[0])}"
        )
    if len(np.unique(array)) != len(array):
        unique, counts = np.unique(array, return_counts=True)
        raise ValueError(
            f"{what}: {int((counts > 1).sum())} positions occur more than once, first {int(unique[counts > 1][0])}"
        )
    return array


@dataclass(frozen=True, eq=False)
class Pool:
    """What exists, what is taken, what may be chosen.

    size: number of examples in the whole dataset. selected: positions already taken. candidates: positions that may be chosen (default: all that are
    not taken), kept sorted. ids: names of the examples outside (COCO ids, paths), shape (size,), default their positions.

    >>> Pool(4, selected=[1]).candidates
    array([0, 2, 3])
    """

    size: int
    selected: Indices = field(default_factory=lambda: np.empty(0, np.int64))
    candidates: Indices = None  # type: ignore[assignment]  # filled below
    ids: NDArray[Any] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if isinstance(self.size, bool) or not isinstance(self.size, int | np.integer) or self.size < 1:
            raise ValueError(f"size: expected the number of examples, at least 1, got {self.size!r}")
        selected = as_indices(self.selected, self.size, "selected")
        given: ArrayLike | None = self.candidates
        if given is None:
            free = np.ones(self.size, bool)
            free[selected] = False
            candidates = np.flatnonzero(free).astype(np.int64)
        else:
            candidates = np.sort(as_indices(given, self.size, "candidates"))
            both = np.intersect1d(candidates, selected)
            if both.size:
                raise ValueError(f"candidates: {both.size} of them are already selected, first {int(both[0])}")
        ids = np.arange(self.size) if self.ids is None else np.asarray(self.ids)
        if ids.shape != (self.size,):
            raise ValueError(f"ids: expected shape ({self.size},), one name per example, got {ids.shape}")
        if self.ids is not None and len(np.unique(ids)) != self.size:
            unique, counts = np.unique(ids, return_counts=True)
            raise ValueError(
                f"ids: {int((counts > 1).sum())} names occur more than once, first {unique[counts > 1][0]!r}"
            )
        for name, value in (("size", int(self.size)), ("selected", selected), ("candidates", candidates), ("ids", ids)):
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        counts = f"size={self.size}, selected={len(self.selected)}, candidates={len(self.candidates)}"
        return f"{type(self).__name__}({counts})"

    @classmethod
    def from_coco(
        cls,
        instances: str | Path,
        *,
        labeled: str | Path | Sequence[Any] = (),
        features: str | Path | Array = None,
        groups: str | None = None,
    ) -> CocoPool:
        """Return the images of a COCO instances file, with their names, sizes and categories; annotations it has are checked and left where they are.

        labeled: what is labelled already, a COCO file that lists these images (with or without boxes in them) or their ids; the boxes of such a file calibrate
        `expected_boxes`. features: one row per image in the order of the file, an array or .npy (memory-mapped); a .npz with `ids` and `features` is put in
        order by id. groups: a key of the image entries, such as `video_id`. Files are regular files of at most 8 GiB; ids and names have at most 4,096
        characters, an image at most 2^31 - 1 pixels a side. Raises ValueError, KeyError or OSError naming file and id for duplicate or unknown ids, a file
        name that leaves its folder, a width that is no whole number, categories that do not match, boxes outside their image, masks of another size, and
        features that do not fit.
        """
        from coreset.coco import read_pool

        return read_pool(instances, labeled=labeled, features=features, groups=groups)


class Signals:
    """Named per-example columns of one dataset; the one place that aligns rows.

    >>> s = Signals(3, margin=[0.1, 0.5, 0.2])
    >>> s.put("loss", [2, 0], [9.0, 7.0])
    >>> s.at("loss", [0, 2])
    array([7., 9.])
    >>> s.at("loss", [1])
    Traceback (most recent call last):
    ValueError: loss: no value for 1 of the 1 examples asked for, first position 1
    """

    def __init__(self, size: int, /, **columns: Any) -> None:
        self.size = size
        self._columns: dict[str, Array] = {}
        self._known: dict[str, NDArray[np.bool_]] = {}  # only for columns put in parts
        for name, values in columns.items():
            self.put(name, None, values)

    @property
    def names(self) -> frozenset[str]:
        """Names of the columns present."""
        return frozenset(self._columns)

    def put(self, name: str, indices: ArrayLike | None, values: Any) -> None:
        """Write `values` at positions `indices` (None: the whole dataset, kept without a copy). Later values replace earlier ones."""
        values, there = kept(name, values)
        if len(values.shape) == 0:
            raise ValueError(f"{name}: expected one value per example, got a single number")
        if indices is None:
            if values.shape[0] != self.size:
                raise ValueError(f"{name}: expected {self.size} rows, one per example, got shape {tuple(values.shape)}")
            self._columns[name] = values
            self._known.pop(name, None)
            if there is not None:
                self._known[name] = there
            return
        rows = as_indices(indices, self.size, f"{name}: indices")
        if values.shape[0] != len(rows):
            raise ValueError(f"{name}: {len(rows)} positions but values of shape {tuple(values.shape)}")
        values = np.asarray(values)
        old: Any = self._columns.get(name)
        if old is None or tuple(old.shape[1:]) != values.shape[1:]:
            old = np.zeros((self.size, *values.shape[1:]), values.dtype)
            self._known[name] = np.zeros(self.size, bool)
        elif name not in self._known:
            old = np.array(old)  # a column handed in whole is never written to
            self._known[name] = np.ones(self.size, bool)
        old = old.astype(
            np.result_type(old.dtype, values.dtype), copy=False
        )  # whole numbers or short texts first must not cut what comes later
        old[rows] = values
        self._known[name][rows] = True if there is None else there
        self._columns[name] = old

    def replaced(self, columns: Mapping[str, Array]) -> Signals:
        """Return the same columns with some replaced by others of the same rows; nothing is copied."""
        out = Signals(self.size)
        out._columns = {**self._columns, **columns}
        out._known = dict(self._known)
        return out

    def column(self, name: str) -> Array:
        """Return the whole column without a copy; rows never written hold zeros (see `check`)."""
        if name not in self._columns:
            have = ", ".join(sorted(self._columns)) or "none"
            raise KeyError(f"signal '{name}' is missing; present: {have}. {name}: {source(name)}")
        return self._columns[name]

    def check(self, name: str, indices: Indices) -> Array:
        """Return the whole column after checking that every row in `indices` has a value."""
        column = self.column(name)
        known = self._known.get(name)
        if known is not None and not known[indices].all():
            missing = indices[~known[indices]]
            raise ValueError(
                f"{name}: no value for {len(missing)} of the {len(indices)} examples asked for, first position {int(missing[0])}"
            )
        return column

    def at(self, name: str, indices: ArrayLike) -> Array:
        """Return the rows of `name` at `indices`, in that order (a copy)."""
        rows = as_indices(indices, self.size, f"{name}: indices")
        return self.check(name, rows)[rows]


@dataclass(frozen=True, eq=False)
class Selection:
    """Positions in the order chosen: any prefix of a greedy answer is itself the answer for a smaller budget.

    indices (k,) int64; weights (k,) for weighted training; scores (k,) the gain or score each was chosen by; reasons k words; ids (k,) outside names;
    info: strategy, parameters, variant, seed, certificates.

    >>> Selection([4, 1, 3]).prefix(2).indices
    array([4, 1])
    """

    indices: Indices
    weights: NDArray[np.float64] | None = None
    scores: NDArray[np.float64] | None = None
    reasons: Sequence[str] | None = None
    ids: NDArray[Any] | None = None
    info: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        indices = np.asarray(self.indices)
        if indices.ndim != 1 or (indices.size and indices.dtype.kind not in "iu"):
            raise TypeError(
                f"indices: expected a one-dimensional list of positions, got {indices.dtype} with shape {indices.shape}"
            )
        indices = indices.astype(np.int64)
        object.__setattr__(self, "indices", indices)
        for name in ("weights", "scores"):
            values = getattr(self, name)
            if values is not None:
                values = np.asarray(values, np.float64)
                if values.shape != indices.shape:
                    raise ValueError(
                        f"{name}: expected shape {indices.shape}, one per chosen example, got {values.shape}"
                    )
                object.__setattr__(self, name, values)
        for name in ("reasons", "ids"):
            values = getattr(self, name)
            if values is not None and len(values) != len(indices):
                raise ValueError(f"{name}: expected {len(indices)} entries, one per chosen example, got {len(values)}")

    def __len__(self) -> int:
        return len(self.indices)

    def prefix(self, k: int) -> Self:
        """Return the first `k` choices."""
        rows = ("indices", "weights", "scores", "reasons", "ids")
        cut: dict[str, Any] = {n: None if (values := getattr(self, n)) is None else values[:k] for n in rows}
        return replace(self, **cut)

    def of(self, dataset: Any) -> Any:
        """Return the chosen part of a map-style dataset, in order (a `torch.utils.data.Subset`)."""
        from torch.utils.data import Subset

        if len(self.indices) and len(dataset) <= int(self.indices.max()):
            raise ValueError(
                f"the dataset has {len(dataset)} examples but position {int(self.indices.max())} was chosen"
            )
        return Subset(dataset, self.indices.tolist())

    def save(self, path: str | Path) -> Path:
        """Write a Parquet file: one row per choice in order; `info` as metadata. Written beside and renamed, so never half there."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        from coreset.store import to_json, write_atomic

        columns: dict[str, Any] = {"index": self.indices}
        for name, values in (
            ("weight", self.weights),
            ("score", self.scores),
            ("reason", self.reasons),
            ("id", self.ids),
        ):
            if values is not None:
                columns[name] = list(values) if name == "reason" else values
        table = pa.table(columns).replace_schema_metadata({"coreset": to_json(dict(self.info), _plain, sort_keys=True)})
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        return write_atomic(path, sink.getvalue().to_pybytes())

    @classmethod
    def load(cls, path: str | Path) -> Selection:
        """Read what `save` wrote. Raises ValueError when the file has no `index` column."""
        import pyarrow.parquet as pq

        table = pq.read_table(path)
        if "index" not in table.column_names:
            raise ValueError(f"{path}: not a saved selection, it has no column 'index' but {table.column_names}")
        get = {n: table[n].to_numpy() for n in table.column_names}
        reasons = table["reason"].to_pylist() if "reason" in get else None
        info = json.loads((table.schema.metadata or {}).get(b"coreset", b"{}"))
        return cls(get["index"], get.get("weight"), get.get("score"), reasons, get.get("id"), info)


def _plain(value: Any) -> Any:
    """Return numpy values as Python's own, anything else as text: what JSON cannot say itself."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)


_NOT: Mapping[str, float] = MappingProxyType({"scores": float("nan")})  # stands for a column that is not in `scales`
_LIMITED = frozenset({"features", "gradients", "projected_gradients", "losses", "logits", "similarity", "distances"})
# Axes and kind of the columns whose meaning is fixed: floating or whole numbers.
_KNOWN = {
    "features": ("N, D", "f"),
    "logits": ("N, C", "f"),
    "probs": ("N, C", "f"),
    "member_probs": ("N, T, C", "f"),
    "labels": ("N,", "i"),
}


def check_column(name: str, column: Array, indices: Indices) -> bool:
    """Raise ValueError when the rows `indices` of a column have a wrong shape or kind, NaN or infinite values, or probabilities that are none.

    Probabilities may be of any floating type; they must be non-negative and sum to one within 1e-2 (half precision is not normalised again).
    Return whether all values are ordinary: whole numbers, or numbers of which the largest certainly lies within 1e-12 ... 1e12.
    """
    check_kind(name, column)
    axes, kind = _KNOWN.get(name, (None, None))
    if axes is not None and len(column.shape) != len(axes.replace(",", " ").split()):
        raise ValueError(f"{name}: expected shape ({axes}), got {tuple(column.shape)}")
    if axes is not None and 0 in column.shape[1:] and name != "member_probs":
        raise ValueError(f"{name}: expected at least one number per example, got shape {tuple(column.shape)}")
    if name == "member_probs" and column.shape[1] < 1:
        raise ValueError(f"member_probs: expected at least one member, got shape {tuple(column.shape)}")
    is_float = column.dtype.kind == "f" if isinstance(column, np.ndarray) else column.dtype.is_floating_point
    if kind == "i" and (is_float or (isinstance(column, np.ndarray) and column.dtype.kind not in "iu")):
        raise ValueError(f"{name}: expected whole numbers (-1 = unknown), got {column.dtype}")
    if kind == "f" and not is_float:
        raise ValueError(f"{name}: expected floating-point values, got {column.dtype}")
    if not is_float:
        return True
    ordinary = True
    step = max(
        1, 2**22 // max(1, int(np.prod(column.shape[1:])))
    )  # blocks of about 4 M values: no copy of the whole column
    whole = len(indices) == column.shape[0]
    like_probs = name == "logits" and len(indices) > 1 and column.shape[-1] > 1
    for start in range(0, len(indices), step):
        rows = indices[start : start + step]
        block = column[start : start + step] if whole else column[rows]
        if whole:
            rows = np.arange(start, start + len(block))
        block = block if isinstance(block, np.ndarray) else block.detach().double().cpu().numpy()
        flat = block.reshape(len(block), int(np.prod(block.shape[1:])))
        with np.errstate(invalid="ignore", over="ignore", under="ignore"):
            # a sum of squares is finite only if every value is: one product at the speed of memory, and row by row where it is not
            squares = np.vdot(flat, flat)
            finite = np.isfinite(squares) or np.isfinite(flat).all(axis=1)
        if block.dtype.itemsize > 2:  # 22 more bits: a block holds 2^22 values
            ordinary &= bool(2.0 ** (22 - 2 * POWER) <= squares <= 2.0 ** (2 * POWER))
        if not np.all(finite):
            bad = int((~finite).sum())
            raise ValueError(
                f"{name}: {bad} examples have NaN or infinite values, first position {int(rows[~finite][0])}"
            )
        if name in ("probs", "member_probs"):
            off = (np.abs(block.sum(axis=-1, dtype=np.float64) - 1) > 1e-2).reshape(len(block), -1).any(axis=1) | (
                flat < 0
            ).any(axis=1)
            if off.any():
                raise ValueError(
                    f"{name}: {int(off.sum())} rows are no probabilities (non-negative, summing to 1), first position {int(rows[off][0])}; "
                    "pass logits through softmax first"
                )
        if like_probs:
            with np.errstate(over="ignore", invalid="ignore"):
                sums = block.sum(axis=-1, dtype=np.float64)
            like_probs = bool(((np.abs(sums - 1) <= 1e-2) & (flat >= 0).all(axis=1)).all())
    if like_probs:
        raise ValueError("logits: every row is non-negative and sums to 1: these are probabilities; give them as probs")
    return ordinary


class Strategy(ABC):
    """Decide which examples to take: a frozen dataclass whose fields are its parameters, beside the pure function that is the method.

    `needs`: signals read at the candidates; `needs_selected`: signals read at the examples already taken. `greedy`: a prefix of the answer is the
    answer for a smaller budget. `random`: the answer depends on the seed. Calling a strategy checks the input, selects and checks the answer.
    `scales`: columns of which every positive multiple gives the same choice, with the power of the factor that `scores` and entries of `info` carry: they come in
    scaled by a power of two where their largest value lies outside 1e-12 ... 1e12 (None: any scale is read as it is). Of the others `features`, gradients and losses
    beyond 1e12 are refused.
    """

    needs_selected: frozenset[str] = frozenset()
    greedy: bool = True
    random: bool = False
    scales: Mapping[str, Mapping[str, float] | None] = MappingProxyType({})

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
        """Raise KeyError, TypeError or ValueError when the question cannot be answered; return the columns whose scale may be out of the ordinary."""
        if isinstance(k, bool) or not isinstance(k, int | np.integer):
            raise TypeError(f"k: expected a whole number of examples, got {k!r}")
        for name, value in self.parameters().items():
            if isinstance(value, float) and not np.isfinite(value):
                raise ValueError(f"{name}: expected a finite number, got {value}")
        if not 1 <= k <= len(pool.candidates):
            raise ValueError(f"k: expected 1 to {len(pool.candidates)} (the candidates left), got {k}")
        if signals.size != pool.size:
            raise ValueError(f"signals describe {signals.size} examples but the pool has {pool.size}")
        strange = set()
        for name in sorted(self.needs | self.needs_selected):
            rows = self._read(pool, name)
            if not check_column(name, signals.check(name, rows), rows):
                strange.add(name)
        return frozenset(strange)

    def _read(self, pool: Pool, name: str) -> Indices:
        """Return the positions at which a column must be known."""
        parts = [pool.candidates] * (name in self.needs) + [pool.selected] * (name in self.needs_selected)
        return np.concatenate(parts)

    def ready(self, pool: Pool, signals: Signals, strange: Iterable[str] | None) -> tuple[Signals, dict[str, int]]:
        """Return the checked columns as `select` reads them, and the power of two by which each of the `strange` was scaled, where it was.

        Raises ValueError for values beyond 1e12 that cannot be scaled.
        """
        columns = {n: signals.column(n) for n in self.needs | self.needs_selected}
        new = {n: other for n, column in columns.items() if (other := plain(column)) is not column}
        powers: dict[str, int] = {}
        for name in strange or ():
            carried = self.scales.get(name, _NOT)
            if carried is None or (carried is _NOT and name not in _LIMITED):
                continue
            most = largest(new.get(name, columns[name]), self._read(pool, name))
            exponent = int(np.frexp(most)[1])
            if not most or abs(exponent) <= POWER:
                continue
            if carried is not _NOT:
                powers[name] = -exponent
                new[name] = rescaled(new.get(name, columns[name]), -exponent)
            elif exponent > 0:
                raise ValueError(
                    f"{name}: values up to {most:.2g} are too large for {type(self).__name__} with these parameters, expected at most "
                    f"{2.0**POWER:.2g}; scale the column"
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
        """Check, select, check the answer: exactly `k` distinct candidates, finite weights of at least zero."""
        columns, powers = self.ready(pool, signals, self.check(pool, signals, k))
        try:
            answer = self._unscaled(self.select(pool, columns, int(k), rng), powers)
        except (TypeError, ValueError) as error:
            texts = {
                n: c.dtype
                for n in self.needs | self.needs_selected
                if getattr((c := columns.column(n)).dtype, "kind", "f") in "OSU"
            }
            if not texts or any(name in str(error) for name in texts):
                raise
            raise TypeError(f"{listed(texts)}: expected numbers, got {listed(map(str, texts.values()))}") from error
        who = type(self).__name__
        got = answer.indices
        assert len(got) == k, f"{who} returned {len(got)} examples instead of {k}"
        assert len(np.unique(got)) == k, f"{who} returned an example twice"
        assert np.isin(got, pool.candidates).all(), f"{who} returned an example that is no candidate"
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
    """Give labels for examples: hidden ones (simulation), a file, a labelling tool."""

    def label(self, indices: Indices) -> NDArray[np.int64]:
        """Return one label per position, in order."""
        ...


def listed(names: Iterable[str]) -> str:
    """Join names for a message, in order: 'a, b'."""
    return ", ".join(sorted(names))
