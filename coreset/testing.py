"""The contracts that any strategy, scorer and operator must pass, ours and yours."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from coreset.types import Pool, Scorer, Selection, Signals, Strategy

if TYPE_CHECKING:
    from coreset.pipeline.operators import Operator


def example_signals(size: int, names: frozenset[str], seed: int = 0) -> dict[str, NDArray[Any]]:
    """Return made-up columns without ties: features (N, 6), logits and probs (N, 4), member_probs (N, 5, 4), labels (N,) of 4 classes, others (N,) in (0, 1).

    >>> sorted(example_signals(8, frozenset({"labels", "loss"})))
    ['labels', 'loss']
    """
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(size) % 4)
    features = rng.normal(size=(size, 6)) + 2 * np.eye(4, 6)[labels]
    logits = features[:, :4] + rng.normal(size=(size, 4))
    members = logits[:, None] + rng.normal(size=(size, 5, 4))

    def softmax(z: NDArray[Any]) -> NDArray[Any]:
        e = np.exp(z - z.max(axis=-1, keepdims=True))
        return np.asarray(e / e.sum(axis=-1, keepdims=True))

    known = {
        "features": features,
        "logits": logits,
        "probs": softmax(logits),
        "member_probs": softmax(members),
        "labels": labels,
    }
    return {n: known[n] if n in known else rng.uniform(0.05, 0.95, size) for n in sorted(names)}


def check_strategy(strategy: Strategy, columns: dict[str, NDArray[Any]] | None = None, device: str = "cpu") -> None:
    """Raise AssertionError with a sentence when `strategy` breaks the contract.

    k distinct candidates in order, nothing outside; deterministic under a seed and across 1 or 2 threads; global random state untouched; input left as
    it was; equivariant under permutation of the pool (ids travel along); the prefix of a greedy answer is the answer for a smaller budget; k = 1 and
    k = all work; a missing column, NaN and a wrong shape are refused with the name. columns: your own, when the made-up ones do not fit (no ties).

    >>> from coreset.registry import strategy
    >>> check_strategy(strategy("kcenter"))
    """
    who = type(strategy).__name__
    wanted = strategy.needs | strategy.needs_selected
    columns = example_signals(48, wanted) if columns is None else columns
    size = len(next(iter(columns.values()))) if columns else 48
    layout = np.random.default_rng(1).permutation(size)
    selected, candidates = layout[:4], np.sort(layout[4 : size - 4])  # the last four may not be chosen
    ids = np.arange(size) * 7 + 3

    def run(k: int, order: NDArray[Any] | None = None, seed: int = 0, **change: Any) -> Selection:
        order = np.arange(size) if order is None else order
        place = np.argsort(order)  # old position -> new
        cols = {
            n: torch.as_tensor(v[order]).to(device) if device != "cpu" else v[order].copy()
            for n, v in {**columns, **change}.items()
            if v is not None
        }
        kept = {n: np.array(v.cpu() if device != "cpu" else v) for n, v in cols.items()}
        pool = Pool(size, place[selected], place[candidates], ids[order])
        taken, free = pool.selected.copy(), pool.candidates.copy()
        answer = strategy(pool, Signals(size, **cols), k, np.random.default_rng(seed))
        assert np.array_equal(pool.selected, taken), f"{who} changed the pool's selected positions"
        assert np.array_equal(pool.candidates, free), f"{who} changed the pool's candidates"
        for n, v in cols.items():
            assert np.array_equal(kept[n], np.asarray(v.cpu() if device != "cpu" else v), equal_nan=True), (
                f"{who} changed the column '{n}'"
            )
        return answer

    def same(a: Selection, b: Selection, what: str) -> None:
        assert a.ids is not None
        assert b.ids is not None
        assert a.ids.tolist() == b.ids.tolist(), f"{who}: {what}: {a.ids.tolist()} became {b.ids.tolist()}"
        if a.weights is not None and b.weights is not None:
            assert np.allclose(a.weights, b.weights, rtol=1e-4, atol=1e-8), f"{who}: {what}: the weights changed"

    np.random.seed(5)  # noqa: NPY002  # the global state is what is watched
    before, torch_before = np.random.get_state()[1].copy(), torch.get_rng_state()  # type: ignore[index]  # noqa: NPY002
    k = len(candidates) // 3
    answer = run(k)
    assert (np.random.get_state()[1] == before).all(), f"{who} used numpy's global random state"  # type: ignore[index]  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_before), f"{who} used torch's global random state"
    python_before = random.getstate()  # from the second call on: libraries that load in the first may draw from it
    same(answer, run(k), "a second call with the same seed")
    assert random.getstate() == python_before, f"{who} used Python's global random state"
    threads = torch.get_num_threads()
    try:
        for n in (1, 2):
            torch.set_num_threads(n)
            same(answer, run(k), f"on {n} threads")
    finally:
        torch.set_num_threads(threads)
    for seed in (2, 3):
        same(answer, run(k, np.random.default_rng(seed).permutation(size)), "under a permutation of the pool")
    for few in (1, k // 2):
        short = run(few)
        if strategy.greedy:
            same(answer.prefix(few), Selection(short.indices, None, None, None, short.ids), f"a budget of {few}")
    everything = run(len(candidates))
    assert np.array_equal(np.sort(everything.indices), candidates), f"{who}: k = all must return every candidate"

    def refused(name: str, values: NDArray[Any] | None, kind: type[Exception], what: str) -> None:
        try:
            run(k, None, 0, **{name: values})
        except kind as error:
            if name not in str(error):
                raise AssertionError(f"{who}: {what} in '{name}': the message does not name it: {error}") from error
            return
        raise AssertionError(f"{who}: {what} in '{name}' was not refused with {kind.__name__}")

    for name in sorted(wanted):
        column = columns[name]
        refused(name, None, KeyError, "a missing column")
        flat = column.reshape(size, -1)[:, 0] if column.ndim > 1 else np.stack([column] * 2, axis=1)
        refused(name, flat, ValueError, "a wrong shape")
        read = [candidates[2]] * (name in strategy.needs) + [selected[2]] * (name in strategy.needs_selected)
        for row in read if column.dtype.kind == "f" else ():
            holed = column.copy()
            holed[row] = np.nan
            refused(name, holed, ValueError, "NaN")


def check_scorer(scorer: Scorer, columns: Mapping[str, Any], tolerance: float = 0.0) -> None:
    """Raise AssertionError with a sentence when a scorer breaks the contract on these rows (at least 4, with the cases that matter among them).

    It gives exactly `gives`, one entry per row; the same value for a row in any batching and order (numbers within `tolerance`, relative and absolute),
    in a second call and after a trip through pickle; input and global random state untouched. A number may be NaN only where a column `*_status` of the
    scorer is not "ok", infinity never, and a status says "ok" or one lower-case word. columns: `id` is added when it is missing.

    >>> from coreset.scorers.length import Length
    >>> check_scorer(Length(), {"text": ["a b", "", "c", "d e f"]})
    """
    check_operator(scorer, columns, tolerance)


def check_operator(operator: Operator, columns: Mapping[str, Any], tolerance: float = 0.0) -> None:
    """Raise AssertionError with a sentence when an operator of any of the five kinds breaks the contract on these rows: see `check_scorer`.

    Decisions, reasons and twins must be the same for every batching, order of rows and order of merges; a twin is a row that is kept.
    """
    from coreset.pipeline.contract import check

    check(operator, columns, tolerance)
