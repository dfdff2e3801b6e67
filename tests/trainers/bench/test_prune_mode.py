"""Suites of prune mode: every budget a choice of its own, by what a training on the pool tells."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from rich.console import Console
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from coreset import Pool, Signals
from coreset.registry import strategy
from coreset.trainers.bench.app import run_suite, suite_of
from coreset.trainers.bench.prune import RECORDED, Proxy
from coreset.trainers.bench.run import Job, learner_of, run
from coreset.trainers.bench.sample import STRATEGY, Table, stream
from coreset.trainers.bench.suite import Protocol, Suite, rows_of
from coreset.trainers.learners.head_dynamics import head_dynamics
from coreset.trainers.learners.probe import SIGNALS, Probe

X, Y = load_digits(return_X_y=True)
X = X.astype(np.float32)
TABLE = Table("digits", X, Y.astype(np.int64), [str(c) for c in range(10)], np.arange(len(Y)))
CONF = Path(__file__).parents[3] / "conf"
PRUNED = Protocol([20, 60, 200], replicates=2, pool=300, test=200, validation=0, mode="prune")
NAMES = ["stratified", "kcenter", "el2n", "aum", "dual_beta", "ccs", "craig", "gradmatch"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    suite = Suite("pruned", rows_of(NAMES, SIGNALS | RECORDED, ["random"], "prune"), PRUNED)
    job = Job(suite, TABLE, Probe(), tmp_path_factory.mktemp("pruned"), "digits")
    assert run(job) == {}
    return job


def test_recorded_ids_give_the_recorded_values_in_scikit_learn(finished):
    data, learner, _ = learner_of(finished, 1)
    for row in finished.suite.rows:
        for record in json.loads(finished.path(row, 1).read_text()):
            ids = np.array(record["ids"])
            assert len(set(ids)) == len(ids) <= record["labels"]
            if row.name in ("craig", "gradmatch"):
                continue  # weighted: below
            rows = np.flatnonzero(np.isin(data.ids, ids))
            head = LogisticRegression(C=record["info"]["fit"]["c"], tol=1e-8, max_iter=10_000)
            head.fit(learner.features[rows].astype(np.float64), Y[data.ids[rows]])
            score = head.score(learner.test_features.astype(np.float64), data.test_labels)
            assert record["accuracy"] == pytest.approx(score, abs=0.011)  # two of 200 test images


def test_every_budget_is_what_the_strategy_chooses_for_it(finished):
    """Greedy ones chose once: their prefixes are their answers. Weights reach the head."""
    data, learner, _ = learner_of(finished, 0)
    rows = np.flatnonzero(data.candidates)
    learner.fit(rows, data.labels, seed=[0, 3, 0, 0])
    whole = learner.test()["accuracy"]
    model = learner.signals(np.arange(300), ["features", "probs"])
    recorded = Proxy(learner, data, PRUNED).columns(RECORDED)[0]
    signals = Signals(300, labels=data.labels, **model, **recorded)
    pool = Pool(300, np.empty(0, np.int64), rows)
    for name in ("kcenter", "el2n", "aum", "dual_beta", "ccs", "craig", "gradmatch"):
        row = next(r for r in finished.suite.rows if r.name == name)
        method, records = strategy(name), json.loads(finished.path(row, 0).read_text())
        for step, record in enumerate(records):
            at = step if not method.greedy or name in ("craig", "gradmatch") else 2
            rng = stream(PRUNED, STRATEGY, 0, at)
            answer = method(pool, signals, record["labels"], rng)
            assert data.ids[answer.indices].tolist() == record["ids"], (name, step)
            if answer.weights is not None:
                fit = learner.fit(
                    answer.indices, data.labels, weights=answer.weights, seed=[0, 3, 0, step]
                )
                assert fit.info["c"] == record["info"]["fit"]["c"]
                assert learner.test()["accuracy"] == record["accuracy"]
    full = json.loads(finished.path(None, 0).read_text())
    assert full[0]["accuracy"] == whole
    assert full[0]["labels"] == 300


def test_dynamics_of_a_head_are_those_of_torch():
    x, y = X[:200] / 16, Y[:200].astype(np.int64)
    mine = head_dynamics(x, y, 10, ["aum", "forgetting"], np.random.default_rng(5))
    layer = torch.nn.Linear(64, 10, dtype=torch.float64)
    for parameter in layer.parameters():
        torch.nn.init.zeros_(parameter)
    steps = 30 * 2
    lr = 1 / float((x.astype(np.float64) ** 2).sum(axis=1).mean())
    optimizer = torch.optim.SGD(layer.parameters(), lr=lr, momentum=0.9)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    rng, inputs, labels = np.random.default_rng(5), torch.tensor(x).double(), torch.tensor(y)
    margins, right = np.zeros((30, 200)), np.zeros((30, 200), bool)
    for epoch in range(30):
        order = torch.tensor(rng.permutation(200))
        for part in (order[:128], order[128:]):
            z = layer(inputs[part])
            own = z.gather(1, labels[part, None])[:, 0]
            other = z.scatter(1, labels[part, None], -torch.inf).amax(dim=1)
            margins[epoch, part] = (own - other).detach()
            right[epoch, part] = z.argmax(dim=1) == labels[part]
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(z, labels[part]).backward()
            optimizer.step()
            falling.step()
    np.testing.assert_allclose(mine["aum"], margins.mean(axis=0), atol=1e-9)
    forgot = (right[:-1] & ~right[1:]).sum(axis=0)
    assert np.array_equal(mine["forgetting"], np.where(right.any(axis=0), forgot, 31))


def test_a_wrong_label_has_a_small_margin():
    """What scores of dynamics are for, through the suite: noise of a replicate sinks in AUM."""
    protocol = Protocol([20], pool=600, test=200, validation=0, noise=0.1, mode="prune")
    suite = Suite("noise", rows_of(["random"], SIGNALS, (), "prune"), protocol)
    data, _, proxy = learner_of(Job(suite, TABLE, Probe(), Path(), "digits"), 0)
    margin = proxy.columns(["aum"])[0]["aum"]
    wrong = data.labels != data.truth
    assert wrong.sum() == 60
    assert wrong[np.argsort(margin)[:60]].mean() > 0.8


def test_words_for_what_is_wrong():
    with pytest.raises(ValueError, match="mode: expected active or prune, got 'pruned'"):
        Protocol([10], mode="pruned")
    with pytest.raises(ValueError, match="queries, outside: of active mode"):
        Protocol([10], mode="prune", queries=2)
    with pytest.raises(ValueError, match="queries, outside: of active mode"):
        Protocol([10], mode="prune", outside=0.2)
    with pytest.raises(ValueError, match="start=kmeans is of active mode, badge has all labels"):
        rows_of([{"strategy": "badge", "start": "kmeans"}], SIGNALS, (), "prune")
    with pytest.raises(
        ValueError, match="forgetting reads forgetting, which this learner does not"
    ):
        rows_of(["forgetting"], SIGNALS)


def test_budgets_may_be_shares_of_the_pool():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = OmegaConf.to_container(
            compose("bench", ["bench=prune", "test=600", "out=here"]), resolve=True
        )
    assert suite_of(cfg, 2000).protocol.budgets == [12, 24, 60, 120, 240, 360, 1080]
    assert suite_of(cfg | {"pool": 5000}, 2000).protocol.budgets[-1] == 1260  # what the test leaves
    with pytest.raises(ValueError, match=r"budgets: expected ascending .* \[0, 1, 2"):
        suite_of(cfg, 640)


def test_one_command_one_page(tmp_path):
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", Y)
    own = ["bench=prune", f"features={tmp_path}/x.npy", f"labels={tmp_path}/y.npy"]
    own += [f"out={tmp_path}/out", "budgets=[20,200]", "replicates=2", "pool=300", "test=200"]
    own += ["strategies=[stratified,forgetting]"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = OmegaConf.to_container(compose("bench", own), resolve=True)
    run_suite(cfg, Console(file=io.StringIO()))
    table = (tmp_path / "out" / "table.md").read_text()
    assert "labels known, each budget one choice" in table
    assert "| 90 % of full | 95 % of full | 99 % of full |" in table
    assert "knows labels" not in table  # here everybody does
    assert "Holm's correction over all strategies." in table
    assert json.loads((tmp_path / "out" / "about.json").read_text())["reads_labels"] == []
