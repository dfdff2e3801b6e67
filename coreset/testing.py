"""The contracts that any strategy, scorer and operator must pass, ours and yours."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from coreset.core.pool import Pool
from coreset.core.selection import Selection
from coreset.core.signals import Signals
from coreset.core.strategy import Scorer, Strategy

if TYPE_CHECKING:
    from coreset.curation.operators.base import Operator


def example_signals(size: int, names: frozenset[str], seed: int = 0) -> dict[str, NDArray[Any]]:
    """Return made-up columns without ties: features (N, 6), logits and probs (N, 4), member_probs
    (N, 5, 4), labels (N,) of 4 classes, others (N,) in (0, 1).

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


def check_strategy(
    strategy: Strategy, columns: dict[str, NDArray[Any]] | None = None, device: str = "cpu"
) -> None:
    """Raise AssertionError with a sentence when `strategy` breaks the contract.

    k distinct candidates in order, nothing outside; deterministic under a seed (and, unless it says
    it is random, under all) and across 1 or 2 threads; global random state and switches (numpy's
    error handling, torch's dtype, threads, gradients) untouched; input left as it was; equivariant
    under permutation of the pool (ids travel along); the prefix of a greedy answer is the answer
    for a smaller budget; k = 1 and k = all work; a missing column and a wrong shape are refused
    with the name, NaN, infinite values and rows that are no probabilities with name and number.
    Half precision is read as it is: the answer is that of the same numbers in single precision.
    Pools of duplicates, equal or negative scores, saturated probabilities, zero features, a class
    of one and a class of none give k distinct candidates, or a ValueError that names a column.
    columns: your own, when the made-up ones do not fit (no ties).

    >>> from coreset.registry import strategy
    >>> check_strategy(strategy("kcenter"))
    """
    wanted = strategy.needs | strategy.needs_selected
    trial = _Trial(
        strategy, example_signals(48, wanted) if columns is None else columns, wanted, device
    )
    _check_answers(trial)
    _check_refusals(trial)
    _check_degenerate(trial)


class _Trial:
    """A strategy on one pool of made-up columns: 4 are selected, the last four of a random layout
    may not be chosen.
    """

    def __init__(
        self,
        strategy: Strategy,
        columns: dict[str, NDArray[Any]],
        wanted: frozenset[str],
        device: str,
    ) -> None:
        self.strategy, self.columns, self.wanted, self.device = strategy, columns, wanted, device
        self.who = type(strategy).__name__
        self.size = len(next(iter(columns.values()))) if columns else 48
        layout = np.random.default_rng(1).permutation(self.size)
        self.selected, self.candidates = layout[:4], np.sort(layout[4 : self.size - 4])
        self.ids = np.arange(self.size) * 7 + 3
        self.k = len(self.candidates) // 3

    def run(
        self, k: int, order: NDArray[Any] | None = None, seed: int = 0, **change: Any
    ) -> Selection:
        """Return the answer with the pool arranged in another order and some columns changed (None:
        left out).
        """
        order = np.arange(self.size) if order is None else order
        place = np.argsort(order)  # old position -> new
        there = {n: v[order] for n, v in {**self.columns, **change}.items() if v is not None}
        here = self.device == "cpu"
        cols = {
            n: v.copy() if here or v.dtype == object else torch.as_tensor(v).to(self.device)
            for n, v in there.items()
        }
        pool = Pool(self.size, place[self.selected], place[self.candidates], self.ids[order])
        taken, free = pool.selected.copy(), pool.candidates.copy()
        answer = self.strategy(pool, Signals(self.size, **cols), k, np.random.default_rng(seed))
        assert np.array_equal(pool.selected, taken), (
            f"{self.who} changed the pool's selected positions"
        )
        assert np.array_equal(pool.candidates, free), f"{self.who} changed the pool's candidates"
        for n, v in cols.items():
            now = v if isinstance(v, np.ndarray) else v.cpu().numpy()
            assert np.array_equal(there[n], now, equal_nan=now.dtype.kind == "f"), (
                f"{self.who} changed the column '{n}'"
            )
        return answer

    def same(self, a: Selection, b: Selection, what: str) -> None:
        """Raise AssertionError when two answers differ."""
        assert a.ids is not None
        assert b.ids is not None
        assert a.ids.tolist() == b.ids.tolist(), (
            f"{self.who}: {what}: {a.ids.tolist()} became {b.ids.tolist()}"
        )
        if a.weights is not None and b.weights is not None:
            assert np.allclose(a.weights, b.weights, rtol=1e-4, atol=1e-8), (
                f"{self.who}: {what}: the weights changed"
            )

    def refused(
        self,
        name: str,
        values: NDArray[Any] | None,
        kind: type[Exception],
        what: str,
        count: int | None = None,
    ) -> None:
        """Raise AssertionError when a wrong column is taken, or refused without its name and the
        number of rows that are wrong.
        """
        try:
            self.run(self.k, None, 0, **{name: values})
        except kind as error:
            if name not in str(error):
                raise AssertionError(
                    f"{self.who}: {what} in '{name}': the message does not name it: {error}"
                ) from error
            if count is not None and not re.search(rf"\b{count}\b", str(error)):
                raise AssertionError(
                    f"{self.who}: {what} in {count} rows of '{name}': the message does not count"
                    f" them: {error}"
                ) from error
            return
        raise AssertionError(f"{self.who}: {what} in '{name}' was not refused with {kind.__name__}")

    def survives(self, what: str, **change: Any) -> None:
        """Raise AssertionError when the answer is neither k distinct candidates, for few, many and
        all, nor an error in words.
        """
        for k in (self.k, len(self.candidates)):
            try:
                self.run(k, **change)
            except (ValueError, KeyError) as error:
                if not any(
                    re.search(rf"\b{name}\b", str(error))
                    for name in (*self.wanted, *self.strategy.parameters())
                ):
                    raise AssertionError(
                        f"{self.who}: {what}: the message names no column: {error!r}"
                    ) from error
            except Exception as error:
                raise AssertionError(
                    f"{self.who}: {what}: {type(error).__name__}: {error}"
                ) from error


