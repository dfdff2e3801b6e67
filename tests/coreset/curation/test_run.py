"""A recipe of every kind of operator gives what the definitions give, however the rows are cut,
ordered, batched and spread over processes.
"""

import json
import random
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from toys import Coin, Common, Fails, Near, Quota, Twice, Vectors, in_memory, recipe, write_jsonl

from coreset.curation.engines.local import Local
from coreset.curation.operators.base import unique_names
from coreset.curation.operators.select import Select
from coreset.curation.operators.threshold import Threshold
from coreset.curation.run import Settings, curate
from coreset.curation.score import score
from coreset.registry import strategy
from coreset.scorers.length import Length

WORDS = (
    "the",
    "a",
    "cat",
    "dog",
    "sat",
    "ran",
    "far",
    "near",
    "blue",
    "red",
    "one",
    "two",
    "Straße",
    "猫",
    "x" * 40,
)


def make_rows(count, seed=0):
    rng = random.Random(seed)
    return [
        {
            "id": f"r{rng.randrange(10**9):09d}",
            "text": " ".join(rng.choices(WORDS, k=rng.randrange(1, 7))),
        }
        for _ in range(count)
    ]


def named(operators):
    return list(zip(unique_names(operators), operators, strict=True))


def decisions(out):
    return {r["id"]: r for r in pq.read_table(out / "decisions.parquet").to_pylist()}


def ends(out):
    return {
        i: (r["state"], r["operator"], r["reason"], r["duplicate_of"])
        for i, r in decisions(out).items()
    }


def files(out):
    return {
        str(p.relative_to(out)): p.read_bytes()
        for p in sorted(out.rglob("*"))
        if p.is_file() and "state" not in p.relative_to(out).parts
    }


@pytest.fixture(scope="module")
def rows():
    return make_rows(120)


def test_it_is_the_recipe_in_memory(tmp_path, rows):
    source = write_jsonl(tmp_path / "in.jsonl", rows)
    done = curate(recipe(), source, tmp_path / "out", settings=Settings(batch=7, partition_rows=25))
    want = in_memory(named(recipe()), rows)
    assert ends(tmp_path / "out") == want
    kept = [json.dumps(r) for r in rows if want[r["id"]][0] == "kept"]
    assert (
        tmp_path / "out" / "data" / "in.jsonl"
    ).read_text().splitlines() == kept  # byte for byte, in the order of the input
    assert len(kept) == 36 == done.manifest["counts"]["kept"]  # 0.3 of all read
    states = {s for s, *_ in want.values()}
    assert states == {"kept", "dropped"}
    assert {o for _, o, *_ in want.values()} == {None, "coin", "near", "select"}
    text = decisions(tmp_path / "out")
    assert all(text[r["id"]]["text_words"] == len(r["text"].split()) for r in rows)
    assert "vector" not in text[rows[0]["id"]]  # vectors stay in the state


@given(
    batch=st.integers(1, 50),
    partition=st.integers(1, 60),
    cuts=st.lists(st.integers(0, 120), max_size=3),
    seed=st.integers(0, 5),
)
@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_cut_order_or_batch_changes_an_answer(
    tmp_path_factory, rows, batch, partition, cuts, seed
):
    folder = tmp_path_factory.mktemp("cut")
    order = list(rows)
    random.Random(seed).shuffle(order)
    edges = [0, *sorted(cuts), len(order)]
    for i, (a, b) in enumerate(zip(edges, edges[1:], strict=False)):
        if b > a:
            write_jsonl(folder / f"{'zyxwv'[i]}.jsonl", order[a:b])
    curate(
        recipe(),
        str(folder / "*.jsonl"),
        folder / "out",
        settings=Settings(batch=batch, partition_rows=partition),
    )
    assert ends(folder / "out") == in_memory(named(recipe()), rows)


def test_without_ids_content_names_the_rows(tmp_path):
    rows = [{"text": t} for t in ("a b", "c", "a b", "d e f", "a b")]
    one, two = write_jsonl(tmp_path / "1.jsonl", rows), tmp_path / "other"
    two.mkdir()
    write_jsonl(two / "a.jsonl", rows[3:])
    write_jsonl(two / "b.jsonl", rows[:3])
    answers = []
    for n, source in enumerate((one, two)):
        curate(
            [Length("text"), Coin(0.5)],
            source,
            tmp_path / f"out{n}",
            settings=Settings(partition_rows=2),
        )
        answers.append(ends(tmp_path / f"out{n}"))
    assert answers[0] == answers[1]
    names = sorted(i for i in answers[0] if "-" in i)
    assert [n[-2:] for n in names] == ["-2", "-3"]
    assert len(names[0]) == 34


@pytest.mark.slow
def test_workers_give_the_same_bytes(tmp_path, rows):
    source = write_jsonl(tmp_path / "in.jsonl", rows)
    for n in (1, 2):
        curate(
            recipe(),
            source,
            tmp_path / f"out{n}",
            engine=Local(workers=n),
            settings=Settings(partition_rows=25),
        )
    assert files(tmp_path / "out1") == files(tmp_path / "out2")


