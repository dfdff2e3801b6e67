from collections import Counter

import numpy as np
import pytest
from scipy.stats import binomtest

from coreset.core.batch import as_batch, objects
from coreset.curation.operators.contract import run_in_memory
from coreset.curation.operators.mixing import (
    RepeatExact,
    RepeatFactor,
    StratifiedSample,
    TemplateQuota,
)
from coreset.curation.operators.mixing.stratified import temperature_shares
from coreset.numerics.random import keyed_uniform
from coreset.testing import check_operator


def run(op, **columns):
    n = len(next(iter(columns.values())))
    return run_in_memory(
        op, as_batch({"id": objects([f"r{i:05d}" for i in range(n)]), **columns})
    ).to_pylist()


def test_repeat_factor():
    n = 3000
    rows = run(
        RepeatFactor({"a": 0.25, "b": 1, "c": 2.3, "d": 0}),
        source=objects([["a", "b", "c", "d"][i % 4] for i in range(n)]),
    )
    times = {
        d: [r["repeat"] for i, r in enumerate(rows) if i % 4 == k] for k, d in enumerate("abcd")
    }
    assert set(times["b"]) == {1}
    assert set(times["c"]) == {2, 3}
    assert set(times["d"]) == {0}
    assert binomtest(sum(times["a"]), n // 4, 0.25).pvalue > 1e-4
    assert binomtest(times["c"].count(3), n // 4, 0.3).pvalue > 1e-4
    assert {r["reason"] for r in rows if not r["repeat"]} == {"not drawn for its domain"}


def test_a_part_of_a_domain_is_no_first_part():
    rows = run(RepeatFactor({}, other=0.5), source=objects(["x"] * 400))
    kept = [r["keep"] for r in rows]
    assert 60 < sum(kept[:200]) < 140


def test_repeat_factor_refusals_and_contract():
    check_operator(
        RepeatFactor({"a": 0.5}, other=1.5), {"source": objects(["a", "b", None, "a", "b"])}
    )
    assert (
        run(RepeatFactor({"a": 1}), source=objects(["a", None]))[1]["reason"] == "source undefined"
    )
    with pytest.raises(KeyError, match="factors: none for source 'z'; given: a"):
        run(RepeatFactor({"a": 1}), source=objects(["z"]))
    with pytest.raises(ValueError, match=r"expected a factor for 'a' in \[0, 4\], got 5"):
        RepeatFactor({"a": 5})


def test_repeat_exact_counts():
    n = 1003
    source = ["a", "b", "c", "d", "e"] * 200 + ["a", "b", "c"]
    have = Counter(source)
    op = RepeatExact({"a": 0.25, "b": 1, "c": 2.3, "d": 0}, {"e": 777}, seed=5)
    rows = run(op, source=objects(source))
    u = keyed_uniform(5, objects([r["id"] for r in rows]))
    want = {
        "a": int(0.25 * have["a"] + 0.5),
        "b": have["b"],
        "c": int(2.3 * have["c"] + 0.5),
        "d": 0,
        "e": 777,
    }
    for domain, count in want.items():
        members = [i for i in range(n) if source[i] == domain]
        times = [rows[i]["repeat"] for i in members]
        assert sum(times) == count
        assert max(times) - min(times) <= 1
        # the lowest keyed numbers, once more
        most = sorted(members, key=lambda i: u[i])[: count % len(members)]
        assert {i for i in members if rows[i]["repeat"] > count // len(members)} == set(most)
    assert [r["keep"] for r in rows] == [r["repeat"] > 0 for r in rows]
    # a larger count only adds
    more = run(RepeatExact({}, {"e": 900}, other=1, seed=5), source=objects(source))
    assert all(
        m["repeat"] >= r["repeat"] for m, r, s in zip(more, rows, source, strict=True) if s == "e"
    )


def test_repeat_exact_refusals_and_contract():
    source = objects(["a", "b", None, "a", "b", "a", "c"])
    check_operator(RepeatExact({"a": 0.5}, {"b": 7}, other=1.5), {"source": source})
    assert (
        run(RepeatExact({"a": 1}), source=objects(["a", None]))[1]["reason"] == "source undefined"
    )
    with pytest.raises(KeyError, match="factors: none for source 'z'; given: a, b"):
        run(RepeatExact({"a": 1}, {"b": 0}), source=objects(["z"]))
    with pytest.raises(ValueError, match="counts: 3 rows of source 'b' wanted, but it has none"):
        run(RepeatExact({"a": 1}, {"b": 3}), source=objects(["a"]))
    for wrong, words in (
        ({"factors": {"a": 5}}, r"expected a factor for 'a' in \[0, 4\], got 5"),
        ({"counts": {"a": -1}}, "expected rows of at least 0 for 'a', got -1"),
        ({"counts": {"a": 1.5}}, "expected rows of at least 0 for 'a', got 1.5"),
        ({"factors": {"a": 1}, "counts": {"a": 1}}, "'a' is in both"),
    ):
        with pytest.raises(ValueError, match=words):
            RepeatExact(**wrong)


def pool(n=600, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "source": objects(rng.choice(["web", "code", "math"], n, p=[0.8, 0.15, 0.05]).tolist()),
        "tokens": rng.lognormal(5, 1, n),
        "ifd": rng.random(n),
    }


def test_shares_by_temperature():
    counts = np.array([900, 90, 9])
    np.testing.assert_allclose(temperature_shares(counts, 1), counts / 999)
    np.testing.assert_allclose(temperature_shares(counts, np.inf), [1 / 3] * 3)
    want = np.sqrt(counts) / np.sqrt(counts).sum()
    np.testing.assert_allclose(temperature_shares(counts, 2), want)


def test_stratified_takes_its_quota_of_every_stratum():
    columns = pool()
    op = StratifiedSample(
        ["source", "tokens", "ifd"],
        budget=120,
        bins={"tokens": [100, 300], "ifd": [0.5]},
        temperature=2,
    )
    rows = run(op, **columns)
    level = [
        f"{s}|{int(t >= 100) + int(t >= 300)}|{int(i >= 0.5)}"
        for s, t, i in zip(*columns.values(), strict=True)
    ]
    assert [r["stratum"] for r in rows] == level
    have, got = Counter(level), Counter(r["stratum"] for r in rows if r["keep"])
    assert sum(got.values()) == 120
    assert set(got) == set(have)  # long and short, easy and hard: all there
    share = {k: np.sqrt(v) for k, v in have.items()}
    for name, k in got.items():
        exact = 120 * share[name] / sum(share.values())
        # a full stratum gives its rest to the others
        assert k == have[name] or k >= np.floor(exact)
        assert k <= have[name]
    u = keyed_uniform(0, objects([r["id"] for r in rows]))
    for name, k in got.items():  # inside a stratum the highest keyed numbers
        members = [i for i, x in enumerate(level) if x == name]
        best = sorted(members, key=lambda i: -u[i])[:k]
        assert {i for i in members if rows[i]["keep"]} == set(best)


def test_stratified_by_an_order_and_with_weights():
    columns = pool()
    rows = run(
        StratifiedSample(["source"], budget=0.1, order="ifd", weights={"web": 0, "math": 5}),
        **columns,
    )
    got = Counter(r["stratum"] for r in rows if r["keep"])
    assert sum(got.values()) == 60
    assert "web" not in got
    for name in got:
        members = [i for i, s in enumerate(columns["source"]) if s == name]
        kept = [columns["ifd"][i] for i in members if rows[i]["keep"]]
        left = [columns["ifd"][i] for i in members if not rows[i]["keep"]]
        assert not left or min(kept) > max(left)
    assert {r["reason"] for r in rows if not r["keep"]} == {"its stratum is full"}


def test_stratified_contract_and_undefined():
    columns = {k: v[:40].copy() for k, v in pool().items()}
    columns["ifd"][3] = np.nan
    columns["source"][5] = None
    columns["ifd_status"] = objects(["empty_text" if i == 3 else "ok" for i in range(40)])
    op = StratifiedSample(
        ["source", "ifd"], budget=15, bins={"ifd": [0.3, 0.6]}, temperature=np.inf
    )
    check_operator(op, columns)
    check_operator(StratifiedSample(["source"], order="ifd"), columns)
    rows = run(op, **columns)
    assert rows[3]["reason"] == "ifd undefined (empty_text)"
    assert rows[5]["reason"] == "source undefined"
    assert sum(r["keep"] for r in rows) == 15
    assert all(
        r["keep"] for i, r in enumerate(run(StratifiedSample(["source"]), **columns)) if i != 5
    )


def test_a_budget_per_task():
    columns = pool()
    have = Counter(columns["source"])
    got = Counter(
        r["stratum"]
        for r in run(
            StratifiedSample(["source"], most={"web": 30, "code": 10_000, "math": 0}), **columns
        )
        if r["keep"]
    )
    assert got == {"web": 30, "code": have["code"]}
    rows = run(StratifiedSample(["source"], budget=50, most={"web": 30}), **columns)
    got = Counter(r["stratum"] for r in rows if r["keep"])
    assert sum(got.values()) == 50
    assert got["web"] == 30  # its share would be 40; the rest goes to the others in proportion
    assert abs(got["code"] - 20 * have["code"] / (have["code"] + have["math"])) <= 1
    check_operator(
        StratifiedSample(["source"], most={"web": 3}), {k: v[:30] for k, v in columns.items()}
    )


def test_shares_by_the_mean_of_a_column():
    """TIVE: a task's share goes with the mean gradient norm of its rows, whatever their number."""
    columns = pool()
    rows = run(
        StratifiedSample(["source"], budget=40, temperature=np.inf, weigh="tokens"), **columns
    )
    got = Counter(r["stratum"] for r in rows if r["keep"])
    mean = {
        s: np.mean([t for t, x in zip(columns["tokens"], columns["source"], strict=True) if x == s])
        for s in have_of(columns)
    }
    assert sum(got.values()) == 40
    for name, value in mean.items():
        assert abs(got[name] - 40 * value / sum(mean.values())) <= 1
    few = {k: v[:30].copy() for k, v in columns.items()}
    few["tokens"][4] = np.nan
    check_operator(
        StratifiedSample(["source"], budget=9, temperature=np.inf, weigh="tokens", order="ifd"), few
    )
    assert (
        run(StratifiedSample(["source"], budget=9, weigh="tokens"), **few)[4]["reason"]
        == "tokens undefined"
    )


def have_of(columns):
    return sorted(set(columns["source"]))


def test_stratified_refusals():
    for options, match in (
        ({"by": ["a"], "most": {"x": -1}}, "most: expected a count of at least 0 for 'x', got -1"),
        ({"by": "source"}, "expected a list of columns"),
        ({"by": ["a"], "temperature": 0}, "temperature"),
        ({"by": ["a"], "bins": {"a": [2, 1]}}, "rising edges"),
        ({"by": ["a"], "bins": {"b": [1]}}, "rising edges"),
    ):
        with pytest.raises(ValueError, match=match):
            StratifiedSample(**options)
    with pytest.raises(TypeError, match="'source' is no column of numbers"):
        run(StratifiedSample(["source"], bins={"source": [1]}), **pool(10))


def forms(sizes, seed=0):
    rng = np.random.default_rng(seed)
    base = rng.normal(size=(len(sizes), 16))
    return np.concatenate(
        [b + 0.02 * rng.normal(size=(n, 16)) for b, n in zip(base, sizes, strict=True)]
    ).astype(np.float32)


def test_templates_have_a_quota():
    x = forms([30, 3, 1])
    rows = run(TemplateQuota(most=5), embedding=x)
    assert Counter(r["template"] for r in rows) == {"r00000": 30, "r00030": 3, "r00033": 1}
    assert Counter(r["template"] for r in rows if r["keep"]) == {
        "r00000": 5,
        "r00030": 3,
        "r00033": 1,
    }
    assert {r["reason"] for r in rows if not r["keep"]} == {"more than 5 rows of its template"}
    score = np.arange(34.0)
    best = run(TemplateQuota(most=2, order="ifd"), embedding=x, ifd=score)
    assert [i for i, r in enumerate(best) if r["keep"]] == [28, 29, 31, 32, 33]


def test_templates_contract_and_undefined():
    x = forms([6, 4])
    x[2] = np.nan
    columns = {"embedding": x, "ifd": np.array([*range(9), np.nan])}
    check_operator(TemplateQuota(most=2), columns)
    check_operator(TemplateQuota(most=2, order="ifd"), columns)
    rows = run(TemplateQuota(most=2, order="ifd"), **columns)
    assert rows[2]["reason"] == "embedding undefined"
    assert rows[9]["reason"] == "ifd undefined"
    with pytest.raises(ValueError, match="expected at least 1 and a cosine"):
        TemplateQuota(most=0)
