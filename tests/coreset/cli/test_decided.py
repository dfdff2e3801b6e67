"""Rows of a curation asked for by a program: those around a cut."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from coreset.cli.decided import _cut, preview
from coreset.curation.operators.dedup import ExactDuplicates
from coreset.curation.operators.threshold import Threshold
from coreset.curation.run import curate
from coreset.scorers.length import Length


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of 1 to 60 words, those below 10 dropped, and long ones that are dropped as copies."""
    folder = tmp_path_factory.mktemp("cuts")
    texts = [" ".join(f"w{k}" for k in range(n)) for n in (*range(1, 61), *range(50, 61))]
    lines = [json.dumps({"id": f"r{i}", "text": t}) + "\n" for i, t in enumerate(texts)]
    (folder / "in.jsonl").write_text("".join(lines))
    steps = [Length(), Threshold("text_words", low=10), ExactDuplicates()]
    return curate(steps, folder / "in.jsonl", folder / "out").out


def test_rows_near_a_threshold_whatever_else_was_dropped(run: Path) -> None:
    shown = preview(run, near="text_words", limit=5)
    assert shown["cuts"] == [10]
    assert sorted(r["text_words"] for r in shown["shown"]) == [8, 9, 10, 11, 12]
    dropped = preview(run, "dropped", "threshold", near="text_words", limit=2)
    assert [r["text_words"] for r in dropped["shown"]] == [9, 8]
    assert "cuts" not in preview(run)


def test_a_column_that_no_threshold_cuts_is_parted_where_it_parts_best(
    run: Path, tmp_path: Path
) -> None:
    copies = curate([Length(), ExactDuplicates()], run.parent / "in.jsonl", tmp_path / "out").out
    assert preview(copies, near="text_words")["cuts"] == [49.5]
    with pytest.raises(ValueError, match="near: expected a column of numbers, 'text' holds string"):
        preview(run, near="text")
    with pytest.raises(KeyError, match="no column 'word'"):
        preview(run, near="word")


@pytest.mark.parametrize("seed", range(20))
def test_the_best_parting_is_that_of_all_partings(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 12, 40).astype(float)
    values[rng.random(40) < 0.1] = np.nan
    kept = np.where(np.isnan(values), True, values + rng.normal(0, 3, 40) > 6)
    table = pa.table({"x": values, "decision": np.where(kept, "kept", "dropped").tolist()})
    known = values[np.isfinite(values)]
    distinct = np.unique(known)
    kept = kept[np.isfinite(values)]

    def apart(cut: float) -> float:
        return abs(np.mean(known[kept] < cut) - np.mean(known[~kept] < cut))

    every = (distinct[1:] + distinct[:-1]) / 2
    assert apart(_cut(table, "x")) == pytest.approx(max(map(apart, every)), abs=1e-12)
    assert _cut(table, "x") in every.tolist()
