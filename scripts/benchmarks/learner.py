"""What the loop costs over a user's own trainer.fit, and how a run on a large folder starts.

    python scripts/benchmarks/learner.py            # writes results/learner/{numbers.json,table.md}
    python scripts/benchmarks/learner.py --part overhead    # the other part stays as it is

Overhead: `LightningLearner.fit` against `Trainer.fit` of the same module on a Subset of the same
examples at the same seed, CPU seconds of the process. A trial is four trainings, A B B A and B A A B
in turn, so that a machine that slows down is slow for both; the interval is Student's of the
trials' ratios. What the loop adds is also measured by itself, with less noise: CPU seconds of
`LightningLearner.fit` outside of the `Trainer.fit` it calls, and of reading the examples of a
training from its dataset and from a Subset. Start: a folder of hard links to 64
photographs, a process of its own, until nothing is left to refuse (the pool listed twice, the
module tried, one test batch tested); wall seconds and peak memory of that process, and of one that
imports the same modules and makes the model only.
"""

# ruff: noqa: D102
from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from PIL import Image
from scipy import stats
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset, TensorDataset

from coreset.core.store import write_atomic
from coreset.runs.run_folder import hardware, versions
from coreset.trainers.learners.lightning import LightningLearner
from coreset.trainers.learners.lightning.chosen import Chosen

OUT = Path(__file__).parents[2] / "results" / "learner"
QUIET: dict[str, Any] = {
    "logger": False, "enable_checkpointing": False, "enable_progress_bar": False,
    "enable_model_summary": False, "accelerator": "cpu", "max_epochs": 2,
}  # fmt: skip


class Net(pl.LightningModule):
    """A small CNN."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 32, 3, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 3, 2, 1), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        return out

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("accuracy", (self(batch[0]).argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), 1e-3)


class Data(pl.LightningDataModule):
    """Random images."""

    def __init__(self) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(0)
        x = torch.randn(3000, 3, 64, 64, generator=rng)
        self.pool = TensorDataset(x, torch.randint(10, (3000,), generator=rng))

    def train_dataloader(self) -> Any:
        return DataLoader(self.pool, 32, shuffle=True)

    def test_dataloader(self) -> Any:
        return DataLoader(Subset(self.pool, range(100)), 100)


def overhead(trials: int) -> dict[str, Any]:
    """Return CPU seconds of both per trial of two trainings each, those of the learner outside of
    Trainer.fit, and those of reading; the first trial, which warms up, is left out.
    """
    module, data = Net(), Data()
    learner = LightningLearner(module, data, trainer=QUIET)
    learner.check()
    rows = np.arange(0, 3000, 2)
    steps: dict[str, int] = {}
    inside: list[float] = []
    lightnings_fit = pl.Trainer.fit

    def timed_fit(self: pl.Trainer, *args: Any, **options: Any) -> None:
        begin = time.process_time()
        lightnings_fit(self, *args, **options)
        inside.append(time.process_time() - begin)

    def of_trainer(trial: int) -> None:
        pl.seed_everything(trial, verbose=False)
        loader = DataLoader(Subset(data.pool, rows.tolist()), 32, shuffle=True)
        trainer = pl.Trainer(**QUIET)
        trainer.fit(Net(), loader)
        steps["trainer"] = trainer.global_step

    def of_learner(trial: int) -> None:
        result = learner.fit(rows, None, seed=(0, trial))
        steps["learner"] = int(result.info["fit"]["steps"])

    both = {"trainer": of_trainer, "learner": of_learner}
    out = []
    pl.Trainer.fit = timed_fit  # type: ignore[method-assign]
    try:
        for trial in range(trials + 1):
            spent = dict.fromkeys(("trainer", "learner", "outside"), 0.0)
            first, second = list(both) if trial % 2 else list(reversed(both))
            for name in (first, second, second, first):
                begin = time.process_time()
                both[name](trial)
                seconds = time.process_time() - begin
                spent[name] += seconds
                spent["outside"] += seconds - inside[-1] if name == "learner" else 0.0
            out.append(spent)
    finally:
        pl.Trainer.fit = lightnings_fit  # type: ignore[method-assign]
    assert steps["trainer"] == steps["learner"], steps
    return {"trials": out[1:], "steps": steps["trainer"], "reading": reading(data.pool, rows)}


def reading(pool: Any, rows: Any, times: int = 20) -> list[dict[str, float]]:
    """Return CPU seconds of reading all examples of a training once, from both datasets in turn."""
    both = {"subset": Subset(pool, rows.tolist()), "chosen": Chosen(pool, rows)}
    out = []
    for _ in range(times + 1):
        spent = {}
        for name, dataset in both.items():
            begin = time.process_time()
            for i in range(len(rows)):
                dataset[i]
            spent[name] = time.process_time() - begin
        out.append(spent)
    return out[1:]


def interval(values: Any) -> str:
    """Return mean and Student's 95 % interval of shares, in percent."""
    values = 100 * np.asarray(values)
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    mean = values.mean()
    return f"{mean:.1f} % (95 % interval {mean - half:.1f} to {mean + half:.1f})"


