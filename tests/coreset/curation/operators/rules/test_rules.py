"""Every rule at its published threshold, on both sides of it; what is undefined; several reasons at
once.
"""

import numpy as np
import pytest
from scipy.stats import binom

from coreset.core.batch import as_batch, objects
from coreset.curation.operators.base import Decision
from coreset.curation.operators.contract import run_in_memory
from coreset.curation.operators.mixing import StratifiedSample
from coreset.curation.operators.rules import (
    BoilerplateFilter,
    C4Filter,
    Exempt,
    FineWebFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
    HasEntry,
    LanguageFilter,
    ParetoFilter,
    RepetitionFilter,
    UrlFilter,
)
from coreset.curation.operators.rules.pareto import keep_probability
from coreset.curation.operators.rules.url import host
from coreset.curation.operators.threshold import Threshold
from coreset.scorers.text.entries import Entries
from coreset.testing import check_operator

GOOD = {
    "gopher_words": 200, "gopher_mean_word_length": 5, "gopher_hashes": 0, "gopher_ellipses": 0, "gopher_bullet_lines": 0, "gopher_ellipsis_lines": 0, "gopher_alphabetic": 0.9, "gopher_stop_words": 5,
    "fineweb_punctuated_lines": 1, "fineweb_short_lines": 0, "fineweb_duplicate_characters": 0, "fineweb_breaks_per_word": 0,
    "c4_sentences": 9, "c4_lorem_ipsum": 0, "c4_bracket": 0, "boilerplate_words": 0, "char_repetition": 0, "word_repetition": 0, "loop_unit": 0, "loop_copies": 1,
    **{f"gopher_duplicate_{x}": 0 for x in ("lines", "paragraphs", "line_characters", "paragraph_characters", 5, 6, 7, 8, 9, 10)},
    **{f"gopher_top_{n}": 0 for n in (2, 3, 4)},
}  # fmt: skip
LIMITS = [  # rule, column, the last value kept, one that is dropped
    (GopherQualityFilter(), "gopher_words", 50, 49), (GopherQualityFilter(), "gopher_words", 100_000, 100_001), (GopherQualityFilter(), "gopher_mean_word_length", 3, 2.99),
    (GopherQualityFilter(), "gopher_mean_word_length", 10, 10.01), (GopherQualityFilter(), "gopher_hashes", 0.1, 0.11), (GopherQualityFilter(), "gopher_ellipses", 0.1, 0.11),
    (GopherQualityFilter(), "gopher_bullet_lines", 0.9, 0.91), (GopherQualityFilter(), "gopher_ellipsis_lines", 0.3, 0.31), (GopherQualityFilter(), "gopher_alphabetic", 0.8, 0.79),
    (GopherQualityFilter(), "gopher_stop_words", 2, 1),
    (GopherRepetitionFilter(), "gopher_duplicate_lines", 0.3, 0.31), (GopherRepetitionFilter(), "gopher_duplicate_paragraphs", 0.3, 0.31),
    (GopherRepetitionFilter(), "gopher_duplicate_line_characters", 0.2, 0.21), (GopherRepetitionFilter(), "gopher_duplicate_paragraph_characters", 0.2, 0.21),
    (GopherRepetitionFilter(), "gopher_top_2", 0.20, 0.201), (GopherRepetitionFilter(), "gopher_top_3", 0.18, 0.181), (GopherRepetitionFilter(), "gopher_top_4", 0.16, 0.161),
    *((GopherRepetitionFilter(), f"gopher_duplicate_{n}", round(0.20 - n / 100, 2), 0.201 - n / 100) for n in range(5, 11)),
    (FineWebFilter(), "fineweb_punctuated_lines", 0.12, 0.119), (FineWebFilter(), "fineweb_short_lines", 0.67, 0.671), (FineWebFilter(), "fineweb_duplicate_characters", 0.01, 0.011),
    (FineWebFilter(), "fineweb_breaks_per_word", 0.3, 0.31), (C4Filter(), "c4_sentences", 5, 4), (C4Filter(), "c4_lorem_ipsum", 0, 1), (C4Filter(), "c4_bracket", 0, 1),
    (BoilerplateFilter(), "boilerplate_words", 0.05, 0.051), (RepetitionFilter(), "char_repetition", 0.5, 0.51), (RepetitionFilter(), "word_repetition", 0.5, 0.51),
]  # fmt: skip


def status_of(rule):
    return next(n for n in rule.needs if n.endswith("_status"))


