"""The page "which method, when", written from a suite that ran on planted features."""

import importlib.util
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from rich.console import Console

from coreset.trainers.bench.app import run_suite

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def which():
    spec = importlib.util.spec_from_file_location("which", ROOT / "scripts" / "which_method.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """One suite: forty tight clusters of four classes, which coverage finds and chance does not."""
    folder = tmp_path_factory.mktemp("which")
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(40) % 4, 15)
    x = rng.normal(size=(40, 16))[np.repeat(np.arange(40), 15)] + 0.02 * rng.normal(size=(600, 16))
    np.save(folder / "x.npy", x.astype(np.float32))
    np.save(folder / "y.npy", y)
    own = [f"features={folder}/x.npy", f"labels={folder}/y.npy", f"out={folder}/bench/planted"]
    own += ["budgets=[10,40]", "replicates=4", "pool=400", "test=200", "full=false"]
    own += ["strategies=[maxherding,auto]", "always=[random,stratified]", "name=own"]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        settings = OmegaConf.to_container(compose("bench", own), resolve=True)
    run_suite(settings, Console(file=io.StringIO()))
    return folder / "bench"


def test_the_page_names_who_beats_random_and_the_table(which, results, tmp_path):
    assert which.main(results, tmp_path) == 0
    page = (tmp_path / "which-method.md").read_text()
    assert "`results/bench/planted/table.md`" in page
    assert "4 replicates, 95 % intervals" in page
    assert "| 40 | maxherding " in page
    row = next(x for x in page.splitlines() if x.startswith("| own: "))
    cells = [x.strip() for x in row.split("|")]
    whole = (results / "planted" / "table.md").read_text()
    own = next(x for x in whole.splitlines() if x.startswith("| auto "))
    assert cells[2].split(" at ")[0] in own
    assert all(f"| {x} |" in own for x in cells[3:5])
    assert cells[5] == "–"  # no oracle
    won, tied, lost = cells[3].split("/")
    told = f"lies above random at {won}, around it at {tied}, below it at {lost}."
    assert f"Of 2 budgets in 1 suite its interval {told}" in page
    assert "stratified" not in page.split("intervals; test accuracy")[1].split("Below")[0]


def test_prune_mode_has_a_part_of_its_own(which, results, tmp_path):
    """Shares of the whole pool, none of it in the ranks of active mode."""
    folder = results.parent
    own = [f"features={folder}/x.npy", f"labels={folder}/y.npy", f"out={tmp_path}/bench/pruned"]
    own += ["bench=prune", "budgets=[10,40,300,390]", "replicates=3", "pool=400", "test=200"]
    own += ["strategies=[maxherding,aum]"]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        settings = OmegaConf.to_container(compose("bench", own), resolve=True)
    run_suite(settings, Console(file=io.StringIO()))
    assert which.main(tmp_path / "bench", tmp_path) == 0
    page = (tmp_path / "which-method.md").read_text()
    assert "### prune: x\n\n3 replicates, pools of 400" in page
    frame = pd.read_csv(tmp_path / "bench/pruned/curves.csv")
    full = frame.loc[frame["strategy"] == "full", "accuracy"].mean()
    for name in ("random", "maxherding", "aum"):
        means = frame[frame["strategy"] == name].groupby("labels")["accuracy"].mean()
        least = [means.index[means >= share * full] for share in (0.9, 0.95, 0.99)]
        told = [f"{n.min()} ({n.min() / 4:.0f} %)" if len(n) else "–" for n in least]
        assert f"| {name} | {' | '.join(told)} |" in page
    assert "| random |" in page
    assert "less it" not in page
    whole = (tmp_path / "bench/pruned/table.md").read_text()
    assert "| 90 % of full |" in whole


def test_a_suite_counts_among_the_ranks_once_for_its_data(which, results, tmp_path):
    """Not again for another head, nor for features that each pool taught."""
    for name in ("a", "b", "taught", "knn"):
        shutil.copytree(results / "planted", tmp_path / "bench" / name)
        about = json.loads((results / "planted/about.json").read_text()) | {"suite": name}
        if name == "taught":
            about["config"] |= {
                "features": None,
                "embedding": {"_target_": "x.SelfSupervised", "method": "vicreg"},
            }
        if name == "knn":
            about["learner"]["head"] = "knn"
        (tmp_path / "bench" / name / "about.json").write_text(json.dumps(about))
    assert which.main(tmp_path / "bench", tmp_path) == 0
    page = (tmp_path / "which-method.md").read_text()
    assert "## Over 2 suites with a linear head\n\nMean ranks by area over log labels: " in page
    told = "a linear head on features that each pool taught without labels (vicreg)."
    assert told in page.split("## taught: x")[1].split("##")[0]
    assert "a knn head on features of x.npy." in page.split("## knn: x")[1].split("##")[0]


def test_nothing_measured(which, tmp_path, capsys):
    assert which.main(tmp_path, tmp_path) == 1
    assert "no results of coreset-bench" in capsys.readouterr().err