def make_folder(root: Path, count: int) -> None:
    """Make a folder of 1,000 classes with `count` hard links to 64 photographs in all."""
    rng = np.random.default_rng(0)
    sources = []
    for i in range(64):
        source = root / f"source{i}.jpg"
        Image.fromarray(rng.integers(0, 255, (224, 224, 3), dtype=np.uint8)).save(source)
        sources.append(source)
    for c in range(1000):
        folder = root / "pool" / f"n{c:08d}"
        folder.mkdir(parents=True)
        for i in range(c, count, 1000):
            os.link(sources[i % 64], folder / f"image_{i:08d}.JPEG")
    test = root / "test" / "n00000000"
    test.mkdir(parents=True)
    os.link(sources[0], test / "a.JPEG")


CHILD = """
import sys, time, resource, json, warnings
warnings.simplefilter("ignore")
import coreset.trainers.api
from coreset.trainers.data.on_demand import ImageFolderData
from coreset.trainers.learners.images import LitImages
from coreset.trainers.learners.lightning import LightningLearner
module = LitImages("resnet18", 1000)
begin, cpu, size = time.perf_counter(), time.process_time(), 0
if sys.argv[1] != "none":
    data = ImageFolderData(sys.argv[1] + "/pool", test=sys.argv[1] + "/test", classes=None, workers=0)
    learner = LightningLearner(module, data, trainer={"accelerator": "cpu", "max_epochs": 1})
    learner.check()
    assert learner.ids[0] and len(learner.classes) == 1000
    size = learner.size
rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
print(json.dumps({"examples": size, "seconds": seconds, "cpu_seconds": cpu, "peak_mb": rss}))
"""


def start(counts: list[int]) -> list[dict[str, float]]:
    """Return seconds and peak MB of a start, for each number of images."""
    rows = []
    for count in [0, *counts]:
        with tempfile.TemporaryDirectory(dir=OUT.parent) as folder:
            if count:
                make_folder(Path(folder), count)
            ran = subprocess.run(
                [sys.executable, "-c", CHILD, folder if count else "none"],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            rows.append(json.loads(ran.stdout.splitlines()[-1]))
    return rows


def table(numbers: dict[str, Any]) -> str:
    """Return the page."""
    measured = numbers["overhead"]
    trials, read = measured["trials"], measured["reading"]
    seconds = np.mean([t["trainer"] for t in trials]) / 2
    epochs = QUIET["max_epochs"]
    lines = [
        "# The loop over your own training",
        "",
        "Made by scripts/benchmarks/learner.py.",
        "",
        "Overhead of `LightningLearner.fit` over `Trainer.fit`:"
        f" {interval([t['learner'] / t['trainer'] - 1 for t in trials])}, {len(trials)} trials of two"
        f" trainings each of {seconds:.1f} CPU s, {measured['steps']} steps in both"
        f" ({_where(measured)}).",
        "",
        "What the loop adds, measured by itself: outside of `Trainer.fit`"
        f" {interval([t['outside'] / t['trainer'] for t in trials])}, reading the examples"
        f" {interval([epochs * (r['chosen'] - r['subset']) / seconds for r in read])}.",
        "",
        f"Start of a run on a large folder ({_where(numbers['start'])}):",
        "",
        "| images in the folder | seconds until nothing is left to refuse | CPU seconds | peak MB |",
        "|---|---|---|---|",
    ]
    for row in numbers["start"]["rows"]:
        name = f"{row['examples']:,}" if row["examples"] else "none: imports and the model"
        lines.append(
            f"| {name} | {row['seconds']:.1f} | {row['cpu_seconds']:.1f} | {row['peak_mb']:,.0f} |"
        )
    return "\n".join(lines) + "\n"


def _where(part: dict[str, Any]) -> str:
    names = ", ".join(f"{name} {version}" for name, version in part["versions"].items())
    return f"{part['hardware']}; {names}; {part['load']:.0f} processes shared the machine"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--counts", type=int, nargs="*", default=[200_000, 1_281_167])
    parser.add_argument("--part", choices=["overhead", "start", "all"], default="all")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    file = OUT / "numbers.json"
    numbers = json.loads(file.read_text()) if args.part != "all" else {}
    about: dict[str, Any] = {
        "hardware": hardware(),
        "versions": versions("torch", "pytorch-lightning", "torchvision"),
    }
    if args.part in ("overhead", "all"):
        load = os.getloadavg()[0]
        numbers["overhead"] = {**about, "load": load, **overhead(args.trials)}
    if args.part in ("start", "all"):
        load = os.getloadavg()[0]
        numbers["start"] = {**about, "load": load, "rows": start(args.counts)}
    write_atomic(file, json.dumps(numbers, indent=1))
    write_atomic(OUT / "table.md", table(numbers))
    print(table(numbers))


if __name__ == "__main__":
    main()
