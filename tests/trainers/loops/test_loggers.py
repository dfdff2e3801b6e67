"""What Lightning's own MLflow and TensorBoard loggers keep of a run, read back by their own readers."""

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from rich.console import Console

from coreset.cli.common import conf_dir
from coreset.runs.curve import read_curves
from coreset.trainers.experiment import run_experiment
from coreset.trainers.loops.loggers import baseline_curves, summary
from coreset.trainers.settings import resolve


def run(tmp_path, logger, *more):
    overrides = [
        "mode=active", "strategy=margin", "strategy_name=margin", "start=20", "budget=[30,40]", "data=digits",
        "model=linear", "fit.steps=30", "threads=1", "report=false", "trainer.accelerator=cpu",
        f"store={tmp_path}/store", f"logger={logger}", *more,
    ]  # fmt: skip
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        plain = OmegaConf.to_container(compose("train", overrides=overrides), resolve=True)
    folder = tmp_path / "run"
    run_experiment(resolve(plain, overrides), folder, Console(quiet=True))
    (curve,) = read_curves([folder / "curve.jsonl"])
    return folder, curve, baseline_curves(folder)


def expected(curve, others):
    """Return what the logger must hold: name -> values by labels spent."""
    points = {
        "curve/accuracy": dict(zip(curve.labels.tolist(), curve.values.tolist(), strict=True))
    }
    random = others["random"]
    points["curve/random"] = dict(zip(random.labels.tolist(), random.values.tolist(), strict=True))
    full = float(others["full"].values[-1])
    points["curve/full"] = dict.fromkeys(curve.labels.tolist(), full)
    return points


def check(read, curve, others):
    """read: name -> {step: value}."""
    for name, points in expected(curve, others).items():
        assert {int(k): v for k, v in read[name].items()} == pytest.approx(points), name
    once = summary(curve, others)
    assert {"curve/area", "curve/area_minus_random"} <= set(once)
    for name, value in once.items():
        assert list(read[name].values())[-1] == pytest.approx(value), name


@pytest.mark.filterwarnings("ignore")
def test_tensorboard_holds_the_curve_beside_random_and_full(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder, curve, others = run(tmp_path, "tensorboard")
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    read = {tag: {e.step: e.value for e in events.Scalars(tag)} for tag in events.Tags()["scalars"]}
    check(read, curve, others)


@pytest.mark.filterwarnings("ignore")
def test_mlflow_holds_the_curve_beside_random_and_full(tmp_path):
    pytest.importorskip("mlflow")
    from mlflow.tracking import MlflowClient

    folder, curve, others = run(tmp_path, "mlflow")
    client = MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name("coreset")
    (ran,) = client.search_runs([experiment.experiment_id])
    assert ran.info.run_name == "margin-0"
    assert ran.info.status == "FINISHED"
    read = {
        name: {m.step: m.value for m in client.get_metric_history(ran.info.run_id, name)}
        for name in ran.data.metrics
    }
    check(read, curve, others)
    assert ran.data.params["strategy_name"] == "margin"


@pytest.mark.parametrize("name", ["mlflow", "tensorboard"])
def test_an_absent_package_is_said_before_anything_trains(tmp_path, monkeypatch, name):
    from coreset.trainers.loops import loggers

    monkeypatch.setattr(loggers, "find_spec", lambda _: None)
    with pytest.raises(
        ImportError, match=rf'logger={name} needs .*pip install "coreset-lightning\[{name}\]"'
    ):
        run(tmp_path, name)
    assert not (tmp_path / "run").exists()