def test_groups_of_one_and_repeats(tmp_path, rows):
    source = write_jsonl(tmp_path / "in.jsonl", rows)
    operators = [Length("text"), Quota(), Twice()]
    curate(operators, source, tmp_path / "out", settings=Settings(partition_rows=17, batch=5))
    want = in_memory(named(operators), rows)
    assert ends(tmp_path / "out") == want
    expected = [
        line
        for r in rows
        if want[r["id"]][0] == "kept"
        for line in [json.dumps(r)] * (2 if "a" in r["text"].split() else 1)
    ]
    assert (tmp_path / "out" / "data" / "in.jsonl").read_text().splitlines() == expected
    assert len(expected) > sum(s == "kept" for s, *_ in want.values())


def test_a_row_an_operator_fails_on_is_set_apart(tmp_path, rows):
    bad = [{"id": "bad1", "text": "boom one"}, {"id": "bad2", "text": "two boom"}]
    mixed = rows[:30] + bad[:1] + rows[30:60] + bad[1:]
    source = write_jsonl(tmp_path / "in.jsonl", mixed)
    operators = [Fails(), Length("text"), Threshold("text_words", low=3)]
    for batch in (4, 1000):
        out = tmp_path / f"out{batch}"
        done = curate(operators, source, out, settings=Settings(batch=batch, partition_rows=13))
        got = ends(out)
        assert got["bad1"] == got["bad2"] == ("rejected", "fails", "operator_failed", None)
        assert {i: e for i, e in got.items() if not i.startswith("bad")} == in_memory(
            named(operators), rows[:60]
        )
        assert done.manifest["rejects"] == {"operator_failed": 2}
        rejected = [json.loads(line) for line in (out / "rejects.jsonl").read_text().splitlines()]
        assert [(f["line"], f["id"], f["why"]) for f in rejected] == [
            (31, "bad1", "fails: ValueError: cannot read 'boom one'"),
            (62, "bad2", "fails: ValueError: cannot read 'two boom'"),
        ]
    with pytest.raises(
        ValueError,
        match=(
            r"operator 'fails' fails in in.jsonl, from line 1 on \(10 rows\): ValueError: cannot"
            r" read"
        ),
    ):
        curate([Fails("")], source, tmp_path / "stop", settings=Settings(batch=10))


def test_nothing_left_is_an_answer(tmp_path, rows):
    source = write_jsonl(tmp_path / "in.jsonl", rows)
    operators = [
        Coin(1.0),
        Length("text"),
        Common(),
        Near(),
        Vectors(),
        Threshold("common", low=1),
        Select(strategy("kcenter"), 5, {"features": "vector"}),
    ]
    done = curate(operators, source, tmp_path / "out", settings=Settings(partition_rows=50))
    assert done.manifest["counts"] == {"rows": 120, "kept": 0, "dropped": 120, "rejected": 0}
    assert (tmp_path / "out" / "data" / "in.jsonl").read_text() == ""


def test_another_budget_reads_the_scores_of_the_first(tmp_path, rows, monkeypatch):
    source = write_jsonl(tmp_path / "in.jsonl", rows)
    curate(recipe(0.3), source, tmp_path / "one", state=tmp_path / "state")
    calls = []
    original = Length.__call__
    monkeypatch.setattr(
        Length, "__call__", lambda self, batch: calls.append(1) or original(self, batch)
    )
    done = curate(recipe(0.1), source, tmp_path / "two", state=tmp_path / "state")
    assert not calls
    assert done.manifest["counts"]["kept"] == 12
    curate(recipe(0.1), source, tmp_path / "three")
    assert calls
    assert files(tmp_path / "two") == files(tmp_path / "three")


def test_an_input_that_changed_is_read_again(tmp_path, rows):
    source = write_jsonl(tmp_path / "in.jsonl", rows)
    curate([Coin(0.5)], source, tmp_path / "out")
    write_jsonl(source, rows[:50])
    done = curate([Coin(0.5)], source, tmp_path / "out")
    assert done.manifest["counts"]["rows"] == 50
    assert set(ends(tmp_path / "out")) == {r["id"] for r in rows[:50]}


@pytest.mark.parametrize(
    ("operators", "kind", "words"),
    [
        ([], ValueError, "recipe: expected at least one operator"),
        ([Threshold("ifd", low=0)], KeyError, "operator 'threshold' needs the column 'ifd'.*there are id, text"),
        ([Length("response")], KeyError, "'response_words' needs the column 'response'"),
        ([Length("text"), Length("text")], ValueError, "'text_words_2' gives the column 'text_words', which 'text_words' has already"),
        ([Length], TypeError, "it is a class, not made yet"),
        ([Select(strategy("kcenter"), 0.1)], KeyError, "operator 'select' needs the column 'features'"),
        ([Length("text"), Select(strategy("random"), 121)], ValueError, "budget: expected a count from 1 to 120"),
    ],
)  # fmt: skip
def test_a_recipe_that_cannot_work_is_refused_in_words(tmp_path, rows, operators, kind, words):
    source = write_jsonl(tmp_path / "in.jsonl", rows)
    with pytest.raises(kind, match=words):
        curate(operators, source, tmp_path / "out")
    assert not (tmp_path / "out" / "data").exists()


