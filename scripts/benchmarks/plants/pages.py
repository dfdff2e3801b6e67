"""Planted tests in 300 web pages of C4 (`python scripts/fetch_assets.py llamafactory`)."""

from __future__ import annotations

import json
from functools import cache, partial
from typing import Any

import numpy as np

from coreset.core.cache import asset_dir
from coreset.curation.operators.dedup import (
    Decontaminate,
    DecontaminateEmbeddings,
    ExactDuplicates,
    NearDuplicates,
    SemanticDuplicates,
)
from coreset.curation.operators.rules import (
    BoilerplateFilter,
    C4Filter,
    FineWebFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
    LanguageFilter,
    RepetitionFilter,
)
from coreset.scorers.text.boilerplate import Boilerplate
from coreset.scorers.text.c4 import C4
from coreset.scorers.text.fineweb import FineWeb
from coreset.scorers.text.gopher_quality import GopherQuality
from coreset.scorers.text.gopher_repetition import GopherRepetition
from coreset.scorers.text.language import Language
from coreset.scorers.text.repetition import Repetition
from scripts.benchmarks.plants import changes as do
from scripts.benchmarks.plants.ask import ask, encoded, excerpt, planted
from scripts.benchmarks.plants.count import Operator, Plants, Task

DATA = "C4 web pages"
TOKENS = 64  # of a page that the sentence encoder reads
Page = dict[str, Any]


@cache
def pages() -> tuple[str, ...]:
    """Return the pages, the same text once. Raises FileNotFoundError where they are not fetched."""
    lines = (asset_dir("llamafactory") / "data" / "c4_demo.jsonl").read_text().splitlines()
    return tuple(dict.fromkeys(json.loads(line)["text"] for line in lines))


@cache
def chinese() -> tuple[str, ...]:
    """Return answers in Chinese of at least 100 characters."""
    rows = json.loads((asset_dir("llamafactory") / "data" / "alpaca_zh_demo.json").read_text())
    return tuple(row["output"] for row in rows if len(row["output"]) >= 100)


def show(row: Page) -> str:
    """Return the beginning of a page."""
    return excerpt(row["text"])


def plant(
    kinds: dict[str, do.Change], each: int, base: list[Page], rng: Any, copies: bool
) -> Plants:
    """Return the pages with `each` plants of every kind, each made of a page of its own."""
    sources = rng.permutation(len(base))[: each * len(kinds)].tolist()
    added: list[tuple[str, int, Page]] = []
    for at, source in enumerate(sources):
        kind = list(kinds)[at % len(kinds)]
        added.append((kind, source, {"text": kinds[kind](base[source]["text"], rng)}))
    return planted(base, added, copies, show)


def duplicates(base: list[Page], words: list[str], each: int, rng: Any) -> Task:
    """Copies, exact and changed."""
    kinds: dict[str, do.Change] = {
        "exact": do.exact, "case and punctuation": do.cased,
        "2 % of words": do.replaced(0.02, words), "5 % of words": do.replaced(0.05, words),
        "10 % of words": do.replaced(0.10, words), "menu and footer": do.framed,
        "last quarter cut": do.cut, "sentences reordered": do.reordered,
    }  # fmt: skip
    plants = plant(kinds, each, base, rng, True)
    plants.columns["vector"] = encoded(plants.columns["text"], TOKENS)
    operators = [
        ask("exact_duplicates", ExactDuplicates()),
        ask("exact_duplicates folded", ExactDuplicates(folded=True)),
        ask("near_duplicates", NearDuplicates()),
        ask(
            "near_duplicates threshold 0.5, 32 bands of 4",
            NearDuplicates(threshold=0.5, bands=32, rows=4),
        ),
        ask("semantic_duplicates MiniLM, eps 0.05", SemanticDuplicates("vector")),
        ask("semantic_duplicates MiniLM, eps 0.15", SemanticDuplicates("vector", eps=0.15)),
    ]
    return Task(DATA, "duplicates", plants, operators, (f"MiniLM reads {TOKENS} tokens of a page",))