def decision(rule, rows, **columns):
    n = len(rows)
    table = {c: [r.get(c, GOOD.get(c)) for r in rows] for c in rule.needs if c in GOOD}
    table = {c: np.array(v, float) for c, v in table.items()}
    if any(x.endswith("_status") for x in rule.needs):
        table[status_of(rule)] = objects(["ok"] * n)
    return rule.decide(as_batch({**table, **columns}))


@pytest.mark.parametrize(
    ("rule", "column", "kept", "dropped"), LIMITS, ids=lambda x: x if isinstance(x, str) else ""
)
def test_published_threshold(rule, column, kept, dropped):
    decided = decision(rule, [{column: kept}, {column: dropped}])
    assert decided.keep.tolist() == [True, False]
    assert decided.reason[1]


def test_all_failing_rules_are_named():
    decided = decision(
        GopherQualityFilter(),
        [{"gopher_words": 3, "gopher_alphabetic": 0.1, "gopher_stop_words": 0}],
    )
    assert decided.reason.tolist() == [
        "fewer than 50 words; words with a letter below 0.8; fewer than 2 stop words"
    ]


def test_none_switches_a_limit_off():
    assert decision(GopherQualityFilter(min_words=None), [{"gopher_words": 3}]).keep.all()
    assert decision(GopherRepetitionFilter(top=None), [{"gopher_top_2": 1}]).keep.all()
    assert "gopher_top_2" not in GopherRepetitionFilter(top=None).needs
    assert decision(C4Filter(curly_bracket=False), [{"c4_bracket": 1}]).keep.all()
    assert decision(C4Filter(lorem_ipsum=False), [{"c4_lorem_ipsum": 1}]).keep.all()
    with pytest.raises(ValueError, match="top: expected 3 shares"):
        GopherRepetitionFilter(top=(0.2,))


@pytest.mark.parametrize(
    "rule",
    [
        GopherQualityFilter(),
        GopherRepetitionFilter(),
        FineWebFilter(),
        C4Filter(),
        BoilerplateFilter(),
        RepetitionFilter(),
    ],
    ids=repr,
)
def test_contract_and_undefined_rows(rule):
    columns = {c: np.array([GOOD[c]] * 3 + [np.nan], float) for c in rule.needs if c in GOOD}
    columns[status_of(rule)] = objects(["ok", "ok", "ok", "empty_text"])
    check_operator(rule, columns)
    what = status_of(rule).removesuffix("_status")
    assert rule.decide(as_batch(columns)).reason.tolist() == ["", "", "", f"{what}: empty_text"]


def test_loops():
    rule = RepetitionFilter()
    decided = decision(
        rule,
        [
            {"loop_unit": 2, "loop_copies": 40},
            {"loop_unit": 20, "loop_copies": 3},
            {"loop_unit": 100, "loop_copies": 2},
            {"loop_unit": 1, "loop_copies": 20},
        ],
    )
    assert decided.keep.tolist() == [False, False, True, True]
    assert decided.reason[0] == "ends in a loop"
    assert decision(
        RepetitionFilter(loop_copies=None), [{"loop_unit": 2, "loop_copies": 40}]
    ).keep.all()


def test_language():
    columns = {
        "language": objects(["en", "de", "en", None, "fr"]),
        "language_score": np.array([0.65, 0.99, 0.64, np.nan, 0.99]),
        "language_status": objects(["ok", "ok", "ok", "too_short", "ok"]),
    }
    assert LanguageFilter().decide(as_batch(columns)).reason.tolist() == [
        "",
        "another language",
        "language score below 0.65",
        "language: too_short",
        "another language",
    ]
    assert LanguageFilter(("en", "fr"), 0).decide(as_batch(columns)).keep.tolist() == [
        True,
        False,
        True,
        False,
        True,
    ]
    check_operator(LanguageFilter(), columns)
    for wrong in ("en", ()):
        with pytest.raises(ValueError, match="expected a list of codes"):
            LanguageFilter(wrong)


@pytest.mark.parametrize(
    ("url", "name"),
    [("https://A.Example.org:80/x?y#z", "a.example.org"), ("example.org", "example.org"), ("//x.org/", "x.org"), ("http://user:pw@x.org/", "x.org"), ("http://x.org./", "x.org"), ("two words", ""), ("http://[bad", "")],
)  # fmt: skip
def test_host(url, name):
    assert host(url) == name