def test_a_folder_with_other_files_is_not_written_into(tmp_path, rows):
    source = write_jsonl(tmp_path / "in.jsonl", rows)
    with pytest.raises(ValueError, match="holds other files"):
        curate([Coin()], source, tmp_path)
    with pytest.raises(ValueError, match="is a file"):
        curate([Coin()], source, source)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.jsonl"]


def test_extra_columns_of_the_rows_can_be_read(tmp_path):
    rows = [
        {"id": i, "text": "x", "score": i / 10, "vec": [i, 1.0], "lang": None if i == 3 else "en"}
        for i in range(10)
    ]
    source = write_jsonl(tmp_path / "in.jsonl", rows)
    done = curate(
        [Threshold("score", low=0.25), Select(strategy("kcenter"), 3, {"features": "vec"})],
        source,
        tmp_path / "out",
    )
    assert done.manifest["schema"]["extra"] == {"score": "number", "vec": "vector[2]"}
    got = ends(tmp_path / "out")
    assert [got[str(i)][0] for i in range(10)].count("kept") == 3
    assert got["2"] == ("dropped", "threshold", "score below 0.25", None)
    assert np.isfinite([decisions(tmp_path / "out")[str(i)]["line"] for i in range(10)]).all()


def test_a_worker_does_not_load_what_it_does_not_need():
    """Every process of every engine imports this: torch alone takes seconds."""
    code = (
        "import sys, coreset.cli.curate, coreset.curation.run, coreset.curation.engines.local;"
        "print([m for m in ('torch', 'scipy', 'pandas', 'numba', 'sklearn') if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"


def test_a_slow_operator_goes_on_inside_a_piece(tmp_path, rows, monkeypatch):
    import coreset.curation.runtime.steps as steps

    monkeypatch.setattr(steps, "SAVE_EVERY", 0.0)
    source = write_jsonl(
        tmp_path / "in.jsonl", [*rows[:50], {"id": "bad", "text": "boom"}, *rows[50:]]
    )
    operators = [Fails(), Length("text"), Threshold("text_words", low=3)]
    settings = Settings(batch=10)
    whole = curate(operators, source, tmp_path / "whole", settings=settings)
    seen = []
    for stop in (4, 5, 100):  # batches until it breaks off
        calls = [0]

        def breaking(self, batch, calls=calls, stop=stop, original=Length.__call__):
            calls[0] += 1
            if calls[0] > stop:
                raise KeyboardInterrupt
            seen.append(batch["text"].tolist())
            return original(self, batch)

        with monkeypatch.context() as patch:
            patch.setattr(Length, "__call__", breaking)
            if stop < 100:
                with pytest.raises(KeyboardInterrupt):
                    curate(operators, source, tmp_path / "out", settings=settings)
            else:
                curate(operators, source, tmp_path / "out", settings=settings)
    assert len(seen) == 12  # no batch twice
    assert files(tmp_path / "out") == files(tmp_path / "whole")
    assert whole.manifest["rejects"] == {"operator_failed": 1}
    assert not list((tmp_path / "out").rglob("*.begun.parquet"))


@pytest.mark.slow
def test_a_worker_that_dies_is_replaced(tmp_path):
    from toys import DiesOnce

    engine = Local(workers=2)
    assert list(engine.map(DiesOnce(tmp_path / "flag"), range(6))) == [0, 1, 4, 9, 16, 25]
    assert (tmp_path / "flag").exists()
    with pytest.raises(RuntimeError, match="a worker process died 1 times"):
        list(Local(workers=2, retries=0).map(DiesOnce(tmp_path / "other"), range(6)))
    with pytest.raises(
        ValueError, match="workers: expected a number of processes, at least 1, got 0"
    ):
        Local(workers=0)


def test_output_is_never_input(tmp_path, rows):
    write_jsonl(tmp_path / "in.jsonl", rows)
    for _ in range(2):
        done = curate([Coin(0.5)], tmp_path, tmp_path / "curated")
        assert [f["file"] for f in done.manifest["input"]] == ["in.jsonl"]
    for _ in range(2):
        assert score(Length("text"), str(tmp_path / "*.*"), tmp_path / "s.parquet")["rows"] == 120


def raising(self, *arguments):
    raise ValueError("no such thing")


@pytest.mark.parametrize(
    ("owner", "method"),
    [
        (Common, "fit"),
        (Common, "merge"),
        (Common, "finish"),
        (Near, "key"),
        (Near, "decide"),
        (Select, "decide"),
    ],
)
def test_an_error_names_its_operator(tmp_path, rows, monkeypatch, owner, method):
    source = write_jsonl(tmp_path / "in.jsonl", rows)
    monkeypatch.setattr(owner, method, raising)
    with pytest.raises(ValueError, match=f"^operator '{owner.__name__.lower()}': no such thing$"):
        curate(recipe(), source, tmp_path / "out", settings=Settings(partition_rows=50, batch=20))