def junk_operators() -> list[Operator]:
    """Return the rules for web pages, alone and in the order of recipe=pretrain."""
    speech = Language(model="lid.176")
    pairs: list[tuple[str, Any, Any]] = [
        ("gopher_quality_filter", GopherQuality(), GopherQualityFilter()),
        ("gopher_repetition_filter", GopherRepetition(), GopherRepetitionFilter()),
        ("c4_filter", C4(), C4Filter()),
        ("fineweb_filter", FineWeb(), FineWebFilter()),
        ("boilerplate_filter", Boilerplate(), BoilerplateFilter()),
        ("repetition_filter", Repetition(), RepetitionFilter()),
        ("language_filter (lid.176, en)", speech, LanguageFilter(("en",))),
    ]
    own = [ask(name, step, scorers=(scorer,)) for name, scorer, step in pairs]
    lone: tuple[Any, ...] = (
        speech,
        GopherRepetition(),
        C4(punctuation=False),
        GopherQuality(),
        FineWeb(),
    )
    steps = (
        LanguageFilter(("en",)),
        GopherRepetitionFilter(),
        C4Filter(),
        GopherQualityFilter(),
        FineWebFilter(),
    )
    return [*own, ask("the filters of recipe=pretrain", *steps, scorers=lone)]


def junk(base: list[Page], each: int, rng: Any) -> Task:
    """Pages that nobody would train on."""
    foreign = chinese()
    kinds: dict[str, do.Change] = {
        "random letters": do.mashed,
        "words shuffled": do.shuffled,
        "one line repeated": do.repeated,
        "signs for words": do.symbols,
        "JavaScript": do.script,
        "a menu": do.menu,
        "ten words": do.stub,
        "Chinese": lambda _, r: foreign[int(r.integers(len(foreign)))],
    }
    notes = ("C4's pages have passed C4's rules once: what is dropped of them may still be poor",)
    return Task(DATA, "junk", plant(kinds, each, base, rng, False), junk_operators(), notes)


def contamination(base: list[Page], test: list[str], words: list[str], each: int, rng: Any) -> Task:
    """Test items of 40 words inside pages."""
    items = [" ".join(t.split()[:40]) for t in test if len(t.split()) >= 40]
    part = {
        "whole": do.exact, "case and punctuation": do.cased,
        "5 % of words": do.replaced(0.05, words), "20 % of words": do.replaced(0.20, words),
        "first 20 words": lambda t, _: " ".join(t.split()[:20]),
        "first 10 words": lambda t, _: " ".join(t.split()[:10]),
    }  # fmt: skip

    def inside(change: do.Change, text: str, r: Any) -> str:
        return do.inserted(change(items[int(r.integers(len(items)))], r), text, r)

    kinds: dict[str, do.Change] = {}
    for name, change in part.items():
        kinds[name] = partial(inside, change)
    plants = plant(kinds, each, base, rng, False)
    plants.columns["vector"] = encoded(plants.columns["text"], TOKENS)
    vectors = encoded(items, TOKENS)
    operators = [
        ask("decontaminate (13-grams)", Decontaminate(items)),
        ask("decontaminate 8-grams", Decontaminate(items, n=8)),
        ask("decontaminate numbers=fold", Decontaminate(items, numbers="fold")),
        ask("decontaminate_embeddings MiniLM, 0.95", DecontaminateEmbeddings(vectors, "vector")),
        ask(
            "decontaminate_embeddings MiniLM, 0.7", DecontaminateEmbeddings(vectors, "vector", 0.7)
        ),
    ]
    notes = (f"{len(items)} test items, the first 40 words of pages that are not in the pool",)
    return Task(DATA, "contamination", plants, operators, notes)


def tasks(each: int, seed: int, rows: int | None = None) -> list[Task]:
    """Return the three tasks with `each` plants of every kind. rows: pages to use, None for all."""
    rng = np.random.default_rng(seed)
    texts = [pages()[i] for i in rng.permutation(len(pages()))[:rows].tolist()]
    test, base = texts[: len(texts) // 6], [{"text": t} for t in texts[len(texts) // 6 :]]
    words = sorted({w for t in test for w in t.split() if w.isalpha()})
    return [
        duplicates(base, words, each, rng),
        junk(base, each, rng),
        contamination(base, test, words, each, rng),
    ]
