"""Settings are checked before anything starts, and a resumed run is the run it was."""

import json
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from coreset.cli.common import conf_dir
from coreset.trainers.experiment import _baselines, _of_all, build
from coreset.trainers.learners.config import TrainingConfig
from coreset.trainers.settings import RESULT_KEYS, RUN_KEYS, make, resolve, save


def composed(*overrides):
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return OmegaConf.to_container(compose("train", overrides=list(overrides)), resolve=True)


def settings(*overrides):
    return resolve(composed(*overrides), overrides)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["+lr=3"], r"^unknown setting .lr.; did you mean fit.lr or proxy.lr"),
        (["+budgt=3"], r"^unknown setting .budgt.; did you mean budget"),
        (
            ["+trainer.max_stepss=3"],
            r"^unknown setting .trainer.max_stepss.; did you mean trainer.max_steps",
        ),
        (["+trainer.max_steps=3"], r"^trainer.max_steps: is set by every training itself"),
        (["+full.stepz=3"], r"^unknown setting .full.stepz.; did you mean full.steps"),
    ],
)
def test_unknown_settings_are_refused_with_the_nearest(overrides, words):
    with pytest.raises(ValueError, match=words):
        settings(*overrides)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["proxy.epochs=0"], r"^proxy.epochs: expected"),
        (["proxy.steps=3"], r"^proxy.steps: give either steps or epochs"),
        (["fit.optimizer=adam"], r"^fit.optimizer: expected adamw"),
        (["fit.lr=-1"], r"^fit.lr: "),
        (["+fit.learning_rate=3"], r"^fit: .*no option 'learning_rate'; did you mean"),
        (["+model.widht=3"], r"^model: .*no option 'widht'; did you mean width"),
        (["model=timm", "model.name=resnet19"], r"^model.name: timm has no model 'resnet19'"),
        (["model.width=0"], r"^model: cannot read images|^model: "),
        (
            ["embedding=pretrained", "embedding.name=resnet19"],
            r"^embedding.name: timm has no pretrained weights for 'resnet19'; near: resnet",
        ),
        (["trainer.accelerator=abacus"], r"^trainer: .*abacus"),
        (["embedding=pretrained", "embedding.size=3"], r"^embedding: expected size >= 32"),
    ],
)
@pytest.mark.filterwarnings("ignore:Initializing zero-element")
def test_wrong_parts_are_refused_by_name_before_anything_is_written(tmp_path, overrides, words):
    cfg = settings("budget=20", *overrides)
    with pytest.raises((ValueError, TypeError), match=words):
        build(cfg, tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_the_reference_has_a_rule_of_its_own():
    """Whatever the small rounds take, all labels are trained by the rule, or by what full says."""
    for overrides in (["fit.steps=7"], ["fit.steps=null", "fit.epochs=2"], []):
        cfg = settings("fit.lr=0.01", *overrides)
        recipe = make(_of_all(cfg), "fit")
        assert recipe == TrainingConfig(lr=0.01)
        assert recipe.total_steps(60_000) == 3752
    cfg = settings("fit.steps=7", "full.steps=null", "full.epochs=3", "+full.batch_size=10")
    assert make(_of_all(cfg), "fit").total_steps(60) == 18
    with pytest.raises(ValueError, match=r"^baseline: expected random or full"):
        _baselines(settings("baseline=random"))


def saved_run(folder: Path, *overrides):
    """A run folder as coreset-train leaves it, without training."""
    cfg = {**settings(*overrides), "strategy_name": "x"}
    folder.mkdir()
    config = {key: cfg[key] for key in RESULT_KEYS} | {"data_fingerprint": "f"}
    (folder / "config.json").write_text(json.dumps(config))
    save(cfg, folder)
    return cfg


HOW = (
    "baseline=[]", "trainer.accelerator=cpu", "+trainer.devices=1", "logger=none", "threads=1",
    "store=other", "report=false", "full.steps=5",
)  # fmt: skip


def test_resume_is_the_run_it_was(tmp_path):
    run = tmp_path / "run"
    before = saved_run(run, "strategy=margin", "budget=[20]", *HOW, f"store={run}/store")
    again = settings(f"resume={run}")
    for key in (*RESULT_KEYS, *RUN_KEYS):
        assert again[key] == before[key], key


def test_resume_takes_what_the_command_line_says_of_how_to_go_on(tmp_path):
    run = tmp_path / "run"
    before = saved_run(run, "strategy=margin", *HOW)
    more = ["baseline=[random]", "trainer.accelerator=auto", "logger=csv", "store=other"]
    again = settings(f"resume={run}", *more)
    assert again["baseline"] == ["random"]
    assert again["trainer"] == {"accelerator": "auto", "devices": 1}
    assert again["logger"]["_target_"] == "coreset.trainers.loops.loggers.csv_logger"
    assert again["threads"] == 1
    assert json.loads((run / "settings.json").read_text())["baseline"] == before["baseline"]
    with pytest.raises(ValueError, match="another configuration: fit.lr: 0.006 there, 0.1 now"):
        settings(f"resume={run}", "fit.lr=0.1")


def test_a_folder_without_saved_settings_takes_the_defaults(tmp_path):
    run = tmp_path / "run"
    saved_run(run, "strategy=margin", *HOW)
    (run / "settings.json").unlink()
    assert settings(f"resume={run}")["baseline"] == ["random", "full"]


@pytest.mark.parametrize("key", ["model", "data", "strategy", "fit", "embedding", "logger"])
def test_a_folder_from_somebody_else_calls_nothing_of_its_own(tmp_path, key, monkeypatch):
    """A run folder is data: what it names must be ours, and of the right kind."""
    run, spoiled = tmp_path / "run", tmp_path / "spoiled"
    saved_run(run, "strategy=margin")
    name = "settings.json" if key == "logger" else "config.json"
    text = json.loads((run / name).read_text())
    text[key] = {"_target_": "os.mkdir", "path": str(spoiled)}
    (run / name).write_text(json.dumps(text))
    with pytest.raises(ValueError, match=rf"^{key}: .*os.mkdir.*refused"):
        make(settings(f"resume={run}"), key)
    assert not spoiled.exists()


def test_your_own_code_is_named_again_on_the_command_line(tmp_path, monkeypatch):
    (tmp_path / "mymodels.py").write_text(
        "from torch import nn\n\n\ndef net(num_classes, in_channels, image_size):\n    return"
        " nn.Linear(1, 1)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    run = tmp_path / "run"
    own = ["model=linear", "model._target_=mymodels.net"]
    saved_run(run, *own)
    with pytest.raises(ValueError, match="^model: .*refused"):
        make(settings(f"resume={run}"), "model")
    assert make(settings(f"resume={run}", *own), "model").func.__module__ == "mymodels"


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("store", []),
        ("trainer.default_root_dir", []),
        ("data.cache", ["data=image_folder", "data.root=images"]),
        ("oracle.path", ["oracle=file"]),
    ],
)
def test_a_folder_from_somebody_else_says_not_where_files_go(tmp_path, name, overrides):
    """Only the user names a place to write to, outside of the run folder."""
    run = tmp_path / "run"
    saved_run(run, "strategy=margin", *overrides)
    assert settings(f"resume={run}")["store"] == ".cache/coreset"
    group, _, key = name.partition(".")
    file = run / ("settings.json" if group in RUN_KEYS else "config.json")

    def named(place):
        text = json.loads(file.read_text())
        text[group] = {**text[group], key: str(place)} if key else str(place)
        file.write_text(json.dumps(text))

    for place in (tmp_path / "theirs", run / ".." / "theirs", "~/theirs"):
        named(place)
        with pytest.raises(ValueError, match=rf"^{name}: .*would be written.*{name}="):
            settings(f"resume={run}")
    sign = "++" if name == "trainer.default_root_dir" else ""
    confirmed = settings(f"resume={run}", *overrides, f"{sign}{name}='~/theirs'")
    assert (confirmed[group][key] if key else confirmed[group]) == "~/theirs"
    for place in (run / "inside", run):
        named(place)
        settings(f"resume={run}")
