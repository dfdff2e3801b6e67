"""Which entries of a vocabulary occur in a text: MetaCLIP's matching of captions with metadata.

Xu et al., "Demystifying CLIP Data", ICLR 2024 (arXiv:2309.16671): text and entries are wrapped in
spaces, so that entries match whole words. What counts as a word:

    released    the published code, version 1: a space around each of , . ; : ? ! ` in the text, and
                for tab and line ends. Upper and lower case differ; an entry with such a sign inside
                ("U.S") never matches, nor do words beside other signs ("(dog)", "dog-cat") or two
                words with two spaces between
    worldwide   version 2 (Chuang et al., "MetaCLIP 2", 2025): no space is asked for where an entry
                begins or ends with a sign or a character of a script without spaces
    words       mended: case does not count, every sign stands alone, in the entries too, and any
                white space is one space
"""

from __future__ import annotations

import hashlib
import json
import string
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa

from coreset.core.batch import Batch, as_batch
from coreset.core.pool import Array
from coreset.numerics.text.characters import spans, utf8, whole_characters
from coreset.scorers.text.trie import KIND, Trie, build, find, packed

VARIANTS = ("released", "worldwide", "words")
_SIGNS = frozenset(string.punctuation) | frozenset("，。、；：？！“”‘’（）【】《》〈〉「」『』～—")
_ALONE = spans(
    "4E00-9FFF 3400-4DBF 20000-2A6DF 2A700-2CEAF 2CEB0-2EBEF F900-FAFF 2E80-2FDF 2FF0-2FFF E00-EFF"
    " 1000-109F 1780-17FF F00-FFF"
)  # what version 2 takes for scripts without spaces: kana are not among them


@lru_cache(2)
def load_entries(source: str | tuple[str, ...], changed: int) -> tuple[str, ...]:
    """Return a vocabulary: its entries, or those of a file (a JSON list, or one entry a line);
    changed: when the file was written, for the cache alone.

    Raises ValueError naming the file and the entry that is empty, no text, or there twice.
    """
    where, entries = "vocabulary", list(source)
    if isinstance(source, str):
        where, text = source, Path(source).read_text("utf-8")
        entries = json.loads(text) if text.lstrip().startswith("[") else text.splitlines()
    seen: set[str] = set()
    for i, entry in enumerate(entries):
        if not isinstance(entry, str) or not entry or entry in seen:
            what = (
                "is there twice"
                if entry and isinstance(entry, str)
                else "is no text"
                if entry
                else "is empty"
            )
            raise ValueError(f"{where}: entry {i} {what}: {entry!r}")
        seen.add(entry)
    if not entries:
        raise ValueError(f"{where}: holds no entry")
    return tuple(entries)


def _bare(character: str) -> bool:
    return character in _SIGNS or any(ord(character) in span for span in _ALONE)


def words_apart(text: str) -> str:
    """Return a text as `words` compares it.

    >>> words_apart("The U.S.  (dog-cat)")
    'the u . s . ( dog - cat )'
    """
    parts = [f" {c} " if unicodedata.category(c)[0] in "PS" else c for c in text.casefold()]
    return " ".join("".join(parts).split())


def pattern_of(entry: str, variant: str) -> str:
    """Return the string that has to occur in a spaced text."""
    if variant == "words":
        return f" {words_apart(entry)} "
    if variant == "released":
        return f" {entry} "
    return f"{'' if _bare(entry[0]) else ' '}{entry}{'' if _bare(entry[-1]) else ' '}"


@lru_cache(2)
def _trie(source: str | tuple[str, ...], changed: int, variant: str) -> tuple[Trie, Array]:
    """Return the trie of the patterns, and the entry of each pattern, rising; of entries that are
    one pattern the first counts.
    """
    first: dict[str, int] = {}
    for i, entry in enumerate(load_entries(source, changed)):
        pattern = pattern_of(entry, variant)
        if pattern.strip():
            first.setdefault(pattern, i)
    return build(list(first)), np.array(list(first.values()), np.int32)


