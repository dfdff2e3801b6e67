"""Distilled sets beside random, herding and k-center at the same budget: hard and soft labels, with
and without augmentation, on several networks.

python scripts/distill_grid.py digits                       every method at 1 and 10 images per
class: results/distill_digits/grid.json and table.md python scripts/distill_grid.py fashion
--methods dm --ipc 1 10

The protocol is that of trainers/distillation/grid.py. The options of each method, far fewer steps
than its paper's, stand in the result.
"""

import argparse
import json
import logging
import sys
import time
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from coreset import registry
from coreset.distillation import Source, Synthetic, distiller
from coreset.distillation.nn.convnet import convnet
from coreset.runs.run_folder import hardware, versions
from coreset.strategies.distill.soft_labels import choose
from coreset.trainers.data.sources import digits, fashion_mnist
from coreset.trainers.distillation.grid import Plan, grid, scores, table
from coreset.trainers.learners.fit import TrainingConfig
from coreset.trainers.tasks.models import mlp, small_cnn

DATA = {
    "digits": lambda: replace(digits(), augment="crop"),  # they bear a shift of one pixel
    "fashion": fashion_mnist,
}
BASELINES = ("random", "herding", "kcenter")
OPTIONS: dict[str, dict[str, Any]] = {
    "dm": {"steps": 2000, "width": 32, "real": 64, "pool": 40, "augment": "none"},
    "dc": {
        "networks": 300,
        "outer": 1,
        "inner": 1,
        "width": 32,
        "real": 64,
        "start": "real",
        "lr": 1.0,
    },
    "dsa": {"networks": 300, "outer": 1, "inner": 1, "width": 32, "real": 64, "lr": 1.0},
    "rded": {"images": 100},
}
RECIPE = TrainingConfig(steps=300, batch_size=64, weight_decay=0.0005)
EPOCHS = {"digits": 10, "fashion": 3}  # of the teacher and of all data
WIDTH = 32


def maker(
    name: str, seconds: dict[str, list[float]], options: dict[str, dict[str, Any]] | None = None
) -> Any:
    """Return what makes a set of that name, and notes the CPU seconds it took. options: of each
    method, default OPTIONS.
    """
    own = OPTIONS if options is None else options

    def make(source: Source, ipc: int, rng: np.random.Generator) -> Synthetic:
        begin = time.process_time()
        if name in BASELINES:
            assert source.teacher is not None
            distilled = source.real(
                choose(
                    registry.strategy(name), source, source.teacher(), ipc, int(rng.integers(2**31))
                )
            )
        else:
            distilled = distiller(name, own[name])(source, ipc, rng)
        seconds.setdefault(f"{name} {ipc}", []).append(time.process_time() - begin)
        return distilled

    return make


def main() -> None:
    """Read the arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", choices=list(DATA))
    parser.add_argument("--methods", nargs="*", default=list(OPTIONS))
    parser.add_argument("--ipc", nargs="*", type=int, default=[1, 10])
    parser.add_argument("--sets", type=int, default=2)
    parser.add_argument("--nets", type=int, default=2)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    out, plan = Path("results") / f"distill_{args.data}", Plan(args.sets, args.nets)
    teaching = TrainingConfig(steps=None, epochs=EPOCHS[args.data], batch_size=64, augment=True)
    seconds: dict[str, list[float]] = {}
    models: dict[str, Any] = {
        "convnet": partial(convnet, width=WIDTH),
        "small_cnn": small_cnn,
        "mlp": mlp,
    }
    methods = {name: maker(name, seconds) for name in (*BASELINES, *args.methods)}
    entries = grid(
        DATA[args.data](), methods, args.ipc, models, RECIPE, teaching, Path("outputs/distill_grid"), plan, log=lambda text: print(text, flush=True),
    )  # fmt: skip
    full = next(e for e in entries if e["method"] == "full")
    about: dict[str, Any] = {
        "command": f"python scripts/distill_grid.py {' '.join(sys.argv[1:])}", "hardware": hardware(), "date": time.strftime("%Y-%m-%d"),
        "versions": versions("coreset-lightning", "torch", "pytorch-lightning", "numpy"), "plan": vars(plan), "recipe": vars(RECIPE), "teaching": vars(teaching),
        "options": {m: OPTIONS[m] for m in args.methods}, "convnet_width": WIDTH,
        "cpu_seconds": {k: round(float(np.mean(v)), 1) for k, v in seconds.items()},
    }  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    (out / "grid.json").write_text(
        json.dumps({**about, "entries": entries, "scores": scores(entries)}, indent=1) + "\n"
    )
    took = ", ".join(
        f"{k} {v}" for k, v in about["cpu_seconds"].items() if k.split()[0] not in BASELINES
    )
    text = [
        f"Test accuracy in %, mean ± sd over {plan.sets} sets x {plan.nets} networks, last epoch; the learning rate of each cell of {list(plan.rates)} chosen on "
        f"{plan.held_out:.0%} of the pool, held out. ConvNet of width {WIDTH} unless another network is named. All data, hard labels, {teaching.epochs} epochs: "
        f"{100 * full['accuracy'][0]:.1f} %; the teacher {100 * full['teacher']:.1f} %. Every distilled set consumed every label of the rest of the pool.\n",
        table(entries),
        f"CPU seconds to make a set (method, images per class): {took}.\n",
        f"Made by `{about['command']}` on {about['hardware']}, one thread, {about['date']}; " + ", ".join(f"{k} {v}" for k, v in about["versions"].items()) + ".\n",
    ]  # fmt: skip
    (out / "table.md").write_text("\n".join(text))


if __name__ == "__main__":
    main()
