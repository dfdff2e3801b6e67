"""A distillation in the prune loop: budgets, ledger, resume, teachers, what is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from coreset.core.store import Store
from coreset.distillation import Synthetic
from coreset.distillation.distiller import distiller
from coreset.runs.run_folder import RunFolder
from coreset.trainers.curve_name import curve_name
from coreset.trainers.data.sources import digits
from coreset.trainers.distillation.round import fit_distilled
from coreset.trainers.distillation.teacher import Teachers
from coreset.trainers.learners.fit import Fitter, TrainingConfig
from coreset.trainers.loops.build import build
from coreset.trainers.loops.gallery import write_gallery
from coreset.trainers.loops.in_memory import assemble, context_of
from coreset.trainers.loops.plan import make_plan
from coreset.trainers.loops.rounds import run
from coreset.trainers.oracles import HiddenLabels
from coreset.trainers.tasks.features import ModelFeatures
from coreset.trainers.tasks.models import small_cnn

DATA = digits()
QUICK = {"steps": 8, "width": 4, "real": 16, "pool": 2}


def job(tmp_path, sizes=(10, 20), options=None, folder="run"):
    method = distiller("dm", {**QUICK, **(options or {})})
    plan = make_plan(method, list(sizes), len(DATA.images))
    fitter, store = Fitter(DATA, small_cnn, {"accelerator": "cpu"}), Store(tmp_path / "store")
    proxy = TrainingConfig(steps=None, epochs=2)
    project = assemble(method, fitter, TrainingConfig(steps=6), proxy, ModelFeatures(), store, 3)
    record = RunFolder(tmp_path / folder, {"n": 1}, plan.rounds, "dm", 0)
    oracle = HiddenLabels(DATA.labels)
    return context_of(project, plan, oracle, store, record, 0, members=3)


def test_every_budget_is_made_trained_on_and_told(tmp_path):
    told = []
    j = job(tmp_path)
    run(replace(j, progress=lambda number, what: told.append((number, what))))
    entries = [
        json.loads(line) for line in (j.folder.path / "ledger.jsonl").read_text().splitlines()
    ]
    assert [e["labels"] for e in entries] == [10, 20]
    for number, entry in enumerate(entries):
        distilled = Synthetic.load(j.folder.round(number) / "synthetic")
        assert entry["class_histogram"] == [number + 1] * 10
        assert entry["indices"] == entry["ids"] == []
        size = entry["synthetic"]
        assert (size["ipc"], size["images"], size["bytes"]) == (
            number + 1,
            10 * (number + 1),
            distilled.nbytes,
        )
        assert size["labels_used"] == len(DATA.images)
        assert distilled.info["recipe"]["steps"] == 6
        assert distilled.info["data"]["fingerprint"] == DATA.fingerprint
        assert j.folder.points[number].extra["labels_used"] == len(DATA.images)
    assert (0, "training") in told
    assert any("distilling, step 8 of 8, loss" in what for _, what in told)
    write_gallery(j)
    with np.load(j.folder.path / "gallery.npz") as g:
        assert g["thumbs"].shape == (30, 8, 8, 1)
        assert g["thumbs"].dtype == np.uint8
        assert g["thumb_round"].tolist() == [0] * 10 + [1] * 20
        assert g["chosen_counts"].tolist() == [2] * 10
        assert (g["map_chosen"] == 1).sum() == 20


def test_a_point_does_not_depend_on_the_other_budgets(tmp_path):
    both, alone = job(tmp_path, folder="both"), job(tmp_path, (20,), folder="alone")
    run(both)
    run(alone)
    a, b = (Synthetic.load(j.folder.round(n) / "synthetic") for j, n in ((both, 1), (alone, 0)))
    assert a.images.tobytes() == b.images.tobytes()


class Killed(BaseException):
    pass


@pytest.mark.parametrize("where", ["distilling, step 10 of", "training"])
def test_a_run_that_was_killed_goes_on_to_the_same_curve(tmp_path, where):
    options = {"steps": 20}
    whole = job(tmp_path, options=options, folder="whole")
    run(whole)

    def kill(number, what):
        if number == 1 and where in what:
            raise Killed

    killed = job(tmp_path, options=options, folder="killed")
    object.__setattr__(killed, "progress", kill)
    with pytest.raises(Killed):
        run(killed)
    again = job(tmp_path, options=options, folder="killed")
    run(again)
    for number in (0, 1):
        a, b = (Synthetic.load(j.folder.round(number) / "synthetic") for j in (whole, again))
        assert a.images.tobytes() == b.images.tobytes()
    assert [p.value for p in whole.folder.points] == [p.value for p in again.folder.points]


def test_soft_labels_train_at_their_temperature(tmp_path):
    fitter = Fitter(DATA, small_cnn, {"accelerator": "cpu"})
    images = np.zeros((10, 1, 8, 8), np.float32)
    hard = Synthetic(images, np.arange(10), DATA.classes, DATA.mean, DATA.std)
    eye = np.eye(10, dtype=np.float32)
    soft, warm = hard.with_labels(eye, "probs"), hard.with_labels(eye, "probs", 4.0)
    a, b, c = (
        fit_distilled(fitter, TrainingConfig(steps=3, precision="32"), m, (0, 1)).model.state_dict()
        for m in (hard, soft, warm)
    )
    assert all(torch.allclose(a[k].float(), b[k].float(), atol=1e-6) for k in a)
    assert not all(torch.allclose(a[k].float(), c[k].float(), atol=1e-6) for k in a)
    with pytest.raises(ValueError, match="val_share"):
        fit_distilled(fitter, TrainingConfig(steps=3, val_share=0.1), hard, (0, 1))


def test_training_on_made_copies_of_real_images_is_training_on_the_real_ones():
    rows = np.arange(40)
    fitter = Fitter(DATA, small_cnn, {"accelerator": "cpu"})
    recipe = TrainingConfig(steps=5, precision="32")
    real = fitter.fit(recipe, DATA.labels, rows, seed=(0, 1))
    copies = Synthetic(
        DATA.images[rows].transpose(0, 3, 1, 2),
        DATA.labels[rows],
        DATA.classes,
        DATA.mean,
        DATA.std,
        "pixels",
    )
    fitted = fit_distilled(fitter, recipe, copies, (0, 1))
    assert fitted.accuracy == real.accuracy
    for name, value in real.model.state_dict().items():
        assert torch.allclose(value.float(), fitted.model.state_dict()[name].float(), atol=1e-5), (
            name
        )


def test_teachers_by_epoch(tmp_path):
    j = job(tmp_path)
    make = Teachers(
        j.learner.fitter, j.proxy.config, j.store, 0, "m", torch.device("cpu"), DATA.labels
    )
    first, last = make(epoch=1), make()
    assert (first.epoch, last.epoch) == (1, 2)
    x = torch.zeros(2, 1, 8, 8)
    assert not torch.equal(first.logits(x), last.logits(x))
    assert torch.equal(make(epoch=2).logits(x), last.logits(x))
    assert 0.3 < last.accuracy <= 1
    assert make({"width": 4, "norm": "batch"}, 1).logits(x).shape == (2, 10)
    with pytest.raises(ValueError, match="expected 1 to 2, got 3"):
        make(epoch=3)
    assert last.check(DATA.classes) is last
    with pytest.raises(ValueError, match="same classes in another order"):
        last.check(DATA.classes[::-1])


def config(**change):
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from coreset.cli.common import conf_dir

    overrides = [
        "strategy=distill/dm",
        "budget=[1,3]",
        "unit=ipc",
        *(f"{k}={v}" for k, v in change.items()),
    ]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return OmegaConf.to_container(compose("train", overrides=overrides), resolve=True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"budget": "[15]", "unit": "images"}, "15 images are no whole number"),
        ({"budget": "[129]"}, "ipc: expected 1 to"),
        ({"budget": "[100]", "unit": "bytes"}, "do not pay for one image"),
        ({"mode": "active"}, "needs labels of the candidates"),
        ({"oracle": "file"}, "label of every example"),
        ({"dynamic": "rs2"}, "makes its own"),
        ({"fit.val_share": 0.1}, "val_share"),
        ({"strategy.lr": -1}, "lr: expected more than 0"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_trains(tmp_path, change, words):
    with pytest.raises(Exception, match=words):
        build(config(**change), tmp_path / "run")


@pytest.mark.filterwarnings("ignore:real")
def test_sizes_by_unit_and_the_name_says_all_labels(tmp_path):
    assert build(config(), tmp_path / "a").plan.sizes == (10, 30)
    assert build(config(unit="bytes", budget="[3000,9000]"), tmp_path / "b").plan.sizes == (
        10,
        30,
    )  # 257 bytes an image
    cfg = config(**{"strategy.width": 8})
    assert curve_name(cfg, {"strategy": "distill/dm"}) == "distill/dm(width=8), all labels"
