import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from coreset.core.batch import as_batch, objects
from coreset.curation.operators.contract import run_in_memory
from coreset.curation.operators.quality import Dsir, QualityClassifier, ReferenceClusters
from coreset.curation.operators.quality.classifier import unit_counts
from coreset.curation.operators.quality.dsir import log_ratio
from coreset.curation.operators.rules import ParetoFilter
from coreset.curation.operators.select import Select
from coreset.numerics.random import keyed_uniform, salt
from coreset.numerics.text.hashed import dsir_buckets, spark_buckets
from coreset.registry import strategy
from coreset.testing import check_operator


def ids(n):
    return objects([f"r{i:04d}" for i in range(n)])


def texts(rng, n, words):
    return [" ".join(rng.choice(words, int(rng.integers(20, 60)))) for _ in range(n)]


GOOD = [f"good{i}" for i in range(40)] + [f"both{i}" for i in range(40)]
POOR = [f"poor{i}" for i in range(40)] + [f"both{i}" for i in range(40)]


@pytest.fixture
def curated(tmp_path):
    file = tmp_path / "curated.jsonl"
    file.write_text(
        "\n".join(json.dumps({"text": t}) for t in texts(np.random.default_rng(0), 60, GOOD))
    )
    return str(file)


@pytest.fixture
def pool():
    rng = np.random.default_rng(1)
    return objects(texts(rng, 50, POOR) + texts(rng, 10, GOOD) + ["", "   "])


def test_classifier_finds_the_minimum_of_its_loss(curated, pool):
    """The gradient of the balanced, penalized log loss is zero at the weights, from the definition."""
    op = QualityClassifier(curated)
    fitted = op.finish(op.fit(as_batch({"id": ids(len(pool)), "text": pool})))
    good = [json.loads(x)["text"] for x in Path(curated).read_text().splitlines()]
    raw = [t for t in pool if t.split()]
    x = np.zeros((len(good) + len(raw), 2**18))
    for i, text in enumerate(good + raw):
        for word in text.lower().split():
            x[i, spark_buckets(word)[0]] += 1
    used = np.flatnonzero(x.any(axis=0))
    x = x[:, used] / np.linalg.norm(x, axis=1, keepdims=True)
    y = np.repeat([1, 0], [len(good), len(raw)])
    weight = np.where(y == 1, len(y) / (2 * len(good)), len(y) / (2 * len(raw)))
    p = 1 / (1 + np.exp(-(x @ fitted.weights[used] + fitted.bias)))
    gradient = x.T @ (weight * (p - y)) + fitted.weights[used]
    assert np.abs(gradient).max() < 1e-3
    assert abs((weight * (p - y)).sum()) < 1e-3
    assert np.abs(np.delete(fitted.weights, used)).max() == 0
    np.testing.assert_allclose(fitted({"text": objects(raw)})["quality"], p[len(good) :])


def test_classifier_and_pareto_keep_the_good(curated, pool):
    table = run_in_memory(
        QualityClassifier(curated), as_batch({"id": ids(len(pool)), "text": pool})
    )
    quality = table["quality"].to_numpy()
    assert quality[50:60].min() > quality[:50].max()
    assert table["quality_status"].to_pylist()[60:] == ["empty_text"] * 2
    decision = run_in_memory(ParetoFilter(), as_batch({"id": ids(60), "quality": quality[:60]}))
    keep, chance = decision["keep"].to_numpy(), decision["keep_probability"].to_numpy()
    np.testing.assert_allclose(chance, (2 - quality[:60]) ** -9)
    assert abs(keep.sum() - chance.sum()) < 4 * np.sqrt((chance * (1 - chance)).sum()) + 1


def test_classifier_contract(curated, pool):
    check_operator(QualityClassifier(curated), {"text": pool})
    check_operator(QualityClassifier(curated, sample=30), {"text": pool})


def test_classifier_refusals(tmp_path, curated):
    with pytest.raises(ValueError, match="expected numbers above 0"):
        QualityClassifier(curated, c=0)
    op = QualityClassifier(curated)
    with pytest.raises(ValueError, match="expected curated and raw texts with words, got 60 and 0"):
        op.finish(op.fit(as_batch({"id": ids(1), "text": objects([""])})))
    with pytest.raises(FileNotFoundError):
        QualityClassifier(str(tmp_path / "none.jsonl")).resources()


def test_unit_counts():
    got = unit_counts([np.array([3, 1, 3]), np.array([], int)], 5).toarray()
    np.testing.assert_allclose(got, [[0, 1 / np.sqrt(5), 0, 2 / np.sqrt(5), 0], [0] * 5])


def test_dsir_is_the_released_arithmetic(curated, pool):
    op = Dsir(curated, buckets=500, shortest=5)
    table = run_in_memory(op, as_batch({"id": ids(len(pool)), "text": pool}))

    def counts(rows):
        out = np.zeros(500)
        for t in rows:
            for b in dsir_buckets(t, 500):
                out[b] += 1
        return out

    target, raw = (
        counts(json.loads(x)["text"] for x in Path(curated).read_text().splitlines()),
        counts(pool),
    )
    diff = np.log(target / target.sum() + 1e-8) - np.log(raw / raw.sum() + 1e-8)
    want = [counts([t]) @ diff for t in pool[:60]]
    np.testing.assert_allclose(table["dsir"].to_numpy()[:60], want)
    assert min(want[50:]) > max(want[:50])


