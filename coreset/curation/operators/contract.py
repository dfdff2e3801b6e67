"""The contract of operators, and the plain way to run one: all rows in memory, one after the other.
An engine must give the same answers.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from coreset.core.batch import Batch, as_batch, objects, to_arrow, to_numpy
from coreset.core.text_keys import text_keys
from coreset.curation.operators.base import (
    Decision,
    Estimator,
    Filter,
    GroupBy,
    Operator,
    Selector,
    describe,
    kind,
)
from coreset.curation.operators.estimator_state import dump_state, load_state

Cut = Sequence[NDArray[np.int64]]  # rows of each batch, every row once


def run_in_memory(operator: Operator, rows: Batch, cut: Cut | None = None) -> pa.Table:
    """Return what one operator says about rows, sorted by id: `id`, the columns it gives and,
    unless it is a score, `keep`, `reason`, `duplicate_of`.

    cut: the rows of each batch (default: one batch of all). Raises ValueError when the operator
    gives other columns than it says.
    """
    cut = [np.arange(rows.rows)] if cut is None else [part for part in cut if len(part)]
    batches = [Batch(rows.table.take(pa.array(part))) for part in cut]
    if isinstance(operator, Estimator):
        states = [stored(operator, operator.fit(only(b, operator.needs))) for b in batches]
        while len(states) > 1:  # in pairs, as a tree
            states = [
                operator.merge(*states[i : i + 2]) if i + 1 < len(states) else states[i]
                for i in range(0, len(states), 2)
            ]
        return run_in_memory(finished(operator, states[0]), rows, cut)
    if isinstance(operator, Selector):
        order = np.argsort(rows["id"].astype(str), kind="stable")
        return _answer(operator, [Batch(rows.table.take(pa.array(order)))])
    if isinstance(operator, GroupBy):
        keys = np.concatenate([row_keys(operator, b) for b in batches])
        return _answer(
            operator, _groups(operator, Batch(pa.concat_tables([b.table for b in batches])), keys)
        )
    return _answer(operator, batches)


def finished(operator: Estimator, state: Any) -> Operator:
    """Return the operator a fit becomes. Raises ValueError when it reads or writes other columns
    than the fit said.
    """
    fitted = operator.finish(state)
    more = fitted.needs - operator.needs
    if more or fitted.gives != operator.gives:
        what = (
            f"reads {sorted(more)} too"
            if more
            else f"gives {sorted(fitted.gives)} instead of {sorted(operator.gives)}"
        )
        raise ValueError(f"{type(operator).__name__} became {type(fitted).__name__}, which {what}")
    return fitted


def stored(operator: Estimator, state: Any) -> Any:
    """Return a state after a trip through the form in which it is kept on disk."""
    return operator.from_state(load_state(dump_state(operator.to_state(state))))


def only(batch: Batch, names: frozenset[str]) -> Batch:
    """Return the batch with `id`, the columns in `names` and their statuses: all that an operator
    with these needs gets to see.
    """
    status = {f"{n}_status" for n in names}
    missing = names - set(batch) - {"id"}
    if missing:
        raise KeyError(
            f"column '{sorted(missing)[0]}' is missing; present: {', '.join(sorted(batch))}"
        )
    keep = [n for n in batch if n == "id" or n in names or n in status]
    return batch if len(keep) == len(batch) else Batch(batch.table.select(keep))


def row_keys(operator: GroupBy, batch: Batch) -> NDArray[np.uint64]:
    """Return the keys of a group operator as (n, several) uint64, 0 = no key; texts are hashed."""
    keys = np.asarray(operator.key(only(batch, operator.key_needs)))
    if keys.dtype.kind in "OU":
        hashed = text_keys(["" if k is None else str(k) for k in keys.tolist()])
        keys = np.where(
            [k is None for k in keys.tolist()], np.uint64(0), np.maximum(hashed, np.uint64(1))
        )
    if keys.dtype.kind not in "iu" or keys.ndim not in (1, 2) or len(keys) != batch.rows:
        raise ValueError(
            f"{type(operator).__name__}: expected uint64 keys, one row of them per row of the batch"
            f" ({batch.rows}), got {keys.dtype} {keys.shape}"
        )
    return np.ascontiguousarray(keys.reshape(len(keys), -1).astype(np.uint64))


def checked(
    operator: Operator, batch: Batch, total: int | None = None
) -> tuple[dict[str, Any], Decision | None]:
    """Call a score, rule, group or select on a batch; return its columns and its decision (None for
    a score), after checking names and lengths.
    """
    seen = only(batch, operator.needs)
    decision: Decision | None = None
    if isinstance(operator, Selector):
        decision = operator.decide(seen, batch.rows if total is None else total)
    elif isinstance(operator, Filter | GroupBy):
        decision = operator.decide(seen)
    if decision is not None and len(decision.keep) != batch.rows:
        raise ValueError(
            f"{type(operator).__name__}: expected a decision on {batch.rows} rows, got"
            f" {len(decision.keep)}"
        )
    columns = dict(operator(seen) if decision is None else decision.columns)  # type: ignore[operator]
    if set(columns) != set(operator.gives):
        raise ValueError(
            f"{type(operator).__name__} says it gives {sorted(operator.gives)} but gave"
            f" {sorted(columns)}"
        )
    for name, values in columns.items():
        if len(values) != batch.rows:
            raise ValueError(
                f"{type(operator).__name__}: column '{name}' has {len(values)} entries for"
                f" {batch.rows} rows"
            )
    return columns, decision


def _answer(operator: Operator, batches: Sequence[Batch]) -> pa.Table:
    parts = []
    for batch in batches:
        columns, decision = checked(operator, batch)
        about = {"id": batch.arrow("id"), **{n: to_arrow(v) for n, v in sorted(columns.items())}}
        if decision is not None:
            duplicate_of = (
                objects([None] * batch.rows)
                if decision.duplicate_of is None
                else decision.duplicate_of
            )
            about |= {
                "keep": pa.array(decision.keep),
                "reason": pa.array(decision.reason, pa.string()),
                "duplicate_of": pa.array(duplicate_of, pa.string()),
            }
        parts.append(pa.table(about))
    if not parts:  # no two rows share a key: nothing is said of any
        kinds = {"keep": pa.bool_(), "reason": pa.string(), "duplicate_of": pa.string()}
        return pa.schema(
            {"id": pa.string(), **dict.fromkeys(sorted(operator.gives), pa.null()), **kinds}
        ).empty_table()
    table = pa.concat_tables(parts, promote_options="permissive")
    return table.take(pa.array(np.argsort(to_numpy(table["id"]).astype(str), kind="stable")))


def _groups(operator: GroupBy, rows: Batch, keys: NDArray[np.uint64]) -> list[Batch]:
    """Return the rows of every group in the order of ids, the small groups left out."""
    parent = list(range(rows.rows))

    def root(i: int) -> int:
        while parent[i] != i:
            i = parent[i]
        return i

    first: dict[int, int] = {}
    shared: dict[int, list[int]] = {}
    signature = operator.signature(only(rows, operator.key_needs))
    for i, own in enumerate(keys.tolist()):
        for key in own:
            if key and signature is None:
                parent[root(i)] = root(first.setdefault(key, i))
            elif key:
                shared.setdefault(key, []).append(i)
    for bucket in shared.values():
        if len(bucket) > 1 and signature is not None:
            to = operator.linked(signature[bucket], np.array([0, len(bucket)]))
            for i, j in zip(bucket, to.tolist(), strict=True):
                parent[root(i)] = root(bucket[j])
    ids = rows["id"].tolist()
    members: dict[int, list[int]] = {}
    for i in sorted(range(rows.rows), key=lambda i: ids[i]):
        members.setdefault(root(i), []).append(i)
    return [
        Batch(rows.table.take(pa.array(g))) for g in members.values() if len(g) >= operator.smallest
    ]


def check(operator: Operator, columns: Mapping[str, Any], tolerance: float) -> None:
    """Raise AssertionError when the operator breaks the contract: see
    `coreset.testing.check_operator`.
    """
    what = type(operator).__name__
    frozen = getattr(getattr(operator, "__dataclass_params__", None), "frozen", False)
    assert frozen, f"{what} is no frozen dataclass"
    size = len(next(iter(columns.values())))
    assert size >= 4, f"{what}: the contract needs at least 4 rows to cut, got {size}"
    table = {"id": objects([f"row-{i:04d}" for i in range(size)]), **columns}
    rows = as_batch(table)
    before = pickle.dumps(rows.table)
    describe(operator)
    assert operator.gives.isdisjoint({"id", "keep", "reason", "duplicate_of"}), (
        f"{what} gives a reserved name: {sorted(operator.gives)}"
    )
    np.random.seed(5)  # noqa: NPY002  # the global state is what is watched
    state = np.random.get_state()[1].copy()  # type: ignore[index]  # noqa: NPY002
    whole = run_in_memory(operator, rows)
    assert (np.random.get_state()[1] == state).all(), f"{what} used numpy's global random state"  # type: ignore[index]  # noqa: NPY002
    assert pickle.dumps(rows.table) == before, f"{what} changed its input"
    _check_values(what, whole)
    rng = np.random.default_rng(0)
    order = rng.permutation(size)
    cuts = {
        "in a second call": [np.arange(size)],
        "one row at a time": [np.array([i]) for i in range(size)],
        "in batches of three": [np.arange(i, min(i + 3, size)) for i in range(0, size, 3)],
        "in another order": [order],
        "in another order and uneven batches": np.split(order, [1, size // 2]),
        "backwards in batches of two": [
            np.arange(size)[::-1][i : i + 2] for i in range(0, size, 2)
        ],
    }
    for how, cut in cuts.items():
        _same(what, how, whole, run_in_memory(operator, rows, cut), tolerance)
    _same(
        what,
        "after a trip through pickle",
        whole,
        run_in_memory(pickle.loads(pickle.dumps(operator)), rows),
        tolerance,
    )
    if kind(operator) != "select":
        kept = {
            t
            for t in (
                whole["duplicate_of"].to_pylist() if "duplicate_of" in whole.column_names else []
            )
            if t
        }
        alive = (
            dict(zip(whole["id"].to_pylist(), whole["keep"].to_pylist(), strict=True))
            if kept
            else {}
        )
        wrong = sorted(t for t in kept if not alive.get(t, False))
        assert not wrong, f"{what}: the duplicate_of {wrong[:1]} is not a row that is kept"


def _check_values(what: str, table: pa.Table) -> None:
    statuses = [n for n in table.column_names if n.endswith("_status")]
    good = np.ones(table.num_rows, bool)
    for name in statuses:
        words = table[name].to_pylist()
        odd = [w for w in words if not (isinstance(w, str) and re.fullmatch(r"[a-z][a-z0-9_]*", w))]
        assert not odd, f"{what}: a status is 'ok' or one lower-case word, '{name}' has {odd[0]!r}"
        good &= np.array([w == "ok" for w in words], bool)
    dropped = (
        ~to_numpy(table["keep"]) if "keep" in table.column_names else np.zeros(table.num_rows, bool)
    )
    for name in table.column_names:
        values = to_numpy(table[name])
        if values.dtype.kind == "f":
            flat = values.reshape(len(values), -1)
            assert not np.isinf(flat).any(), f"{what}: '{name}' is infinite; undefined is NaN"
            bad = np.isnan(flat).any(axis=1) & good & ~dropped
            assert not bad.any(), (
                f"{what}: '{name}' is NaN in row {int(np.flatnonzero(bad)[0])}, where no status"
                " says why"
            )


def _same(what: str, how: str, one: pa.Table, two: pa.Table, tolerance: float) -> None:
    assert one.column_names == two.column_names, (
        f"{what} {how}: columns {one.column_names} became {two.column_names}"
    )
    assert one["id"].to_pylist() == two["id"].to_pylist(), (
        f"{what} {how}: other rows are decided about"
    )
    for name in one.column_names:
        a, b = to_numpy(one[name]), to_numpy(two[name])
        assert a.dtype == b.dtype, f"{what} {how}: '{name}' is {b.dtype} instead of {a.dtype}"
        if a.dtype.kind == "f":
            equal = (
                np.isclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True)
                .reshape(len(a), -1)
                .all(axis=1)
            )
        else:
            equal = np.array([x == y for x, y in zip(a.tolist(), b.tolist(), strict=True)], bool)
        if not equal.all():
            i = int(np.flatnonzero(~equal)[0])
            raise AssertionError(
                f"{what} {how}: '{name}' of {one['id'][i].as_py()!r} is {b[i]!r} instead of"
                f" {a[i]!r}"
            )
