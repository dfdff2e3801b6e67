"""The evaluation grid: what is held out, which cells there are, how a rate is chosen, and the
scores.
"""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from coreset.distillation.nn.convnet import convnet
from coreset.distillation.scores import augmentation_robust, label_robust
from coreset.trainers.data.sources import digits
from coreset.trainers.distillation import grid as module
from coreset.trainers.distillation.grid import Plan, grid, scores, split, table
from coreset.trainers.learners.fit import TrainingConfig
from coreset.trainers.tasks.models import linear

DATA = digits()


def first(source, ipc, rng):
    return source.real(np.concatenate([r[:ipc] for r in source.rows(int(rng.integers(2**31)))]))


def test_the_part_held_out_is_never_seen():
    less, judge = split(DATA, 0.2, 3)
    assert len(less.images) + len(judge.test_images) == len(DATA.images)
    assert len(judge.test_images) == round(0.2 * len(DATA.images))
    assert (less.test_images == DATA.test_images).all()
    held = np.setdiff1d(DATA.ids, less.ids)
    assert (judge.test_images == DATA.images[np.isin(DATA.ids, held)]).all()
    assert (judge.test_labels == DATA.labels[np.isin(DATA.ids, held)]).all()
    order = np.random.default_rng(0).permutation(len(DATA.ids))
    moved = replace(DATA, images=DATA.images[order], labels=DATA.labels[order], ids=DATA.ids[order])
    assert sorted(split(moved, 0.2, 3)[0].ids.tolist()) == sorted(less.ids.tolist())


def test_cells_scores_and_table(tmp_path, monkeypatch):
    seen = []
    real = module.fit_distilled
    monkeypatch.setattr(
        module,
        "fit_distilled",
        lambda fitter, recipe, distilled, seed: (
            seen.append((recipe.lr, recipe.augment, distilled.kind, seed))
            or real(fitter, recipe, distilled, seed)
        ),
    )
    plan = Plan(sets=2, nets=1, rates=(0.01, 0.0001))
    entries = grid(
        DATA,
        {"random": first, "same": first},
        [1],
        {"convnet": partial(convnet, width=4), "linear": linear},
        TrainingConfig(steps=20),
        TrainingConfig(steps=30),
        tmp_path,
        plan,
        seed=1,
    )
    assert len(entries) == 2 * 5 + 1
    assert all(len(e["accuracy"]) == 2 and len(e["rate"]) == 2 for e in entries[:-1])
    assert {r for e in entries[:-1] for r in e["rate"]} <= {0.01, 0.0001}
    assert len(seen) == 2 * 2 * 5 * 3
    assert {kind for _, _, kind, _ in seen} == {"hard", "logits"}
    by = {(e["method"], e["labels"], e["augment"], e["model"]): e for e in entries}
    for cell in (("hard", False, "convnet"), ("soft", True, "convnet"), ("hard", False, "linear")):
        # one recipe, the same seeds
        assert by["random", *cell]["accuracy"] == by["same", *cell]["accuracy"]
    mean = {k: float(np.mean(e["accuracy"])) for k, e in by.items()}
    by_method = {s["method"]: s for s in scores(entries)}
    hard, soft = mean["same", "hard", False, "convnet"], mean["same", "soft", False, "convnet"]
    full = mean["full", "hard", False, ""]
    assert by_method["same"]["label_robust"] == pytest.approx(
        label_robust(full, hard, max(hard, soft), max(hard, soft))
    )
    up = mean["same", "hard", True, "convnet"]
    assert by_method["same"]["augmentation_robust"] == pytest.approx(
        augmentation_robust(up, up, hard, hard)
    )
    text = table(entries)
    assert text.count("\n") == 4
    assert "hard (linear)" in text


def test_the_rate_that_is_best_on_the_part_held_out(monkeypatch):
    class Found:
        def __init__(self, accuracy):
            self.accuracy = accuracy

    monkeypatch.setattr(
        module,
        "fit_distilled",
        lambda fitter, recipe, distilled, seed: Found({0.1: 0.3, 0.2: 0.9, 0.3: 0.9}[recipe.lr]),
    )
    assert module._best_rate(None, TrainingConfig(), None, (0.1, 0.2, 0.3), (0,)) == 0.2
    assert module._best_rate(None, TrainingConfig(), None, (0.7,), (0,)) == 0.7


def test_wrong_plans(tmp_path):
    for options in ({"sets": 0}, {"nets": 0}, {"rates": ()}, {"held_out": 0.0}):
        with pytest.raises(ValueError, match="sets, nets, rates, held_out"):
            Plan(**options)
    with pytest.raises(ValueError, match="random images are the baseline"):
        grid(
            DATA,
            {"dm": first},
            [1],
            {"linear": linear},
            TrainingConfig(),
            TrainingConfig(),
            tmp_path,
        )
