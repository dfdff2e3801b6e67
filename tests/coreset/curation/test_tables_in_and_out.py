"""cleanlab's issues in; a card and a folder that `datasets` loads out."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from coreset.curation.operators.threshold import Threshold
from coreset.curation.results.card import write_card
from coreset.curation.results.cleanlab import issue_columns, issue_overrules
from coreset.curation.run import curate
from coreset.scorers.length import Length
from tests.tools.envs import TOOLS, python_of, run_tool

FRAME = pd.DataFrame(
    {
        "is_label_issue": [False, True, True],
        "label_score": [0.9, 0.2, 0.1],
        "given_label": [0, 1, 2],
    },
    index=[2, 0, 1],
)


def test_issues_go_by_their_position(tmp_path: Path) -> None:
    FRAME.to_csv(tmp_path / "i.csv")
    FRAME.reset_index().to_parquet(tmp_path / "i.parquet")
    for given in (FRAME, tmp_path / "i.csv", tmp_path / "i.parquet"):
        columns = issue_columns(given)
        assert columns["is_label"].tolist() == [True, True, False]
        assert columns["label_score"].tolist() == [0.2, 0.1, 0.9]
    rows = issue_overrules(FRAME, ["a", "b", "c"], "label", "ana")
    assert [r.id for r in rows] == ["b", "a"]
    assert rows[0].said == "drop by ana: cleanlab: label, score 0.1"
    with pytest.raises(KeyError, match="outlier"):
        issue_overrules(FRAME, "abc", "outlier", "ana")
    with pytest.raises(ValueError, match="positions"):
        issue_columns(FRAME.set_index(pd.Index([5, 6, 7])))


@pytest.mark.slow
def test_the_real_cleanlab_finds_flipped_labels(tmp_path: Path) -> None:
    python = python_of("cleanlab")
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300)
    probs = np.full((300, 3), 0.05)
    probs[np.arange(300), labels] = 0.9
    flipped = rng.permutation(300)[:12]
    given = labels.copy()
    given[flipped] = (labels[flipped] + 1) % 3
    np.savez(tmp_path / "in.npz", labels=given, probs=probs)
    run_tool(python, TOOLS / "cleanlab_issues.py", tmp_path / "in.npz", tmp_path / "issues.csv")
    columns = issue_columns(tmp_path / "issues.csv")
    assert set(np.flatnonzero(columns["is_label"])) == set(flipped.tolist())


def test_datasets_loads_what_was_kept(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    texts = ["one two three", "one", "four five six seven"]
    (tmp_path / "in.jsonl").write_text(
        "".join(json.dumps({"id": f"r{i}", "text": t}) + "\n" for i, t in enumerate(texts))
    )
    done = curate(
        [Length(), Threshold("text_words", low=2)], tmp_path / "in.jsonl", tmp_path / "out"
    )
    card = write_card(done.out, "Three rows", "mit").read_text()
    assert card.startswith("---\npretty_name: Three rows\n")
    assert "| `threshold` | 3 | 1 |" in card
    loaded = datasets.load_dataset(str(done.out), cache_dir=str(tmp_path / "cache"))["train"]
    assert loaded["text"][:] == ["one two three", "four five six seven"]


def test_datasets_loads_chosen_images_with_their_boxes(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    from PIL import Image

    from coreset.core.selection import Selection
    from coreset.vision import CocoPool, Detections, ImageSelection
    from coreset.vision.handoff.hugging_face import to_hugging_face

    pool = CocoPool(
        3,
        ids=np.array([7, 8, 9]),
        names=np.array(["a/x.png", "y.png", "z.png"]),
        sizes=np.array([[4, 5], [6, 7], [8, 9]]),
        categories={1: "cat"},
    )
    for i, (name, size) in enumerate(zip(pool.names, pool.sizes, strict=True)):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", tuple(size.tolist()), (i, 0, 0)).save(tmp_path / "images" / name)
    chosen = ImageSelection.over(
        pool, Selection([2, 0], scores=np.array([0.5, 0.25]), ids=pool.ids[[2, 0]])
    )
    detections = Detections(pool.ids, [0], [[1, 1, 3, 4]], [0.9], [1])
    folder = to_hugging_face(
        chosen.to_rows(tmp_path / "images", detections, 0.5), tmp_path / "hf", "Two"
    )
    loaded = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))["train"]
    rows = {r["id"]: r for r in loaded}
    assert {k: (r["image"].size, r["priority"]) for k, r in rows.items()} == {
        "9": ((8, 9), 0),
        "7": ((4, 5), 1),
    }
    assert rows["7"]["objects"]["bbox"] == [[1, 1, 2, 3]]
    assert rows["9"]["objects"]["bbox"] == []
