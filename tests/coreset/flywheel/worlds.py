"""A small world with a planted weakness and a learner of milliseconds."""

import time

import numpy as np

from coreset.core.learner import FitResult
from coreset.flywheel import Flywheel, FlywheelData

CLASSES = ("a", "b", "c", "d")
NOW = "2026-01-01T00:00:00"


class TinyLearner:
    """Ridge regression of classes on x, x^2 and a constant; the seed draws bootstrap weights."""

    metric = "accuracy"
    available = frozenset({"probs", "features"})

    def __init__(self, data, fits=None):
        self.data = data
        self.fits = [] if fits is None else fits
        x = data.features.astype(np.float64)
        self.x = np.hstack([x, x**2, np.ones((len(x), 1))])
        self.size, self.ids, self.classes = len(x), data.ids, data.classes

    def fit(self, indices, labels, *, weights=None, seed, callbacks=()):
        begin = time.perf_counter()
        self.fits.append((len(indices), tuple(seed)))
        w = np.random.default_rng(list(seed)).exponential(size=len(indices))
        z, y = self.x[indices], np.eye(len(self.classes))[labels[indices]]
        gram = (z * w[:, None]).T @ z + 0.1 * np.eye(z.shape[1])
        self.v = np.linalg.solve(gram, (z * w[:, None]).T @ y)
        return FitResult(time.perf_counter() - begin)

    def signals(self, indices, names, *, seed=0):
        logits = 6 * self.x[indices] @ self.v
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        out = {"probs": p / p.sum(axis=1, keepdims=True), "features": self.data.features[indices]}
        return {name: out[name] for name in names}

    def test(self):
        rows = self.data.at("test")
        probs = self.signals(rows, ["probs"])["probs"]
        return {"accuracy": float((probs.argmax(axis=1) == self.data.labels[rows]).mean())}

    def save(self, path):
        np.save(path, self.v)

    def load(self, path):
        self.v = np.load(path)


class Truth:
    """An oracle that knows, and counts what it is asked."""

    def __init__(self, labels):
        self.labels, self.asked = np.asarray(labels), 0

    def label(self, indices):
        self.asked += len(indices)
        return self.labels[indices]


def world(weak=True, flips=0.0, leaks=0, seed=0, pool=900, train=500):
    """Four Gaussian classes in 6 dimensions, three sites; with `weak` the start set has hardly any
    of class d, whose place is beside class a, and of site s2, which turns the features.
    """
    rng = np.random.default_rng(seed)
    sizes = {"train": train, "pool": pool, "dev": 700, "test": 900, "canary": 60}
    centers = 2.2 * np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0.4, 0, 1]])
    parts = {"labels": [], "roles": [], "site": []}
    for role, size in sizes.items():
        prior = np.array([1.0, 1.0, 1.0, 0.4])
        sites = np.array([0.45, 0.45, 0.10])
        if weak and role == "train":
            prior[3] *= 0.05
            sites[2] *= 0.05
        parts["labels"] += rng.choice(4, size, p=prior / prior.sum()).tolist()
        parts["site"] += rng.choice(3, size, p=sites / sites.sum()).tolist()
        parts["roles"] += [role] * size
    labels, site, roles = (np.array(parts[k]) for k in ("labels", "site", "roles"))
    x = np.zeros((len(labels), 6))
    x[:, :3] = centers[labels] + 0.55 * rng.normal(size=(len(labels), 3))
    x[:, 3:] = 0.3 * rng.normal(size=(len(labels), 3))
    if weak:
        turned = site == 2
        x[turned] = np.hstack([0.2 * x[turned, 3:], 2 - x[turned, :3]])
    if leaks:
        to, origin = (
            np.flatnonzero(roles == "train")[:leaks],
            np.flatnonzero(roles == "test")[:leaks],
        )
        x[to], labels[to] = x[origin] + 1e-4, labels[origin]
    given = labels.copy()
    at = np.flatnonzero(roles == "train")
    wrong = rng.choice(at, round(flips * len(at)), replace=False)
    given[wrong] = (given[wrong] + rng.integers(1, 4, len(wrong))) % 4
    given[roles == "pool"] = -1
    ids = np.array([f"id{i:05d}" for i in range(len(labels))])
    sites = np.array(["s0", "s1", "s2"])[site]
    data = FlywheelData(ids, given, roles, x, CLASSES, {"site": sites})
    return data, labels, wrong


def flywheel(folder, data=None, truth=None, **options):
    """A flywheel of the planted world with the tiny learner."""
    if data is None:
        data, truth, _ = world()
    oracle = options.pop("oracle", None) or Truth(truth)
    learner = options.pop("learner", None) or TinyLearner(data)
    return Flywheel(folder, data, learner, oracle, **options)
