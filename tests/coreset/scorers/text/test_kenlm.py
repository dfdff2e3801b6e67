"""KenLM against an evaluator of the ARPA format in plain Python: the longest n-gram there is, after
the back-offs of what was too long.
"""

import unicodedata

import numpy as np
import pytest

from coreset.registry import scorer
from coreset.scorers.text.arpa import arpa_counts
from coreset.scorers.text.kenlm import Kenlm
from coreset.scorers.text.normal import ccnet_line
from coreset.testing import check_scorer

kenlm = pytest.importorskip(
    "kenlm", reason="n-gram models need kenlm: pip install 'coreset-lightning[kenlm]'"
)

ARPA = """\\data\\
ngram 1=7
ngram 2=6
ngram 3=2

\\1-grams:
-1.5\t<unk>
0\t<s>\t-0.3
-0.7\t</s>
-0.5\ta\t-0.2
-0.9\tb\t-0.4
-1.1\tc\t-0.1
-1.3\t0\t-0.25

\\2-grams:
-0.2\t<s> a\t-0.15
-0.3\ta b\t-0.05
-0.6\tb </s>
-0.4\ta a\t-0.35
-0.8\tb c\t-0.45
-0.75\tc 0

\\3-grams:
-0.1\t<s> a b
-0.25\ta b c

\\end\\
"""
TEXTS = ["a b", "a b c", "zz a\nb", "", None, " \n ", "Á b\t", "c 7", "a a a b c\n\nb b", "„a“ b…"]


def grams(text):
    """The tables of an ARPA file: {words: (log10 p, log10 back-off)}."""
    table = {}
    for line in text.splitlines():
        cells = line.split("\t")
        if len(cells) > 1:
            table[tuple(cells[1].split())] = (
                float(cells[0]),
                float(cells[2]) if len(cells) > 2 else 0.0,
            )
    return table


TABLE = grams(ARPA)


def log10(words, word, order=3):
    """log10 p(word | words), by the definition of a back-off model."""
    word = word if (word,) in TABLE else "<unk>"
    words = tuple(w if (w,) in TABLE else "<unk>" for w in words)[-(order - 1) :]
    while True:
        if (*words, word) in TABLE:
            return TABLE[(*words, word)][0]
        back = TABLE.get(words, (0.0, 0.0))[1]
        return back + log10_shorter(words[1:], word)


def log10_shorter(words, word):
    if (*words, word) in TABLE:
        return TABLE[(*words, word)][0]
    return TABLE.get(words, (0.0, 0.0))[1] + log10_shorter(words[1:], word)


def by_definition(text, normal):
    total, n = 0.0, 0
    for line in text.split("\n"):
        words = (plainly(line) if normal else line).split()
        history = ["<s>"]
        for word in [*words, "</s>"]:
            total += log10(history, word)
            history.append(word)
        n += len(words) + 1
    return 10 ** (-total / n), n


def plainly(line):
    """The steps of CCNet's normal form, one after the other."""
    line = line.strip().lower()
    line = "".join(c for c in unicodedata.normalize("NFD", line) if unicodedata.category(c) != "Mn")
    line = "".join("0" if c.isdecimal() else c for c in line)
    marks = {
        "„": '"',
        "“": '"',
        "”": '"',
        "…": "...",
        "–": "-",
        "—": " - ",
        "。": ".",
        "．": ". ",
        "（": "(",
        "）": ")",
        "►": "-",
    }
    line = "".join(marks.get(c, c) for c in line)
    return "".join(c for c in line if not (ord(c) < 32 or 127 <= ord(c) < 160))


@pytest.fixture
def model(tmp_path):
    file = tmp_path / "tiny.arpa"
    file.write_text(ARPA)
    return str(file)


@pytest.mark.parametrize("normal", [True, False])
def test_the_back_off_model(model, normal):
    got = Kenlm(model, normal=normal)({"text": TEXTS})
    status = ["ok", "ok", "ok", "empty_text", "missing_field", "empty_text", "ok", "ok", "ok", "ok"]
    assert got["kenlm_status"].tolist() == status
    for text, word, value, n in zip(TEXTS, status, got["kenlm"], got["kenlm_tokens"], strict=True):
        if word == "ok":
            want, count = by_definition(text, normal)
            assert n == count
            assert value == pytest.approx(want, rel=1e-5)
        else:
            assert np.isnan(value)
    assert got["kenlm"][6] != Kenlm(model, normal=not normal)({"text": TEXTS})["kenlm"][6]


