"""Lengths against plain Python, character by character, in scripts with and without spaces."""

import json
import re
import unicodedata

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from coreset.scorers.length import Length
from coreset.testing import check_scorer

EAST = re.compile("[\u3040-\u309f\u30a0-\u30fa\u30fc-\u30ff\u3400-\u4dbf\u4e00-\u9fff]")
SOUTH = re.compile("[\u0e00-\u0e3a\u0e40-\u0e4e\u0e50-\u0e59\u0e80-\u0edf]")


def plain_words(text):
    """Pieces between white space; in one with Han, kana, Thai or Lao, its letters and the runs
    between them.
    """
    total = 0
    for piece in text.split():
        if not EAST.search(piece) and not SOUTH.search(piece):
            total += 1
            continue
        for run in re.findall(
            f"(?:{EAST.pattern}|{SOUTH.pattern})+|[^{EAST.pattern[1:-1]}{SOUTH.pattern[1:-1]}]+",
            piece,
        ):
            east = len(EAST.findall(run))
            south = sum(unicodedata.category(c)[0] in "LN" for c in SOUTH.findall(run))
            if EAST.search(run) or SOUTH.search(run):
                total += -(-(4 * east + south) // 4)
            else:
                total += any(c.isalnum() or c == "_" for c in run)
    return total


CASES = [
    "",
    " ",
    "one two",
    "It's 3.5 km - far.",
    "今天天气很好。",
    "GPT模型(v2) を使う",
    "สวัสดีครับ นี่คือ",
    "ພາສາລາວ",
    "東京タワー！",
    "-- …",
    "a\u3000b",
    "한국어 문장입니다",
]
TEXT = st.one_of(
    st.sampled_from(CASES),
    st.text(st.sampled_from("aB1é' .,-。今日はカสวั่ ่๑ລາ🙂\n한"), max_size=30),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(TEXT, max_size=5))
@example(CASES)
def test_words_are_the_plain_count(texts):
    assert Length()({"text": texts})["text_words"].tolist() == [plain_words(t) for t in texts]


def test_words_of_a_script_with_spaces_are_those_between_the_spaces(asset):
    """What was counted before stays: 999 English answers."""
    rows = json.loads((asset("llamafactory") / "data/alpaca_en_demo.json").read_text())
    texts = [r["output"] for r in rows]
    spaced = [len(t.split()) for t in texts]
    assert (
        Length(unit="white_space_words")({"text": texts})["text_white_space_words"].tolist()
        == spaced
    )
    same = Length()({"text": texts})["text_words"] == spaced
    assert same.sum() >= 995  # the others quote Chinese or Japanese
    assert all(EAST.search(texts[i]) or SOUTH.search(texts[i]) for i in np.flatnonzero(~same))


def test_chinese_answers_are_as_long_as_english_ones(asset):
    """Alpaca's answers in both languages: neither is first of all the longest."""
    data = asset("llamafactory") / "data"
    texts = {
        n: [r["output"] for r in json.loads((data / f"alpaca_{n}_demo.json").read_text())]
        for n in ("en", "zh")
    }
    words = {n: Length()({"text": t})["text_words"] for n, t in texts.items()}
    assert 0.5 < np.median(words["zh"]) / np.median(words["en"]) < 2
    both = np.concatenate([words["en"], words["zh"]])
    longest = np.argsort(-both, kind="stable")[:200] < len(words["en"])
    assert 0.1 < longest.mean() < 0.9
    spaced = Length(unit="white_space_words")({"text": texts["zh"]})["text_white_space_words"]
    assert np.median(spaced) < 6


def test_a_thai_sentence_has_about_as_many_words_as_it_has():
    """Bangkok is the capital and most populous city of Thailand, in thirteen Thai words."""
    got = Length()({"text": ["กรุงเทพมหานครเป็นเมืองหลวงและนครที่มีประชากรมากที่สุดของประเทศไทย"]})
    assert 10 <= got["text_words"][0] <= 17


def test_missing_texts_and_other_units():
    for unit, want in (("words", [2, 0]), ("white_space_words", [1, 0]), ("characters", [2, 0])):
        got = Length(unit=unit)({"text": ["你好", "", None]})
        assert got[f"text_{unit}"].tolist()[:2] == want
        assert np.isnan(got[f"text_{unit}"][2])
        assert got[f"text_{unit}_status"].tolist() == ["ok", "ok", "missing_field"]
        check_scorer(Length(unit=unit), {"text": ["你好", "", None, "one two"]})
    with pytest.raises(
        ValueError, match="unit: expected words, white_space_words, characters, got 'tokens'"
    ):
        Length(unit="tokens")
