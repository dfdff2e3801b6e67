"""Suites on digits: protocol, cells against scikit-learn, killed and resumed runs, the page."""

import io
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from rich.console import Console
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from coreset.trainers.bench.app import run_suite, suite_of
from coreset.trainers.bench.page import write_page
from coreset.trainers.bench.run import Job, run
from coreset.trainers.bench.sample import Table, long_tail, replicate
from coreset.trainers.bench.suite import Protocol, rows_of
from coreset.trainers.learners.probe import SIGNALS, Probe, ProbeLearner
from tests.coreset.report.test_document import HOSTILE, check

X, Y = load_digits(return_X_y=True)
X = X.astype(np.float32)
TABLE = Table("digits", X, Y.astype(np.int64), [str(c) for c in range(10)], np.arange(len(Y)))
CONF = Path(__file__).parents[3] / "conf"
SMALL = Protocol([10, 20, 40], replicates=2, pool=300, test=200, validation=50)


@pytest.fixture
def settings(tmp_path):
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", Y)

    def composed(*overrides):
        own = [f"features={tmp_path}/x.npy", f"labels={tmp_path}/y.npy", f"out={tmp_path}/out"]
        own += ["budgets=[10,20,40]", "replicates=2", "pool=300", "test=200"]
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return OmegaConf.to_container(compose("bench", [*own, *overrides]), resolve=True)

    return composed


def test_queries_between_budgets():
    assert Protocol([10, 20, 40], queries=1).totals() == [(10, True), (20, True), (40, True)]
    assert [n for n, _ in Protocol([10, 20], queries=10).totals()] == list(range(10, 21))
    assert [n for n, shown in Protocol([10, 14], queries=10).totals() if shown] == [10, 14]


def test_a_replicate_is_disjoint_paired_and_another_each_time():
    a, again, b = (replicate(TABLE, SMALL, n) for n in (0, 0, 1))
    pool, held = a.ids[a.candidates], a.ids[~a.candidates]
    assert (len(pool), len(held), len(a.test_labels)) == (300, 50, 200)
    assert not set(pool) & set(held)
    own = {tuple(row) for row in X[pool]} | {tuple(row) for row in X[held]}
    assert sum(tuple(row) in own for row in a.test_features) <= 2  # only identical digits
    assert np.array_equal(a.ids, again.ids)
    assert np.array_equal(a.start, again.start)
    assert len(set(pool) & set(b.ids[b.candidates])) < 100
    assert np.array_equal(a.labels, Y[a.ids])


def test_stress_is_what_it_says():
    order = np.random.default_rng(0).permutation(len(Y))
    counts = np.bincount(Y[long_tail(order, Y, 20.0, 400)])
    assert counts[0] / counts[9] == pytest.approx(20, rel=0.15)
    assert counts.sum() == pytest.approx(400, abs=10)
    noisy = replicate(TABLE, Protocol([10], pool=300, test=200, validation=50, noise=0.2), 0)
    assert (noisy.labels != noisy.truth)[noisy.candidates].sum() == 60
    assert (noisy.labels == noisy.truth)[~noisy.candidates].all()
    copied = replicate(TABLE, Protocol([10], pool=300, test=200, validation=50, duplicates=0.2), 0)
    pool = copied.features[copied.candidates]
    gap = np.linalg.norm(pool[:, None] - pool, axis=2) + 1e9 * np.eye(300)
    assert (gap.min(axis=1) < 4).sum() >= 60
    assert sum("~" in str(i) for i in copied.ids) == 60


