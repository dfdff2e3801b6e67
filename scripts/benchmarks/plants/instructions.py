"""Planted tests in Alpaca's rows (`python scripts/fetch_assets.py llamafactory smollm2 minilm`)."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

import coreset
from coreset.core.cache import asset_dir
from coreset.curation.operators.dedup import (
    Decontaminate,
    DecontaminateEmbeddings,
    ExactDuplicates,
    NearDuplicates,
    SemanticDuplicates,
)
from coreset.curation.operators.rules import LanguageFilter, RepetitionFilter
from coreset.curation.operators.threshold import Threshold
from coreset.scorers.length import Length
from coreset.scorers.text.language import Language
from coreset.scorers.text.repetition import Repetition
from scripts.benchmarks.plants import changes as do
from scripts.benchmarks.plants.ask import ask, encoded, excerpt, planted
from scripts.benchmarks.plants.count import TRAP, Operator, Plants, Task

DATA = "Alpaca rows"
REFUSAL = "I'm sorry, but as an AI language model I cannot help with this request."
LONGEST = 25  # words of an answer in the task about junk: a language model reads each row twice
Row = dict[str, Any]


@cache
def rows() -> tuple[Row, ...]:
    """Return the rows, the same prompt once. Raises FileNotFoundError without the asset."""
    file = asset_dir("llamafactory") / "data" / "alpaca_en_demo.json"
    seen: dict[str, Row] = {}
    for row in json.loads(file.read_text()):
        prompt = "\n".join(filter(None, (row["instruction"], row["input"])))
        seen.setdefault(prompt, {"prompt": prompt, "response": row["output"]})
    return tuple(seen.values())


def show(row: Row) -> str:
    """Return the beginnings of a prompt and of its answer."""
    return f"{excerpt(row['prompt'], 70)} | {excerpt(row['response'], 40)}"


def whole(row: Row) -> Row:
    """Return the row with prompt and answer as one text."""
    return {**row, "text": f"{row['prompt']}\n{row['response']}"}


def embedded(plants: Plants) -> Plants:
    """Return the plants with MiniLM's vectors of the prompts."""
    plants.columns["vector"] = encoded(plants.columns["prompt"])
    return plants


def duplicates(base: list[Row], words: list[str], each: int, rng: Any) -> Task:
    """Copies of rows and prompts; prompts with other numbers are no copies."""
    kinds: dict[str, do.Change] = {
        "exact row": do.exact, "same prompt, other answer": do.exact,
        "case and punctuation": do.cased, "one word of the prompt": do.replaced(0.0, words),
        "please": lambda t, _: f"Please answer: {t}", f"{TRAP}other numbers": do.renumbered,
    }  # fmt: skip
    numbers = [
        i for i in rng.permutation(len(base)).tolist() if re.search(r"\d", base[i]["prompt"])
    ]
    traps, at = set(numbers[:each]), 0
    added: list[tuple[str, int, Row]] = []
    sources = [i for i in rng.permutation(len(base)).tolist() if i not in traps]
    for kind, change in kinds.items():
        if kind.startswith(TRAP):
            own = sorted(traps)
        else:
            own, at = sources[at : at + each], at + each
        for source in own:
            row = {
                "prompt": change(base[source]["prompt"], rng),
                "response": base[source]["response"],
            }
            if kind == "same prompt, other answer":
                row["response"] = base[int(rng.integers(len(base)))]["response"]
            if kind == "case and punctuation":
                row["response"] = change(row["response"], rng)
            added.append((kind, source, whole(row)))
    plants = embedded(planted([whole(r) for r in base], added, True, show))
    operators = [
        ask("exact_duplicates (text)", ExactDuplicates()),
        ask("exact_duplicates (prompt)", ExactDuplicates("prompt")),
        ask("exact_duplicates (prompt) folded", ExactDuplicates("prompt", folded=True)),
        ask("near_duplicates (text)", NearDuplicates()),
        ask("near_duplicates (text) numbers=fold", NearDuplicates(numbers="fold")),
        ask("near_duplicates (prompt)", NearDuplicates("prompt")),
        ask("semantic_duplicates MiniLM (prompt), eps 0.05", SemanticDuplicates("vector")),
        ask(
            "semantic_duplicates MiniLM (prompt), eps 0.15", SemanticDuplicates("vector", eps=0.15)
        ),
    ]
    return Task(DATA, "duplicates", plants, operators)


def ifd(columns: dict[str, Any]) -> dict[str, Any]:
    """Return IFD by SmolLM2-135M-Instruct in its chat template."""
    given = [
        {"instruction": p, "output": r}
        for p, r in zip(columns["prompt"], columns["response"], strict=True)
    ]
    return coreset.score("ifd", given, model="smollm2", variant="chat", device="cpu")


