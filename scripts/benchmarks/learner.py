"""What the loop costs over a user's own trainer.fit, and how a run on a large folder starts.

    python scripts/benchmarks/learner.py            # writes results/learner/{numbers.json,table.md}
    python scripts/benchmarks/learner.py --part overhead    # the other part stays as it is

Overhead: `LightningLearner.fit` against `Trainer.fit` of the same module on a Subset of the same
examples at the same seed, CPU seconds of the process; which of the two goes first alternates, and
the interval is Student's of the trials' ratios. Start: a folder of hard links to 64
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


def overhead(trials: int) -> list[dict[str, float]]:
    """Return CPU seconds of both, per trial; the first two, which warm up, are left out."""
    module, data = Net(), Data()
    learner = LightningLearner(module, data, trainer=QUIET)
    learner.check()
    rows = np.arange(0, 3000, 2)

    def trainer(trial: int) -> None:
        pl.seed_everything(trial, verbose=False)
        loader = DataLoader(Subset(data.pool, rows.tolist()), 32, shuffle=True)
        pl.Trainer(**QUIET).fit(Net(), loader)

    both = {"learner": lambda trial: learner.fit(rows, None, seed=(0, trial)), "trainer": trainer}
    out = []
    for trial in range(trials + 2):
        spent: dict[str, float] = {}
        for name in list(both) if trial % 2 else list(reversed(both)):
            begin = time.process_time()
            both[name](trial)
            spent[name] = time.process_time() - begin
        out.append(spent)
    return out[2:]


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
    pairs = numbers["overhead"]["trials"]
    share = np.array([p["learner"] / p["trainer"] - 1 for p in pairs])
    spread = share.std(ddof=1) if len(share) > 1 else float("nan")
    half = stats.t.ppf(0.975, len(share) - 1) * spread / np.sqrt(len(share))
    seconds = np.mean([p["trainer"] for p in pairs])
    lines = [
        "# The loop over your own training",
        "",
        "Made by scripts/benchmarks/learner.py.",
        "",
        f"Overhead of `LightningLearner.fit` over `Trainer.fit`: {100 * share.mean():.1f} %"
        f" (95 % interval +- {100 * half:.1f}, {len(pairs)} trials of {seconds:.1f} CPU s;"
        f" {_where(numbers['overhead'])}).",
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
    parser.add_argument("--trials", type=int, default=40)
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
        numbers["overhead"] = {**about, "load": load, "trials": overhead(args.trials)}
    if args.part in ("start", "all"):
        load = os.getloadavg()[0]
        numbers["start"] = {**about, "load": load, "rows": start(args.counts)}
    write_atomic(file, json.dumps(numbers, indent=1))
    write_atomic(OUT / "table.md", table(numbers))
    print(table(numbers))


if __name__ == "__main__":
    main()
