"""An independent reference: set functions written from their definitions in float64, and the
plainest greedy there is.
"""

from types import SimpleNamespace

import numpy as np
import pytest


def similarity(x, y=None, kind="cosine", gamma=None):
    x = np.asarray(x, np.float64)
    y = x if y is None else np.asarray(y, np.float64)
    if kind == "dot":
        return np.array([[float(a @ b) for b in y] for a in x])
    out = np.empty((len(x), len(y)))
    if gamma is None:
        gamma = 1 / np.mean([[((a - b) ** 2).sum() for b in x] for a in x])
    for i, a in enumerate(x):
        for j, b in enumerate(y):
            d = np.sqrt(((a - b) ** 2).sum())
            lengths = np.sqrt((a**2).sum() * (b**2).sum())
            cos = 0.5 + 0.5 * (a * b).sum() / lengths if lengths else 0.5
            out[i, j] = {"cosine": cos, "rbf": np.exp(-gamma * d * d), "euclidean": 1 / (1 + d)}[
                kind
            ]
    return out


def greedy(f, candidates, k, taken=()):
    """Return picks and gains of greedy on the set function `f` (a list of items -> a number), ties
    to the lowest item within 1e-9.
    """
    chosen, gains = list(taken), []
    for _ in range(k):
        left = [j for j in sorted(candidates) if j not in chosen]
        values = np.array([f([*chosen, j]) for j in left])
        best = int(np.flatnonzero(values >= values.max() - 1e-9)[0])
        gains.append(values[best] - f(chosen))
        chosen.append(left[best])
    return chosen[len(taken) :], np.array(gains)


def data(n=40, d=6, seed=0):
    """Return features in 4 groups with a query and a private mark (outside the candidates),
    candidates and selected.
    """
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) + 2 * rng.normal(size=(4, d))[np.arange(n) % 4]
    query, private = np.zeros(n, bool), np.zeros(n, bool)
    query[[n - 1, n - 2, n - 5]] = True
    private[[n - 3, n - 4]] = True
    return SimpleNamespace(
        x=x,
        query=query,
        private=private,
        labels=np.arange(n) % 4,
        candidates=np.arange(2, n - 6),
        selected=np.array([1, 0]),
        ground=np.arange(n - 6),
    )


def same(answer, expected, tolerance=2e-5):
    picks, gains = expected
    assert answer.indices.tolist() == [int(p) for p in picks]
    np.testing.assert_allclose(answer.scores, gains, rtol=tolerance, atol=tolerance)


def neighbors(x, k):
    """Return the cosines (n, n), which of them are kept (each row's k nearest and itself), and the
    floor of the others.
    """
    s = similarity(x)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    kept, floor = np.zeros(s.shape, bool), np.empty(len(x))
    for i in range(len(x)):
        order = [j for j in np.argsort(-s[i], kind="stable") if j != i][:k]
        kept[i, [*order, i]] = True
        rms = np.mean([((unit[i] - unit[j]) ** 2).sum() for j in range(len(x))])
        floor[i] = (s[i, order[-1]] + 1 - rms / 4) / 2
    return s, kept, floor


@pytest.fixture
def reference():
    return SimpleNamespace(
        similarity=similarity, greedy=greedy, data=data, same=same, neighbors=neighbors
    )
