"""Matching captions with a vocabulary: the released rule written out, its quirks, and the mended
one.
"""

import json

import numpy as np
import pytest

from coreset.core.batch import objects
from coreset.scorers.text.entries import Entries, build_vocabulary
from coreset.testing import check_scorer


def plain(text, entries):
    """The published loop: wrap seven signs, then ask for each entry between spaces."""
    spaced = f" {text} "
    for sign in ",.;:?!`":
        spaced = spaced.replace(sign, f" {sign} ")
    for white in "\t\n\r":
        spaced = spaced.replace(white, " ")
    return [i for i, e in enumerate(entries) if f" {e} " in spaced]


@pytest.fixture
def vocabulary(tmp_path):
    def write(entries):
        path = tmp_path / "metadata.json"
        path.write_text(json.dumps(entries))
        return str(path)

    return write


WORDS = [
    "dog",
    "cat",
    "hot dog",
    "dog house",
    "U.S",
    "Washington, D.C.",
    "D",
    "Paris",
    "café",
    "new york city",
    "new york",
    "york",
    "?",
    "the",
]
TEXTS = [
    "a hot dog house", "the U.S. and Washington, D.C.", "(dog)", "dog-cat", "new  york", "new york city?", "paris", "Paris\tcafé", "", "dog,cat", "dogcat", "D.C.",
    "hot\ndog", "Is it the dog? `cat`", " dog", "a b\u00a0cat",
]  # fmt: skip


def test_the_released_filter(vocabulary):
    matches = Entries(vocabulary(WORDS))({"text": objects(TEXTS)})["entries"].to_pylist()
    assert matches == [plain(t, WORDS) for t in TEXTS]


def test_random_texts_against_the_loop(vocabulary):
    rng = np.random.default_rng(0)
    parts = [*"abcd", "ab", "cd", "é", " ", " ", " ", ",", ".", "\n", "-"]
    entries = sorted(
        {"".join(rng.choice([*"abcd", "ab", "é", " "], rng.integers(1, 5))) for _ in range(60)}
        - {" ", "  ", "   ", "    "}
    )
    texts = ["".join(rng.choice(parts, rng.integers(0, 40))) for _ in range(300)]
    matches = Entries(vocabulary(entries))({"text": objects(texts)})["entries"].to_pylist()
    assert matches == [plain(t, entries) for t in texts]
    assert sum(map(len, matches)) > 300


def test_what_the_released_rule_cannot_match_and_the_mended_one_does(vocabulary):
    path = vocabulary(WORDS)
    texts = {
        "the U.S. and Washington, D.C.": [4, 5, 6, 13],
        "(dog)": [0],
        "dog-cat": [0, 1],
        "new  york": [10, 11],
        "paris": [7],
        "DOGS": [],
    }
    for text, expected in texts.items():
        assert (
            Entries(path, variant="words")({"text": objects([text])})["entries"].to_pylist()[0]
            == expected
        )
    assert Entries(path)({"text": objects(list(texts))})["entries"].to_pylist() == [
        [6, 13],
        [],
        [],
        [11],
        [],
        [],
    ]  # "D" is found in "D.C."


def test_scripts_without_spaces(vocabulary):
    path = vocabulary(["羊", "一只", "sheep", "羊sheep"])
    matches = Entries(path, variant="worldwide")(
        {"text": objects(["一只绵羊。", "羊sheep", "sheepdog", "a sheep"])}
    )["entries"].to_pylist()
    assert matches == [[0, 1], [0, 3], [], [2]]
    assert Entries(path)({"text": objects(["一只绵羊。"])})["entries"].to_pylist() == [[]]


@pytest.mark.parametrize("variant", ["released", "worldwide", "words"])
def test_contract(vocabulary, variant):
    check_scorer(Entries(vocabulary(WORDS), variant=variant), {"text": objects([*TEXTS, None])})


def test_statuses_and_a_second_vocabulary(vocabulary, tmp_path):
    first = Entries(vocabulary(["dog"]))
    assert first({"text": objects(["dog", "cat", None])})["entries_status"].tolist() == [
        "ok",
        "no_entry",
        "missing_field",
    ]
    (tmp_path / "other.txt").write_text("cat\nmouse\n")
    other = Entries(str(tmp_path / "other.txt"))  # the released demo goes on with the first list
    assert other({"text": objects(["cat"])})["entries"].to_pylist() == [[0]]
    assert first.resources() != other.resources()
    vocabulary(["bird", "dog"])
    assert first({"text": objects(["dog"])})["entries"].to_pylist() == [[1]]


def test_wrong_vocabularies(vocabulary, tmp_path):
    for entries, words in (
        (["a", ""], "entry 1 is empty"),
        (["a", "a"], "entry 1 is there twice"),
        (["a", 3], "entry 1 is no text"),
        ([], "holds no entry"),
    ):
        with pytest.raises(ValueError, match=words):
            Entries(vocabulary(entries))({"text": objects(["a"])})
    with pytest.raises(FileNotFoundError):
        Entries(str(tmp_path / "absent"))({"text": objects(["a"])})
    with pytest.raises(ValueError, match="variant: expected one of released, worldwide, words"):
        Entries("x", variant="v2")


def test_building_a_vocabulary():
    unigrams = {"new": 1000, "york": 1000, "of": 10**9, "zyx": 2, "wvu": 2, ".": 500}
    bigrams = {("new", "york"): 900, ("zyx", "wvu"): 2, ("of", "nowhere"): 5}
    total = sum(unigrams.values())
    pmi = np.log2(2 * total / (2 * 2))
    assert 28 < pmi < 30
    built = build_vocabulary(
        ["dog_house.n.01", "of.x.01"], unigrams, bigrams, {"Paris": 70, "Nowhere": 69}, min_pmi=28
    )
    assert built[:100] == [str(i) for i in range(100)]
    assert built[100:] == ["dog house", "of", "new", "york", "zyx wvu", "Paris"]
    assert "zyx wvu" not in build_vocabulary([], unigrams, bigrams, {})
