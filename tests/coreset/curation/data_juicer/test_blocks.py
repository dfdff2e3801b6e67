"""Data sets after an operator that saw all rows, as blocks of Ray: kept rows with their stats, the
others written down.
"""

import numpy as np
import pyarrow as pa

from coreset.curation.data_juicer.answers import Answers, at_once
from coreset.curation.data_juicer.blocks import _cut, _look, places, with_stats
from coreset.curation.data_juicer.dropped import read_dropped, write_dropped
from coreset.curation.data_juicer.rows import STATS, joined
from coreset.curation.operators.threshold import Threshold


def answers_of(*states, **more):
    n = len(states)
    words = {"kept": "", "dropped": "too short", "rejected": "empty_text: 'text' is empty"}
    about = {
        "id": [f"r{i}" for i in range(n)],
        "state": list(states),
        "reason": [words[s] for s in states],
    }
    return Answers(about | {"duplicate_of": [""] * n} | more)


def test_places():
    answers = answers_of("kept", "dropped", "kept", "rejected", repeat=[2.0, np.nan, 1.0, np.nan])
    assert places(answers) == ([0, 0, 2], [1, 3])


def test_blocks_of_ray_are_the_whole_cut_up(tmp_path):
    rule = Threshold("n", low=3)
    table = pa.table(
        {"id": [f"r{i}" for i in range(6)], "text": ["x"] * 5 + [" "], "n": [1, 5, None, 4, 2, 9], STATS: [{"a": i} for i in range(6)]}
    )  # fmt: skip
    blocks = [table.slice(0, 1), table.slice(1, 4), table.slice(5), pa.table({})]
    parts = [_look(b, rule.needs, "text") for b in blocks]
    whole = at_once(rule, joined(parts), None)
    assert whole.stats == at_once(rule, _look(table, rule.needs, "text"), None).stats
    kinds, new, start = {n: pa.array(v).type for n, v in whole.stats.items()}, [], 0
    for at, (block, part) in enumerate(zip(blocks, parts, strict=True)):
        here = Answers({n: v[start : start + len(part.ids)] for n, v in whole.stats.items()})
        new.append(_cut(block, here, kinds, str(tmp_path), "coreset_threshold", at))
        start += len(part.ids)
    left = pa.concat_tables(new[:3])
    assert left["id"].to_pylist() == ["r1", "r3"]
    assert [s["a"] for s in left[STATS].to_pylist()] == [1, 3]
    assert new[3].num_rows == 0
    assert {(r["id"], r["reason"]) for r in read_dropped(tmp_path)} == {
        ("r0", "n below 3"), ("r2", "n undefined"), ("r4", "n below 3"), ("r5", "empty_text: 'text' is empty"),
    }  # fmt: skip


def test_stats_of_a_block_replace_those_of_the_same_name():
    table = pa.table({"id": ["a"], STATS: [{"coreset_state": "dropped", "lang": "en"}]})
    kinds = {"id": pa.string(), "state": pa.string()}
    new = with_stats(table, Answers({"id": ["a"], "state": ["kept"]}), kinds)
    assert new.column_names == ["id", STATS]
    assert new[STATS].to_pylist() == [{"coreset_state": "kept", "lang": "en", "coreset_id": "a"}]


def test_a_batch_written_twice_is_there_once(tmp_path):
    row = {
        "text": "half \ud800",
        "n": float("nan"),
        "__dj__source_file__": "f",
        STATS: answers_of("dropped", score=[1.0]).of(0),
    }
    for _ in range(2):
        write_dropped(tmp_path, "coreset_x", [row], ["a", "b"], 0)
    assert len(list((tmp_path / "dropped").iterdir())) == 1
    # another batch of rows with these names
    write_dropped(tmp_path, "coreset_x", [row], ["a", "b"], 1)
    write_dropped(tmp_path, "coreset_x", [], ["c"], 2)
    assert len(list((tmp_path / "dropped").iterdir())) == 2
    first, second = read_dropped(tmp_path)
    assert first == second == {
        "id": "r0", "state": "dropped", "operator": "coreset_x", "reason": "too short", "duplicate_of": None, "scores": {"score": 1.0},
        "row": {"text": "half \ud800", "n": None},
    }  # fmt: skip
    assert list(read_dropped(tmp_path / "nothing")) == []
