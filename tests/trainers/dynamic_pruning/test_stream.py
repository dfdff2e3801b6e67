"""Selection while training inside the prune loop, on real digits."""

import json

import numpy as np
import pytest
import torch

from coreset.core.store import Store
from coreset.registry import strategy as by_name
from coreset.runs.run_folder import RunFolder
from coreset.trainers.data.sources import digits
from coreset.trainers.dynamic_pruning.epoch_plans import RS2, Adaptive, InfoBatch
from coreset.trainers.dynamic_pruning.stream import PlannedStream, losses_of
from coreset.trainers.learners.fit import Fitter, TrainingConfig
from coreset.trainers.loops.gallery import write_gallery
from coreset.trainers.loops.in_memory import assemble, context_of
from coreset.trainers.loops.plan import make_plan
from coreset.trainers.loops.rounds import run
from coreset.trainers.oracles import HiddenLabels
from coreset.trainers.tasks.features import ModelFeatures
from coreset.trainers.tasks.models import small_cnn

DATA = digits()
N = len(DATA.images)
FOUR = TrainingConfig(steps=None, epochs=4)


def job(tmp_path, sampling, budget=(40, 150), strategy="random", recipe=FOUR, folder="run", seed=0):
    chooses = by_name(strategy)
    plan = make_plan(chooses, list(budget), N)
    store, fitter = Store(tmp_path / "store"), Fitter(DATA, small_cnn, {"accelerator": "cpu"})
    proxy = TrainingConfig(steps=None, epochs=1)
    project = assemble(chooses, fitter, recipe, proxy, ModelFeatures(), store, 3, dynamic=sampling)
    record = RunFolder(tmp_path / folder, {"n": strategy}, plan.rounds, strategy, seed)
    return context_of(project, plan, HiddenLabels(DATA.labels), store, record, seed, members=3)


def lines(j, name):
    return [json.loads(line) for line in (j.folder.path / f"{name}.jsonl").read_text().splitlines()]


def stream(plan, steps, batch_size=16, signals=None, k=20):
    bound = plan.over(60, k=k, seed=1)
    return PlannedStream(
        bound,
        signals,
        DATA.images,
        DATA.labels,
        np.arange(60),
        steps=steps,
        batch_size=batch_size,
        seed=1,
        augment="crop",
    )


def test_stream_follows_the_plan_and_counts():
    s = stream(RS2(), 9)
    batches = list(s)
    assert [len(b["index"]) for b in batches] == [16, 4] * 4 + [16]
    assert sorted(torch.cat([b["index"] for b in batches[:6]]).tolist()) == list(range(60))
    assert [int(b["epoch"]) for b in batches] == [0, 0, 1, 1, 2, 2, 3, 3, 4]
    assert s.epochs == 5
    assert s.counts.sum() == 96
    assert len(s.counts) == N
    again = stream(RS2(), 9)
    for a, b in zip(batches, again, strict=True):
        assert all(torch.equal(a[name], b[name]) for name in a)


def test_longer_epochs_see_as_many_examples_in_as_many_steps():
    s = stream(InfoBatch(), 6)  # three epochs of 20 in batches of 16: 6 steps, 60 examples
    assert sum(len(b["index"]) for b in s) == 60
    assert s.epochs == 1


def test_weights_of_the_plan_are_not_normalized():
    s = stream(InfoBatch(0.5, 1.0), 30, k=60)
    weights = []
    for b in s:
        s.plan.update(b["index"], b["index"].double())
        weights.append(b["weight"])
    later = torch.cat(weights[8:])
    assert set(later.tolist()) == {1.0, 2.0}


@pytest.mark.parametrize("name", ["rs2", "infobatch", "adaptive"])
def test_prune_says_that_the_labels_of_the_whole_pool_are_used(tmp_path, name):
    plan = {
        "rs2": RS2(),
        "infobatch": InfoBatch(),
        "adaptive": Adaptive(every=1, kappa=0.3, strategy=by_name("badge")),
    }[name]
    j = job(tmp_path, plan, strategy="badge" if name == "adaptive" else "random")
    run(j)
    for entry, point, k in zip(lines(j, "ledger"), lines(j, "curve"), (40, 150), strict=True):
        assert point["labels"] == entry["labels"] == k
        assert point["extra"]["labels_used"] == entry["info"]["labels_used"] == N
        assert point["extra"]["examples_seen"] == pytest.approx(4 * k, rel=0.1)
        assert (
            len(entry["indices"])
            == point["extra"]["examples_trained"]
            == len(set(entry["indices"]))
        )
        assert sum(entry["scores"]) == point["extra"]["examples_seen"]
        assert sum(entry["class_histogram"]) == len(entry["indices"])
        if name == "rs2":
            assert len(entry["indices"]) == 4 * k == sum(entry["scores"])
    if name == "adaptive":
        assert lines(j, "ledger")[0]["info"]["strategy"] == "Badge"
    write_gallery(j)
    again = job(tmp_path, plan, strategy=type(j.strategy).__name__.lower(), folder="again")
    again.folder.strategy = j.folder.strategy
    run(again)
    for file in ("curve.jsonl", "rounds/0000/selection.parquet", "rounds/0001/selection.parquet"):
        assert (j.folder.path / file).read_bytes() == (again.folder.path / file).read_bytes()


def test_adaptive_chooses_by_the_model_of_the_moment(tmp_path, monkeypatch):
    asked = []
    plan = Adaptive(every=2, kappa=0.0, strategy=by_name("margin"))
    choose = Adaptive.choose

    def watching(self, number, signals):
        asked.append((number, np.array(signals.column("probs"))))
        return choose(self, number, signals)

    monkeypatch.setattr(Adaptive, "choose", watching)
    j = job(tmp_path, plan, (100,), "margin", TrainingConfig(steps=None, epochs=5))
    run(j)
    assert [number for number, _ in asked] == [0, 2, 4]
    assert not np.allclose(asked[0][1], asked[2][1])
    assert lines(j, "ledger")[0]["seconds"]["measure"] > 0


def test_validation_labels_are_a_share_of_the_budget(tmp_path):
    j = job(tmp_path, RS2(), (50,), recipe=TrainingConfig(steps=None, epochs=2, val_share=0.2))
    run(j)
    entry = lines(j, "ledger")[0]
    assert entry["val_accuracy"] * 10 == pytest.approx(round(entry["val_accuracy"] * 10), abs=1e-6)
    assert len(entry["indices"]) == 80


@pytest.mark.slow
def test_infobatch_learns_digits(tmp_path):
    j = job(tmp_path, InfoBatch(), (N,), recipe=TrainingConfig(steps=None, epochs=10))
    run(j)
    point = lines(j, "curve")[0]
    assert point["value"] > 0.95
    assert point["extra"]["epochs"] > 11  # shorter epochs, so more of them in as many steps


def test_losses_of_an_output():
    z, y = torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 1])
    want = -(z.log_softmax(1)[torch.arange(5), y])
    assert torch.allclose(losses_of({"logits": z}, {"label": y}), want)
    assert losses_of({"losses": want}, {}) is not None
    with pytest.raises(ValueError, match="training_step"):
        losses_of(torch.tensor(1.0), {})


def test_adaptive_without_signals_is_named():
    with pytest.raises(ValueError, match="signals"):
        list(stream(Adaptive(kappa=0, strategy=by_name("margin")), 3))
