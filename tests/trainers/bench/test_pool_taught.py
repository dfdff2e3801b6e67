"""`embedding=self_supervised` in a suite: each replicate's network sees its own pool and no more."""

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from rich.console import Console

from coreset.cli.common import conf_dir
from coreset.trainers.bench.app import run_suite, table_of
from coreset.trainers.bench.sample import PoolTaught, Table, replicate
from coreset.trainers.bench.suite import Protocol

pytest.importorskip("lightly", reason='needs the extra ssl: pip install "coreset-lightning[ssl]"')
pytestmark = pytest.mark.filterwarnings("ignore")
SMALL = Protocol([10, 20], replicates=2, pool=60, test=40, validation=12)


def settings(tmp_path, *more):
    overrides = [
        "data=digits", "embedding=self_supervised", "embedding.steps=3", "embedding.batch_size=32",
        "embedding.width=4", "embedding.projection=8", "embedding.device=cpu", "strategies=[kcenter]",
        "budgets=[10,20]", "replicates=2", "pool=60", "test=40", "learner.components=8",
        f"store={tmp_path}/store", f"out={tmp_path}/out", *more,
    ]  # fmt: skip
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return OmegaConf.to_container(compose("bench", overrides), resolve=True)


def test_the_suite_trains_one_network_a_replicate_and_keeps_it(tmp_path):
    cfg = settings(tmp_path)
    job = run_suite(cfg, Console(quiet=True))
    assert not job.missing()
    networks = {p: p.stat().st_mtime_ns for p in (tmp_path / "store").glob("*.safetensors")}
    assert len(networks) == 2
    run_suite({**cfg, "out": str(tmp_path / "again")}, Console(quiet=True))
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "store").glob("*.safetensors")} == networks


def test_no_network_sees_what_it_is_tested_on(tmp_path):
    table, _ = table_of(settings(tmp_path))
    assert isinstance(table.features, PoolTaught)
    before = replicate(table, SMALL, 0)
    where = {name: i for i, name in enumerate(table.ids.tolist())}
    pool = {where[name] for name in before.ids[before.candidates].tolist()}
    others = [i for i in range(len(table.labels)) if i not in pool]
    images = table.features.images.copy()
    images[others] = 255 - images[others]
    taught = PoolTaught(table.features.embedding, images, "digits", tmp_path / "other")
    changed = Table("digits", taught, table.labels, table.classes, table.ids)
    after = replicate(changed, SMALL, 0)
    assert after.ids.tolist() == before.ids.tolist()
    np.testing.assert_array_equal(after.features[:60], before.features[:60])
    assert not np.allclose(after.features[60:], before.features[60:])
    assert not np.allclose(after.test_features, before.test_features)
    assert before.test_features.shape == (40, before.features.shape[1])
    other = replicate(table, SMALL, 1)
    mine = set(before.ids[before.candidates]) & set(other.ids[other.candidates])
    rows = [[r.ids.tolist().index(i) for i in sorted(mine)] for r in (before, other)]
    assert not np.allclose(before.features[rows[0]], other.features[rows[1]])
