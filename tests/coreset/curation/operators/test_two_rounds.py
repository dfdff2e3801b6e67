"""Selection in two rounds: the papers' formulas in plain float64, the same answer however the rows
are cut, the certificate by brute force.
"""

import itertools
import json
import multiprocessing

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import toys
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kill_driver import PHASES, arm

from coreset.core.batch import as_batch
from coreset.core.pool import Pool
from coreset.core.signals import Signals
from coreset.curation import Settings, curate
from coreset.curation.operators.select import Select
from coreset.curation.operators.two_rounds import in_rounds
from coreset.curation.runtime.two_rounds import ABOUT
from coreset.numerics.random import keyed_uniform
from coreset.registry import load, names, strategy
from coreset.score_based import ScoreBased
from coreset.strategies.baseline.top_k import TopK
from coreset.testing import check_operator, example_signals
from coreset.two_rounds import TwoRounds, has_rounds, rounds_of

RNG = np.random.default_rng(0)
N, SHARDS, SEED = 60, 4, 3
IDS = [f"{i:02d}" for i in range(N)]
X = RNG.normal(size=(N, 3))
SCORES = RNG.integers(0, 9, N).astype(float)  # many ties
ALL = {
    "kcenter": (strategy("kcenter"), {"vector": X}),
    "facility": (strategy("facility_location"), {"vector": X}),
    "top_k": (strategy("top_k", {"signal": "vector"}), {"vector": SCORES}),
}


def operator(name, budget=12, partitions=SHARDS, **more):
    part = ALL[name][0]
    columns = {} if name == "top_k" else {"features": "vector"}
    return Select(part, budget, columns, seed=SEED, partitions=partitions, **more)


def picked(decision):
    rank = decision.columns["rank"]
    return np.argsort(np.where(rank < 0, N, rank), kind="stable")[: (rank >= 0).sum()].tolist()


def decide(selector, total=N, **columns):
    return selector.decide(as_batch({"id": IDS, **columns}), total)


def about(selector, **columns):
    table = as_batch({"id": IDS, **columns}).table
    for name in ("_partition", "_row"):
        table = table.append_column(name, pa.array(np.arange(N)))
    return in_rounds(selector, table, selector.count(N, N))[1]


def hashed(stream):
    """The number of every id under the first draw of a stream: what shards and samples go by."""
    rng = np.random.default_rng(stream)
    return keyed_uniform(int(rng.integers(2**63)), np.array(IDS, object))


def shards(count=SHARDS):
    number = np.floor(hashed([SEED, 1]) * count)
    return [np.flatnonzero(number == i) for i in range(count) if (number == i).any()]


def distances(x):
    return np.sqrt(((x[:, None] - x[None]) ** 2).sum(axis=2))


def farthest_first(d, rows, k):
    """Gonzalez in float64, from the row with the smallest number."""
    chance = hashed(SEED)
    out = [int(rows[chance[rows].argmin()])]
    while len(out) < min(k, len(rows)):
        left = [r for r in rows if r not in out]
        out.append(int(left[int(np.argmax([d[r, out].min() for r in left]))]))
    return out


def similarities(x):
    """Cosine, to multiples of 2^-20 as `coreset.numerics.similarity` says: two nearest neighbors of
    one another then tie exactly.
    """
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    return np.round((0.5 + 0.5 * unit @ unit.T) * 2**20) / 2**20


def greedy(s, rows, items, k):
    """Nemhauser's greedy for the sum over `rows` of the largest similarity to a choice."""
    out, best = [], np.zeros(len(rows))
    for _ in range(min(k, len(items))):
        left = [i for i in items if i not in out]
        gains = [np.maximum(s[i, rows] - best, 0).sum() for i in left]
        out.append(int(left[int(np.argmax(gains))]))
        best = np.maximum(best, s[out[-1], rows])
    return out


@pytest.mark.parametrize(("k", "count"), [(12, 4), (12, 1), (20, 6), (1, 3), (60, 4)])
def test_k_center_is_farthest_first_in_every_shard_and_then_in_the_union(k, count):
    d = distances(X)
    union = np.sort(np.concatenate([farthest_first(d, rows, k) for rows in shards(count)]))
    want = farthest_first(d, union, k)
    assert picked(decide(operator("kcenter", k, count), vector=X)) == want
    facts = about(operator("kcenter", k, count), vector=X)
    assert (facts["union"], facts["pool"], facts["chosen"], facts["factor"]) == (
        len(union),
        N,
        k,
        4.0,
    )
    np.testing.assert_allclose(
        facts["certificate"]["cover_radius"], d[:, want].min(axis=1).max(), rtol=1e-12
    )


