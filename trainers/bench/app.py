"""The command line: `coreset-bench`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hydra
import numpy as np
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from coreset.build import build
from coreset.cli.answer import answer, run
from coreset.cli.common import conf_dir, fail
from coreset.core.store import Store, fingerprint
from coreset.trainers.bench.prune import RECORDED
from coreset.trainers.bench.results import collect, write
from coreset.trainers.bench.run import Job
from coreset.trainers.bench.run import run as run_cells
from coreset.trainers.bench.sample import PoolTaught, Table, amount
from coreset.trainers.bench.suite import PRUNE, Protocol, Suite, rows_of
from coreset.trainers.data.base import ImageData, exchanged
from coreset.trainers.learners.probe import SIGNALS, Probe
from coreset.trainers.tasks.features import Pixels, Pretrained
from coreset.trainers.tasks.self_supervised import SelfSupervised

PROTOCOL = (
    "budgets", "queries", "replicates", "pool", "test", "validation", "seed", "imbalance", "noise",
    "duplicates", "outside", "metric", "mode",
)  # fmt: skip


def table_of(cfg: Mapping[str, Any]) -> tuple[Table, str]:
    """Return the features of a whole data set, test set included, and the fingerprint of their
    content. What a pool teaches (`embedding=self_supervised`) is of each replicate's pool.

    Raises ValueError for features without labels, or of another number of rows.
    """
    if cfg["features"]:
        if not cfg["labels"]:
            raise ValueError("labels: expected a file with one class number per row of features")
        x, y = (np.load(cfg[k], mmap_mode="r", allow_pickle=False) for k in ("features", "labels"))
        if x.ndim != 2 or y.shape != (len(x),) or y.dtype.kind not in "iu":
            raise ValueError(
                f"labels: expected {len(x)} whole numbers for features of shape {x.shape}, got"
                f" {y.dtype} of shape {y.shape}"
            )
        y = np.asarray(y, np.int64)
        if y.min() < 0:
            raise ValueError("labels: expected every label known, at least 0")
        classes = [str(c) for c in range(int(y.max()) + 1)]
        table = Table(Path(cfg["features"]).stem, x, y, classes, np.arange(len(x)))
        return table, fingerprint(np.asarray(x), y)
    data = build(cfg["data"], ImageData, trusted=True)
    embedding = build(cfg["embedding"], (Pixels, Pretrained, SelfSupervised), trusted=True)
    if not isinstance(embedding, Pixels):
        embedding.check(data)
    store, known = Store(cfg["store"]), data.labels >= 0
    features: Any
    if isinstance(embedding, SelfSupervised):
        images = np.concatenate([data.images[known], data.test_images])
        features = PoolTaught(embedding, images, data.name, store.root)
    else:
        parts = [embedding(view, store) for view in (data, exchanged(data))]
        features = np.concatenate([parts[0][known], parts[1]])
    labels = np.concatenate([data.labels[known], data.test_labels])
    ids = [str(i) for i in data.ids[known]] + [f"test {i}" for i in range(len(data.test_labels))]
    table = Table(data.name, features, labels, data.classes, np.array(ids))
    return table, fingerprint(data.fingerprint, vars(embedding))


def suite_of(cfg: Mapping[str, Any], size: int) -> Suite:
    """Return the suite of a configuration for `size` examples, checked; budgets below 1 are shares
    of the pool.
    """
    options = {key: cfg[key] for key in PROTOCOL}
    budgets = list(cfg["budgets"])
    if budgets and all(0 < budget < 1 for budget in budgets):
        test, validation = amount(cfg["test"], size), amount(cfg["validation"], size)
        pool = min(amount(cfg["pool"], size), size - test - validation)
        options["budgets"] = [round(budget * pool) for budget in budgets]
    protocol = Protocol(**options)
    available = SIGNALS | RECORDED if protocol.mode == PRUNE else SIGNALS
    rows = rows_of(cfg["strategies"], available, cfg["always"], protocol.mode)
    names = [row.name for row in rows]
    if "random" not in names:
        raise ValueError("strategies: a table without random says nothing; add it to always")
    if any("validation" in row.main.needs for row in rows) and not amount(
        protocol.validation, size
    ):
        raise ValueError("validation: a row judges choices on labels held out for it; expected > 0")
    return Suite(str(cfg["name"]), rows, protocol, bool(cfg["full"]))


def run_suite(cfg: Mapping[str, Any], console: Console) -> Job:
    """Run a suite, write its table and page, print the answer; return the job."""
    from coreset.trainers.bench.page import write_page

    table, key = table_of(cfg)
    suite = suite_of(cfg, len(table.labels))
    probe = build(cfg["learner"], Probe, trusted=True)
    job = Job(suite, table, probe, Path(cfg["out"]), key, int(cfg["threads"]))
    if isinstance(table.features, PoolTaught) and job.missing():
        console.print("features: a network is trained on the pool of each replicate, once")
    begin = len(job.cells()) - len(job.missing())
    if begin:
        console.print(f"{begin} of {len(job.cells())} cells are there already")

    def tell(
        name: str, number: int, error: str | None, seconds: float, done: int, total: int
    ) -> None:
        word = f"[red]failed[/]: {error}" if error else f"{seconds:.1f} s"
        console.print(f"[{done}/{total}] {name}, replicate {number}: {word}", soft_wrap=True)

    failed = run_cells(job, int(cfg["workers"]), tell)
    frame = collect(job)
    write(job, frame, dict(cfg), failed)
    page, sentence = write_page(job.folder)
    answer(
        suite_folder=job.folder, report_file=page, says=sentence, cells=len(job.cells()),
        failed=failed,
    )  # fmt: skip
    console.print(sentence, soft_wrap=True)
    for name, error in failed.items():
        console.print(f"[red]failed[/] {name}: {error}", soft_wrap=True)
    console.print(f"page: {page}", soft_wrap=True)
    return job


@hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="bench")  # type: ignore[untyped-decorator]
def configured_main(cfg: DictConfig) -> None:
    """Measure selection strategies on a data set."""
    hydra_cfg = HydraConfig.get()
    console = Console(stderr=True)
    try:
        plain: Any = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
        run_suite(plain, console)
    except Exception as error:
        fail(error, console, go_on=hydra_cfg.mode == RunMode.MULTIRUN)
        raise


def main() -> None:
    """Run `coreset-bench`."""
    run("coreset-bench", configured_main, "bench.yaml")