def test_classes_that_nobody_asked_for(tmp_path):
    protocol = Protocol([20, 40], replicates=2, pool=300, test=200, validation=50, outside=0.2)
    data, other = (replicate(TABLE, protocol, n) for n in (0, 1))
    real = Y[data.ids]
    unasked = np.setdiff1d(np.arange(10), data.test_labels)
    assert len(unasked) == 2
    assert set(unasked) != set(np.setdiff1d(np.arange(10), other.test_labels))
    assert np.array_equal(data.labels, np.where(np.isin(real, unasked), -1, real))
    assert (data.labels[~data.candidates] >= 0).all()
    whole = Protocol([20, 40], replicates=2, pool=300, test=200, validation=50)
    assert np.array_equal(replicate(TABLE, whole, 0).ids[:300], data.ids[:300])  # the same pool
    done = job(tmp_path, ["random", "margin", "stratified"], protocol)
    run(done)
    for name, wasted in (("random", True), ("margin", True), ("stratified", False)):
        row = next(r for r in done.suite.rows if r.name == name)
        records = json.loads(done.path(row, 0).read_text())
        ids = [i for r in records for i in r["ids"]]
        assert len(ids) == len(set(ids)) == records[-1]["labels"] == 40  # what is paid for
        assert bool(np.isin(Y[ids], unasked).sum()) == wasted
        taught = [i for i in ids if Y[i] not in unasked]
        at = {i: n for n, i in enumerate(data.ids)}
        learner = Probe().on(data.features, data.test_features, data.test_labels, TABLE.classes)
        learner.fit(np.array([at[i] for i in taught]), data.labels, seed=[0, 2, 0, 1])
        assert learner.test()["accuracy"] == records[-1]["accuracy"]


def test_who_chooses_the_first_batch():
    rows = rows_of(
        ["margin", "auto", "typiclust", {"strategy": "badge", "start": "kmeans"}], SIGNALS
    )
    starts = [row.start and type(row.start).__name__ for row in rows]
    assert starts == [None, "MaxHerding", "TypiClust", "KMeans"]


def test_words_for_what_is_wrong(settings):
    with pytest.raises(ValueError, match=r"budgets: expected ascending .* \[20, 10\]"):
        Protocol([20, 10])
    with pytest.raises(ValueError, match=r"outside in \[0, 1\), got 1.0, 0.0, 0.0 and 1"):
        Protocol([10], outside=1)
    with pytest.raises(ValueError, match="noise, outside: expected one of them"):
        Protocol([10], outside=0.1, noise=0.1)
    with pytest.raises(ValueError, match="learning_loss reads predicted_loss, which this learner"):
        rows_of(["learning_loss"], SIGNALS)
    with pytest.raises(ValueError, match="start=margin reads probs, which no model gives yet"):
        rows_of([{"name": "a", "strategy": "badge", "start": "margin"}], SIGNALS)
    with pytest.raises(ValueError, match="two different rows are called 'margin'"):
        rows_of(["margin", {"name": "margin", "strategy": "entropy"}], SIGNALS)
    with pytest.raises(KeyError, match="did you mean margin"):
        rows_of(["margn"], SIGNALS)
    with pytest.raises(ValueError, match="a table without random says nothing"):
        suite_of(settings("always=[]"), 1797)
    with pytest.raises(ValueError, match="validation: a row judges choices"):
        suite_of(settings("strategies=[boss]"), 1797)
    with pytest.raises(ValueError, match="budgets: 5000 labels but a pool of 300|leave none"):
        replicate(TABLE, Protocol([5000], pool=300, test=200, validation=50), 0)


def job(folder, names=("margin", "kcenter"), protocol=SMALL):
    from coreset.trainers.bench.suite import Suite

    suite = Suite("small", rows_of(names, SIGNALS, ["random"]), protocol)
    return Job(suite, TABLE, Probe(), folder, "digits")


def test_recorded_ids_give_the_recorded_values_in_scikit_learn(tmp_path):
    mine = job(tmp_path)
    assert run(mine) == {}
    row = mine.suite.rows[1]
    assert row.name == "margin"
    records = json.loads(mine.path(row, 1).read_text())
    data = replicate(TABLE, SMALL, 1)
    probe = ProbeLearner(data.features, data.test_features, data.test_labels, TABLE.classes)
    chosen = []
    for record in records:
        chosen += record["ids"]
        assert len(set(chosen)) == record["labels"] == len(chosen)
        rows = np.flatnonzero(np.isin(data.ids, chosen))
        head = LogisticRegression(C=record["info"]["fit"]["c"], tol=1e-8, max_iter=10_000)
        head.fit(probe.features[rows].astype(np.float64), Y[data.ids[rows]])
        score = head.score(probe.test_features.astype(np.float64), data.test_labels)
        assert record["accuracy"] == pytest.approx(score, abs=0.011)  # two of 200 test images
    first = [json.loads(mine.path(r, 1).read_text())[0] for r in mine.suite.rows]
    assert first[0]["ids"] == first[1]["ids"] != first[2]["ids"]  # random, margin; kcenter its own


