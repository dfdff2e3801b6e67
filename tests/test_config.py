"""The configuration and the code say the same: every file resolves, holds exactly its target's
parameters with their defaults, and composes.
"""

import inspect
import tomllib
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.utils import get_object, instantiate
from omegaconf import OmegaConf

from coreset import Strategy
from coreset.build import build
from coreset.curation.operators.base import KINDS, flatten, kind
from coreset.distillation import Distiller
from coreset.distillation.distiller import distiller
from coreset.registry import load, names, scorer, strategy

ROOT = Path(__file__).parent.parent
CONF = ROOT / "conf"
FILES = {
    str(p.relative_to(CONF).with_suffix("")).removeprefix("coco/"): OmegaConf.load(p)
    for p in sorted(CONF.rglob("*.yaml"))
}
for _name in ("task/detection", "task/segmentation"):  # they bring defaults of other groups along
    FILES[_name] = FILES[_name]["task"]
TARGETS = {name: cfg for name, cfg in FILES.items() if "_target_" in cfg}
STRATEGIES = {
    name.split("/")[1]: cfg
    for name, cfg in TARGETS.items()
    if name.startswith("strategy/")
    and name.count("/") == 1
    and cfg["_target_"].startswith("coreset.strategies.")
}  # by_name asks the registry, for strategies of other packages
DISTILLERS = {
    name.split("/")[2]: cfg for name, cfg in TARGETS.items() if name.startswith("strategy/distill/")
}

# What the loops hand to a target besides what its file holds.
PASSED = {
    "model": {"num_classes", "in_channels", "image_size"},
    "logger": {"folder", "run_config"},
    "oracle": {"ids", "classes"},
    "oracle/label_studio": {"ids", "classes", "drawing"},
    "dynamic/adaptive": {"strategy"},
}
# the same keys as fit/default, other values
NOT_THE_DEFAULTS = {"fit/proxy", "fit/dense", "fit/dense_proxy", "fit/published_distillation"}
# tests/trainers/tasks/test_detection.py, test_segmentation.py
DENSE = {"model/detector", "model/light_detector", "model/segmenter"}


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def plain(value):
    """Return lists for tuples, and what a factory makes, so that YAML and Python can be compared."""
    if repr(value) == "<factory>":  # of a dataclass: an empty mapping
        return {}
    return [plain(v) for v in value] if isinstance(value, list | tuple) else value


def instantiated(value):
    """Return a value of a file as the object it stands for."""
    value = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
    if isinstance(value, list):
        return [instantiated(v) for v in value]
    return (
        instantiate(value, _convert_="all")
        if isinstance(value, dict) and "_target_" in value
        else value
    )


def nested(cfg):
    """Yield every configuration with a target inside another."""
    for value in OmegaConf.to_container(cfg).values():
        for v in value if isinstance(value, list) else [value]:
            if isinstance(v, dict) and v.get("_target_", "???") != "???":
                yield v
                yield from nested(OmegaConf.create(v))


@pytest.mark.parametrize("name", TARGETS)
def test_keys_and_defaults_are_the_targets_parameters(name):
    cfg = TARGETS[name]
    target = get_object(cfg["_target_"])
    passed = PASSED.get(name, PASSED.get(name.split("/")[0], set()))
    parameters = {
        n: p for n, p in inspect.signature(target).parameters.items() if n not in passed or n in cfg
    }
    assert passed <= set(inspect.signature(target).parameters), (
        f"{cfg['_target_']} must take {sorted(passed)}"
    )
    assert [k for k in cfg if k not in ("_target_", "_partial_")] == list(parameters)
    assert next(iter(cfg)) == "_target_"
    required = {
        n
        for n in passed
        if inspect.signature(target).parameters[n].default is inspect.Parameter.empty
    }
    assert bool(cfg.get("_partial_", False)) == bool(required)
    if inspect.isclass(target) and issubclass(target, Strategy | Distiller):
        defaults = target().parameters()
    else:
        defaults = {
            n: p.default for n, p in parameters.items() if p.default is not inspect.Parameter.empty
        }
    if name not in NOT_THE_DEFAULTS:
        for key, value in defaults.items():
            if OmegaConf.is_interpolation(cfg, key):  # a setting of the application
                continue
            assert plain(instantiated(cfg[key])) == plain(value), (
                f"{key}: the file says {cfg[key]!r}, the code {value!r}"
            )
    for inner in nested(cfg):
        keys = [k for k in inner if k not in ("_target_", "_partial_")]
        unknown = set(keys) - set(inspect.signature(get_object(inner["_target_"])).parameters)
        assert not unknown, f"{inner['_target_']} does not take {unknown}"