def test_dsir_leaves_short_texts_undefined(curated):
    """A sum over n-grams would put the shortest texts on top: the empty one near the first place."""
    short = "one two three"
    exact = " ".join(["word"] * 100)
    got = run_in_memory(
        Dsir(curated), as_batch({"id": ids(4), "text": objects([short, exact, exact[5:], ""])})
    )
    assert got["dsir_status"].to_pylist() == ["too_short", "ok", "too_short", "empty_text"]
    assert np.isnan(got["dsir"].to_numpy()[[0, 2, 3]]).all()


def test_dsir_contract_and_smoothing(curated, pool):
    check_operator(Dsir(curated, shortest=5), {"text": pool})
    assert log_ratio(np.array([0, 4]), np.array([2, 2]))[0] < -15
    np.testing.assert_allclose(
        log_ratio(np.array([0, 4]), np.array([2, 2]), laplace=True),
        np.log([1 / 6, 5 / 6]) - np.log(0.5),
        atol=1e-6,
    )
    with pytest.raises(ValueError, match="at least 1 and 0"):
        Dsir(curated, buckets=0)


def gumbel():
    return strategy(
        "stochastic_batch", {"base": strategy("top_k", {"signal": "dsir"}), "kind": "softmax"}
    )


def test_gumbel_top_k_is_keyed_by_id():
    weights = np.random.default_rng(0).normal(size=30)
    names = ids(30)
    op = Select(gumbel(), budget=8, seed=3)
    check_operator(Select(gumbel(), budget=8), {"dsir": weights})
    table = run_in_memory(op, as_batch({"id": names, "dsir": weights}))
    key = salt(np.random.default_rng(3))
    noise = -np.log(-np.log(keyed_uniform(key, names)))
    want = set(names[np.argsort(-(weights + noise))[:8]])
    assert {r["id"] for r in table.to_pylist() if r["keep"]} == want
    everything = run_in_memory(
        Select(gumbel(), budget=30), as_batch({"id": names, "dsir": weights})
    )
    assert all(everything["keep"].to_pylist())  # k = n, where the released argpartition fails


def test_gumbel_top_k_draws_by_weight():
    names, weights = ids(3), np.log([0.6, 0.3, 0.1])
    first = [
        run_in_memory(Select(gumbel(), 1, seed=s), as_batch({"id": names, "dsir": weights}))["keep"]
        .to_pylist()
        .index(True)
        for s in range(400)
    ]
    for row, share in enumerate((0.6, 0.3, 0.1)):
        assert binomtest(first.count(row), 400, share).pvalue > 1e-4


def blobs(n=60, seed=0):
    """Rows about four axes, and which axis."""
    rng = np.random.default_rng(seed)
    axis = rng.integers(0, 4, n)
    return (np.eye(4)[axis] + 0.05 * rng.normal(size=(n, 4))).astype(np.float32), axis


def test_rows_of_the_clusters_of_a_reference_set(tmp_path):
    x, axis = blobs()
    x[5], x[9] = 0, np.nan
    np.save(tmp_path / "r.npy", 7 * blobs(20, seed=1)[0][blobs(20, seed=1)[1] < 2])
    op = ReferenceClusters(str(tmp_path / "r.npy"), "embedding", clusters=4)
    status = objects(["blank" if i == 5 else "ok" for i in range(len(x))])
    columns = {"embedding": x, "embedding_status": status}
    check_operator(op, columns)
    decided = run_in_memory(op, as_batch({"id": ids(len(x)), **columns})).to_pylist()
    for i, row in enumerate(decided):
        want = {5: "embedding undefined (blank)", 9: "embedding undefined"}.get(
            i, "" if axis[i] < 2 else "far from the reference set"
        )
        assert row["reason"] == want
    assert op.resources()["reference"]
    alone = run_in_memory(
        ReferenceClusters(str(tmp_path / "r.npy"), "embedding"),
        as_batch({"id": ids(len(x)), **columns}),
    )
    assert sum(alone["keep"].to_pylist()) == len(x) - 2  # fewer than 128 rows are one cluster


def test_reference_clusters_refusals(tmp_path):
    np.save(tmp_path / "r.npy", np.ones((2, 3)))
    np.save(tmp_path / "zero.npy", np.zeros((2, 4)))
    batch = as_batch({"id": ids(60), "embedding": blobs()[0]})
    for path, match in (
        ("r.npy", "expected embeddings of 4 numbers as in 'embedding', got 3"),
        ("zero.npy", "2 embeddings are zero or undefined"),
    ):
        op = ReferenceClusters(str(tmp_path / path), "embedding")
        with pytest.raises(ValueError, match=match):
            op.finish(op.fit(batch))
    with pytest.raises(ValueError, match="clusters: expected 1 to 200000"):
        ReferenceClusters("r.npy", clusters=0)
