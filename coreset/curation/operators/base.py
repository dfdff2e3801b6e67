"""The five kinds of operator: score, rule, fit, group, select. An engine runs them; they know
nothing about engines, files or shards.

A score is any `coreset.Scorer` (row-wise: columns in, columns out). The other four are the base
classes below, frozen dataclasses whose fields are exactly the keys of their YAML. Every operator
says which columns it `needs` and `gives`; the column `id` is always there, and `<name>_status`
comes along with a needed column `<name>` that has one. The answer for a row must not depend on
batch size, sharding, order, worker or restart: random decisions are keyed by row id
(`coreset.numerics.random`), undefined values are NaN beside a status that is not "ok", and every
dropped row has a reason.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset import registry
from coreset.core.batch import Batch, objects
from coreset.core.compute import Compute
from coreset.core.store import fingerprint
from coreset.core.strategy import Scorer

KINDS = ("score", "filter", "estimator", "group", "select")


@dataclass(frozen=True, eq=False)
class Decision:
    """What an operator decides about n rows: `keep` (n,), a `reason` per row ("" where kept),
    `duplicate_of` (the id of the row kept instead, or None).

    columns: further columns of these rows, such as a rank. A reason is one of few phrases ("fewer
    than 50 words"), so that they can be counted. Raises ValueError when a dropped row has no reason
    or a kept one has, and for a wrong length.

    >>> Decision([True, False], ["", "too long"]).reason.tolist()
    ['', 'too long']
    """

    keep: NDArray[np.bool_]
    reason: NDArray[np.object_]
    duplicate_of: NDArray[np.object_] | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        keep = np.asarray(self.keep)
        if keep.dtype != bool or keep.ndim != 1:
            raise ValueError(
                f"keep: expected one truth value per row, got {keep.dtype} with shape {keep.shape}"
            )
        given = self.reason
        reason = (
            given
            if isinstance(given, np.ndarray) and given.dtype == object
            else objects(list(given))
        )
        duplicate_of = None if self.duplicate_of is None else objects(list(self.duplicate_of))
        for name, values in (
            ("reason", reason),
            ("duplicate_of", duplicate_of),
            *self.columns.items(),
        ):
            if values is not None and len(values) != len(keep):
                raise ValueError(
                    f"{name}: expected {len(keep)} entries, one per row, got {len(values)}"
                )
        wrong = np.flatnonzero((reason != "") == keep)
        if wrong.size:
            row = int(wrong[0])
            what = (
                f"kept, but with the reason {reason[row]!r}"
                if keep[row]
                else "dropped without a reason"
            )
            raise ValueError(f"reason: row {row} is {what}")
        for name, value in (("keep", keep), ("reason", reason), ("duplicate_of", duplicate_of)):
            object.__setattr__(self, name, value)

    @classmethod
    def where(cls, keep: NDArray[np.bool_], reason: str, **more: Any) -> Decision:
        """Return the decision that drops every row outside `keep` for one and the same reason.

        >>> Decision.where(np.array([True, False]), "too long").reason.tolist()
        ['', 'too long']
        """
        return cls(keep, np.where(keep, "", reason).astype(object), **more)


class _Operator(ABC):
    """What rule, fit, group and select have in common: the columns they read and write, and the
    processors, GPUs and memory they need.
    """

    gives: frozenset[str] = frozenset()
    compute = Compute()  # what a worker that runs it needs of its machine

    @property
    @abstractmethod
    def needs(self) -> frozenset[str]:
        """Names of the columns that are read."""


class Filter(_Operator):
    """Decide row by row, from columns: keep or drop with a reason."""

    @abstractmethod
    def decide(self, batch: Batch) -> Decision:
        """Return the decision about every row of the batch; a row whose needed value is undefined
        must be dropped, with that as the reason.
        """


class Estimator(_Operator):
    """Look at all rows once, then become another operator.

    `fit` turns a batch into a state, `merge` joins two states; however the rows are cut and in
    whatever order they come, `finish` must return the same operator, to the last bit: states count
    in whole numbers, keep the k smallest of a keyed hash, and never add floating-point numbers in
    turn.
    """

    @abstractmethod
    def fit(self, batch: Batch) -> Any:
        """Return the state of one batch: small, and bounded however many rows are merged."""

    @abstractmethod
    def merge(self, a: Any, b: Any) -> Any:
        """Return the state of both; associative and commutative."""

    def to_state(self, state: Any) -> Any:
        """Return a state as a tree of plain values and arrays, see
        `coreset.curation.operators.estimator_state`: what is written to disk. Here: itself.
        """
        return state

    def from_state(self, plain: Any) -> Any:
        """Return the state of what `to_state` gave. Here: itself."""
        return plain

    @abstractmethod
    def finish(self, state: Any) -> Scorer | Filter | GroupBy | Selector:
        """Return the operator that the fitted state makes. It may need and give no more than this
        one does.
        """


class GroupBy(_Operator):
    """Bring rows together by key, then decide inside each group.

    Rows that share any key, directly or through others, are one group. Groups with fewer rows than
    `smallest` are kept without being looked at. An operator whose keys are shared by chance gives
    each row a `signature`: rows that share a key are then one group only where `linked` says so,
    after it has compared them.
    """

    smallest: int = 2

    @property
    @abstractmethod
    def key_needs(self) -> frozenset[str]:
        """Columns that `key` reads."""

    @abstractmethod
    def key(self, batch: Batch) -> NDArray[Any]:
        """Return keys per row: (n,) or (n, several) uint64 with 0 = no key, or (n,) texts with None
        = no key.
        """

    def signature(self, batch: Batch) -> NDArray[np.uint8] | None:
        """Return what rows of a key are compared by, (n, bytes); None: who shares a key is linked.
        Reads what `key` reads.
        """
        return None

    def linked(self, signature: NDArray[np.uint8], start: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return for every row the first row of its bucket that it is linked to, directly or
        through others. start (B + 1,): where the buckets of one key begin.
        """
        raise NotImplementedError(
            f"{type(self).__name__} gives signatures but does not compare them"
        )

    @abstractmethod
    def decide(self, rows: Batch) -> Decision:
        """Return the decision about one whole group, its rows in the order of their ids."""


class Selector(_Operator):
    """Choose among all rows at once, under a budget."""

    def check(self, total: int) -> None:  # most have nothing to check
        """Raise ValueError for a budget that cannot be met with `total` rows read: called before
        anything is computed.
        """

    @abstractmethod
    def decide(self, rows: Batch, total: int) -> Decision:
        """Return the decision about all rows that are left, in the order of their ids. total: how
        many rows were read, the base of shares.
        """


Operator = Scorer | Filter | Estimator | GroupBy | Selector


def kind(operator: Any) -> str:
    """Return which of the five kinds an operator is.

    Raises TypeError for anything else, naming what is missing.
    """
    for name, base in (
        ("filter", Filter),
        ("estimator", Estimator),
        ("group", GroupBy),
        ("select", Selector),
    ):
        if isinstance(operator, base):
            return name
    missing = [
        n for n in ("needs", "gives") if not isinstance(getattr(operator, n, None), frozenset)
    ]
    wrong = (
        "it is a class, not made yet"
        if isinstance(operator, type)
        else (
            f"it has no frozenset '{missing[0]}'"
            if missing
            else ""
            if callable(operator)
            else "it cannot be called"
        )
    )
    if wrong:
        raise TypeError(f"{operator!r} is no operator ({', '.join(KINDS)}): {wrong}")
    return "score"


def short_name(operator: Any) -> str:
    """Return the class of an operator in snake case, or its own `name` where it has one.

    >>> class GopherQuality: pass
    >>> short_name(GopherQuality())
    'gopher_quality'
    """
    own = getattr(operator, "name", None)
    if isinstance(own, str) and own:
        return own
    return re.sub(
        r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", type(operator).__name__
    ).lower()


def unique_names(operators: Sequence[Any]) -> list[str]:
    """Return a name per operator, the second of a kind with `_2` and so on."""
    times: dict[str, int] = {}
    out = []
    for operator in operators:
        name = short_name(operator)
        times[name] = times.get(name, 0) + 1
        out.append(name if times[name] == 1 else f"{name}_{times[name]}")
    return out


def describe(value: Any) -> Any:
    """Return an operator as plain data: its class, version, fields (of their own too) and the
    hashes of the files and models it is made of.

    Raises TypeError for a field that has no stable description (a function, an open file).

    >>> from coreset.curation.operators.threshold import Threshold
    >>> describe(Threshold("ifd", high=1.0))["high"]
    1.0
    """
    if is_dataclass(value) and not isinstance(value, type):
        about: dict[str, Any] = {"_target_": f"{type(value).__module__}.{type(value).__qualname__}"}
        version = getattr(value, "version", None)
        if version is not None:
            about["version"] = version
        about |= {f.name: describe(getattr(value, f.name)) for f in fields(value)}
        resources = getattr(value, "resources", None)
        if callable(resources):
            about["resources"] = dict(resources())
        return about
    if isinstance(value, Mapping):
        return {str(k): describe(v) for k, v in value.items()}
    if isinstance(value, frozenset | set):
        return sorted(describe(v) for v in value)
    if isinstance(value, list | tuple):
        return [describe(v) for v in value]
    if isinstance(value, np.ndarray):
        return f"array {fingerprint(value)}"
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, PurePath):
        return str(value)
    raise TypeError(
        "an operator's fields are plain values, lists, dicts or dataclasses, got"
        f" {type(value).__name__}: {value!r}"
    )


def flatten(operators: Iterable[Any]) -> list[Any]:
    """Return operators in order; a list among them (a method of several steps) is laid out flat,
    a name stands for its operator, and every one is checked to be an operator.
    """
    out: list[Any] = []
    for item in operators:
        if isinstance(item, list | tuple):
            out += flatten(item)
        elif isinstance(item, str | Mapping):
            out += flatten([registry.operator(item)])
        else:
            kind(item)
            out.append(item)
    return out
