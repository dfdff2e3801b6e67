"""Rows about MetaCLIP: which of 500,000 entries occur in a caption, against the plain loop over the
entries and an Aho-Corasick automaton.
"""

from __future__ import annotations

import json
import tempfile
from functools import cache
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from coreset.core.batch import as_batch
from coreset.core.cache import asset_dir
from coreset.scorers.text.entries import Entries, _trie
from scripts.benchmarks.harness import Answer, Method, Row

PAIRS, ENTRIES = 50_000, 500_000
WRAPPED, SPACED = ",.;:?!`", "\t\n\r"


class Captions(NamedTuple):
    """texts, and the file of the vocabulary."""

    texts: list[str]
    vocabulary: str


@cache
def captions(pairs: int, entries: int) -> Captions:
    """Return captions, 6 to 24 words in a row of real web pages, and a vocabulary: their words,
    their pairs of words, and pairs and triples of words drawn at random.
    """
    pages = (asset_dir("llamafactory") / "data" / "c4_demo.jsonl").read_text().splitlines()
    running = [json.loads(line)["text"].split() for line in pages]
    rng = np.random.default_rng(0)
    texts = []
    for page in rng.integers(0, len(running), pairs).tolist():
        start, size = int(rng.integers(max(1, len(running[page]) - 6))), int(rng.integers(6, 25))
        texts.append(" ".join(running[page][start : start + size]))
    clean = [[w.strip(WRAPPED + "\"'()") for w in page] for page in running]
    words = sorted({w for page in clean for w in page if w})
    phrases = dict.fromkeys(words)
    phrases |= dict.fromkeys(f"{a} {b}" for page in clean for a, b in pairwise(page) if a and b)
    while len(phrases) < entries:
        phrases[
            " ".join(words[i] for i in rng.integers(0, len(words), int(rng.integers(2, 4))))
        ] = None
    path = Path(tempfile.mkdtemp()) / "metadata.json"
    path.write_text(json.dumps(list(phrases)[:entries]))
    return Captions(texts, str(path))


def spaced(text: str) -> str:
    """Return a text as the released code matches it."""
    for c in WRAPPED:
        text = text.replace(c, f" {c} ")
    for c in SPACED:
        text = text.replace(c, " ")
    return f" {text} "


@cache
def vocabulary(path: str) -> list[str]:
    """Return the entries with their spaces."""
    return [f" {e} " for e in json.loads(Path(path).read_text())]


def plain_loop(data: Captions, k: int) -> list[list[int]]:
    """The released code's rule: every entry is looked for in every text."""
    entries = vocabulary(data.vocabulary)
    return [[i for i, e in enumerate(entries) if e in text] for text in map(spaced, data.texts[:k])]


@cache
def automaton(path: str) -> Any:
    """Return pyahocorasick's automaton of the entries."""
    matcher = import_module("ahocorasick").Automaton()
    for i, entry in enumerate(vocabulary(path)):
        matcher.add_word(entry, i)
    matcher.make_automaton()
    return matcher


def automaton_loop(data: Captions, k: int) -> list[list[int]]:
    """pyahocorasick, all matches of a text brought together."""
    matcher = automaton(data.vocabulary)
    return [sorted({i for _, i in matcher.iter(text)}) for text in map(spaced, data.texts[:k])]


def metaclip(scale: float = 1) -> Row:
    """50,000 captions, 500,000 entries."""
    pairs, entries = int(PAIRS * scale), int(ENTRIES * scale)
    data = captions(pairs, entries)
    scorer = Entries(data.vocabulary)
    loop = (8, 24) if scale == 1 else (8, 100)

    def ours(k: int) -> list[list[int]]:
        entries_of: list[list[int]] = scorer(as_batch({"text": data.texts[:k]}))[
            "entries"
        ].to_pylist()
        return entries_of

    def agree(a: Answer, b: Answer, _: int) -> dict[str, Any]:
        return {"same_rows": sum(x == y for x, y in zip(a, b, strict=False)), "of": len(b)}

    def facts(matches: Answer) -> dict[str, Any]:
        trie = _trie(data.vocabulary, Path(data.vocabulary).stat().st_mtime_ns, "released")[0]
        return {
            "matches_a_caption": sum(map(len, matches)) / len(matches),
            "captions_without_an_entry": sum(not f for f in matches),
            "trie_mb": sum(a.nbytes for a in trie) / 1e6,
        }

    return Row(
        f"MetaCLIP matching, {pairs:,} captions, {entries:,} entries",
        pairs,
        Method("coreset", ours, small=0, note="extra MB: the vocabulary, the trie of it and the answers"),
        [
            Method("pyahocorasick", lambda k: automaton_loop(data, k), small=0, note="extra MB: the automaton and the answers"),
            Method("plain loop over the entries", lambda k: plain_loop(data, k), points=loop, small=0),
        ],
        agree,
        facts=facts,
    )  # fmt: skip


ROWS = {"metaclip": metaclip}
