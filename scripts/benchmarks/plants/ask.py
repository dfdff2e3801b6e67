"""Ask an operator of the library about rows in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset.core.batch import as_batch
from coreset.curation.operators.base import Operator as Step
from coreset.curation.operators.contract import run_in_memory
from coreset.scorers.text.embedding import encode_texts
from scripts.benchmarks.plants.count import Drop, Operator, Plants

Scorer = Callable[[dict[str, Any]], dict[str, Any]]


def ask(name: str, *steps: Step, scorers: Sequence[Scorer] = ()) -> Operator:
    """Return the question: the rows that any of the steps drops, after the scorers' columns."""

    def drops(columns: dict[str, Any]) -> dict[str, Drop]:
        have = dict(columns)
        for scorer in scorers:
            have |= scorer(have)
        out: dict[str, Drop] = {}
        for step in steps:
            table = run_in_memory(step, as_batch(have))
            parts = (table[n].to_pylist() for n in ("id", "keep", "reason", "duplicate_of"))
            for row, keep, reason, other in zip(*parts, strict=True):
                if not keep:
                    out.setdefault(row, (reason, other))
        return out

    return Operator(name, drops)


def excerpt(text: str, characters: int = 90) -> str:
    r"""Return the beginning of a text on one line.

    >>> excerpt("a\nb")
    'a b'
    """
    line = " ".join(text.split())
    return line if len(line) <= characters else line[: characters - 3] + "..."


_VECTORS: dict[tuple[str, int], NDArray[np.float32]] = {}


def encoded(texts: Sequence[str], longest: int = 256) -> NDArray[np.float32]:
    """Return MiniLM's vectors (n, 384) of texts, each text encoded once in a process."""
    new = sorted({t for t in texts if (t, longest) not in _VECTORS})
    for text, vector in zip(new, encode_texts(new, "minilm", longest, device="cpu"), strict=True):
        _VECTORS[text, longest] = vector
    return np.stack([_VECTORS[t, longest] for t in texts])


def planted(
    base: Sequence[dict[str, Any]],
    added: Sequence[tuple[str, int, dict[str, Any]]],
    copies: bool,
    show: Callable[[dict[str, Any]], str],
) -> Plants:
    """Return base rows and rows planted among them, in a random order of their ids. added: kind,
    the base row it was made of, the row. Rows are dicts of the same fields.
    """
    rows = [*base, *(row for _, _, row in added)]
    order = np.random.default_rng(len(rows)).permutation(len(rows))
    ids = np.array([f"row-{i:05d}" for i in np.argsort(order)], object)
    kinds = [""] * len(base) + [kind for kind, _, _ in added]
    families = [*range(len(base)), *(source for _, source, _ in added)]
    columns: dict[str, Any] = {n: [row[n] for row in rows] for n in rows[0]}
    columns = {n: np.stack(v) if isinstance(v[0], np.ndarray) else v for n, v in columns.items()}
    return Plants(
        {"id": ids, **columns}, kinds, np.array(families), copies, [show(r) for r in rows]
    )
