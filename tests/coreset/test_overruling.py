"""Decisions of people: read, written, and taken over by selections and curations."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import coreset
from coreset.core.overrules import ACTIONS, Overrule, add_overrule, now, read_overrules
from coreset.curation.operators.dedup import ExactDuplicates
from coreset.curation.operators.select import Select
from coreset.curation.operators.threshold import Threshold
from coreset.curation.run import curate
from coreset.scorers.length import Length
from coreset.strategies.baseline.top_k import TopK


def write(path: Path, *rows: tuple[str, ...]) -> Path:
    for row in rows:
        add_overrule(path, Overrule(row[0], row[1], "ana", now(), "seen", *row[2:]))
    return path


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "line 1"),
        ("[]", "expected an object"),
        ('{"id": "a", "action": "keep", "who": "", "when": "now"}', "who"),
        ('{"id": "a", "action": "burn", "who": "x", "when": "now"}', "action"),
        ('{"id": "a", "action": "relabel", "who": "x", "when": "now"}', "label"),
        ('{"id": "a", "action": "keep", "who": "x", "when": "now", "run": "rm"}', "keys"),
        ('{"id": 3, "action": "keep", "who": "x", "when": "now"}', "id"),
    ],
)
def test_a_line_that_is_no_decision_is_refused(tmp_path: Path, line: str, why: str) -> None:
    (tmp_path / "o.jsonl").write_text(line + "\n")
    with pytest.raises(ValueError, match=why):
        read_overrules(tmp_path / "o.jsonl")


def test_the_last_word_about_a_row_holds(tmp_path: Path) -> None:
    path = write(
        tmp_path / "o.jsonl", ("a", "keep"), ("a", "relabel", "cat"), ("b", "pin"), ("a", "drop")
    )
    overrules = read_overrules(path)
    assert {k: o.action for k, o in overrules.items()} == {"a": "drop", "b": "pin"}
    assert overrules.labels == {"a": "cat"}


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_selection_takes_decisions(data: st.DataObject) -> None:
    n, k = 12, data.draw(st.integers(3, 5))
    actions = data.draw(
        st.dictionaries(st.integers(0, n - 1), st.sampled_from((*ACTIONS[:2], "pin")), max_size=4)
    )
    from coreset.core.overrules import Overrules

    rules = Overrules({str(i): Overrule(str(i), a, "ana", "now") for i, a in actions.items()}, {})
    score = np.random.default_rng(data.draw(st.integers(0, 99))).permutation(n).astype(float)
    pins = [i for i, a in actions.items() if a == "pin"]
    if len(pins) > k or n - len(actions) < k:
        return
    got = coreset.select("top_k", k, options={"signal": "loss"}, loss=score, overrules=rules)
    free = [i for i in np.argsort(-score) if i not in actions]
    keeps = [i for i, a in actions.items() if a == "keep"]
    assert got.indices.tolist() == [*pins, *free[: k - len(pins)], *keeps]
    if actions.keys() & set(got.indices.tolist()):
        assert got.reasons is not None
        assert [bool(r) for r in got.reasons] == [i in actions for i in got.indices.tolist()]


def test_more_pins_than_budget_and_unknown_ids_are_refused(tmp_path: Path) -> None:
    rules = read_overrules(write(tmp_path / "o.jsonl", ("0", "pin"), ("1", "pin")))
    with pytest.raises(ValueError, match="pinned"):
        coreset.select("random", 1, ids=np.arange(4), overrules=rules)
    rules = read_overrules(write(tmp_path / "p.jsonl", ("nobody", "keep")))
    with pytest.raises(ValueError, match="nobody"):
        coreset.select("random", 1, ids=np.arange(4), overrules=rules)


def test_new_labels_reach_the_strategy(tmp_path: Path) -> None:
    rules = read_overrules(write(tmp_path / "o.jsonl", ("3", "relabel", "1")))
    got = coreset.select(
        "top_k", 1, options={"signal": "labels"}, labels=np.zeros(5, int), overrules=rules
    )
    assert got.indices.tolist() == [3]
    assert got.info["overrules"]["relabel"] == 1


def rows_of(out: Path) -> dict[str, dict[str, object]]:
    return {r["id"]: r for r in pq.read_table(out / "decisions.parquet").to_pylist()}


@pytest.mark.parametrize("partition_rows", [3, 1000])
def test_a_curation_takes_ten_decisions(tmp_path: Path, partition_rows: int) -> None:
    texts = [f"{'word ' * (i % 7 + 1)}{i}" for i in range(60)] + ["word 0"] * 4
    file = tmp_path / "in.jsonl"
    file.write_text(
        "".join(json.dumps({"id": f"r{i}", "text": t}) + "\n" for i, t in enumerate(texts))
    )
    from coreset.curation.run import Settings

    recipe = [
        Length(),
        Threshold("text_words", low=3),
        ExactDuplicates(),
        Select(TopK("text_words"), budget=10),
    ]
    how = {"settings": Settings(partition_rows=partition_rows)}
    before = rows_of(curate(recipe, file, tmp_path / "a", **how).out)
    kept = [k for k, r in before.items() if r["state"] == "kept"]
    short = [k for k, r in before.items() if r["operator"] == "threshold"]
    copies = [k for k, r in before.items() if r["operator"] == "exact_duplicates"]
    outside = [k for k, r in before.items() if r["operator"] == "select"]
    assert len(kept) == 10
    plan = {kept[0]: "drop", kept[1]: "drop", kept[2]: "drop", short[0]: "keep", short[1]: "keep", outside[0]: "keep",
            outside[1]: "pin", outside[2]: "pin", short[2]: "drop"}  # fmt: skip
    if copies:
        plan[copies[0]] = "keep"
    path = write(tmp_path / "o.jsonl", *plan.items(), (kept[3], "relabel", "good"))
    done = curate(recipe, file, tmp_path / "b", overrules=path, **how)
    after = rows_of(done.out)
    for key, action in plan.items():
        assert after[key]["state"] == ("dropped" if action == "drop" else "kept"), key
        assert after[key]["overruled"] == f"{action} by ana: seen"
    assert after[kept[3]]["new_label"] == "good"
    assert (after[outside[1]]["rank"], after[outside[2]]["rank"]) == (0, 1)
    chosen = [k for k, r in after.items() if r["state"] == "kept"]
    keeps = [k for k, a in plan.items() if a == "keep"]
    assert len(chosen) == 10 + len(keeps)  # pins are in the budget, keeps on top of it
    about = done.manifest["overrules"]
    assert (about["pin"], about["drop"], about["restored"], about["who"]) == (
        2,
        4,
        len(keeps),
        ["ana"],
    )
    lines = [
        json.loads(line)["id"]
        for p in (done.out / "data").iterdir()
        for line in p.read_text().splitlines()
    ]
    assert sorted(lines) == sorted(chosen)
    untouched = set(before) - set(plan)
    assert all(after[k]["overruled"] is None for k in untouched)


def test_unknown_rows_are_refused_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"id": "a", "text": "x"}\n')
    path = write(tmp_path / "o.jsonl", ("zz", "keep"))
    with pytest.raises(ValueError, match="zz"):
        curate([Length()], tmp_path / "in.jsonl", tmp_path / "out", overrules=path)
    with pytest.raises(FileNotFoundError, match="overrules: there is no file .*none.jsonl"):
        curate(
            [Length()], tmp_path / "in.jsonl", tmp_path / "out", overrules=tmp_path / "none.jsonl"
        )
    assert not (tmp_path / "out" / "decisions.parquet").exists()
