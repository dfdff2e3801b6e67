"""Uncertainty herding in two rounds, against the definition in plain float64."""

import numpy as np
import pyarrow as pa
import pytest

from coreset.curation.operators.select import Select
from coreset.curation.operators.two_rounds import in_rounds
from coreset.numerics.random import keyed_uniform
from coreset.registry import strategy
from coreset.two_rounds import rounds_of

N = 70
IDS = [f"{i:02d}" for i in range(N)]


def world(seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(N, 3))
    probs = rng.dirichlet(np.ones(3), N)
    top = np.sort(probs, axis=1)
    return x, probs, 1 - (top[:, -1] - top[:, -2])


def hashed(seed, stream):
    rng = np.random.default_rng([seed, stream])
    return keyed_uniform(int(rng.integers(2**63)), np.array(IDS, object))


def kernel(a, b):
    return np.exp(-((a[:, None] - b[None]) ** 2).sum(axis=2))


def greedy(x, weights, asked, candidates, k):
    """The k candidates by gain in sum over asked rows of weight times nearest kernel."""
    near, picks = np.zeros(len(asked)), []
    for _ in range(k):
        gains = [
            -1 if c in picks
            else (weights[asked] * np.maximum(kernel(x[asked], x[[c]])[:, 0] - near, 0)).sum()
            for c in candidates
        ]  # fmt: skip
        picks.append(candidates[int(np.argmax(gains))])
        near = np.maximum(near, kernel(x[asked], x[[picks[-1]]])[:, 0])
    return picks


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("count", [1, 3])
def test_both_rounds_and_the_certificate_by_the_definition(seed, count):
    x, probs, weights = world(seed)
    k = 6
    selector = Select(strategy("uherding", {"normalize": False}), k, seed=seed, partitions=count)
    table = pa.table(
        {
            "id": IDS, "_row": np.arange(N), "_partition": np.zeros(N, int),
            "features": pa.FixedSizeListArray.from_arrays(x.reshape(-1), 3),
            "probs": pa.FixedSizeListArray.from_arrays(probs.reshape(-1), 3),
        }
    )  # fmt: skip
    chosen, about = in_rounds(selector, table, k)
    part = np.floor(hashed(seed, 1) * count)
    parts = [np.flatnonzero(part == i) for i in range(count)]
    firsts = [greedy(x, weights, p, p.tolist(), k) for p in parts]
    chance = hashed(seed, 2)
    sample = np.concatenate([p[np.argsort(chance[p])][: -(-len(p) // count)] for p in parts])
    union = sorted(i for one in firsts for i in one)
    answers = [greedy(x, weights, np.sort(sample), union, k), *firsts]
    values = [(weights * kernel(x, x[a]).max(axis=1)).mean() for a in answers]
    best = int(np.argmax(values))
    assert chosen["_row"].to_pylist() == answers[best]
    certificate = about["certificate"]
    assert certificate["coverage"] == pytest.approx(values[best], rel=1e-9)
    assert certificate["of_union"] == pytest.approx(values[0], rel=1e-9)
    assert certificate["of_best_partition"] == pytest.approx(max(values[1:]), rel=1e-9)
    assert about["factor"] == pytest.approx((1 - np.exp(-1)) / min(count, k))


def test_a_temperature_looked_for_has_no_rounds():
    with pytest.raises(ValueError, match="temperature=ece would be another in every part"):
        rounds_of(strategy("uherding", {"temperature": "ece"}))