@pytest.mark.parametrize(("k", "count"), [(12, 4), (12, 1), (20, 6), (1, 3), (60, 4)])
def test_facility_location_is_greedi(k, count):
    s, everything = similarities(X), np.arange(N)
    mine = shards(count)
    firsts = [greedy(s, rows, rows, k) for rows in mine]
    chance = hashed([SEED, 2])
    sample = np.concatenate(
        [rows[np.argsort(chance[rows])[: -(-len(rows) // count)]] for rows in mine]
    )
    union = greedy(s, sample, np.sort(np.concatenate(firsts)), k)
    answers = [union] + [one + [i for i in union if i not in one][: k - len(one)] for one in firsts]
    values = [s[np.ix_(one, everything)].max(axis=0).mean() for one in answers]
    want = answers[int(np.argmax(values))]
    assert sorted(picked(decide(operator("facility", k, count), vector=X))) == sorted(want)
    facts = about(operator("facility", k, count), vector=X)
    np.testing.assert_allclose(facts["certificate"]["facility_value"], max(values), atol=2e-6)
    np.testing.assert_allclose(facts["certificate"]["of_union"], values[0], atol=2e-6)
    np.testing.assert_allclose(
        facts["certificate"]["of_best_partition"], max(values[1:]), atol=2e-6
    )
    np.testing.assert_allclose(facts["factor"], (1 - 1 / np.e) / min(count, k))


def test_the_choice_of_one_shard_is_kept_when_it_is_the_best():
    best = set()
    for seed in range(12):
        selector = Select(
            strategy("facility_location"), 5, {"features": "vector"}, seed=seed, partitions=3
        )
        certificate = about(selector, vector=X)["certificate"]
        assert certificate["facility_value"] == max(
            certificate["of_union"], certificate["of_best_partition"]
        )
        best.add(certificate["of_union"] >= certificate["of_best_partition"])
    assert best == {True, False}


@pytest.mark.parametrize("count", [1, 3, 7, 500])
def test_the_highest_of_all_are_those_of_one_round(count):
    selector = operator("top_k", 25, count)
    one = decide(Select(selector.strategy, 25), vector=SCORES)
    two = decide(selector, vector=SCORES)
    for name in ("rank", "gain"):
        np.testing.assert_array_equal(one.columns[name], two.columns[name])
    lowest = np.sort(SCORES)[-25]
    assert about(selector, vector=SCORES)["certificate"] == {
        "lowest_score": lowest,
        "higher_left": 0,
    }


class Ranked(TopK):
    """Says of itself that it is row-wise, and is not."""

    def score(self, pool, signals):
        return np.argsort(np.argsort(super().score(pool, signals))).astype(float)


def test_a_score_that_is_not_row_wise_is_found_out():
    with pytest.raises(
        ValueError,
        match=r"Ranked: row_wise, but among other rows \d+ of \d+ scores are not the same",
    ):
        decide(Select(Ranked("vector"), 25, partitions=4), vector=X[:, 0])


def test_the_guarantees_hold_against_the_best_of_all_sets():
    rng = np.random.default_rng(1)
    for trial in range(6):
        x = np.zeros((N, 2))
        x[:, 0] = 1e6  # all but the first 9 rows are undefined
        x[:9] = rng.normal(size=(9, 2)) * rng.choice([1, 10], (9, 1))
        x[9:] = np.nan
        d, s = distances(x[:9]), similarities(x[:9])
        for k, count in itertools.product((1, 2, 3), (2, 3, 5)):
            sets = [list(c) for c in itertools.combinations(range(9), k)]
            radius = min(d[:, c].min(axis=1).max() for c in sets)
            value = max(s[c].max(axis=0).mean() for c in sets)
            for name in ("kcenter", "facility"):
                selector = Select(ALL[name][0], k, {"features": "v"}, seed=trial, partitions=count)
                chosen = picked(decide(selector, v=x))
                assert len(chosen) == k
                if name == "kcenter":
                    assert d[:, chosen].min(axis=1).max() <= 4 * radius + 1e-12
                    rows = as_batch({"id": IDS[:9], "v": x[:9]}).table
                    rows = rows.append_column("_partition", pa.array(range(9))).append_column(
                        "_row", pa.array(range(9))
                    )
                    certificate = in_rounds(selector, rows, k)[1]["certificate"]
                    assert certificate["lower_bound"] <= radius + 1e-12
                    assert certificate["cover_radius"] <= certificate["ratio"] * certificate[
                        "lower_bound"
                    ] * (1 + 1e-12)
                else:
                    assert s[chosen].max(axis=0).mean() >= (1 - 1 / np.e) / min(count, k) * value


@pytest.mark.parametrize("name", list(ALL))
def test_the_contract(name):
    for count in (1, 3, 100):
        check_operator(operator(name, 7, count), ALL[name][1])
    one = decide(Select(ALL[name][0], 12, operator(name).columns, seed=SEED), **ALL[name][1])
    np.testing.assert_array_equal(
        decide(operator(name, 12, 1), **ALL[name][1]).columns["rank"], one.columns["rank"]
    )  # one shard is one round


@pytest.mark.parametrize("name", list(ALL))
def test_budgets_undefined_rows_and_small_shards(name):
    column = ALL[name][1]["vector"].copy()
    assert decide(operator(name, 0.5), 40, vector=column).keep.sum() == 20
    assert decide(operator(name, None), vector=column).keep.all()
    assert decide(operator(name, 50, 30), vector=column).keep.sum() == 50  # two rows a shard
    column[[2, 5]] = np.nan
    decision = decide(operator(name, 59), vector=column, vector_status=["empty"] * N)
    assert decision.keep.sum() == 58
    assert decision.reason[2] == "vector undefined (empty)"
    assert not decide(operator(name, 5), vector=np.full_like(column, np.nan)).keep.any()
    assert not decide(operator(name, 5), vector=pa.nulls(N)).keep.any()


def write(folder, order, edges, column):
    for i, (a, b) in enumerate(itertools.pairwise([0, *sorted(edges), N])):
        rows = [
            {"id": IDS[r], "text": "x", "vector": np.asarray(column[r]).tolist()}
            for r in order[a:b]
        ]
        if rows:
            toys.write_jsonl(folder / f"{'zyxw'[i]}.jsonl", rows)
    return str(folder / "*.jsonl")


def ends(out):
    rows = pq.read_table(out / "decisions.parquet").to_pylist()
    return {
        r["id"]: [r[n] for n in ("state", "reason", "rank", "gain", "gain_status")] for r in rows
    }


@pytest.mark.parametrize("name", list(ALL))
@given(
    batch=st.integers(1, 50),
    partition=st.integers(1, 40),
    edges=st.lists(st.integers(0, N), max_size=3),
    seed=st.integers(0, 9),
)
@settings(
    max_examples=2, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_cut_order_or_batch_changes_the_answer_or_the_certificate(
    tmp_path_factory, name, batch, partition, edges, seed
):
    folder = tmp_path_factory.mktemp("cut")
    column = ALL[name][1]["vector"]
    order = np.arange(N)
    np.random.default_rng(seed).shuffle(order)
    selector = operator(name, 0.25)
    reading = Settings(batch=batch, partition_rows=partition)
    done = curate([selector], write(folder, order, edges, column), folder / "out", settings=reading)
    want = decide(selector, vector=column)
    outcomes = ends(folder / "out")
    assert [outcomes[i][0] == "kept" for i in IDS] == want.keep.tolist()
    assert [outcomes[i][2] for i in IDS] == want.columns["rank"].tolist()
    np.testing.assert_array_equal([outcomes[i][3] for i in IDS], want.columns["gain"])
    assert done.manifest["operators"][0]["rounds"] == json.loads(
        json.dumps(about(selector, vector=column))
    )
    assert len(list((folder / "out" / "state").rglob(f"*select*/{ABOUT}"))) == 1
    assert not list((folder / "out" / "state").rglob("*.arrow"))


def test_after_other_operators_with_undefined_rows_and_with_none_left(tmp_path):
    rows = [
        {"id": IDS[r], "text": "the cat", "vector": None if r < 9 else X[r].tolist(), "n": r % 3}
        for r in range(N)
    ]
    source = toys.write_jsonl(tmp_path / "a.jsonl", rows)
    for low, kept in ((1, 10), (5, 0)):
        recipe = [toys.Threshold("n", low=low), operator("kcenter", 10)]
        done = curate(recipe, source, tmp_path / f"out{low}", settings=Settings(partition_rows=7))
        assert done.manifest["counts"]["kept"] == kept
        assert ("rounds" in done.manifest["operators"][1]) == (kept > 0)
    reasons = done.manifest["operators"][0]["counts"]["reasons"]
    assert reasons == {"n below 5": N}
    reasons = json.loads((tmp_path / "out1" / "manifest.json").read_text())["operators"][1][
        "counts"
    ]["reasons"]
    assert reasons == {"vector undefined": 6, "not among the 10 chosen": 24}


def test_no_step_holds_more_than_a_shard(tmp_path, monkeypatch):
    import coreset.curation.runtime.two_rounds as sharded

    seen = []
    for name in ("first_round", "audit"):
        original = getattr(sharded, name)

        def watched(selector, shard, *rest, original=original):
            seen.append(shard["id"].to_pylist())
            return original(selector, shard, *rest)

        monkeypatch.setattr(sharded, name, watched)
    source = write(tmp_path, np.arange(N), [20], X)
    curate([operator("kcenter")], source, tmp_path / "out", settings=Settings(partition_rows=9))
    assert seen == [[IDS[r] for r in rows] for rows in shards()] * 2


def test_what_has_no_second_round_is_refused():
    for part, words in (
        (strategy("badge"), "Badge cannot choose in two rounds: it has no second round; strategies that can: .*facility_location.*kcenter.*top_k"),
        (strategy("epig"), "its score of a row depends on other rows"),
        (strategy("class_quota", {"base": "kcenter"}), "ClassQuota cannot choose in two rounds"),
        (strategy("facility_location", {"optimizer": "stochastic"}), "optimizer=stochastic is no plain greedy"),
        (strategy("facility_location", {"similarity": "dot"}), r"similarity=dot \(expected cosine, euclidean or rbf\)"),
        (strategy("facility_location", {"similarity": "rbf"}), "similarity=rbf without gamma"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            Select(part, 5, partitions=3)
    for count in (0, -1, 2.0, True):
        with pytest.raises(
            ValueError, match="partitions: expected a number of partitions, at least 1, got"
        ):
            Select(strategy("kcenter"), 5, partitions=count)
    with pytest.raises(ValueError, match="two rounds know budgets of rows only"):
        Select(strategy("kcenter"), 5, cost="tokens", partitions=2)
    Select(strategy("facility_location", {"similarity": "rbf", "gamma": 0.5}), 5, partitions=3)


def test_row_wise_scores_are():
    """What a strategy says of itself: the score of a row is the same whatever stands beside it."""
    seen = 0
    for name in names():
        scoring = load(name)
        if not (isinstance(scoring, type) and issubclass(scoring, ScoreBased) and scoring.row_wise):
            continue
        scoring, seen = scoring(), seen + 1
        columns = example_signals(48, scoring.needs)
        whole = scoring.score(Pool(48), Signals(48, **columns))
        some = np.array([3, 7, 8, 30])
        part = scoring.score(Pool(4), Signals(4, **{n: v[some] for n, v in columns.items()}))
        np.testing.assert_array_equal(part, whole[some], err_msg=name)
    assert seen > 10
    assert has_rounds(load("kcenter"))


def test_whoever_writes_a_score_sees_nothing_of_two_rounds():
    margin = strategy("margin")
    assert not isinstance(margin, TwoRounds)
    assert not {"guarantee", "merge", "audit", "certify", "no_rounds"} & set(dir(margin))
    assert isinstance(rounds_of(margin), TwoRounds)


def child(source, out, phase, nth):
    if phase:
        arm(phase, nth)
    curate([operator("facility", 0.2)], source, out, settings=Settings(batch=8, partition_rows=20))


FORK = multiprocessing.get_context("fork")


def start(*arguments):
    process = FORK.Process(target=child, args=arguments)
    process.start()
    process.join(120)
    return process.exitcode


def files(out):
    return {
        str(p.relative_to(out)): p.read_bytes()
        for p in sorted(out.rglob("*"))
        if p.is_file() and "state" not in p.relative_to(out).parts
    }


CASES = [
    ("first", 1), ("first", 3), ("second", 1), ("audit", 1), ("audit", 4), ("result", 1), ("join", 1), ("join", 3),
    ("table", 9), ("table", 12), ("table", 16), ("rename", 15), ("rename", 22), ("rename", 27),
]  # fmt: skip


@pytest.mark.slow
def test_killed_anywhere_and_started_again(tmp_path):
    rounds = "coreset.curation.operators.two_rounds"
    PHASES.update({
        "first": (rounds, "first_round"), "second": (rounds, "second_round"), "audit": (rounds, "audit"),
        "result": (rounds, "result"), "join": ("coreset.curation.runtime.two_rounds", "JoinChosen.__call__"),
    })  # fmt: skip
    try:
        source = write(tmp_path, np.arange(N), [33], X)
        child(source, tmp_path / "whole", "", 0)
        whole = files(tmp_path / "whole")
        assert b'"rounds"' in whole["manifest.json"]
        for phase, nth in CASES:
            out = tmp_path / f"{phase}{nth}"
            assert start(source, out, phase, nth) == -9, (phase, nth)
            assert start(source, out, "", 0) == 0
            assert files(out) == whole, (phase, nth)
        assert start(source, tmp_path / "whole", "", 0) == 0  # nothing is left to do
        assert files(tmp_path / "whole") == whole
    finally:
        for name in ("first", "second", "audit", "result", "join"):
            PHASES.pop(name)
