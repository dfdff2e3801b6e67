"""Matching methods on digits: one made image per class against random and herded ones, and with
shuffled labels.
"""

from functools import partial

import numpy as np
import pytest

from coreset.core.pool import Pool
from coreset.core.signals import Signals
from coreset.distillation.distiller import distiller
from coreset.distillation.nn.convnet import convnet
from coreset.registry import strategy
from coreset.trainers.data.sources import digits
from coreset.trainers.distillation.round import fit_distilled, source_of
from coreset.trainers.learners.fit import Fitter, TrainingConfig

DATA = digits()
OPTIONS = {
    "dm": {"steps": 100, "width": 32, "augment": "none", "pool": 10, "real": 64},
    "dc": {"networks": 50, "width": 32, "real": 32, "lr": 1.0, "start": "real"},
}


@pytest.mark.slow
@pytest.mark.parametrize("method", OPTIONS)
def test_one_image_per_class_beats_herding_and_random_and_shuffled_labels_teach_nothing(method):
    fitter, recipe = (
        Fitter(DATA, partial(convnet, width=32), {"accelerator": "cpu"}),
        TrainingConfig(steps=200, augment=False),
    )
    source = source_of(DATA, DATA.labels)
    accuracies = {"made": [], "random": [], "herding": [], "shuffled": []}
    pixels = DATA.images.reshape(len(DATA.images), -1).astype(np.float32)
    herding = strategy("class_quota", {"base": strategy("herding")})
    for seed in range(2):
        sets = {
            "made": distiller(method, OPTIONS[method])(source, 1, np.random.default_rng(seed)),
            "random": source.real(np.concatenate([r[:1] for r in source.rows(seed)])),
        }
        if not seed:
            wrong = source_of(DATA, np.random.default_rng(0).permutation(DATA.labels))
            sets["shuffled"] = distiller(method, OPTIONS[method])(
                wrong, 1, np.random.default_rng(0)
            )
            signals = Signals(len(pixels), features=pixels, labels=DATA.labels)
            chosen = herding(Pool(len(pixels)), signals, 10, np.random.default_rng(0)).indices
            sets["herding"] = source.real(chosen[np.argsort(DATA.labels[chosen])])
        for name, one in sets.items():
            accuracies[name].append(fit_distilled(fitter, recipe, one, (seed, 1)).accuracy)
    mean = {name: float(np.mean(values)) for name, values in accuracies.items()}
    assert mean["made"] > mean["random"] + 0.10
    assert mean["made"] > mean["herding"] + 0.04
    assert mean["shuffled"] < 0.25
