"""The default of every constant that a paper or its authors' code states is that one."""

import inspect

import pytest

from coreset.numerics.dynamics import DynamicsRecorder
from coreset.registry import strategy
from coreset.trainers.dynamic_pruning.epoch_plans import InfoBatch

PUBLISHED = {
    "typiclust": {"variant": "paper", "normalize": True, "neighbors": 20, "clusters": 500, "smallest": 5},
    "probcover": {"purity": 0.95, "normalize": True},
    "maxherding": {"width": 1.0, "normalize": True},
    "uherding": {"width": None, "normalize": True},
    "herding": {"variant": "icarl"},
    "cluster_margin": {"factor": 10.0, "scope": "pool"},
    "moderate": {"variant": "global"},
    "prototypes": {"keep": "hardest"},
    "d2_sampling": {"variant": "lightweight"},
    "zcore": {"samples": 1_000_000, "dims": 2, "neighbors": 1000, "power": 4.0, "random_start": True},
    "cal": {"neighbors": 10},
    "discriminative": {"classifier": "mlp", "rounds": 10, "ratio": 10, "epochs": 500},
    "stochastic_batch": {"kind": "power", "beta": 1.0},
    "badge": {"first": "largest", "bias": False},
    "bait": {"fisher": "exact", "ridge": 1.0},
    "craig": {"per_class": True, "distance": "euclidean"},
    "gradmatch": {"per_class": True},
    "glister": {"step": "sum", "refresh": 1},
    "alfamix": {"step": 0.2},
    "dropquery": {"per_choice": 25},
    "less": {"target": "mean_gradient"},
    "aum": {"signal": "aum"},
    "ccs": {"bins": 50},
    "d2": {"neighbors": 5, "gamma": 0.1},
    "weighted_clique": {"alpha": 1.0, "column": None},
    "dual_beta": {"c_d": 4.0},
    "two_stage": {"expand": 4.0},
    "deita": {"variant": "similarity", "threshold": 0.9},
    "mods": {"alpha": 0.0, "beta": 0.0, "seeds": 0.25, "necessity": None},
    "rds": {"variant": "released"},
    "s2l": {"clusters": 100},
    "mig": {"threshold": 0.9, "spread": 1.0, "power": 0.8, "offset": 1e-6},
    "qurating": {"temperature": 2.0, "normalize": True},
    "votes": {"percentile": 80.0},
    "self_filter": {"neighbors": 10, "gamma": 1.0},
    "learning_loss": {"subset": 10_000},
    "coregcn": {
        "subset": 10_000, "hidden": 128, "dropout": 0.3, "epochs": 200, "lr": 0.001, "weight_decay": 0.0005, "unlabeled_weight": 1.2,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_strategies(name):
    method = strategy(name)
    assert {key: getattr(method, key) for key in PUBLISHED[name]} == PUBLISHED[name]


def test_training_dynamics_and_infobatch():
    defaults = {n: p.default for n, p in inspect.signature(DynamicsRecorder).parameters.items()}
    want = {
        "window": 10,
        "el2n_epochs": 10,
        "dual_epochs": 30,
        "tdds_window": 10,
        "tdds_decay": 0.9,
    }
    assert {n: defaults[n] for n in want} == want
    assert (InfoBatch().ratio, InfoBatch().delta) == (0.5, 0.875)