@pytest.mark.parametrize(
    "name",
    [
        n
        for n in TARGETS
        if n.split("/")[0] in ("fit", "embedding") or n.removeprefix("strategy/") in STRATEGIES
    ],
)
def test_it_instantiates(name):
    cfg = OmegaConf.to_container(TARGETS[name])
    thing = instantiate(cfg, _convert_="all")
    assert type(thing) is get_object(cfg["_target_"])
    if name.startswith("strategy/"):
        assert thing == get_object(cfg["_target_"])()


@pytest.mark.parametrize("name", [n for n in TARGETS if n.startswith("model/") and n not in DENSE])
def test_a_model_is_made_as_the_loops_make_it(name):
    import torch

    model = instantiate(TARGETS[name], _convert_="all")(num_classes=3, in_channels=1, image_size=32)
    with torch.no_grad():
        assert model.eval()(torch.zeros(2, 1, 32, 32)).shape == (2, 3)


def test_strategies_and_entry_points_are_one_to_one():
    entries = project()["project"]["entry-points"]["coreset.strategies"]
    files = {name: cfg["_target_"] for name, cfg in STRATEGIES.items()}
    assert files == {name: value.replace(":", ".") for name, value in entries.items()}
    assert sorted(entries) == names(), "install the package again: pip install --no-deps -e ."
    for name, cfg in STRATEGIES.items():
        assert load(name) is get_object(cfg["_target_"])
        assert type(strategy(name)) is load(name)


def test_distillers_and_entry_points_are_one_to_one():
    entries = project()["project"]["entry-points"]["coreset.distillers"]
    assert {n: cfg["_target_"] for n, cfg in DISTILLERS.items()} == {
        n: v.replace(":", ".") for n, v in entries.items()
    }
    assert sorted(entries) == names("coreset.distillers"), (
        "install the package again: pip install --no-deps -e ."
    )
    for name, cfg in DISTILLERS.items():
        assert isinstance(instantiate(OmegaConf.to_container(cfg), _convert_="all"), Distiller)
        assert distiller(name) == instantiate(OmegaConf.to_container(cfg), _convert_="all")
        assert OmegaConf.to_container(
            composed("train", f"strategy=distill/{name}").strategy
        ) == OmegaConf.to_container(cfg)


def test_every_strategy_file_is_registered_or_holds_none():
    registered = {load(name) for name in names()} | {
        load(n, "coreset.distillers") for n in names("coreset.distillers")
    }
    for path in sorted((ROOT / "strategies").rglob("*.py")):
        if path.name == "__init__.py":
            continue
        module = ".".join(("coreset", *path.relative_to(ROOT).with_suffix("").parts))
        loaded = vars(__import__(module, fromlist=["*"]))
        own = [
            v
            for v in loaded.values()
            if inspect.isclass(v) and issubclass(v, Strategy | Distiller) and v.__module__ == module
        ]
        left = [
            c.__name__
            for c in own
            if not inspect.isabstract(c) and c not in registered and not c.__subclasses__()
        ]
        assert not left, f"{path}: {left} have no name in pyproject.toml and conf/strategy"


def composed(app: str, *overrides: str):
    from coreset.cli.common import conf_dir

    root = conf_dir()
    with initialize_config_dir(str(root), version_base="1.3"):
        return compose(app, overrides=list(overrides))


@pytest.mark.parametrize("name", STRATEGIES)
def test_strategies_compose(name):
    for app in ("train", "select"):
        cfg = composed(app, f"strategy={name}", "budget=3")
        assert OmegaConf.to_container(cfg.strategy, resolve=True) == OmegaConf.to_container(
            STRATEGIES[name], resolve=True
        )


OPTIONS = [
    n
    for n in FILES
    if "/" in n
    and n.split("/")[0] not in ("strategy", "scorer", "recipe", "engine", "learner", "bench")
]


@pytest.mark.parametrize("name", OPTIONS)
def test_groups_compose_in_train(name):
    group, option = name.split("/")
    missing = {
        f"data.{k}=x"
        for k, v in OmegaConf.to_container(FILES[name]).items()
        if group == "data" and v == "???"
    }
    missing |= {"learner.datamodule.path=x"} if name == "task/causal_lm" else set()
    missing |= {"data.root=x"} if name in ("task/detection", "task/segmentation") else set()
    cfg = composed("train", f"{group}={option}", *missing)
    OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    if group != "experiment" and name != "task/causal_lm":  # which has a learner instead of a task
        assert set(cfg[group] or {}) == set(FILES[name])


