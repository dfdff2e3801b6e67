"""Every scorer of a text column on whatever a text can be: an answer or NaN with its status, in any
batch.
"""

import json
import time

import numpy as np
import pytest

from coreset.curation.operators.quality.dsir import DsirWeight
from coreset.numerics.text.hashed import dsir_buckets, spark_buckets
from coreset.numerics.text.near_duplicates import near_duplicates
from coreset.scorers.language.load import load_tokenizer
from coreset.scorers.length import Length
from coreset.scorers.text.abnormal import Abnormal
from coreset.scorers.text.boilerplate import Boilerplate
from coreset.scorers.text.c4 import C4
from coreset.scorers.text.entries import Entries
from coreset.scorers.text.fineweb import FineWeb
from coreset.scorers.text.gopher_quality import GopherQuality
from coreset.scorers.text.gopher_repetition import GopherRepetition
from coreset.scorers.text.language import Language
from coreset.scorers.text.repetition import Repetition
from coreset.scorers.text.sentences import count_sentences
from coreset.scorers.text.tokens import Tokens

PIECES = [
    "word", "Word", " ", "\n", "\n\n", "\t", ".", "...", "…", "0", "1,000", "#", "-", "•", '"', "{", "[12]", "字", "かな", "。", "สวัสดี", "é", "e\u0301", "\u0301", "\u200d", "\ufeff",
    "\x00", "\x01", "\x1c", "\x85", "\u2028", "\ud83d", "\ude00", "\ud83d\ude00", "😀", "\U0010ffff", "\ufffe", "(", "'s", "http://a.org", "lorem ipsum", "3 likes", "\u202e", "ß", "İ", "ﬁ",
]  # fmt: skip
ODD = [
    "",
    " ",
    None,
    "\ud800",
    "\udfff" * 3,
    "\u0301" * 9,
    "\x00\x01\x02",
    "\u200b\u200b",
    "\x1c",
    "\ufeff",
    "\x85",
    "\u0e31\u0e34",
    "\ud83d\ude00",
    ".",
]
LONG = [
    "a" * 10**6,
    "word " * 200_000,
    "a. " * 333_333,
    "." * 10**6 + "x",
    "1" + " " * 10**6 + "x",
    "字" * 10**6,
    "\u0301" * 10**6,
    "x\n" * 500_000,
    "\ud800 " * 10**5,
    "read more " * 10**5,
]


def texts(seed, count=200):
    """Return odd texts and random ones of up to 40 pieces."""
    rng = np.random.default_rng(seed)
    return ODD + ["".join(rng.choice(PIECES, rng.integers(1, 40)).tolist()) for _ in range(count)]


def scorers(folder):
    vocabulary = folder / "entries.json"
    vocabulary.write_text(json.dumps(["word", "字", "0", "\ufffd"]))
    return [
        *(Length(unit=u) for u in ("words", "white_space_words", "characters")),
        Abnormal(), Boilerplate(), C4(), C4(variant="paper", punctuation=False), FineWeb(), FineWeb(variant="datatrove"), GopherQuality(), GopherQuality(variant="datatrove"),
        GopherRepetition(), GopherRepetition(variant="datatrove"), Language(), Repetition(), Repetition(char_n=1, word_n=1, distinct_n=1), DsirWeight("text", 2, np.arange(50) / 50),
        *(Entries(str(vocabulary), variant=v) for v in ("released", "worldwide", "words")),
    ]  # fmt: skip


def same(a, b):
    return a == b or (isinstance(a, float) and isinstance(b, float) and np.isnan(a) and np.isnan(b))


def as_list(column):
    return column.to_pylist() if hasattr(column, "to_pylist") else column.tolist()


def check(scorer, column, alone):
    whole = {n: as_list(v) for n, v in scorer({"text": column}).items()}
    [status] = [n for n in whole if n.endswith("_status")]
    assert {len(v) for v in whole.values()} == {len(column)}
    for name, values in whole.items():
        for value, why in zip(values, whole[status], strict=True):
            assert why is not None
            if isinstance(value, float) and why == "ok":
                assert np.isfinite(value), (scorer, name)
    for size in (1, 50):
        for begin in range(0, len(column) if size > 1 else alone, size):
            part = scorer({"text": column[begin : begin + size]})
            for name, values in part.items():
                for k, value in enumerate(as_list(values)):
                    assert same(value, whole[name][begin + k]), (scorer, name, column[begin + k])


def test_any_text_has_an_answer_or_a_status_in_any_batch(tmp_path):
    for seed, scorer in enumerate(scorers(tmp_path)):
        check(scorer, texts(seed, 150), 12)


@pytest.mark.parametrize("text", LONG, ids=lambda t: repr(t[:3]))
def test_texts_of_a_million_characters(tmp_path, text):
    for scorer in scorers(tmp_path):
        began = time.monotonic()
        columns = scorer({"text": [text]})
        assert time.monotonic() - began < 30, scorer
        assert all(len(v) == 1 for v in columns.values())


def test_a_lone_half_of_a_pair_is_the_character_that_stands_for_none(tmp_path):
    for scorer in scorers(tmp_path):
        a, b = (scorer({"text": [f"one two {c} three. Four{c}"]}) for c in ("\ud800", "\ufffd"))
        assert all(same(as_list(a[n])[0], as_list(b[n])[0]) for n in a), scorer
    assert near_duplicates(["a b c d e f \ud800", "A b c d e f \ufffd"]).tolist() == [0, 0]
    for buckets in (dsir_buckets, spark_buckets):
        assert buckets("a \ud800 b").tolist() == buckets("a \ufffd b").tolist()


def test_sentences_of_a_long_line_are_those_of_its_parts():
    part = 'Mr. Smith paid $3.50. "Really?" he said... And so on. a. b. p.m. we left. 我来了。'
    assert count_sentences(part * 500) == 500 * count_sentences(part)
    assert count_sentences("x" * 300 + "etc. and so on") == 2


def test_tokens_and_vectors_of_any_text(asset):
    asset("smollm2")
    check(Tokens("smollm2"), texts(5, 60), 20)
    assert load_tokenizer("smollm2")("\ufffd")["input_ids"]
    asset("minilm")
    from coreset.scorers.text.embedding import SentenceEmbedding

    columns = SentenceEmbedding(device="cpu")({"text": texts(6, 40)})
    good = columns["text_embedding_status"] == "ok"
    assert np.allclose(np.linalg.norm(columns["text_embedding"][good], axis=1), 1, atol=1e-5)
    assert np.isnan(columns["text_embedding"][~good]).all()
