"""What Lightning's own MLflow and TensorBoard loggers keep of a run, read back by their own readers."""

import io
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from PIL import Image
from rich.console import Console

from coreset.cli.common import conf_dir
from coreset.runs.curve import read_curves
from coreset.trainers.experiment import run_experiment
from coreset.trainers.loops.logged_figures import confusion_matrix, picture_table
from coreset.trainers.loops.loggers import baseline_curves, summary
from coreset.trainers.loops.picks import Pick
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


def colors(content):
    """Return how many colors a picture has: an empty one has few."""
    with Image.open(io.BytesIO(content)) as image:
        return len(image.convert("RGB").getcolors(2**24))


def test_figures_hold_what_they_are_made_of():
    picks = [Pick(0, f"photos/{i}.png", "a$b_", None if i else 0.25, np.full((4, 4), i, np.uint8)) for i in range(9)]  # fmt: skip
    axes = picture_table(picks).axes
    assert axes[0].get_title() == "photos/0.png\na$b_ 0.25"
    assert axes[8].get_title() == "photos/8.png\na$b_"
    np.testing.assert_array_equal(axes[8].images[0].get_array(), picks[8].pixels)
    (axes,) = confusion_matrix([[5, 1], [0, 7]], ["x", "y"]).axes
    at = {tuple(text.get_position()): text.get_text() for text in axes.texts}
    assert at == {(0, 0): "5", (1, 0): "1", (0, 1): "0", (1, 1): "7"}  # (predicted, true)
    assert axes.get_xlabel() == "predicted class"


@pytest.mark.filterwarnings("ignore")
def test_tensorboard_holds_the_curve_beside_random_and_full(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder, curve, others = run(tmp_path, "tensorboard")
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    read = {tag: {e.step: e.value for e in events.Scalars(tag)} for tag in events.Tags()["scalars"]}
    check(read, curve, others)
    shown = {
        "picks/round_0000": 20,
        "picks/round_0001": 30,
        "picks/round_0002": 40,
        "confusion": 40,
    }
    assert set(events.Tags()["images"]) == set(shown)
    for tag, labels in shown.items():
        (image,) = events.Images(tag)
        assert image.step == labels
        assert colors(image.encoded_image_string) > 20


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
    files = {f.path for f in client.list_artifacts(ran.info.run_id, "picks")}
    assert files == {f"picks/round_{n:04d}.png" for n in range(3)}
    for name in (*files, "confusion.png"):
        content = Path(client.download_artifacts(ran.info.run_id, name, str(tmp_path))).read_bytes()
        assert colors(content) > 20


@pytest.mark.parametrize("name", ["mlflow", "tensorboard"])
def test_an_absent_package_is_said_before_anything_trains(tmp_path, monkeypatch, name):
    from coreset.trainers.loops import loggers

    monkeypatch.setattr(loggers, "find_spec", lambda _: None)
    with pytest.raises(
        ImportError, match=rf'logger={name} needs .*pip install "coreset-lightning\[{name}\]"'
    ):
        run(tmp_path, name)
    assert not (tmp_path / "run").exists()
