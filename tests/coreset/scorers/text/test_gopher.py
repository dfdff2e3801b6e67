"""Gopher's measures against the published definitions in plain Python, on texts whose words are
plain: letters between spaces, runs of one sign.
"""

import itertools
import json
import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coreset.scorers.text.gopher_quality import STOP_WORDS, GopherQuality
from coreset.scorers.text.gopher_repetition import DUPLICATE, TOP, GopherRepetition
from coreset.testing import check_scorer

TOKEN = re.compile(r"[A-Za-z0-9]+|([^\w\s])\1*")
WORD = st.sampled_from(
    [
        "the",
        "The",
        "be",
        "cat",
        "dog",
        "a",
        "42",
        "#",
        "##",
        "...",
        "…",
        "-",
        "•",
        "with",
        "x1",
        "WITH",
        "....",
    ]
)
LINE = st.lists(WORD, min_size=0, max_size=8).map(" ".join)
TEXT = st.lists(LINE, min_size=1, max_size=6).map("\n".join)


def tokens(text):
    return [m.group() for m in TOKEN.finditer(text)]


def plain_quality(text, any_case=True):
    t = tokens(text)
    real = [w for w in t if re.search("[A-Za-z0-9]", w)]
    lines = re.split("\n", text)
    if lines[-1] == "":
        lines.pop()
    return {
        "gopher_words": len(real),
        "gopher_mean_word_length": sum(map(len, real)) / len(real) if real else np.nan,
        "gopher_hashes": sum(c == "#" for c in text) / len(t),
        "gopher_ellipses": (len(re.findall(r"\.\.\.", text)) + text.count("…")) / len(t),
        "gopher_bullet_lines": sum(bool(re.match(r"\s*[•-]", x)) for x in lines) / len(lines),
        "gopher_ellipsis_lines": (
            sum(bool(re.search(r"(\.\.\.|…)\s*$", x)) for x in lines) / len(lines)
        ),
        "gopher_alphabetic": sum(bool(re.search("[A-Za-z]", w)) for w in t) / len(t),
        "gopher_stop_words": len({w.lower() if any_case else w for w in t} & set(STOP_WORDS)),
    }


@settings(max_examples=150, deadline=None)
@given(TEXT, st.booleans())
def test_quality_is_the_plain_count(text, any_case):
    got = GopherQuality(variant="gopher" if any_case else "datatrove")({"text": [text]})
    if not text.strip():
        assert got["gopher_quality_status"][0] == "empty_text"
        return
    want = plain_quality(text, any_case)
    for name, value in want.items():
        np.testing.assert_allclose(got[name][0], value, err_msg=name)
    assert got["gopher_quality_status"][0] == ("ok" if want["gopher_words"] else "too_short")


def test_stop_words_in_any_case():
    """A page in capitals has stop words; datatrove sees none."""
    text = "THE END OF ALL THINGS"
    assert GopherQuality()({"text": [text]})["gopher_stop_words"].tolist() == [2]
    assert GopherQuality(variant="datatrove")({"text": [text]})["gopher_stop_words"].tolist() == [0]


def test_a_chinese_page_has_as_many_words_as_characters():
    got = GopherQuality()({"text": ["今天天气很好。" * 10]})
    assert got["gopher_words"].tolist() == [60]
    assert got["gopher_alphabetic"].round(3).tolist() == [round(60 / 70, 3)]


def plain_repetition(text, covered):
    w = [(m.group(), m.start(), m.end()) for m in TOKEN.finditer(text)]
    out = {}
    for name, parts in (
        ("paragraph", re.split(r"\n{2,}", text.strip())),
        ("line", re.split(r"\n+", text)),
    ):
        again = [p for i, p in enumerate(parts) if p in parts[:i]]
        out[f"gopher_duplicate_{name}s"] = len(again) / len(parts)
        out[f"gopher_duplicate_{name}_characters"] = sum(map(len, again)) / len(text)
    for n in TOP:
        grams = [tuple(x[0] for x in w[i : i + n]) for i in range(len(w) - n + 1)]
        out[f"gopher_top_{n}"] = 0.0
        if grams:
            best, count = Counter(grams).most_common(1)[0]
            if covered:
                inside = set(
                    itertools.chain(
                        *(range(w[i][1], w[i + n - 1][2]) for i, g in enumerate(grams) if g == best)
                    )
                )
                out[f"gopher_top_{n}"] = len(inside) / len(text) if count > 1 else 0.0
            else:
                out[f"gopher_top_{n}"] = len(" ".join(best)) * count / len(text)
    for n in DUPLICATE:
        seen, i, total = set(), 0, 0
        while i + n <= len(w):
            g = tuple(x[0] for x in w[i : i + n])
            if g in seen:
                total += sum(map(len, g))
                i += n
            else:
                seen.add(g)
                i += 1
        out[f"gopher_duplicate_{n}"] = total / len(text)
    return out


REPEATED = st.tuples(TEXT, st.integers(1, 4)).map(lambda t: "\n\n".join([t[0]] * t[1]))


@settings(max_examples=150, deadline=None)
@given(REPEATED, st.booleans())
def test_repetition_is_the_plain_count(text, covered):
    got = GopherRepetition(variant="gopher" if covered else "datatrove")({"text": [text]})
    if not text.strip():
        assert got["gopher_repetition_status"][0] == "empty_text"
        return
    for name, value in plain_repetition(text, covered).items():
        np.testing.assert_allclose(got[name][0], value, err_msg=name)


def test_the_top_share_is_at_most_one_and_a_caption_repeats_nothing():
    """datatrove counts overlapping n-grams twice, and calls the first of n-grams that occur once
    the most frequent.
    """
    texts = {"text": ["a a a a a a a a", "The cat sat on the mat at noon."]}
    ours, theirs = GopherRepetition()(texts), GopherRepetition(variant="datatrove")(texts)
    assert ours["gopher_top_2"].tolist() == [1.0, 0.0]
    assert theirs["gopher_top_2"][0] > 1
    assert theirs["gopher_top_3"][1] > 0.18
    assert ours["gopher_top_3"][1] == 0


HARD = {
    "text": [
        "",
        None,
        " \n",
        "!!! ...",
        "one",
        "a b a b a b",
        "The cat.\n\nThe cat.",
        "- x\n- y...",
        "字" * 30,
        "the and of",
    ]
}


@pytest.mark.parametrize(
    "scorer",
    [
        GopherQuality(),
        GopherQuality(variant="datatrove"),
        GopherRepetition(),
        GopherRepetition(variant="datatrove"),
    ],
    ids=repr,
)
def test_contract(scorer):
    check_scorer(scorer, HARD)


def test_unknown_variant():
    for scorer in (GopherQuality, GopherRepetition):
        with pytest.raises(ValueError, match="variant: expected gopher or datatrove, got 'x'"):
            scorer(variant="x")


def test_real_pages(asset):
    pages = [
        json.loads(x)["text"]
        for x in (asset("llamafactory") / "data/c4_demo.jsonl").read_text().splitlines()
    ]
    got = GopherQuality()({"text": pages})
    assert (got["gopher_quality_status"] == "ok").all()
    assert 180 < np.median(got["gopher_words"]) < 240
    assert 4 < np.median(got["gopher_mean_word_length"]) < 5.5
