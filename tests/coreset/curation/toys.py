"""Small operators of every kind for the tests of the engine, and the plain reference: a recipe run
in memory, operator by operator, from the definitions.
"""

import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from coreset.core.batch import Batch, objects, to_arrow, to_numpy
from coreset.curation.operators.base import Decision, Estimator, Filter, GroupBy, Selector
from coreset.curation.operators.contract import checked, run_in_memory
from coreset.curation.operators.dedup import NearDuplicates
from coreset.curation.operators.select import Select
from coreset.curation.operators.threshold import Threshold
from coreset.numerics.random import keyed_uniform
from coreset.registry import strategy
from coreset.scorers.length import Length


@dataclass(frozen=True)
class Coin(Filter):
    """Drop a share of the rows, by id."""

    needs = frozenset({"id"})
    share: float = 0.2

    def decide(self, batch):
        return Decision.where(keyed_uniform(7, batch["id"]) >= self.share, "tails")


@dataclass(frozen=True)
class Common(Estimator):
    """Become a score: how often the first word of a text starts a text."""

    needs = frozenset({"text"})
    gives = frozenset({"common", "common_status"})

    def fit(self, batch):
        state = {}
        for text in batch["text"]:
            first = text.split()[0]
            state[first] = state.get(first, 0) + 1
        return state

    def merge(self, a, b):
        return {k: a.get(k, 0) + b.get(k, 0) for k in {*a, *b}}

    def finish(self, state):
        return FirstWord(tuple(sorted(state.items())))


@dataclass(frozen=True)
class FirstWord:
    counts: tuple
    needs = frozenset({"text"})
    gives = frozenset({"common", "common_status"})

    def __call__(self, batch):
        known = dict(self.counts)
        first = [t.split()[0] for t in batch["text"]]
        # undefined for one word
        values = np.array([np.nan if f == "the" else known[f] for f in first], float)
        return {
            "common": values,
            "common_status": objects(["too_common" if f == "the" else "ok" for f in first]),
        }


@dataclass(frozen=True)
class Near(GroupBy):
    """Keep the first id among rows that share their first or their last two words, directly or
    through others; say how many there were.
    """

    needs = frozenset({"text"})
    key_needs = frozenset({"text"})
    gives = frozenset({"group_size"})

    def key(self, batch):
        words = [t.split() for t in batch["text"]]
        return np.array(
            [[hash_words(w[:2], 1), hash_words(w[-2:], 2)] for w in words], np.uint64
        ).reshape(-1, 2)

    def decide(self, rows):
        keep = np.arange(rows.rows) == 0
        duplicate_of = objects([None, *[rows["id"][0]] * (rows.rows - 1)])
        return Decision(
            keep,
            np.where(keep, "", "near another").astype(object),
            duplicate_of,
            {"group_size": np.full(rows.rows, float(rows.rows))},
        )


def hash_words(words, side):
    return (
        0
        if len(words) < 2
        else 4 * int.from_bytes(" ".join(words).encode()[:7].ljust(7), "big") + side
    )


@dataclass(frozen=True)
class Quota(GroupBy):
    """Keep the first two of each number of words; rows alone are looked at too."""

    needs = key_needs = frozenset({"text_words"})
    smallest = 1

    def key(self, batch):
        return batch["text_words"].astype(np.uint64) + np.uint64(1)

    def decide(self, rows):
        return Decision.where(np.arange(rows.rows) < 2, "quota is full")


@dataclass(frozen=True)
class Fails(Filter):
    """Raise on texts with a word in them."""

    needs = frozenset({"text"})
    word: str = "boom"

    def decide(self, batch):
        for text in batch["text"]:
            if self.word in text:
                raise ValueError(f"cannot read {text!r}")
        return Decision.where(np.ones(batch.rows, bool), "")


@dataclass(frozen=True)
class Twice:
    """Write rows with a word in them twice."""

    needs = frozenset({"text"})
    gives = frozenset({"repeat"})
    word: str = "a"

    def __call__(self, batch):
        return {"repeat": np.array([2 if self.word in t.split() else 1 for t in batch["text"]])}


@dataclass(frozen=True)
class Vectors:
    """Two numbers a row, from the text."""

    needs = frozenset({"text"})
    gives = frozenset({"vector"})

    def __call__(self, batch):
        return {
            "vector": (
                np.array(
                    [[len(t), sum(map(ord, t)) % 97] for t in batch["text"]], np.float64
                ).reshape(-1, 2)
            )
        }


@dataclass(frozen=True)
class DiesOnce:
    """A step that kills its process at one item, the first time."""

    flag: Path

    def __call__(self, item):
        if item == 3 and not self.flag.exists():
            self.flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return item * item


def stay(folder, moment):
    """On a node of Ray that can be lost: say so in `folder`, once, and stay until the node goes.
    `folder / "head"` names the node that has to live; without it nothing is done.
    """
    head = folder / "head"
    if not head.exists():
        return
    import ray

    here = ray.get_runtime_context().get_node_id()
    if here == head.read_text():
        return
    try:
        with (folder / moment).open("x") as file:
            file.write(here)
    except FileExistsError:
        return
    time.sleep(100)


@dataclass(frozen=True)
class StayingRule:
    """Counts words, on a node that goes while it does."""

    folder: Path
    needs = frozenset({"text"})
    gives = frozenset({"words"})

    def __call__(self, batch):
        stay(self.folder, "rule")
        return {"words": np.array([len(t.split()) for t in batch["text"]], float)}


@dataclass(frozen=True)
class StayingDuplicates(NearDuplicates):
    """Near duplicates, on a node that goes while keys are read."""

    folder: Path = Path()

    def key(self, batch):
        stay(self.folder, "key")
        return super().key(batch)


def recipe(budget=0.3):
    """Every kind of operator, in an order that lets each see what the others left."""
    return [
        Length("text"), Coin(), Threshold("text_words", low=1), Common(), Near(), Vectors(),
        Select(strategy("kcenter"), budget, {"features": "vector"}),
    ]  # fmt: skip


def in_memory(operators, rows):
    """Return {id: (state, operator, reason, duplicate_of)} and the columns of all rows: the
    definition of what an engine has to answer.
    """
    table = pa.table({n: to_arrow(objects([r[n] for r in rows])) for n in ("id", "text")})
    ends = {r["id"]: ("kept", None, None, None) for r in rows}
    total = len(rows)
    for name, operator in operators:
        if not table.num_rows:
            break
        if isinstance(operator, Selector):
            table = table.take(
                pa.array(np.argsort(to_numpy(table["id"]).astype(str), kind="stable"))
            )
            columns, decision = checked(operator, Batch(table), total)
            result = pa.table(
                {
                    "id": table["id"],
                    **{n: to_arrow(v) for n, v in columns.items()},
                    "keep": decision.keep,
                    "reason": pa.array(decision.reason, pa.string()),
                }
            )
        else:
            result = run_in_memory(operator, Batch(table))
        answers = {r["id"]: r for r in result.to_pylist()}
        keep = []
        for one in table["id"].to_pylist():
            answer = answers.get(one, {})
            keep.append(answer.get("keep", True))
            if not keep[-1]:
                ends[one] = ("dropped", name, answer["reason"], answer.get("duplicate_of"))
        for column in sorted(operator.gives):
            values = [answers.get(i, {}).get(column) for i in table["id"].to_pylist()]
            table = table.append_column(
                column,
                pa.array(values, result[column].type if column in result.column_names else None),
            )
        table = table.filter(pa.array(keep))
    return ends


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path
