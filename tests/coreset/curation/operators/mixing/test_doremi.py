"""Against Algorithm 1 in float64, step by step, and into a mixture."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coreset.core.batch import as_batch, objects
from coreset.curation.operators.contract import run_in_memory
from coreset.curation.operators.mixing import DoReMi, StratifiedSample
from coreset.curation.operators.mixing.doremi import doremi_step, doremi_weights
from coreset.registry import load
from coreset.testing import check_operator


def algorithm(excess, eta, c, start):
    """Domain by domain: alpha <- alpha exp(eta max(excess, 0)), scaled, mixed with equal weights;
    the mean over the steps.
    """
    k = len(start)
    alpha, last, seen = list(start), [0.0] * k, []
    for row in excess:
        last = [last[g] if np.isnan(row[g]) else max(row[g], 0.0) for g in range(k)]
        raised = [alpha[g] * np.exp(eta * last[g]) for g in range(k)]
        alpha = [(1 - c) * x / sum(raised) + c / k for x in raised]
        seen.append(alpha)
    return np.mean(seen, axis=0)


@given(
    seed=st.integers(0, 10**6),
    steps=st.integers(1, 20),
    eta=st.sampled_from([1.0, 0.2, 3.0]),
    c=st.sampled_from([1e-4, 0.3]),
)
@settings(max_examples=60, deadline=None)
def test_the_algorithm(seed, steps, eta, c):
    rng = np.random.default_rng(seed)
    excess = rng.normal(size=(steps, 4))
    excess[rng.random(excess.shape) < 0.2] = np.nan
    start = rng.dirichlet(np.ones(4))
    got = doremi_weights(excess, eta, c, start)
    np.testing.assert_allclose(got, algorithm(excess, eta, c, start), rtol=1e-10)
    assert got.sum() == pytest.approx(1)


def test_the_step_keeps_a_floor_and_clips():
    got = doremi_step(np.array([0.5, 0.5]), np.array([500.0, -500.0]), 1.0, 0.01)
    np.testing.assert_allclose(got, [0.995, 0.005])


def pool(seed=0, n=90, steps=5):
    rng = np.random.default_rng(seed)
    source = rng.choice(["web", "code", "books"], n)
    harder = {"web": 0.0, "code": 0.8, "books": -0.5}
    reference = rng.uniform(2, 3, n)
    proxy = (
        reference[:, None]
        + np.array([harder[s] for s in source])[:, None]
        + rng.normal(0, 0.3, (n, steps))
    )
    tokens = rng.integers(1, 100, n).astype(float)
    return {
        "source": objects(source.tolist()),
        "proxy_loss": proxy,
        "reference_loss": reference,
        "tokens": tokens,
    }


@pytest.mark.parametrize("tokens", [None, "tokens"])
def test_from_rows_to_weights(tokens):
    columns = pool()
    names = ["books", "code", "web"]
    source = np.array(columns["source"].tolist())
    weight = columns["tokens"] if tokens else np.ones(90)
    above = np.maximum(columns["proxy_loss"] - columns["reference_loss"][:, None], 0)
    excess = np.stack(
        [
            (above * weight[:, None])[source == s].sum(axis=0) / weight[source == s].sum()
            for s in names
        ],
        axis=1,
    )
    want = dict(zip(names, algorithm(excess, 1.0, 1e-4, [1 / 3] * 3), strict=True))
    got = run_in_memory(
        DoReMi(tokens=tokens), as_batch({"id": objects([f"{i:03d}" for i in range(90)]), **columns})
    )
    np.testing.assert_allclose(
        got["domain_weight"].to_pylist(), [want[s] for s in source], rtol=1e-6
    )
    assert want["code"] > want["web"] > want["books"]


def test_steps_in_which_a_row_was_not_seen_and_lists_of_other_lengths():
    rows = {
        "id": objects(list("abcd")),
        "source": objects(["x", "y", "x", None]),
        "proxy_loss": objects([[3.0, None, 2.5], [2.0], [None, 4.0], [9.0]]),
        "reference_loss": np.array([2.0, 1.5, 2.0, 1.0]),
    }
    excess = np.array([[1.0, 0.5], [2.0, np.nan], [0.5, np.nan]])
    want = algorithm(excess, 1.0, 1e-4, [0.5, 0.5])
    got = run_in_memory(DoReMi(), as_batch(rows))
    np.testing.assert_allclose(got["domain_weight"].to_pylist()[:3], want[[0, 1, 0]], rtol=1e-6)
    assert got["domain_weight_status"].to_pylist() == ["ok", "ok", "ok", "missing_field"]


def test_start():
    rows = {
        "id": objects(list("ab")),
        "source": objects(["x", "y"]),
        "proxy_loss": np.array([3.0, 3.0]),
        "reference_loss": np.array([2.0, 3.0]),
    }
    got = run_in_memory(DoReMi(start={"x": 3.0}), as_batch(rows))
    want = algorithm(np.array([[1.0, 0.0]]), 1.0, 1e-4, [0.75, 0.25])
    np.testing.assert_allclose(got["domain_weight"].to_pylist(), want, rtol=1e-6)
    with pytest.raises(ValueError, match="start: no row has source 'z'; there are x, y"):
        run_in_memory(DoReMi(start={"z": 3.0}), as_batch(rows))


def test_a_domain_without_losses():
    rows = {
        "id": objects(list("ab")),
        "source": objects(["x", "y"]),
        "proxy_loss": np.array([3.0, np.nan]),
        "reference_loss": np.array([2.0, 3.0]),
    }
    got = run_in_memory(DoReMi(), as_batch(rows))
    assert got["domain_weight_status"].to_pylist() == ["ok", "no_losses"]
    with pytest.raises(
        ValueError, match="doremi: no row has a source, a proxy_loss and a reference_loss"
    ):
        run_in_memory(DoReMi(), as_batch({**rows, "reference_loss": np.array([np.nan, np.nan])}))


def test_the_mixture_has_the_weights():
    columns = {"id": objects([f"{i:04d}" for i in range(900)]), **pool(n=900)}
    weight = run_in_memory(DoReMi(), as_batch(columns))["domain_weight"].to_pylist()
    want = dict(zip(columns["source"].tolist(), weight, strict=True))
    mixed = run_in_memory(
        StratifiedSample(by=["source"], budget=200, temperature=np.inf, weigh="domain_weight"),
        as_batch({**columns, "domain_weight": np.array(weight)}),
    )
    taken = Counter(
        s for s, k in zip(columns["source"].tolist(), mixed["keep"].to_pylist(), strict=True) if k
    )
    assert sum(taken.values()) == 200
    for name, share in want.items():
        assert abs(taken[name] - 200 * share) <= 1


def test_contract_and_name():
    check_operator(DoReMi(tokens="tokens"), pool(n=30))
    assert load("doremi", "coreset.operators") is DoReMi


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"eta": 0.0}, r"eta: expected a number in \(0, inf\), got 0.0"),
        ({"smoothing": 2.0}, r"smoothing: expected a number in \[0, 1\], got 2.0"),
        ({"start": {"x": 0.0}}, "start: expected weights above 0, got 0.0 for 'x'"),
    ],
)
def test_bad_options(options, match):
    with pytest.raises(ValueError, match=match):
        DoReMi(**options)


def test_bad_columns():
    rows = {
        "id": objects(["a"]),
        "source": objects(["x"]),
        "proxy_loss": objects([["much"]]),
        "reference_loss": np.array([1.0]),
    }
    with pytest.raises(ValueError, match="proxy_loss: expected a loss or a list of losses per row"):
        run_in_memory(DoReMi(), as_batch(rows))
    rows |= {"proxy_loss": np.array([2.0]), "tokens": np.array([-1.0])}
    with pytest.raises(ValueError, match="tokens: expected numbers of at least 0, got -1"):
        run_in_memory(DoReMi(tokens="tokens"), as_batch(rows))