def _check_answers(trial: _Trial) -> None:
    who, run, same, k = trial.who, trial.run, trial.same, trial.k
    np.random.seed(5)  # noqa: NPY002  # the global state is what is watched
    before, torch_before = np.random.get_state()[1].copy(), torch.get_rng_state()  # type: ignore[index]  # noqa: NPY002
    switches = (
        np.geterr(),
        torch.get_default_dtype(),
        torch.get_num_threads(),
        torch.is_grad_enabled(),
    )
    answer = run(k)
    now = np.geterr(), torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled()
    assert now == switches, (
        f"{who} changed a global switch of numpy or torch: {switches} became {now}"
    )
    assert (np.random.get_state()[1] == before).all(), f"{who} used numpy's global random state"  # type: ignore[index]  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_before), (
        f"{who} used torch's global random state"
    )
    # from the second call on: libraries that load in the first may draw from it
    python_before = random.getstate()
    same(answer, run(k), "a second call with the same seed")
    assert random.getstate() == python_before, f"{who} used Python's global random state"
    if not trial.strategy.random:
        same(answer, run(k, seed=1), "another seed, although `random` is False")
    threads = torch.get_num_threads()
    try:
        for n in (1, 2):
            torch.set_num_threads(n)
            same(answer, run(k), f"on {n} threads")
    finally:
        torch.set_num_threads(threads)
    for seed in (2, 3):
        same(
            answer,
            run(k, np.random.default_rng(seed).permutation(trial.size)),
            "under a permutation of the pool",
        )
    for few in (1, k // 2):
        short = run(few)
        if trial.strategy.greedy:
            same(
                answer.prefix(few),
                Selection(short.indices, None, None, None, short.ids),
                f"a budget of {few}",
            )
    everything = run(len(trial.candidates))
    assert np.array_equal(np.sort(everything.indices), trial.candidates), (
        f"{who}: k = all must return every candidate"
    )
    half: dict[str, Any] = {
        n: v.astype(np.float16) for n, v in trial.columns.items() if v.dtype.kind == "f"
    }
    if half:
        single: dict[str, Any] = {n: v.astype(np.float32) for n, v in half.items()}
        same(run(k, **single), run(k, **half), "half precision against the same numbers in single")


def _check_refusals(trial: _Trial) -> None:
    for name in sorted(trial.wanted):
        column = trial.columns[name]
        trial.refused(name, None, KeyError, "a missing column")
        flat = (
            column.reshape(trial.size, -1)[:, 0]
            if column.ndim > 1
            else np.stack([column] * 2, axis=1)
        )
        trial.refused(name, flat, ValueError, "a wrong shape")
        if column.dtype.kind != "f":
            continue
        read = [trial.candidates[[2, 5]]] * (name in trial.strategy.needs) + [
            trial.selected[[2, 3]]
        ] * (name in trial.strategy.needs_selected)
        for at in read:
            holed = column.copy()
            holed[at[0]], holed[at[1]] = np.nan, np.inf
            trial.refused(name, holed, ValueError, "NaN", 2)
            if name in ("probs", "member_probs"):
                for factor in (0.5, -1.0):  # a sum of one half; negative
                    other = column.copy()
                    other[at] *= factor
                    trial.refused(name, other, ValueError, "no probabilities", 2)


def _check_degenerate(trial: _Trial) -> None:
    numbers = {n: v for n, v in trial.columns.items() if v.dtype.kind == "f"}
    if numbers:
        trial.survives(
            "a pool of duplicates",
            **{n: np.repeat(v[:1], trial.size, axis=0) for n, v in numbers.items()},
        )
        trial.survives(
            "zeros",
            **{
                n: v if n in ("probs", "member_probs") else np.zeros_like(v)
                for n, v in numbers.items()
            },
        )
    single = {n: v for n, v in numbers.items() if v.ndim == 1}
    if single:
        trial.survives("negative scores", **{n: -1 - v for n, v in single.items()})
    sure = {n: v for n, v in numbers.items() if n in ("probs", "member_probs")}
    if sure:
        labels = trial.columns.get("labels", np.zeros(trial.size, np.int64))
        right = {n: np.eye(v.shape[-1])[labels] for n, v in sure.items()}
        trial.survives(
            "saturated probabilities",
            **{
                n: np.broadcast_to(right[n][:, None] if v.ndim == 3 else right[n], v.shape)
                for n, v in sure.items()
            },
        )
    if trial.columns.get("labels", np.empty((0, 0))).ndim == 1:
        alone = np.zeros_like(trial.columns["labels"])
        alone[trial.candidates[7]] = 2  # of classes 1 and 3 there is none
        trial.survives("a class of one", labels=alone)
        trial.survives("one class", labels=np.zeros_like(alone))
        trial.survives(
            "unknown labels",
            labels=np.where(np.arange(trial.size) % 5, trial.columns["labels"], -1),
        )
    if sure:
        narrow = {n: np.ones((*v.shape[:-1], 1)) for n, v in sure.items()}
        if "labels" in trial.columns:
            narrow["labels"] = np.zeros_like(trial.columns["labels"])
        trial.survives("one class in all", **narrow)
    if "features" in numbers:
        trial.survives("one feature", features=numbers["features"][:, :1])


def check_scorer(scorer: Scorer, columns: Mapping[str, Any], tolerance: float = 0.0) -> None:
    """Raise AssertionError with a sentence when a scorer breaks the contract on these rows (at
    least 4, with the cases that matter among them).

    It gives exactly `gives`, one entry per row; the same value for a row in any batching and order
    (numbers within `tolerance`, relative and absolute), in a second call and after a trip through
    pickle; input and global random state untouched. A number may be NaN only where a column
    `*_status` of the scorer is not "ok", infinity never, and a status says "ok" or one lower-case
    word. columns: `id` is added when it is missing.

    >>> from coreset.scorers.length import Length
    >>> check_scorer(Length(), {"text": ["a b", "", "c", "d e f"]})
    """
    check_operator(scorer, columns, tolerance)


def check_operator(operator: Operator, columns: Mapping[str, Any], tolerance: float = 0.0) -> None:
    """Raise AssertionError with a sentence when an operator of any of the five kinds breaks the
    contract on these rows: see `check_scorer`.

    Decisions, reasons and duplicates must be the same for every batching, order of rows and order
    of merges; a duplicate_of is a row that is kept.
    """
    from coreset.curation.operators.contract import check

    check(operator, columns, tolerance)
