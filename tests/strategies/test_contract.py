"""Every registered strategy keeps the contract, by default and with every option that names another
way of doing it.
"""

import importlib
from dataclasses import fields

import numpy as np
import pytest
import torch

from coreset import Pool, Signals
from coreset.core.batch import objects
from coreset.registry import load, names, strategy
from coreset.testing import check_strategy, example_signals

# Draws and options without ties of their own making: of two mutual nearest neighbors either may
# stand for the other, and a saturated sum gains nothing more.
SEED = {"facility_location": 3, "flcg": 3, "flvmi": 3, "maxherding": 3, "uherding": 3}
SEED_OF = {
    ("facility_location", "dot"): 0,
    ("flcg", "dot"): 0,
    ("flcg", "euclidean"): 7,
    ("flvmi", "dot"): 4,
}
ALWAYS = {
    "flvmi": {"eta": 1.2},
    "saturated_coverage": {"alpha": 0.5},
    "coregcn": {"epochs": 10},
    "discriminative": {"epochs": 5},
    "zcore": {"samples": 300},
    "boss": {"batches": 12, "subset": 30},
    "progressive": {"depth": 1, "batches": 9, "subset": 30},
}
# Numbers that lead another way through the code than their defaults.
NUMBERS = {
    "maxherding": [
        {"width": 0.4},
        {"neighbors": 4},
        {"width": 3.0, "normalize": False},
        {"kernel": "top_hat", "width": 0.5},
    ],
    "uherding": [
        {"temperature": 2.5},
        {"neighbors": 4},
        {"width": 0.6},
        {"width": 2.0, "normalize": False},
    ],
    "probcover": [
        {"delta": 0.6},
        {"delta": 2.0, "normalize": False},
        {"purity": 0.7, "clusters": 3},
    ],
    "typiclust": [{"clusters": 5}, {"smallest": 0}, {"neighbors": 1}],
    "cluster_margin": [{"clusters": 3}, {"factor": 1.5}],
    "kcenter_robust": [{"outliers": 0.0}, {"outliers": 0.3, "slack": 0.0}],
    "facility_location": [
        {"neighbors": 8},
        {"neighbors": 0},
        {"neighbors": 8, "similarity": "euclidean"},
        {"similarity": "rbf", "gamma": 0.05},
        {"optimizer": "stochastic", "epsilon": 0.3},
        {"optimizer": "greedi", "parts": 2},
    ],
    "graph_cut": [{"neighbors": 0}, {"neighbors": 6}, {"lam": 3.0}],
    "gccg": [{"neighbors": 0}, {"nu": 0.0}, {"lam": 2.0}],
    "flcg": [{"neighbors": 8}, {"nu": 0.5}],
    "flvmi": [{"neighbors": 8}],
    "saturated_coverage": [{"neighbors": 8, "alpha": 0.9}],
    "flqmi": [{"eta": 0.3}],
    "log_det": [
        {"reg": 0.05},
        {"similarity": "rbf", "reg": 0.0},
    ],
    "cal": [{"neighbors": 1}],
    "direct": [{"search": 1}, {"search": 3}],
    "dropquery": [{"per_choice": 0}],
    "alfamix": [{"step": 1.0}],
    "batchbald": [{"configurations": 20}],
    "epig": [{"targets": 5}, {"column": "target"}],
    "discriminative": [{"rounds": 1}, {"ratio": 1}],
    "gradmatch": [{"ridge": 0.0}],
    "glister": [{"eta": 1.0}, {"refresh": 5}],
    "bait": [{"ridge": 0.01}],
    "ccs": [{"beta": 0.4, "bins": 3}],
    "d2": [{"neighbors": 1}, {"gamma": 1.0}, {"drop": 0.3}],
    "infomax": [{"alpha": 0.0}, {"alpha": 2.0}, {"neighbors": 2}, {"iterations": 5}],
    "nucs": [{"endpoint": 0.5}, {"winsor": 0.2}],
    "subzerocore": [{"coverage": 0.9}, {"neighbors": 8}, {"neighbors": 0}],
    "weighted_clique": [{"alpha": 0.2}, {"alpha": 0.0}, {"column": "labels"}],
    "dual_beta": [{"c_d": 1.0}],
    "class_quota": [{"cap": 30}, {"balance": "equal"}],
    "stratified": [{"balance": "equal"}],
    "deepfool": [{"source": "column"}],
    "aum": [{"signal": "aum_probs"}],
    "auto": [{"switch": 0.0}, {"classes": 2}],
    "mixture": [{"shares": [3, 1]}],
    "exclude": [{"ids": [4]}],
    "boss": [{"c": 0.1}],
    "progressive": [{"depth": 2, "alpha": 0.8}, {"most": 20}],
    "two_stage": [{"expand": 1.0}],
    "stochastic_batch": [{"beta": 4.0}],
    "zcore": [{"dims": 1}, {"neighbors": 3, "power": 1.0}],
    "coregcn": [{"subset": 5}, {"subset": None}],
    "learning_loss": [{"subset": 5}, {"subset": None}],
    "prototypes": [{"clusters": 4}, {"centers": np.eye(4, 6).tolist()}],
    "votes": [{"percentile": 40.0}],
    "self_filter": [{"neighbors": 3}, {"gamma": 0.0}],
    "kmeans": [{"iterations": 1}],
    "top_k": [{"signal": "blur"}, {"highest": False}],
    "deita": [{"threshold": 0.3}],
    "mods": [{"alpha": 0.4, "beta": 0.6}, {"seeds": 4}],
    "s2l": [{"clusters": 5}],
    "mig": [{"threshold": 0.5, "spread": 0.5}, {"power": 0.3}, {"offset": 0.1}],
    "qurating": [{"temperature": 0.0}],
}
ELSEWHERE = {  # tested with each strategy
    ("source", "distances"),  # a square column too
    ("similarity", "precomputed"),  # a square column, which no permutation of rows alone fits
    ("partial", True),  # answers also without one of its columns
}


