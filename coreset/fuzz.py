"""Random questions for any strategy: strange shapes, dtypes, scales, layouts and options, and the
one thing every answer has to be.
"""

from __future__ import annotations

import importlib
import re
import signal
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from types import FrameType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from coreset import registry
from coreset.core.pool import Pool
from coreset.core.selection import Selection
from coreset.core.signals import Signals
from coreset.core.strategy import Strategy

Column = Any
FLOATS = ("f2", "f4", "f8", "f8", "f8", ">f4", ">f8", "longdouble")
INTS = ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", ">i4", ">u8")
TENSORS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
CHEAP: dict[str, Any] = {  # numbers that set how long a strategy runs, not what it does
    "epochs": 3, "samples": 60, "rounds": 2, "hidden": 4, "configurations": 8, "iterations": 3,
    "targets": 3, "dims": 2, "subset": 6, "depth": 3,
}  # fmt: skip
WHOLE = (-1, 0, 1, 2, 3, 7, 50)
REAL = (-1.0, 0.0, 1e-12, 0.05, 0.5, 0.95, 1.0, 2.0, 1e6, np.inf, np.nan)
WORDS = frozenset({"k", "selected", "candidates", "ids", "budget", "options"})
MARKS = frozenset({"query", "private", "validation", "target"})
TABLES = ("influence", "query_similarity", "losses", "projected_gradients", "gradients")


@dataclass
class Question:
    """One call: a strategy by name with options, a pool, columns and k."""

    name: str
    options: dict[str, Any]
    size: int
    selected: NDArray[np.int64]
    candidates: NDArray[np.int64]
    k: int
    seed: int
    columns: dict[str, Column] = field(default_factory=dict)
    how: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return (
            f"{self.name} {self.options} size={self.size} selected={len(self.selected)} "
            f"candidates={len(self.candidates)} k={self.k} columns={self.how}"
        )


def words(cls: type, name: str) -> list[str]:
    """Return the words an option may be: those of the tuples in the modules of a strategy's class
    that hold its default.

    >>> from coreset.strategies.gradient.badge import Badge
    >>> words(Badge, "first")
    ['largest', 'random']
    """
    default = getattr(cls(), name)
    modules = [importlib.import_module(c.__module__) for c in cls.__mro__ if c is not object]
    known = [
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, tuple)
        and default in value
        and all(isinstance(word, str) for word in value)
    ]
    return sorted({default, *(word for value in known for word in value)})


def random_options(rng: np.random.Generator, name: str) -> dict[str, Any]:
    """Return options of a registered strategy: the cheap numbers, and some others at random."""
    cls = registry.load(name)
    plain = cls()
    out: dict[str, Any] = {}
    for one in fields(cls):
        default = getattr(plain, one.name)
        if one.name in CHEAP:
            out[one.name] = CHEAP[one.name]
        if rng.random() > 0.3:
            continue
        if isinstance(default, bool):
            out[one.name] = bool(rng.integers(2))
        elif isinstance(default, str) and one.name not in ("signal", "column"):
            out[one.name] = str(
                rng.choice(
                    words(cls, one.name) + ["precomputed", "distances"] * (one.name == "similarity")
                )
            )
        elif one.name in CHEAP:
            out[one.name] = int(rng.choice([1, out[one.name]]))
        elif isinstance(default, int) or "int" in str(one.type):
            out[one.name] = int(rng.choice(WHOLE))
        elif isinstance(default, float) or "float" in str(one.type):
            out[one.name] = float(rng.choice(REAL))
    return out


