import re
import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from coreset.numerics.text.characters import (
    ALONE,
    BREAK,
    DIGIT,
    SPACE,
    WORD,
    characters,
    sentence_ends,
    tables,
    utf8,
)
from coreset.numerics.text.tokenize import HAS_ALPHA, HAS_WORD, folded, words

SAMPLES = [
    "I don't know... 1,000!", "U.S. e-mail a.b., it's", "x,y 1,2 1,x", "", "   ", "###a", "你好世界 abc", "กขค", "naïve café", "e\u0301té", "ﬁ Ⅷ ½", "“quoted” — dash", "a_b __", "हिन्दी भाषा",
    "😀😀 ok", "a'b'c 'q'", "3.14.15 3.", "\u2028line\u0085x", "ＡＢ１２", "IL-2 10:30 3-day a-b a/b 1/2 x:3 -5 2-字",
]  # fmt: skip
TEXT = st.one_of(
    st.sampled_from(SAMPLES),
    st.text(st.sampled_from("aB1é'’.,-/:_ \n你ก!#😀\u0301"), max_size=40),
    st.text(st.characters(exclude_categories=("Cs", "Cn", "Co")), max_size=30),
)


def alone(c):
    return c.isalnum() and any(
        s in unicodedata.name(c, "") for s in ("CJK UNIFIED", "THAI ", "HIRAGANA")
    )


def is_word(c):
    return c.isalnum() or c == "_" or unicodedata.category(c)[0] == "M"


def plain(c):
    """A word character of a script with spaces."""
    return is_word(c) and not ALONE & tables()[0][ord(c)]


def plain_words(text):
    out, i = [], 0
    while i < len(text):
        c, j = text[i], i + 1
        if c.isspace():
            i += 1
            continue
        if plain(c) or (
            c in "'’" and 0 < i < len(text) - 1 and plain(text[i - 1]) and plain(text[i + 1])
        ):
            while j < len(text):
                d, after = text[j], text[j + 1 : j + 2]
                if plain(d):
                    j += 1
                elif after and (
                    (d == "." and plain(after))
                    or (d == "," and text[j - 1].isdecimal() and after.isdecimal())
                    or (d in "-/:" and after.isdecimal())
                    or (d == "-" and text[j - 1].isdecimal() and after.isalpha() and plain(after))
                ):
                    j += 2
                else:
                    break
        elif not is_word(c):
            while j < len(text) and text[j] == c:
                j += 1
        out.append(text[i:j])
        i = j
    return out


def plain_folded(text, numbers):
    """Lower case, no marks, everything else a space; numbers are 0, or as they are with . and ,
    before a digit.
    """
    if numbers == "fold":
        text = re.sub(r"(?<=\d)[.,](?=[0-9])", "", text)
    out, number = [], False
    for i, c in enumerate(text):
        if is_word(c) and ALONE & tables()[0][ord(c)]:
            out.append(f" {c} ")
            number = False
        elif unicodedata.category(c) == "Nd":
            out.append(c if numbers == "keep" else "" if number else "0")
            number = True
        elif numbers == "keep" and number and c in ".," and re.match("[0-9]", text[i + 1 :]):
            out.append(c)
        elif is_word(c):
            base = [
                x
                for x in unicodedata.normalize("NFD", c.lower())
                if unicodedata.category(x) != "Mn"
            ][:1]
            out.append("".join(base))
            number = number and not base
        else:
            out.append(" ")
            number = False
    return "".join(out).split()


