import csv
from pathlib import Path

import numpy as np
import pytest

from coreset.trainers.oracles import AwaitingLabels, HiddenLabels, LabelFile, Request


def test_hidden_labels():
    oracle = HiddenLabels(np.array([2, 0, -1]))
    assert oracle.label(np.array([1, 0])).tolist() == [0, 2]
    with pytest.raises(ValueError, match="position 2"):
        oracle.label(np.array([2]))


def fill(path, labels):
    rows = list(csv.DictReader(path.open()))
    text = "index,id,label\n" + "".join(
        f'{r["index"]},"{r["id"]}",{labels.get(int(r["index"]), r["label"])}\n' for r in rows
    )
    path.write_text(text)


def test_hand_off(tmp_path):
    path = tmp_path / "labels.csv"
    oracle = LabelFile(path, np.array(["x,y.png", "b.png", "c.png", "d.png"]), ("cat", "dog"))
    with pytest.raises(AwaitingLabels, match="2 examples"):
        oracle.label(np.array([2, 0]))
    assert [r["id"] for r in csv.DictReader(path.open())] == ["c.png", "x,y.png"]
    fill(path, {2: "dog"})
    with pytest.raises(AwaitingLabels, match="1 examples"):
        oracle.label(np.array([2, 0]))
    fill(path, {0: "0"})
    assert oracle.label(np.array([0, 2])).tolist() == [0, 1]
    with pytest.raises(AwaitingLabels):
        oracle.label(np.array([3]))  # the next batch keeps what is labeled
    assert [r["label"] for r in csv.DictReader(path.open())] == ["dog", "0", ""]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("index,id,label\n0,a,horse\n", "line 2: label 'horse'"),
        ("index,id,label\n9,a,cat\n", "line 2: index must be"),
        ("index,id,label\n0,a,cat\n0,a,dog\n", "line 3: index 0 stands there twice"),
        ("a,b\n1,2\n", "expected the columns"),
    ],
)
def test_wrong_files_are_named(tmp_path: Path, text, words):
    (tmp_path / "l.csv").write_text(text)
    with pytest.raises(ValueError, match=words):
        LabelFile(tmp_path / "l.csv", np.arange(2), ("cat", "dog")).label(np.array([0]))


def test_the_sheet_shows_what_is_asked_and_no_true_class(tmp_path):
    ids = np.array(["rose/1.png", "tulip/2.png", "rose/<3>.png"])
    oracle = LabelFile(tmp_path / "labels.csv", ids, ("rose", "tulip"))
    pixels = np.zeros((3, 4, 4, 3), np.uint8)
    request = Request(
        np.array([2, 0]), "Chosen by Margin.", np.array([0.25, np.nan]), np.array([1, 1]),
        np.array([0.9, 0.6]), lambda rows: pixels[rows],
    )  # fmt: skip
    oracle.ask(request)
    page = (tmp_path / "labels.html").read_text()
    assert page.count("<figure>") == page.count("data:image/png;base64") == 2
    assert page.index("&lt;3&gt;.png") < page.index("1.png")  # most wanted first, escaped
    assert "proposed:\ntulip, 90 %" in page
    assert "score 0.25" in page
    assert "Chosen by Margin." in page
    assert "rose/" not in page
    assert "2.png" not in page


def test_a_skipped_example_has_no_label(tmp_path):
    (tmp_path / "l.csv").write_text("index,id,label\n0,a,skip\n1,b,cat\n")
    oracle = LabelFile(tmp_path / "l.csv", np.arange(2), ("cat", "dog"))
    assert oracle.label(np.array([0, 1])).tolist() == [-1, 0]


def test_a_label_changed_after_it_was_taken_stays_and_is_named(tmp_path):
    path = tmp_path / "l.csv"
    path.write_text("index,id,label\n0,a,cat\n1,b,dog\n")
    rows = np.array([0, 1])
    assert LabelFile(path, np.arange(2), ("cat", "dog")).label(rows).tolist() == [0, 1]
    path.write_text("index,id,label\n0,a,dog\n")
    with pytest.warns(UserWarning, match="labels of 2 examples were changed .* first position 0"):
        assert LabelFile(path, np.arange(2), ("cat", "dog")).label(rows).tolist() == [0, 1]


def test_hostile_names_stay_text_on_the_sheet(tmp_path):
    from tests.coreset.report.test_document import HOSTILE, Page

    ids = np.array([h.replace("/", "|") for h in HOSTILE])
    oracle = LabelFile(tmp_path / "<b>.csv", ids, HOSTILE)
    every, pixels = np.arange(len(ids)), np.zeros((len(ids), 4, 4, 3), np.uint8)
    oracle.ask(Request(every, HOSTILE[0], None, every, None, lambda rows: pixels[rows]))
    page = (tmp_path / "<b>.html").read_text()
    tags = Page(page).tags
    assert {tag for tag, _ in tags} == set(["html", "meta", "title", "style", "h1", "p", "code", "main", "figure", "img", "figcaption", "b", "br"])  # fmt: skip
    assert [set(attrs) for tag, attrs in tags if tag == "img"] == [{"src", "alt"}] * len(ids)
    assert "&lt;script&gt;" in page
    assert "\u202e" not in page
