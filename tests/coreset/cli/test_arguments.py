"""Names on the command line that no application knows, refused before anything is composed."""

from __future__ import annotations

import pytest

from coreset.cli.common import check_arguments, conf_dir


@pytest.mark.parametrize(
    ("config", "arguments", "message"),
    [
        ("train.yaml", ["strategy=kcentre"], "unknown strategy 'kcentre'; did you mean kcenter"),
        ("train.yaml", ["strategy=margin,entrop"], "unknown strategy 'entrop'; did you mean entr"),
        ("train.yaml", ["fit@proxy=defalt"], "unknown fit 'defalt'; did you mean default"),
        ("train.yaml", ["strateg=kcenter"], "unknown setting 'strateg'; did you mean strategy"),
        ("train.yaml", ["trainers.devices=2"], "unknown setting 'trainers'; did you mean trainer"),
        ("score.yaml", ["scorer=lenght"], "unknown scorer 'lenght'; did you mean length"),
        ("select.yaml", ["data=digits"], "unknown setting 'data'"),
        ("coco/select_coco.yaml", ["labelled=a"], "unknown setting 'labelled'; did you mean labe"),
        ("bench.yaml", ["bench=frozzen"], "unknown bench 'frozzen'; did you mean frozen"),
        (
            "select.yaml",
            ["strategy=kcenter", "strategy.normalise=true"],
            "unknown setting 'strategy.normalise'; did you mean strategy.normalize",
        ),
        ("curate.yaml", ["engine.worker=2"], "did you mean engine.workers? Settings: engine."),
        ("train.yaml", ["proxy.step=2"], "unknown setting 'proxy.step'; did you mean proxy.steps"),
        ("train.yaml", ["strategy=margin,kcenter", "strategy.normalise=1"], "strategy.normalize"),
        ("flywheel.yaml", ["budgt=3"], "unknown setting 'budgt'; did you mean budget"),
    ],
)
def test_an_unknown_name_is_refused(config: str, arguments: list[str], message: str) -> None:
    with pytest.raises((KeyError, ValueError)) as caught:
        check_arguments(["seed=1", *arguments], conf_dir() / config)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("config", "arguments"),
    [
        (
            "train.yaml",
            [
                "strategy=kcenter,random",
                "fit@proxy=proxy",
                "data=image_folder",
                "data.root=a=b",
                "-m",
            ],
        ),
        (
            "train.yaml",
            ["experiment=null", "hydra/launcher=coreset", "hydra.sweep.dir=x", "--help"],
        ),
        ("train.yaml", ["+model.depth=3", "~oracle", "++mine=1", "budget=[0.1,0.2]"]),
        ("train.yaml", ["--config-dir=conf", "strategy=mine"]),
        ("train.yaml", ["task=detection", "model.anchors=3", "fit.anything=1"]),
        ("train.yaml", ["strategy=margin,kcenter", "strategy.normalize=true"]),
        ("train.yaml", ["fit.steps=3", "proxy.steps=3", "trainer.devices=2"]),
        ("curate.yaml", ["recipe=sft", "recipe.operators.1.threshold.high=3"]),
        ("curate.yaml", ["input=../a.yaml", "out=/x", "engine=local", "model.name=../m"]),
    ],
)
def test_what_hydra_judges_passes(config: str, arguments: list[str]) -> None:
    check_arguments(arguments, conf_dir() / config)


@pytest.mark.parametrize(
    "path",
    [
        "../../../theirs",
        "/elsewhere/theirs",
        "./theirs",
        "sft,../theirs",
        "of/somebody.yaml",
        "'../x'",
        "[../x]",
        "..\\x",
    ],
)
@pytest.mark.parametrize(
    "key", ["recipe", "+recipe", "++recipe", "recipe@other", "engine", "hydra/launcher"]
)
def test_a_path_in_the_place_of_a_name_is_refused(key: str, path: str) -> None:
    """Hydra would read the file as a configuration of our own, and run what it names."""
    with pytest.raises(ValueError, match="expected an option by its name.*, got the path"):
        check_arguments(["--config-dir=conf", f"{key}={path}"], conf_dir() / "curate.yaml")