@dataclass(frozen=True)
class Entries:
    """Find the entries of a vocabulary in one text column: gives `entries` (whole numbers,
    positions in the vocabulary, rising) and `entries_status`.

    vocabulary: a list of texts, or a file: a JSON list or one entry a line. variant: see above. A
    text in which nothing occurs is "no_entry", with an empty list. Raises FileNotFoundError and
    ValueError for a vocabulary that cannot be read.

    >>> words = ["dog", "hot dog", "Paris"]
    >>> Entries(words)({"text": ["a hot dog, please", "paris"]})["entries"].tolist()
    [[0, 1], []]
    """

    vocabulary: str | Sequence[str]
    column: str = "text"
    variant: str = "released"

    gives = frozenset({"entries", "entries_status"})

    def __post_init__(self) -> None:
        given = self.vocabulary
        if not isinstance(given, str | Path) and np.ndim(given) != 1:
            raise TypeError(
                f"vocabulary: expected a file or a list of texts, got {type(given).__name__}"
            )
        object.__setattr__(
            self, "vocabulary", str(given) if isinstance(given, str | Path) else tuple(given)
        )
        if self.variant not in VARIANTS:
            raise ValueError(
                f"variant: expected one of {', '.join(VARIANTS)}, got {self.variant!r}"
            )

    @property
    def needs(self) -> frozenset[str]:
        """Return the column that is read."""
        return frozenset({self.column})

    @property
    def _changed(self) -> int:
        """When the file of the vocabulary was written."""
        return Path(self.vocabulary).stat().st_mtime_ns if isinstance(self.vocabulary, str) else 0

    def entries(self) -> tuple[str, ...]:
        """Return the vocabulary."""
        return load_entries(self.vocabulary, self._changed)

    def resources(self) -> Mapping[str, str]:
        """Return the hash of the vocabulary."""
        data = (
            Path(self.vocabulary).read_bytes()
            if isinstance(self.vocabulary, str)
            else json.dumps(self.vocabulary).encode()
        )
        return {"vocabulary": hashlib.sha256(data).hexdigest()}

    def __call__(self, batch: Mapping[str, Array]) -> dict[str, Array]:
        """Return the entries of every row."""
        rows = (
            batch
            if isinstance(batch, Batch)
            else as_batch({self.column: whole_characters(batch[self.column])})
        )
        trie, entry = _trie(self.vocabulary, self._changed, self.variant)
        data, start, missing = utf8(rows.arrow(self.column))
        if self.variant == "words":
            data, start = packed([words_apart(t or "") for t in rows[self.column]])
        patterns, first = find(
            trie, data, start, np.zeros(256, np.uint8) if self.variant == "words" else KIND
        )
        column = pa.ListArray.from_arrays(
            pa.array(first, pa.int32(), mask=np.append(missing, False)),
            pa.array(entry[patterns], pa.int32()),
        )
        status = np.where(missing, "missing_field", np.where(np.diff(first) > 0, "ok", "no_entry"))
        return {"entries": column, "entries_status": status.astype(object)}


def build_vocabulary(
    synsets: Sequence[str],
    unigrams: Mapping[str, int],
    bigrams: Mapping[tuple[str, str], int],
    titles: Mapping[str, int],
    *,
    min_count: int = 100,
    min_pmi: float = 30.0,
    min_views: int = 70,
    size: int = 500_000,
) -> list[str]:
    """Return MetaCLIP's metadata from counts: "0" to "99", WordNet's synsets ("dog_house.n.01" or
    their names), then the unigrams of Wikipedia counted at least `min_count` times, its bigrams of
    a pointwise mutual information of at least `min_pmi` (log2 of c(ab) N / (c(a) c(b)), N: the sum
    of unigrams), and the titles seen at least `min_views` times; none that is a single ASCII sign,
    none twice, `size` at most, in this order and each source sorted.

    >>> build_vocabulary(["hot_dog.n.01"], {"of": 500, "rare": 1}, {}, {"Paris": 90}, size=104)[
    ...     100:
    ... ]
    ['hot dog', 'of', 'Paris']
    """
    total = sum(unigrams.values())

    def pmi(pair: tuple[str, str], count: int) -> float:
        a, b = (unigrams.get(w, 0) for w in pair)
        return (
            float(np.log2(count) + np.log2(total) - np.log2(a) - np.log2(b))
            if a and b and count
            else -np.inf
        )

    sources = (
        [s.split(".", 1)[0].replace("_", " ") for s in synsets],
        [w for w, c in unigrams.items() if c >= min_count],
        [" ".join(pair) for pair, c in bigrams.items() if pmi(pair, c) >= min_pmi],
        [t for t, views in titles.items() if views >= min_views],
    )
    entries = dict.fromkeys(str(i) for i in range(100))
    for source in sources:
        entries.update(
            dict.fromkeys(sorted({e for e in source if e and e not in string.punctuation}))
        )
    return list(entries)[:size]
