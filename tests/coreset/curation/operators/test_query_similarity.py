"""Cosines with a query set, against float64 numpy over the file read by hand."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from coreset.core.batch import objects
from coreset.curation.operators.query_similarity import QuerySimilarity
from coreset.testing import check_operator

LETTERS = "abcde"


@dataclass(frozen=True)
class Letters:
    """Counts of five letters, at length 1."""

    column: str = "text"

    @property
    def needs(self):
        return frozenset({self.column})

    @property
    def gives(self):
        return frozenset({f"{self.column}_embedding", f"{self.column}_embedding_status"})

    def __call__(self, batch):
        texts = list(batch[self.column])
        x = np.array([counts(t) if t else np.full(5, np.nan) for t in texts], np.float32)
        return {
            f"{self.column}_embedding": x,
            f"{self.column}_embedding_status": objects(
                ["ok" if t else "missing_field" for t in texts]
            ),
        }


def counts(text):
    vector = np.array([text.count(c) for c in LETTERS], float)
    return vector / np.sqrt((vector**2).sum())


QUERIES = {"q2": ("aab", "x"), "q1": ("cde", "y"), "q3": ("bbb", "x"), "q0": ("ee", "y")}
ROWS = objects(["abc", "ab", None, "eed", "bbbbca", "d"])


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "queries.jsonl"
    path.write_text(
        "\n".join(json.dumps({"id": q, "text": t, "kind": k}) for q, (t, k) in QUERIES.items())
    )
    return str(path)


def test_a_column_per_query_in_the_order_of_ids(file):
    got = QuerySimilarity(Letters(), file)({"text": ROWS})
    assert got["query_similarity_status"].tolist() == [
        "ok",
        "ok",
        "missing_field",
        "ok",
        "ok",
        "ok",
    ]
    want = [
        [counts(t) @ counts(QUERIES[q][0]) if t else np.nan for q in ("q0", "q1", "q2", "q3")]
        for t in ROWS
    ]
    np.testing.assert_allclose(got["query_similarity"], want, atol=1e-6)
    np.testing.assert_array_equal(
        got["text_embedding"], Letters()({"text": ROWS})["text_embedding"]
    )


def test_a_column_per_task_holds_the_largest(file):
    got = QuerySimilarity(Letters(), file, task="kind")({"text": ROWS})["query_similarity"]
    for row, text in zip(got, ROWS, strict=True):
        for value, task in zip(row, ("x", "y"), strict=True):
            own = (
                [counts(q) @ counts(text) for q, k in QUERIES.values() if k == task]
                if text
                else [np.nan]
            )
            np.testing.assert_allclose(value, max(own), atol=1e-6)


def test_contract(file):
    check_operator(QuerySimilarity(Letters(), file, task="kind"), {"text": ROWS}, tolerance=1e-6)


def test_the_file_is_read_again_when_it_changes(file):
    operator = QuerySimilarity(Letters(), file)
    before = operator.resources()
    operator({"text": ROWS})
    Path(file).write_text(json.dumps({"id": "q", "text": "d"}))
    assert operator.resources() != before
    assert operator({"text": ROWS})["query_similarity"].shape == (6, 1)


def test_bad_input(file, tmp_path):
    with pytest.raises(
        ValueError, match="encoder: expected a scorer that embeds a column, got ExactDuplicates"
    ):
        QuerySimilarity("exact_duplicates", file)
    with pytest.raises(ValueError, match="no 'prompt'"):
        QuerySimilarity(Letters("prompt"), file)({"prompt": ROWS})
    (tmp_path / "odd.jsonl").write_text('{"id": "q7", "text": "z"}')
    with (
        np.errstate(invalid="ignore"),
        pytest.raises(ValueError, match="odd.jsonl: 1 queries have no embedding, first 'q7'"),
    ):
        QuerySimilarity(Letters(), str(tmp_path / "odd.jsonl"))({"text": ROWS})