def test_finished_cells_are_never_repeated_and_failed_ones_are_listed(tmp_path, monkeypatch):
    mine = job(tmp_path)
    import coreset.trainers.bench.run as module

    real = module.run_cell

    def broken(row, learner, data, protocol, proxy):
        if row is not None and row.name == "kcenter" and data.number == 1:
            raise RuntimeError("out of luck")
        return real(row, learner, data, protocol, proxy)

    monkeypatch.setattr(module, "run_cell", broken)
    assert run(mine) == {"kcenter, replicate 1": "RuntimeError: out of luck"}
    files = {p: p.stat().st_mtime_ns for p in (tmp_path / "cells").glob("*.json")}
    assert len(files) == 7
    monkeypatch.setattr(module, "run_cell", real)
    told = []
    assert run(mine, tell=lambda *a: told.append(a)) == {}
    assert [(a[0], a[1]) for a in told] == [("kcenter", 1)]
    assert {p: p.stat().st_mtime_ns for p in files} == files
    assert not list((tmp_path / "cells").glob("*.error"))
    other = job(tmp_path, protocol=Protocol([10, 20], replicates=2, pool=300, test=200))
    assert len(other.missing()) == 8  # another protocol is another cell


DRIVER = """
import sys; sys.path.insert(0, sys.argv[2])
from pathlib import Path
from test_bench import job
from coreset.trainers.bench.run import run
run(job(Path(sys.argv[1])))
"""


@pytest.mark.slow
def test_killed_and_resumed_gives_the_same_values(tmp_path):
    whole, killed = job(tmp_path / "a"), job(tmp_path / "b")
    run(whole)
    args = [sys.executable, "-c", DRIVER, str(killed.folder), str(Path(__file__).parent)]
    process = subprocess.Popen(args)
    while not list(killed.folder.glob("cells/*.json")):
        time.sleep(0.02)
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    run(killed)
    for cell in whole.cells():
        a, b = (json.loads(j.path(*cell).read_text()) for j in (whole, killed))
        for x, y in zip(a, b, strict=True):
            for key in ("labels", "accuracy", "cross_entropy", "ids"):
                assert x[key] == y[key]


def test_one_command_one_page(settings, tmp_path):
    cfg = settings(
        "strategies=[{name: uherding, strategy: uherding, start: maxherding}]", "workers=2"
    )
    console = Console(file=io.StringIO(), width=100)
    run_suite(cfg, console)
    out = tmp_path / "out"
    frame = pd.read_csv(out / "curves.csv")
    assert list(frame.columns[:3]) == ["strategy", "replicate", "labels"]
    assert len(frame) == 2 * 3 * 2 + 2  # rows x budgets x replicates, and the whole pool
    picks = pq.read_table(out / "picks.parquet").to_pylist()
    assert sum(len(p["ids"]) for p in picks) == 2 * 2 * 40
    about = json.loads((out / "about.json").read_text())
    assert about["versions"]["numpy"] == np.__version__
    assert about["missing"] == 0
    page = (out / "report.html").read_text()
    printed = console.file.getvalue().replace("\n", " ")
    assert "2 replicates" in printed
    assert "95 % interval" in printed
    assert "<h1>" in page
    assert "uherding" in (out / "table.md").read_text()
    again = io.StringIO()
    run_suite(cfg, Console(file=again, width=100))
    assert "6 of 6 cells are there already" in again.getvalue()


def test_hostile_words_stay_text_on_the_page(tmp_path):
    committed = Path(__file__).parents[3] / "results/bench/frozen_digits"
    frame = pd.read_csv(committed / "curves.csv")
    frame["strategy"] = frame["strategy"].replace({"margin": HOSTILE[0], "kcenter": HOSTILE[2]})
    frame.to_csv(tmp_path / "curves.csv", index=False)
    about = json.loads((committed / "about.json").read_text())
    about |= {"data": HOSTILE[0], "suite": HOSTILE[1], "hardware": HOSTILE[2], "missing": 2}
    about |= {"rows": {h: h for h in HOSTILE}, "failed": {HOSTILE[1]: HOSTILE[7]}}
    about["versions"] = {h: h for h in HOSTILE}
    (tmp_path / "about.json").write_text(json.dumps(about))
    html = check(write_page(tmp_path)[0])
    assert "&lt;script&gt;alert(1)" in html
