"""What may be a file beside the pool may as well be a list: the answers are those of the file."""

import json
import pickle

import numpy as np
import pyarrow as pa
import pytest

from coreset import curate
from coreset.curation.io.reference_texts import Frozen, frozen, hashes_of, texts_of
from coreset.curation.operators.dedup.decontaminate import Decontaminate, DecontaminateEmbeddings
from coreset.curation.operators.quality.classifier import QualityClassifier
from coreset.curation.operators.quality.dsir import Dsir
from coreset.curation.operators.quality.reference import ReferenceClusters
from coreset.scorers.text.entries import Entries

LONG = "the quick brown fox jumps over the lazy dog and runs far away into the dark woods"
TEST = [LONG, "a second row of the test set that has more than thirteen words in it, as it should"]
POOL = [
    {"id": "a", "text": f"so it is said that {LONG} at night"},
    {
        "id": "b",
        "text": "nothing of the kind, but long enough that thirteen words are surely in it",
    },
]


def file_of(folder, rows):
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.mark.parametrize("rows", [TEST, [{"id": f"t{i}", "text": t} for i, t in enumerate(TEST)]])
def test_texts_and_rows_are_read_as_their_file_is(rows, tmp_path):
    file = file_of(tmp_path, [r if isinstance(r, dict) else {"text": r} for r in rows])
    assert texts_of(rows) == texts_of(file)
    assert hashes_of(rows) == hashes_of(list(rows)) != hashes_of(rows[:1])


@pytest.mark.parametrize("form", ["pandas", "arrow", "datasets"])
def test_tables_are_their_rows_and_not_their_column_names(form):
    rows = [{"id": f"t{i}", "text": t} for i, t in enumerate(TEST)]
    if form == "pandas":
        table = pytest.importorskip("pandas").DataFrame(rows)
    elif form == "arrow":
        table = pa.Table.from_pylist(rows)
    else:
        table = pytest.importorskip("datasets").Dataset.from_list(rows)
    assert texts_of(table) == texts_of(rows)
    with pytest.raises(TypeError, match="vocabulary: expected a file or a list of texts, got"):
        Entries(pytest.importorskip("pandas").DataFrame(rows))


def test_a_test_set_in_a_list(tmp_path):
    rows = [{"id": f"t{i}", "text": t} for i, t in enumerate(TEST)]
    for against in (rows, file_of(tmp_path, rows)):
        done = curate([{"decontaminate": {"against": against}}], POOL)
        assert [r["id"] for r in done.rows] == ["b"]
        assert done.decisions["test_twin"][0].as_py() == "t0"


def test_operators_with_lists_are_frozen_and_travel():
    for operator in (
        Decontaminate(TEST),
        Dsir(TEST),
        QualityClassifier(TEST),
        Entries(["fox", "dog"]),
    ):
        hash(operator)
        assert pickle.loads(pickle.dumps(operator)) == operator
    assert isinstance(pickle.loads(pickle.dumps(Decontaminate(TEST))).against, Frozen)


def test_a_vocabulary_in_a_list(tmp_path):
    (tmp_path / "words.json").write_text(json.dumps(["fox", "lazy dog"]))
    texts = {"text": [LONG, "a fox", "none"]}
    answers = [
        Entries(v)(texts)["entries"].tolist()
        for v in (["fox", "lazy dog"], str(tmp_path / "words.json"))
    ]
    assert answers[0] == answers[1] == [[0, 1], [0], []]
    with pytest.raises(ValueError, match="vocabulary: entry 1 is there twice: 'a'"):
        Entries(["a", "a"])(texts)


def test_reference_embeddings_in_an_array(tmp_path):
    rng = np.random.default_rng(0)
    against, pool = rng.normal(size=(4, 3)), rng.normal(size=(50, 3))
    pool[7] = against[2] * 5
    np.save(tmp_path / "test.npy", against.astype(np.float32))
    columns = {"id": np.arange(50).astype(str), "embedding": pool}
    unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (pool, against)]
    expected = (unit[0] @ unit[1].T).max(axis=1)
    for given in (against, str(tmp_path / "test.npy")):
        operator = DecontaminateEmbeddings(given, threshold=0.999)
        from coreset.core.batch import as_batch

        decision = operator.decide(as_batch(columns))
        np.testing.assert_allclose(decision.columns["test_cosine"], expected, atol=1e-5)
        assert np.flatnonzero(~decision.keep).tolist() == [7]
    for wrong in (np.zeros((2, 3)), np.zeros(3), np.zeros((0, 3)), [[1.0, np.nan]]):
        for kind in (DecontaminateEmbeddings, ReferenceClusters):
            with pytest.raises(ValueError, match="against: "):
                kind(wrong)


def test_what_is_neither_is_refused():
    for wrong, words in (
        (5, "expected a path"),
        ({"text": "x"}, "expected a path"),
        ([3], "entry 0"),
    ):
        with pytest.raises(TypeError, match=f"against: {words}"):
            frozen(wrong, "against")
    with pytest.raises(ValueError, match="against: there are no texts in it"):
        Decontaminate([])
    with pytest.raises(ValueError, match="their fields are answer"):
        texts_of([{"answer": "x"}])