def random_floats(
    rng: np.random.Generator, shape: tuple[int, ...]
) -> tuple[NDArray[np.float64], str]:
    """Return numbers of one of the kinds that break things, and which kind."""
    n = shape[0]
    x = rng.normal(size=shape)
    kind = str(rng.choice(
        ["plain", "plain", "scale", "scale", "row", "rows", "copies", "constant", "zeros",
         "lattice", "far", "one hot",
         "column"]
    ))  # fmt: skip
    power = float(rng.choice([rng.uniform(-300, 300), rng.uniform(-30, 30)]))
    if kind == "scale":
        x *= 10.0**power
    elif kind == "row":
        x[rng.integers(n)] *= 10.0**power
    elif kind == "rows":
        x *= 10.0 ** (rng.uniform(-1, 1, (n, *[1] * (len(shape) - 1))) * abs(power))
    elif kind == "copies":
        x = x[rng.integers(0, max(1, n // 3), n)]
    elif kind == "constant":
        x[:] = x[:1]
    elif kind == "zeros":
        x[:] = 0.0
    elif kind == "lattice":
        x = rng.integers(-1, 2, shape).astype(float)
    elif kind == "far":
        x += 10.0 ** rng.uniform(0, 12)
    elif kind == "one hot":
        x = (x == x.max(axis=-1, keepdims=True)).astype(float)
    elif kind == "column" and len(shape) > 1:
        x[..., rng.integers(shape[-1])] *= 10.0**power
    if rng.random() < 0.3:
        x = np.abs(x)
    return x, kind if kind not in ("scale", "row", "rows", "column") else f"{kind} 1e{power:.0f}"


def random_probs(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return probabilities, smooth, saturated, equal, or the same in every row."""
    kind = rng.integers(5)
    if kind == 0:
        return np.full(shape, 1 / shape[-1])
    p = rng.dirichlet(np.full(shape[-1], 10.0 ** rng.uniform(-2, 2)), shape[:-1])
    p = np.where(np.isfinite(p), p, 0.0)
    p[..., 0] += 1 - p.sum(axis=-1)
    if kind == 1:
        p = (p == p.max(axis=-1, keepdims=True)).astype(float)
        p /= p.sum(axis=-1, keepdims=True)
    elif kind == 2:
        p[:] = p[:1]
    return np.abs(p)


def _typed(rng: np.random.Generator, x: NDArray[Any]) -> tuple[Column, str]:
    """Return a column as one of the dtypes, layouts and containers columns come in."""
    floating = x.dtype.kind == "f"
    if rng.random() < 0.4:
        return x, "plain"
    if floating and rng.random() < 0.3:
        kind = TENSORS[int(rng.integers(len(TENSORS)))]
        with np.errstate(over="ignore", under="ignore"):
            out = (
                torch.from_numpy(np.ascontiguousarray(x))
                .clamp(torch.finfo(kind).min, torch.finfo(kind).max)
                .to(kind)
            )
        grad = bool(rng.integers(2))
        return out.requires_grad_(grad), f"{kind}{' requires_grad' * grad}"
    name = str(rng.choice(FLOATS if floating else INTS)) if x.dtype != bool else "?"
    dtype = np.dtype(name)
    if floating:
        limits = np.finfo(dtype.newbyteorder("="))
        x = x.clip(max(float(limits.min), -1.7e308), min(float(limits.max), 1.7e308))
    elif x.dtype != bool and dtype.kind == "u":
        x = np.maximum(x, 0)
    with np.errstate(over="ignore", under="ignore"):
        x = x.astype(dtype)
    layout = str(rng.choice(["C", "F", "reversed", "strided", "read-only", "list"]))
    if layout == "F":
        x = np.asfortranarray(x)
    elif layout == "reversed":
        x = x[::-1].copy()[::-1]
    elif layout == "strided":
        x = np.repeat(x, 2, axis=0)[::2]
    elif layout == "read-only":
        x = x.copy()
        x.flags.writeable = False
    return (x.tolist() if layout == "list" and dtype.kind in "fib" else x), f"{name} {layout}"


def _wrong(rng: np.random.Generator, x: NDArray[Any]) -> tuple[Column, str]:
    """Return a column of a kind that most strategies refuse."""
    kind = str(rng.choice(
        ["nan", "inf", "complex", "bool", "datetime", "object", "masked", "sparse", "meta", "text",
         "shape", "none",
         "narrow", "scipy", "pandas"]
    ))  # fmt: skip
    if kind in ("nan", "inf") and x.dtype.kind == "f":
        x = x.copy()
        x[rng.integers(len(x))] = np.nan if kind == "nan" else -np.inf
        return x, kind
    if kind == "datetime":
        return np.zeros(x.shape, "M8[s]"), kind
    if kind == "masked":
        return np.ma.masked_array(x, rng.random(x.shape) < 0.1), kind
    if kind == "scipy" and x.ndim == 2:
        from scipy.sparse import csr_matrix

        return csr_matrix(x), kind
    if kind == "pandas" and x.ndim == 1:
        import pandas as pd

        holes = pd.array(x).astype("Float64" if x.dtype.kind == "f" else "Int64")
        holes[int(rng.integers(len(x)))] = pd.NA
        return pd.Series(holes), kind
    tensor = torch.from_numpy(np.ascontiguousarray(x))
    columns: dict[str, Column] = {
        "complex": x.astype(complex),
        "bool": x > 0,
        "object": x.astype(object),
        "sparse": tensor.to_sparse(),
        "meta": tensor.to("meta"),
        "text": np.full(len(x), "a"),
        "shape": np.stack([x, x], axis=-1),
        "none": np.array([None] * len(x), object),
        "narrow": x.reshape(len(x), -1)[:, :0],
    }
    return columns.get(kind, x), kind


def random_question(seed: int, index: int, name: str | None = None) -> Question:
    """Return question number `index` of a seed, for a registered strategy in turn or by name."""
    rng = np.random.default_rng([seed, index])
    known = registry.names()
    name = name or known[index % len(known)]
    size = int(rng.choice([1, 2, 3, 5, 12, 30, 60]))
    order = rng.permutation(size)
    taken = int(rng.integers(0, size)) if rng.random() < 0.5 else 0
    rest = order[taken:]
    free = np.sort(rest[: int(rng.integers(1, len(rest) + 1))] if rng.random() < 0.3 else rest)
    k = int(rng.choice([1, len(free), int(rng.integers(1, len(free) + 1))]))
    out = Question(
        name, random_options(rng, name), size, order[:taken], free, k, int(rng.integers(99))
    )
    dim, classes = int(rng.choice([1, 2, 5, 40])), int(rng.choice([1, 2, 4, 9]))
    try:
        asked = registry.strategy(name, out.options)
    except (ValueError, TypeError):
        return out
    at = np.arange(size)
    for column in sorted(asked.needs | asked.needs_selected):
        what = "plain"
        x: Column
        if column in ("probs", "member_probs"):
            x = random_probs(rng, (size, classes) if column == "probs" else (size, 3, classes))
        elif column == "labels":
            x = rng.integers(-(rng.random() < 0.1), max(1, int(rng.integers(1, classes + 1))), size)
        elif column in ("clusters", "validation_task"):
            x = rng.integers(0, 3, size)
            if column == "validation_task":
                x = np.where(np.isin(at, free), -1, x)
        elif column in MARKS:
            x = rng.random(size) < 0.3
            if column == "validation":
                x &= ~np.isin(at, free)
        elif column in ("similarity", "distances"):
            x, what = random_floats(rng, (size, size))
            x = np.abs(np.maximum(x, x.T))
            if column == "distances":
                np.fill_diagonal(x, 0.0)
        elif column == "tags":
            x = np.empty(size, object)
            x[:] = [list(rng.choice(list("abcd"), rng.integers(0, 4))) for _ in at]
        elif column == "logits" and "features" in out.columns and rng.random() < 0.7:
            plain = out.columns["features"]
            if isinstance(plain, torch.Tensor):
                dense = str(plain.layout) == "torch.strided" and plain.device.type == "cpu"
                plain = (
                    plain.detach().double().numpy()
                    if dense and not plain.is_complex()
                    else np.zeros(0)
                )
            plain = np.asarray(plain)
            numbers = plain.ndim == 2 and plain.dtype.kind == "f"
            with np.errstate(all="ignore"):
                x = (plain.astype(float) if numbers else np.ones((size, 1))) @ rng.normal(
                    size=(plain.shape[1] if numbers else 1, classes)
                )
        else:
            shape = (
                (size, dim)
                if column == "features"
                else (size, classes)
                if column == "logits"
                else (size,)
            )
            x, what = random_floats(rng, (size, 3) if column in TABLES else shape)
            if len(x.shape) == 1 and rng.random() < 0.5:
                x = np.abs(x) % 1.0
        if column != "tags":
            x, how = _wrong(rng, x) if rng.random() < 0.02 else _typed(rng, x)
            what = f"{what}, {how}"
        out.columns[column], out.how[column] = x, what
    return out


@contextmanager
def _limit(seconds: int) -> Iterator[None]:
    """Raise TimeoutError inside the block after some seconds of CPU time; only in the main thread
    of a process that has timers.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGPROF"):
        yield
        return

    def late(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"no answer after {seconds} s")

    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def ask(question: Question, seconds: int = 20) -> str:
    """Return "answered" or "refused"; raise AssertionError with the question for anything else.

    Answered: k distinct candidates with finite weights of at least zero, without a warning, in
    time. Refused: ValueError, TypeError or KeyError whose words name a column, an option, or an
    argument of the call.
    """
    try:
        with _limit(seconds), warnings.catch_warnings():
            warnings.simplefilter("error")
            asked = registry.strategy(question.name, question.options)
            answer = answered(asked, question)
    except (ValueError, TypeError, KeyError) as error:
        cls = registry.load(question.name)
        named = WORDS | set(question.columns) | {f.name for f in fields(cls)} | cls().needs
        if any(
            re.search(rf"\b{re.escape(word)}\b", str(error)) for word in named
        ) and not isinstance(error, np.linalg.LinAlgError | UnicodeError):
            return "refused"
        raise AssertionError(
            f"{question}: the words name no column and no option: {error!r}"
        ) from error
    except Exception as error:
        raise AssertionError(f"{question}: {type(error).__name__}: {error}") from error
    got, weights = answer.indices, answer.weights
    fine = len(got) == question.k == len(np.unique(got)) and np.isin(got, question.candidates).all()
    if not fine or (
        weights is not None and not (np.isfinite(weights).all() and (weights >= 0).all())
    ):
        raise AssertionError(f"{question}: no valid answer: {got}, {weights}")
    return "answered"


def answered(strategy: Strategy, question: Question) -> Selection:
    """Return what a strategy answers to a question."""
    pool = Pool(question.size, question.selected, question.candidates)
    columns: Mapping[str, Column] = {**question.columns}
    return strategy(
        pool, Signals(question.size, **columns), question.k, np.random.default_rng(question.seed)
    )