TEXT = {"input": "in.jsonl", "out": "out", "model.name": "name", "budget": 0.1}


@pytest.mark.parametrize(
    "name",
    [
        n
        for n in FILES
        if n.split("/")[0] in ("scorer", "recipe", "engine") and not n.endswith("by_name")
    ],
)
def test_groups_compose_in_curate_and_score(name):
    group, option = name.split("/")
    for app in {"scorer": ["score"], "recipe": ["curate"], "engine": ["curate", "score"]}[group]:
        settings = [
            f"{k}={v}" for k, v in TEXT.items() if k.split(".")[0] in {*FILES[app], *FILES["rows"]}
        ]
        cfg = OmegaConf.to_container(
            composed(app, f"{group}={option}", *settings), resolve=True, throw_on_missing=True
        )
        parts = cfg[group]["operators"] if group == "recipe" else [cfg[group]]
        operators = [build(part, "operator" if group == "recipe" else group) for part in parts]
        assert all(operators)
        if group != "engine":
            assert {kind(o) for o in flatten(operators)} <= (
                {"score", "estimator"} if group == "scorer" else set(KINDS)
            )


def test_a_scorer_by_name():
    cfg = composed(
        "score",
        "scorer=by_name",
        "scorer.name=length",
        "scorer.options={column: response}",
        "input=a.jsonl",
    )
    assert instantiate(cfg.scorer, _convert_="all") == load("length", "coreset.scorers")("response")
    with pytest.raises(KeyError, match="unknown scorer 'lenght'; did you mean length"):
        scorer("lenght")


def test_scorers_and_entry_points_are_one_to_one():
    entries = project()["project"]["entry-points"]["coreset.scorers"]
    files = {
        n.split("/")[1]: c["_target_"]
        for n, c in FILES.items()
        if n.startswith("scorer/") and not n.endswith("by_name")
    }
    assert files == {name: value.replace(":", ".") for name, value in entries.items()}
    assert sorted(entries) == names("coreset.scorers"), (
        "install the package again: pip install --no-deps -e ."
    )
    operators = project()["project"]["entry-points"]["coreset.operators"]
    assert sorted(operators) == names("coreset.operators")
    for name in operators:
        load(name, "coreset.operators")


@pytest.mark.parametrize("app", ["train", "select", "select_coco", "curate", "score"])
def test_every_setting_has_a_meaning_beside_it(app):
    """Each top-level key of the two applications has a comment on its line, which is the help."""
    file = next(CONF.rglob(f"{app}.yaml"))
    for line in file.read_text().split("\nhydra:")[0].splitlines():
        key = line.split(":")[0]
        if key and key.isidentifier() and key not in ("defaults", "seed"):
            assert "#" in line, f"{app}.yaml: {key} has no comment"


def sweeps():
    return sorted((ROOT / "scripts" / "sweeps").glob("*.yaml"))


@pytest.mark.parametrize("path", sweeps(), ids=lambda p: p.stem)
def test_sweeps_compose(path):
    sweep = yaml.safe_load(path.read_text())
    assert set(sweep) <= {
        "program",
        "method",
        "metric",
        "parameters",
        "command",
        "name",
        "description",
        "run_cap",
    }
    assert (ROOT / sweep["program"]).is_file()
    assert sweep["method"] in ("grid", "random", "bayes")
    assert set(sweep["metric"]) == {"name", "goal"}
    assert sweep["metric"]["goal"] in ("maximize", "minimize")
    command = sweep["command"]
    assert command[:4] == ["${env}", "${interpreter}", "${program}", "${args_no_hyphens}"]
    assert "logger=wandb" in command
    values = [
        p.get("values") or [p["value"] if "value" in p else p["min"]]
        for p in sweep["parameters"].values()
    ]
    for i in range(max(map(len, values))):  # every value once, in the company of any others
        combination = [v[i % len(v)] for v in values]
        arguments = [
            f"{key}={value}" for key, value in zip(sweep["parameters"], combination, strict=True)
        ]
        cfg = composed("train", *arguments, *command[4:])
        assert cfg.logger["_target_"] == "coreset.trainers.loops.loggers.wandb_logger"


def test_a_mistyped_key_is_refused():
    from hydra.errors import ConfigCompositionException

    for app, wrong in [
        ("train", "bugdet=3"),
        ("select", "strategy.normalise=true"),
        ("train", "fit.stps=3"),
    ]:
        with pytest.raises(ConfigCompositionException, match=wrong.split("=")[0]):
            composed(app, wrong)