# of the contract's layout, which are no candidates
LAST_FOUR = np.random.default_rng(1).permutation(48)[-4:]


def words(cls: type, name: str) -> list[str]:
    """Return the other values of an option that is a word: those of the tuples in its modules that
    hold its default.
    """
    default = getattr(cls(), name)
    modules = {
        importlib.import_module(c.__module__)
        for c in cls.__mro__
        if c.__module__.startswith("coreset.strategies.")
    }
    known = [
        v
        for m in modules
        for v in vars(m).values()
        if isinstance(v, tuple) and default in v and all(isinstance(w, str) for w in v)
    ]
    return sorted({w for v in known for w in v} - {default})


def variants(name: str) -> list[dict]:
    """Return options that each name one other way of doing it: every word, every switch, and the
    numbers above.
    """
    cls, options = load(name), []
    for field in fields(cls):
        default = getattr(cls(), field.name)
        if isinstance(default, bool):
            options += [{field.name: not default}] * ((field.name, not default) not in ELSEWHERE)
        elif isinstance(default, str):
            options += [
                {field.name: w} for w in words(cls, field.name) if (field.name, w) not in ELSEWHERE
            ]
    return options + NUMBERS.get(name, [])


def fitting(name: str, seed: int, options: dict) -> dict:
    """Return columns that replace the made-up ones where those do not fit what a strategy asks of a
    signal.
    """
    features = example_signals(48, frozenset({"features"}), seed)["features"]
    rng = np.random.default_rng(2)
    columns = {}
    if name in ("alfamix", "progressive", "boss") or (
        name == "deepfool" and options.get("source") != "column"
    ):  # logits are a linear layer on the features
        columns["logits"] = features @ rng.normal(size=(6, 4)) + rng.normal(size=4)
    if name == "feature_based" or (
        options.get("similarity") == "dot" and name in ("graph_cut", "gccg", "saturated_coverage")
    ):
        columns["features"] = np.abs(features)
    if name in ("flqmi", "flvmi", "gcmi"):
        columns["query"] = np.arange(48) % 7 == 3
    if name in ("flcg", "gccg"):
        columns["private"] = np.arange(48) % 7 == 3
    if name == "epig" and "column" in options:
        columns["target"] = np.arange(48) % 3 == 0
    if name == "boss" or (name == "glister" and options.get("validation") == "column"):
        columns["validation"] = np.isin(np.arange(48), LAST_FOUR)
    if options.get("source") == "gradients":
        columns["gradients"] = rng.normal(size=(48, 8))
    if name == "gradmatch" and options.get("validation") == "column":
        columns["validation"] = np.isin(np.arange(48), LAST_FOUR)
    if options.get("given"):
        columns["clusters"] = rng.integers(-1, 4, 48)
    if name == "votes":  # two tasks; most rows have as many votes as others
        columns["influence"] = rng.normal(size=(48, 2))
    if name == "activelab":
        columns["annotator_labels"] = rng.integers(-1, 4, (48, 3))
    if name in ("less", "less_round_robin"):
        tasks = np.full(48, -1)
        tasks[LAST_FOUR] = [0, 0, 1, 1]
        columns |= {"projected_gradients": rng.normal(size=(48, 8)), "validation_task": tasks}
    if name in ("instag", "mig"):
        columns["tags"] = objects(
            [rng.choice(list("abcdefghijkl"), rng.integers(0, 6)).tolist() for _ in range(48)]
        )
    if name in ("rds", "s2l"):
        columns["query_similarity" if name == "rds" else "losses"] = rng.normal(size=(48, 5))
    return columns