@settings(max_examples=200, deadline=None)
@given(st.lists(TEXT, max_size=5))
@example(SAMPLES)
def test_words_are_the_plain_scan(texts):
    w = words(pa.array(texts, pa.large_string()))
    points, _begin, _ = characters(pa.array(texts, pa.large_string()))
    joined = "".join(texts)
    assert "".join(map(chr, points.tolist())) == joined
    for i, text in enumerate(texts):
        span = slice(w.start[i], w.start[i + 1])
        got = [joined[b : b + n] for b, n in zip(w.begin[span], w.length[span], strict=True)]
        assert got == plain_words(text)
        assert [bool(k & HAS_ALPHA) for k in w.kind[span]] == [
            any(c.isalpha() for c in g) for g in got
        ]
        assert [bool(k & HAS_WORD) for k in w.kind[span]] == [any(map(is_word, g)) for g in got]
    by_word = {}
    for b, n, h in zip(w.begin, w.length, w.hash, strict=True):
        assert by_word.setdefault(joined[b : b + n], h) == h
    assert len(set(by_word.values())) == len(by_word)


@pytest.mark.parametrize("numbers", ["keep", "fold"])
@settings(max_examples=200, deadline=None)
@given(st.lists(TEXT, max_size=4))
@example(SAMPLES)
@example(["a\u0301b 1\u03012", "1,000.5 a1,2b", "É E\u0301 e"])
def test_folded_words_are_the_plain_fold(numbers, texts):
    h, start = folded(texts, numbers)
    seen = {}
    for i, text in enumerate(texts):
        want = plain_folded(text, numbers)
        got = h[start[i] : start[i + 1]].tolist()
        assert len(got) == len(want), (text, want)
        for word, value in zip(want, got, strict=True):
            assert seen.setdefault(word, value) == value
    assert len(set(seen.values())) == len(seen)


def test_the_same_word_by_any_route_has_one_hash():
    for a, b in [
        ("CAFÉ", "cafe"),
        ("internationalisation", "INTERNATIONALISATION"),
        ("abcdefgh", "ABCDEFGÈ".replace("È", "h")),
        ("x1y22", "X9Y3"),
        ("12,345", "7"),
        ("٣", "8"),
        ("e\u0301", "é"),
    ]:
        h, _ = folded([a, b], "fold")
        assert h[0] == h[1], (a, b)
        kept, _ = folded([a, b])
        assert (kept[0] == kept[1]) == (not any(c.isdecimal() for c in a))
    h, _ = folded(["abcdefgh ij", "abcdefghij"])
    assert len(set(h.tolist())) == 3


def test_tables_are_pythons_own():
    flags, _ = tables()
    rng = np.random.default_rng(0)
    points = np.unique(np.concatenate([np.arange(0x3100), rng.integers(0, 0x30000, 4000)]))
    for p in points.tolist():
        c = chr(p)
        if unicodedata.category(c) in ("Cn", "Co", "Cs"):
            continue
        assert bool(flags[p] & SPACE) == c.isspace()
        assert bool(flags[p] & WORD) == is_word(c), hex(p)
        assert bool(flags[p] & DIGIT) == c.isdecimal()
        assert bool(flags[p] & BREAK) == (len(f"a{c}b".splitlines()) == 2)
        assert not (flags[p] & ALONE and alone(c) is False and not flags[p] & WORD)
    assert all(flags[ord(c)] & ALONE for c in "字かカก")
    assert not any(flags[ord(c)] & ALONE for c in "a1한。、")
    assert "." in sentence_ends()
    assert '"' not in sentence_ends()


def test_utf8_takes_every_kind_of_column():
    want = ["ab", "", None, "é"]
    for column in (
        want,
        np.array(want, object),
        pa.array(want),
        pa.array(want, pa.large_string()),
        pa.array(["x", *want])[1:],
    ):
        data, start, missing = utf8(column)
        assert [bytes(data[a:b]).decode() for a, b in zip(start[:-1], start[1:], strict=True)] == [
            "ab",
            "",
            "",
            "é",
        ]
        assert missing.tolist() == [False, False, True, False]
    assert len(utf8([])[1]) == 1
    assert utf8(pa.nulls(2))[2].all()
    with pytest.raises(TypeError, match="expected str or None"):
        utf8([1, 2])
    with pytest.raises(TypeError, match="expected a column of strings, got int64"):
        utf8(pa.array([1, 2]))
