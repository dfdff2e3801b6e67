"""QuRating from judge to draw, against a server that compares texts by a hidden rating."""

import sys
from pathlib import Path

import numpy as np
import pytest

if (JUDGES := str(Path(__file__).parents[3] / "scorers" / "judge")) not in sys.path:
    sys.path.append(JUDGES)

from test_judge import PRICES, judge, serve  # noqa: F401  the fixture

from coreset.core.batch import as_batch, objects
from coreset.curation.operators.contract import run_in_memory
from coreset.curation.operators.quality.pairwise import PairwiseRatings, paired
from coreset.registry import load
from coreset.testing import check_operator

N = 16
HIDDEN = np.random.default_rng(0).permutation(N)
TEXTS = [f"text number {h}" for h in HIDDEN]


def higher(question, n):
    text = question["messages"][-1]["content"]
    a, b = (int(part.split(" ...")[0].split()[-1]) for part in text.split("number ")[1:3])
    return "A" if a > b else "B"


def rows(**more):
    return {"id": objects([f"r{i:02d}" for i in range(N)]), "text": objects(TEXTS), **more}


def ratings(server, folder, *, told=None, **more):
    return PairwiseRatings(judge(server, folder, **(told or {})), **more)


def by_definition(pairs, share, size, ridge):
    """Slow descent on the penalized likelihood, pair by pair."""
    r = np.zeros(size)
    for _ in range(20000):
        slope = ridge * r
        for (a, b), y in zip(pairs, share, strict=True):
            off = 1 / (1 + np.exp(r[b] - r[a])) - y
            slope[a] += off
            slope[b] -= off
        r = r - 0.1 * slope
        if np.abs(slope).max() < 1e-8:
            return r
    raise AssertionError("no minimum")


def test_ratings_follow_the_judge(serve, tmp_path):  # noqa: F811
    server = serve(higher)
    op = ratings(server, tmp_path, rounds=3, ridge=0.1)
    got = run_in_memory(op, as_batch(rows()))
    assert got["rating_status"].to_pylist() == ["ok"] * N
    pairs = paired(rows()["id"], 3, 0)
    assert len(server.asked) == 2 * len(pairs)
    want = by_definition(pairs, [float(HIDDEN[a] > HIDDEN[b]) for a, b in pairs], N, 0.1)
    np.testing.assert_allclose(got["rating"].to_pylist(), want, atol=1e-5)
    assert np.corrcoef(want, HIDDEN)[0, 1] > 0.8


def test_every_row_of_a_ring_is_compared_twice():
    ids = objects([f"r{i}" for i in range(30)])
    pairs = paired(ids, 1, 5)
    assert (np.bincount(pairs.ravel(), minlength=30) == 2).all()
    joined = {0}
    for _ in range(30):
        joined |= {b for p in pairs.tolist() for a, b in (p, p[::-1]) if a in joined}
    assert len(joined) == 30
    other = paired(ids[::-1], 1, 5)
    names = [
        {frozenset((order[a], order[b])) for a, b in p}
        for order, p in ((ids, pairs), (ids[::-1], other))
    ]
    assert names[0] == names[1]


def test_a_sample_and_what_is_undefined(serve, tmp_path):  # noqa: F811
    columns = rows()
    columns["text"][3], columns["text"][4] = None, " "
    got = run_in_memory(ratings(serve(higher), tmp_path, sample=6), as_batch(columns))
    status = got["rating_status"].to_pylist()
    assert sorted(status) == ["empty_text", "missing_field"] + ["not_sampled"] * 8 + ["ok"] * 6
    assert np.isnan(np.array(got["rating"].to_pylist(), float)[[s != "ok" for s in status]]).all()


def test_vectors_carry_ratings_to_every_row(serve, tmp_path):  # noqa: F811
    x = np.stack([HIDDEN / N, np.random.default_rng(1).normal(size=N)], axis=1)
    op = ratings(serve(higher), tmp_path, sample=8, features="v")
    got = run_in_memory(op, as_batch(rows(v=x)))
    value = np.array(got["rating"].to_pylist())
    assert got["rating_status"].to_pylist() == ["ok"] * N
    assert np.corrcoef(value, HIDDEN)[0, 1] > 0.9
    design = np.c_[x, np.ones(N)]
    # linear in v
    assert np.abs(design @ np.linalg.lstsq(design, value, rcond=None)[0] - value).max() < 1e-9


def test_excerpts_of_long_texts(serve, tmp_path):  # noqa: F811
    server = serve(lambda q, n: "A")
    columns = {"id": objects(list("ab")), "text": objects(["x" * 5000, "y" * 10])}
    run_in_memory(ratings(server, tmp_path, characters=100), as_batch(columns))
    text = server.asked[0][0]
    assert text.count("x" * 100) == 1
    assert "x" * 101 not in text


def test_nothing_decided_and_the_dry_run(serve, tmp_path):  # noqa: F811
    with pytest.raises(ValueError, match=r"none of \d+ comparisons was decided: \d+ parse_error"):
        run_in_memory(ratings(serve(lambda q, n: "both"), tmp_path), as_batch(rows()))
    server = serve(higher)
    dry = ratings(server, tmp_path / "dry", told={**PRICES, "dry_run": True}, rounds=1)
    with pytest.raises(
        ValueError, match=r"16 dry_run; they take 32 questions that cost at most \d+\.\d\d dollars"
    ):
        run_in_memory(dry, as_batch(rows()))
    assert server.asked == []
    with pytest.raises(ValueError, match="expected at least 2 rows with texts, got 0"):
        run_in_memory(dry, as_batch({"id": objects(["a"]), "text": objects([None])}))


def test_contract_and_name(serve, tmp_path):  # noqa: F811
    check_operator(ratings(serve(higher), tmp_path, sample=9), rows())
    x = np.random.default_rng(1).normal(size=(N, 3))
    check_operator(ratings(serve(higher), tmp_path, features="v"), rows(v=x), tolerance=1e-12)
    assert load("pairwise_ratings", "coreset.operators") is PairwiseRatings


def test_bad_options(tmp_path):
    scorer = judge(type("S", (), {"url": "http://127.0.0.1"}), tmp_path)
    with pytest.raises(TypeError, match="judge: expected the scorer judge"):
        PairwiseRatings("length")
    for options in ({"sample": 1}, {"rounds": 0}, {"characters": 0}, {"ridge": 0.0}):
        with pytest.raises(
            ValueError, match="sample, rounds, characters, ridge: expected at least 2, 1, 1"
        ):
            PairwiseRatings(scorer, **options)