def junk(base: list[Row], each: int, rng: Any, model: bool) -> Task:
    """Answers that nobody would train on."""
    file = asset_dir("llamafactory") / "data" / "alpaca_zh_demo.json"
    foreign = [r["output"][:60] for r in json.loads(file.read_text()) if len(r["output"]) >= 30]
    short = [r for r in base if 5 <= len(r["response"].split()) <= LONGEST]
    kinds: dict[str, do.Change] = {
        "nothing": lambda _, __: "",
        "one sign": lambda _, __: ".",
        "a refusal": lambda _, __: REFUSAL,
        "a loop": do.looped,
        "the answer to another prompt": lambda _, r: short[int(r.integers(len(short)))]["response"],
        "words shuffled": do.shuffled,
        "Chinese": lambda _, r: foreign[int(r.integers(len(foreign)))],
    }
    sources = rng.permutation(len(short)).tolist()
    used, rest = sources[: each * len(kinds)], sources[each * len(kinds) :]
    clean = [short[i] for i in rest[: 6 * each]]
    added: list[tuple[str, int, Row]] = []
    for at, source in enumerate(used):
        kind, row = list(kinds)[at % len(kinds)], short[source]
        added.append((kind, 0, {**row, "response": kinds[kind](row["response"], rng)}))
    operators: list[Operator] = [
        ask(
            "threshold response_words 3",
            Threshold("response_words", low=3),
            scorers=(Length("response"),),
        ),
        ask("repetition_filter (response)", RepetitionFilter(), scorers=(Repetition("response"),)),
        ask(
            "language_filter (response, py3langid, en)",
            LanguageFilter(("en",)),
            scorers=(Language("response"),),
        ),
        ask(
            "language_filter (response, lid.176, en)",
            LanguageFilter(("en",)),
            scorers=(Language("response", model="lid.176"),),
        ),
    ]
    if model:
        step = Threshold("ifd", high=1.0, strict=True)
        operators.append(ask("ifd below 1 (SmolLM2-135M, chat)", step, scorers=(ifd,)))
    notes = (f"answers of 5 to {LONGEST} words; refusals are grammatical English",)
    return Task(DATA, "junk", planted(clean, added, False, show), operators, notes)


def contamination(base: list[Row], test: list[Row], words: list[str], each: int, rng: Any) -> Task:
    """Rows that ask a question of the test set."""
    items = [r["prompt"] for r in test if 8 <= len(r["prompt"].split()) <= 60]
    kinds: dict[str, do.Change] = {
        "whole": do.exact, "case and punctuation": do.cased,
        "one word": do.replaced(0.0, words), "please": lambda t, _: f"Please answer: {t}",
        "last quarter cut": do.cut,
    }  # fmt: skip
    added: list[tuple[str, int, Row]] = []
    for at in range(each * len(kinds)):
        kind, item = list(kinds)[at % len(kinds)], items[int(rng.integers(len(items)))]
        answer = base[int(rng.integers(len(base)))]["response"]
        added.append((kind, 0, {"prompt": kinds[kind](item, rng), "response": answer}))
    plants = embedded(planted(base, added, False, show))
    vectors = encoded(items)
    column = "vector"
    operators = [
        ask("decontaminate (13-grams)", Decontaminate(items, "prompt")),
        ask("decontaminate 8-grams", Decontaminate(items, "prompt", n=8)),
        ask("decontaminate numbers=fold", Decontaminate(items, "prompt", numbers="fold")),
        ask("decontaminate_embeddings MiniLM, 0.95", DecontaminateEmbeddings(vectors, column)),
        ask(
            "decontaminate_embeddings MiniLM, 0.85", DecontaminateEmbeddings(vectors, column, 0.85)
        ),
    ]
    notes = (f"{len(items)} test questions of 8 to 60 words, not in the pool",)
    return Task(DATA, "contamination", plants, operators, notes)


def tasks(each: int, seed: int, count: int | None = None) -> list[Task]:
    """Return the three tasks with `each` plants of every kind. count: rows to use, None for all."""
    rng = np.random.default_rng(seed)
    some = [rows()[i] for i in rng.permutation(len(rows()))[:count].tolist()]
    test, base = some[: len(some) // 6], some[len(some) // 6 :]
    words = sorted({w for r in test for w in r["prompt"].split() if w.isalpha()})
    return [
        duplicates(base, words, each, rng),
        junk(base, each, rng, model=False),
        contamination(base, test, words, each, rng),
    ]


def model_tasks(each: int, seed: int) -> list[Task]:
    """Return the task about junk with a language model's operator among the others."""
    task = junk(list(rows()), each, np.random.default_rng(seed), model=True)
    return [replace(task, what="junk, with a language model")]