def test_url():
    rule = UrlFilter(
        domains=("bad.org", "co.evil.net"),
        words=("casino",),
        parts=("pr0n",),
        soft_words=("free", "win", "cash"),
    )
    urls = {
        "http://bad.org/": "listed domain", "http://a.b.bad.org/": "listed domain", "http://notbad.org/": "", "http://evil.net/": "", "http://x.co.evil.net": "listed domain",
        "http://ok.org/Casino": "listed word in the address", "http://ok.org/casinos": "", "http://ok.org/xpr0nx": "listed word in the address", "http://ok.org/free": "",
        "http://free.org/win": "2 suspicious words in the address", "http://bad.org/casino": "listed domain; listed word in the address", "not an address": "url: parse_error",
    }  # fmt: skip
    decided = rule.decide(as_batch({"url": objects([*urls, None])}))
    assert decided.reason.tolist() == [*urls.values(), "url: missing_field"]
    check_operator(rule, {"url": objects([*urls, None])})


def test_pareto_is_the_lomax_filter():
    """numpy's pareto draw starts at 0: the share kept is (2 - s)^-9, with thousands of ids by the
    key and by numpy's own generator.
    """
    n = 20_000
    ids = objects([f"row{i}" for i in range(n)])
    for s in (0.0, 0.5, 0.8, 1.0):
        chance = (2 - s) ** -9
        kept = int(
            ParetoFilter().decide(as_batch({"id": ids, "quality": np.full(n, s)})).keep.sum()
        )
        numpy_kept = int((np.random.default_rng(0).pareto(9, n) > 1 - s).sum())
        low, high = binom.ppf([1e-4, 1 - 1e-4], n, chance)
        assert low <= kept <= high
        assert low <= numpy_kept <= high
    assert keep_probability(np.array([0.0]))[0] == pytest.approx(0.00195, abs=1e-5)


def test_pareto_is_keyed_by_id():
    scores = np.linspace(0.6, 1, 40)
    check_operator(ParetoFilter(), {"quality": scores})
    columns = {"id": objects([f"{i}" for i in range(40)]), "quality": scores}
    a = run_in_memory(ParetoFilter(seed=1), as_batch(columns))
    b = run_in_memory(ParetoFilter(seed=2), as_batch(columns))
    assert a["keep"].to_pylist() != b["keep"].to_pylist()
    assert ParetoFilter(alpha=1e-9).decide(as_batch(columns)).keep.all()


def test_pareto_refuses_what_is_no_probability():
    rows = as_batch(
        {
            "id": objects(["a", "b"]),
            "quality": np.array([np.nan, 0.5]),
            "quality_status": objects(["empty_text", "ok"]),
        }
    )
    decided = ParetoFilter(alpha=1e-9).decide(rows)
    assert decided.reason.tolist() == ["quality undefined (empty_text)", ""]
    with pytest.raises(ValueError, match=r"expected scores in \[0, 1\], got 1.5"):
        ParetoFilter().decide(as_batch({"id": objects(["a"]), "quality": np.array([1.5])}))
    with pytest.raises(ValueError, match="alpha: expected a number above 0"):
        ParetoFilter(alpha=0)


def test_has_entry(tmp_path):
    (tmp_path / "words.txt").write_text("dog\nhot dog\n")
    texts = objects(["A dog!", "hot  DOG", "cat", None, "dogs"])
    columns = {
        "text": texts,
        **Entries(str(tmp_path / "words.txt"), variant="words")({"text": texts}),
    }
    check_operator(HasEntry(), columns)
    assert HasEntry().decide(as_batch(columns)).reason.tolist() == [
        "",
        "",
        "no entry",
        "missing field",
        "no entry",
    ]


def test_exempt():
    columns = {
        "words": np.array([1.0, 5, 1, 1, np.nan]),
        "source": objects(["web", "web", "vqa", None, "vqa"]),
    }
    op = Exempt(Threshold("words", low=2), ["vqa", "ocr"])
    check_operator(op, columns)
    assert op.needs == {"words", "source"}
    assert op.decide(as_batch(columns)).reason.tolist() == [
        "words below 2",
        "",
        "",
        "words below 2",
        "",
    ]
    same = Decision(
        [False, False, True, True, False],
        ["twice", "twice", "", "", "twice"],
        objects(["a", "b", None, None, "c"]),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Threshold, "decide", lambda self, batch: same)
        assert op.decide(as_batch(columns)).duplicate_of.tolist() == ["a", "b", None, None, None]
    assert Exempt(Threshold("words", low=2)).decide(as_batch(columns)).keep.tolist() == [
        False,
        True,
        False,
        False,
        False,
    ]
    with pytest.raises(ValueError, match="values: expected a list, got 'vqa'"):
        Exempt(Threshold("words", low=2), "vqa")
    with pytest.raises(ValueError, match="expected a filter, got StratifiedSample"):
        Exempt(StratifiedSample(["source"]))
