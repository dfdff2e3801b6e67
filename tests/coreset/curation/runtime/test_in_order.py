"""Selections by one number of each row: the decisions of one task that sees all rows."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from toys import write_jsonl

from coreset.core.batch import as_batch
from coreset.curation import curate
from coreset.curation.operators.mixing import StratifiedSample
from coreset.curation.operators.select import Select
from coreset.curation.run import Settings
from coreset.curation.runtime import choose, in_order, in_strata
from coreset.registry import strategy

CASES = [
    (strategy("random"), {}, 0.4),
    (strategy("margin"), {"probs": "p"}, 37),
    (strategy("top_k", {"signal": "v"}), {}, 50),
    (strategy("top_k", {"signal": "v", "highest": False}), {}, None),
    (strategy("class_quota", {"base": {"top_k": {"signal": "v"}}, "column": "tag"}), {}, 30),
    (strategy("class_quota", {"cap": 40, "column": "tag"}), {"probs": "p"}, 33),
    (strategy("class_quota", {"balance": "equal", "column": "label"}), {"probs": "p"}, 41),
]


def rows(n=230):
    """Rows with ties, ids in no order and of several lengths, and undefined values."""
    rng = np.random.default_rng(0)
    out = []
    for i, j in enumerate(rng.permutation(n)):
        p = rng.dirichlet(np.ones(3)).round(1) + 0.1
        out.append({
            "id": f"{'é name ' * (j % 3)}{j:03d}", "text": "x", "p": (p / p.sum()).tolist(),
            "v": None if i % 17 == 3 else float(rng.integers(0, 5)),
            "label": int(rng.choice(4, p=[0.6, 0.3, 0.07, 0.03])), "tag": "xyz"[rng.integers(3)],
        })  # fmt: skip
    out[5]["p"] = None
    return out


def batch():
    """The rows as a selection sees them: in the order of ids."""
    held = sorted(rows(), key=lambda r: r["id"].encode())
    return as_batch({
        "id": [r["id"] for r in held], "label": np.array([r["label"] for r in held], float),
        "v": np.array([np.nan if r["v"] is None else r["v"] for r in held]),
        "tag": [r["tag"] for r in held],
        "p": np.array([[np.nan] * 3 if r["p"] is None else r["p"] for r in held]),
    })  # fmt: skip


STRATA = [
    StratifiedSample(["tag", "v"], 60, bins={"v": [2.0]}, temperature=2.0),
    StratifiedSample(["tag"], 0.3, order="v", weights={"x": 0.0}),
    StratifiedSample(["label", "tag"], most={"0|x": 3}, seed=5),
]


@pytest.mark.parametrize("case", range(len(STRATA)))
@pytest.mark.parametrize("cut", [(1000, 10**6), (40, 7)])
def test_strata_of_one_task(tmp_path, monkeypatch, case, cut):
    operator = STRATA[case]
    assert in_strata.in_strata(operator)
    source = write_jsonl(tmp_path / "rows.jsonl", rows())
    monkeypatch.setattr(in_strata.select_in_strata, "__defaults__", (cut[1],))
    curate([operator], source, tmp_path / "out", settings=Settings(partition_rows=cut[0]))
    table = pq.read_table(tmp_path / "out" / "decisions.parquet").sort_by("id")
    want = operator.decide(batch(), 230)
    for name in ("rank", "stratum"):
        assert table[name].to_pylist() == want.columns[name].tolist()
    assert (table["state"].to_numpy() == "kept").tolist() == want.keep.tolist()
    assert [r or "" for r in table["reason"].to_pylist()] == want.reason.tolist()


@pytest.mark.parametrize("case", range(len(CASES)))
@pytest.mark.parametrize("cut", [(1000, 10**6), (40, 7)])
def test_decisions_of_one_task(tmp_path, monkeypatch, case, cut):
    chosen, columns, budget = CASES[case]
    operator = Select(chosen, budget, columns, seed=2)
    assert in_order.row_order(operator) is not None
    source = write_jsonl(tmp_path / "rows.jsonl", rows())
    monkeypatch.setattr(in_order.select_in_order, "__defaults__", (cut[1],))
    monkeypatch.setattr(choose, "select_at_once", None)
    curate([operator], source, tmp_path / "out", settings=Settings(partition_rows=cut[0]))
    table = pq.read_table(tmp_path / "out" / "decisions.parquet").sort_by("id")
    want = operator.decide(batch(), 230)
    assert table["rank"].to_pylist() == want.columns["rank"].tolist()
    np.testing.assert_array_equal(table["gain"].to_numpy().astype(float), want.columns["gain"])
    assert (table["state"].to_numpy() == "kept").tolist() == want.keep.tolist()
    assert [r or "" for r in table["reason"].to_pylist()] == want.reason.tolist()


def test_no_row_left_and_what_stays_with_one_task(tmp_path):
    source = write_jsonl(tmp_path / "rows.jsonl", rows())
    steps = [{"threshold": {"column": "v", "low": 99}}, Select(CASES[1][0], 5, CASES[1][1])]
    done = curate(steps, source, tmp_path / "out")
    none = curate([steps[0], STRATA[0]], source, tmp_path / "none")
    assert none.manifest["counts"]["kept"] == 0
    assert not in_strata.in_strata(StratifiedSample(["tag"], weigh="v"))
    with pytest.raises(ValueError, match="labels: expected whole numbers"):
        curate([Select(strategy("stratified"), 5, {"labels": "label"})], source, tmp_path / "no")
    assert done.manifest["counts"]["kept"] == 0
    assert in_order.row_order(Select(strategy("kcenter"), 5)) is None
    assert in_order.row_order(Select(CASES[0][0], 5, pinned=["a"])) is None
    assert in_order.row_order(Select(CASES[2][0], 5, cost="v")) is None
    assert in_order.row_order(Select(CASES[2][0], 5, partitions=3)) is None
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["counts"]["rows"] == 230
