"""Balancing by entries: the formula, drawn by id, whatever the cut."""

import numpy as np
import pyarrow as pa
import pytest

from coreset.core.batch import as_batch, objects
from coreset.curation.operators.contract import run_in_memory
from coreset.curation.operators.mixing import BalanceEntries
from coreset.curation.operators.mixing.entries import keep_probability, t_of_tail, tail_share
from coreset.testing import check_operator


def rows(n, seed=0, entries=30):
    rng = np.random.default_rng(seed)
    law = 1 / np.arange(1, entries + 1)
    lists = [
        sorted(set(rng.choice(entries, rng.integers(0, 5), p=law / law.sum()).tolist()))
        for _ in range(n)
    ]
    return {
        "id": [f"r{i}" for i in range(n)],
        "entries": pa.array(lists, pa.list_(pa.int32())),
    }, lists


def test_probabilities_by_the_formula_and_the_share_kept():
    columns, lists = rows(6000)
    counts = np.bincount([e for r in lists for e in r])
    table = run_in_memory(BalanceEntries(t=200), as_batch(columns))
    order = {k: i for i, k in enumerate(table["id"].to_pylist())}
    p = np.array(table["keep_probability"])[[order[k] for k in columns["id"]]]
    keep = np.array(table["keep"])[[order[k] for k in columns["id"]]]
    for row, value in zip(lists, p, strict=True):
        left = 1.0
        for e in row:
            left *= 1 - min(1.0, 200 / counts[e])
        assert value == pytest.approx(1 - left, abs=1e-12)
    assert not keep[[not r for r in lists]].any()
    assert abs(keep.sum() - p.sum()) < 4 * np.sqrt((p * (1 - p)).sum())
    assert keep[p == 1].all()  # rows with a rare entry all stay
    head = [i for i, r in enumerate(lists) if r == [0]]
    assert abs(keep[head].mean() - 200 / counts[0]) < 0.1
    reasons = set(table["reason"].to_pylist())
    assert reasons == {"", "no entry", "thinned out: its entries are common"}


@pytest.mark.parametrize(
    "options", [{"t": 3}, {"target": 10}, {"target": 0.4}, {"t": 3, "by": "language"}]
)
def test_contract(options):
    columns, _ = rows(40)
    columns["language"] = objects(["en" if i % 3 else "de" for i in range(40)])
    check_operator(BalanceEntries(**options), columns)


@pytest.mark.parametrize("target", [500, 0.25, 2000])
def test_t_follows_from_a_target(target):
    columns, lists = rows(3000, 1)
    with_entry = sum(bool(r) for r in lists)
    table = run_in_memory(BalanceEntries(target=target), as_batch(columns))
    wanted = target if isinstance(target, int) else round(target * with_entry)
    assert np.nansum(np.array(table["keep_probability"])) == pytest.approx(wanted, abs=1)


def test_the_tail_of_another_language():
    counts = np.array([5, 1, 90, 4])
    assert tail_share(counts, 6) == 0.1
    other = np.array([50, 900, 50])
    assert t_of_tail(other, 0.1) == 50
    lists = [[i] for i, c in enumerate(counts.tolist()) for _ in range(c)] + [
        [i] for i, c in enumerate(other.tolist()) for _ in range(c)
    ]
    batch = as_batch(
        {
            "id": [str(i) for i in range(1100)],
            "entries": pa.array(lists, pa.list_(pa.int32())),
            "language": ["en"] * 100 + ["de"] * 1000,
        }
    )
    table = run_in_memory(BalanceEntries(t=6, by="language"), batch)
    p = dict(zip(table["id"].to_pylist(), table["keep_probability"].to_pylist(), strict=True))
    assert p["0"] == 1.0
    assert p["50"] == pytest.approx(6 / 90)
    assert p["200"] == pytest.approx(50 / 900)


def test_wrong_use():
    for options, words in (
        ({}, "expected t or target"),
        ({"t": 1, "target": 2}, "expected t or target"),
        ({"t": 0}, "t: expected a number above 0"),
    ):
        with pytest.raises(ValueError, match=words):
            BalanceEntries(**options)
    columns, _ = rows(5)
    columns["entries"] = pa.array([[]] * 5, pa.list_(pa.int32()))
    with pytest.raises(ValueError, match="no row has an entry"):
        run_in_memory(BalanceEntries(t=1), as_batch(columns))
    columns["entries"] = pa.array([[1]] * 5, pa.list_(pa.int32()))
    columns["language"] = ["de"] * 5
    with pytest.raises(
        ValueError, match="reference: no row with an entry has language 'en'; there are de"
    ):
        run_in_memory(BalanceEntries(t=1, by="language"), as_batch(columns))
    assert keep_probability([[0]], np.array([1.0])).tolist() == [1.0]