def test_the_evaluator_by_hand():
    """p(a|<s>) p(b|<s> a) p(</s>|a b): the last backs off from `a b </s>` by the weight of `a b`."""
    assert by_definition("a b", False)[0] == pytest.approx(10 ** ((0.2 + 0.1 + 0.05 + 0.6) / 3))


def test_ccnet_normal_form():
    line = "  „Élan“ in 1987 – ça  vą…\x07（x）\x85►．"
    assert ccnet_line(line) == plainly(line)
    assert ccnet_line(line) == '"elan" in 0000 - ca  va...(x)-. '
    # the released table turns the first into a quotation mark
    assert ccnet_line("１２", digits=False) == "１２"
    assert ccnet_line("ÉA1„", lower=False, accents=False, digits=False, punctuation=False) == "ÉA1„"
    assert ccnet_line(" \t ") == ""


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda t: "hello\n" + t, r"is no ARPA file: its first line is not \\data\\"),
        (lambda t: "", r"is no ARPA file"),
        (
            lambda t: t.replace("ngram 1=7", "ngram 1=99999999999999"),
            "which a file of .* bytes cannot hold",
        ),
        (
            lambda t: t.replace("ngram 2=6", "ngram 4=6"),
            "expected 'ngram 2=<count>', orders up to 6, got 'ngram 4=6'",
        ),
        (lambda t: t.replace("ngram 2=6", "ngram 2=-6"), "expected 'ngram 2=<count>'"),
        (lambda t: t.replace("ngram 2=6", "ngram 2=7"), "no n-gram model that KenLM reads"),
        (
            lambda t: t.replace("-0.3\ta b", "x\ta b"),
            "no n-gram model that KenLM reads: .*Could not parse",
        ),
        (
            lambda t: t.replace("-0.3\ta b", "0.3\ta b"),
            "no n-gram model that KenLM reads: .*Positive log probability",
        ),
        (lambda t: t.replace("-0.3\ta b", "-0.3\ta q"), "no n-gram model that KenLM reads"),
        (lambda t: t[:200], "no n-gram model that KenLM reads"),
    ],
)
def test_files_of_strangers(tmp_path, change, match):
    file = tmp_path / "bad.arpa"
    file.write_text(change(ARPA))
    with pytest.raises(ValueError, match=match):
        Kenlm(str(file))({"text": ["a"]})


def test_other_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="model: there is no file"):
        Kenlm(str(tmp_path / "none.arpa"))({"text": ["a"]})
    binary = tmp_path / "m.bin"
    binary.write_bytes(b"mmap lm http://kheafield.com/code format version 5\n\x00" + b"\x00" * 100)
    with pytest.raises(
        ValueError, match="is a binary file, which is mapped into memory unchecked; trust=true"
    ):
        Kenlm(str(binary))({"text": ["a"]})
    packed = tmp_path / "m.arpa.gz"
    packed.write_bytes(b"\x1f\x8b123")
    with pytest.raises(ValueError, match="is compressed; unpack it first"):
        arpa_counts(packed)
    with pytest.raises(ValueError, match="model: expected the path"):
        Kenlm("")


def test_pieces(model, tmp_path):
    sentencepiece = pytest.importorskip("sentencepiece", reason="pip install sentencepiece")
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join(["a b c 0", "a a b", "c c b a 0"] * 40))
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus),
        model_prefix=str(tmp_path / "sp"),
        vocab_size=10,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    cutter = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "sp.model"))
    got = Kenlm(model, pieces=str(tmp_path / "sp.model"))({"text": ["Ab\nc 1"]})
    lines = [" ".join(cutter.encode(line, out_type=str)) for line in ("ab", "c 0")]
    want, n = by_definition("\n".join(lines), False)
    assert (got["kenlm"][0], got["kenlm_tokens"][0]) == (pytest.approx(want, rel=1e-5), n)
    with pytest.raises(ValueError, match="pieces: .* is no SentencePartition model"):
        Kenlm(model, pieces=model)({"text": ["a"]})
    with pytest.raises(FileNotFoundError, match="pieces: there is no file"):
        Kenlm(model, pieces="nowhere.model")({"text": ["a"]})


def test_contract_and_name(model):
    check_scorer(Kenlm(model), {"text": TEXTS})
    assert scorer("kenlm", {"model": model}) == Kenlm(model)
    assert set(Kenlm(model).resources()) == {"model"}