CASES = [pytest.param(n, o, id=f"{n}-{o}" if o else n) for n in names() for o in ({}, *variants(n))]


def case(name: str, options: dict) -> tuple:
    """Return the strategy and its columns."""
    seed = next(
        (SEED_OF[name, v] for v in (*options, *map(str, options.values())) if (name, v) in SEED_OF),
        SEED.get(name, 0),
    )
    method = strategy(name, {**ALWAYS.get(name, {}), **options})
    return method, {
        **example_signals(48, method.needs | method.needs_selected, seed),
        **fitting(name, seed, options),
    }


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), CASES)
def test_every_registered_strategy_keeps_the_contract(name, options):
    check_strategy(*case(name, options))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("name", "options"), CASES)
def test_on_a_gpu_the_same_examples_are_chosen(name, options):
    method, columns = case(name, options)
    check_strategy(method, columns, device="cuda")
    pool = Pool(48, [3, 11], np.setdiff1d(np.arange(48), [3, 11, *LAST_FOUR]))
    one, other = (
        method(pool, Signals(48, **cols), 12, np.random.default_rng(0))
        for cols in (
            columns,
            {n: v if v.dtype == object else torch.as_tensor(v).cuda() for n, v in columns.items()},
        )
    )
    assert one.indices.tolist() == other.indices.tolist()


# What is a number of degree, tried with one function for all that share it; and strategies made of
# strategies, tried with other parts in their own tests.
DEGREE = {
    "partial",
    "epsilon",
    "parts",
    "gamma",
    "seed",
    "beta",
    "hidden",
    "dropout",
    "lr",
    "weight_decay",
    "unlabeled_weight",
}
PARTS = {
    "base",
    "members",
    "final",
    "strategies",
    "first",
    "second",
    "cold",
    "warm",
    "many",
    "column",
    "positions",
    "necessity",
    "encoder",
}


@pytest.mark.parametrize("name", names())
def test_every_option_has_another_value_above(name):
    tried = {key for options in (ALWAYS.get(name, {}), *variants(name)) for key in options}
    elsewhere = {option for option, _ in ELSEWHERE}
    known = tried | DEGREE | PARTS | elsewhere
    left = [f.name for f in fields(load(name)) if f.name not in known]
    assert not left, f"{name}: no case has another value of {left}; add one"
