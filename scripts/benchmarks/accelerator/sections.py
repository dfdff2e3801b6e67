"""What scripts/gpu.py measures: tests, k-center, IFD, CLIP, distillation, training."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import coreset
from coreset.core.batch import objects
from coreset.core.cache import asset_dir
from coreset.scorers.image_text.clip import ClipScore
from coreset.scorers.language.ifd import Ifd
from coreset.trainers.data.base import ImageData
from coreset.trainers.data.sources import digits
from coreset.trainers.distillation.grid import Plan, grid, scores
from coreset.trainers.learners.fit import Fitter, TrainingConfig
from coreset.trainers.tasks.models import small_cnn, timm_model
from scripts.benchmarks.accelerator.boxes import NotRun, Row, Section

ROOT = Path(__file__).parents[3]
TESTS = (
    "tests/strategies/test_contract.py", "tests/coreset/test_api.py",
    "tests/coreset/scorers/language/test_nll.py", "tests/coreset/vision/test_segmentation.py",
)  # fmt: skip


def wait(device: str) -> None:
    """Wait until the device has done what it was told."""
    if device == "cuda":
        torch.cuda.synchronize()


def seconds(device: str, run: Callable[[], Any], trials: int) -> list[float]:
    """Return wall seconds of each trial, after one that is not timed."""
    out = []
    for trial in range(trials + 1):
        wait(device)
        begin = time.perf_counter()
        run()
        wait(device)
        if trial:
            out.append(round(time.perf_counter() - begin, 4))
    return out


def timed(what: str, count: float, unit: str, took: list[float], **more: Any) -> Row:
    """Return the row of a rate: `count` in the median of the trials.

    >>> timed("rows", 10, "rows/s", [1.0, 2.0, 4.0])["value"]
    5.0
    """
    rate = round(count / float(np.median(took)), 2)
    return {"what": what, "value": rate, "unit": unit, "trials": took, **more}


def peak(device: str) -> dict[str, float]:
    """Return the most memory of the device that was in use, in GB, where that is known."""
    if device != "cuda":
        return {}
    return {"peak_gb": round(torch.cuda.max_memory_allocated() / 1e9, 2)}


def tests(device: str, small: bool) -> Iterator[Row]:
    """The tests marked `gpu`."""
    if device != "cuda":
        raise NotRun("the tests marked gpu need a CUDA device")
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-m",
            "gpu",
            *TESTS,
            f"--junitxml={report}",
        ]
        subprocess.run(command, cwd=ROOT, check=False, capture_output=True)
        if not report.exists():
            raise NotRun("pytest wrote no report")
        suite = next(ET.parse(report).getroot().iter("testsuite"))
    counts = {n: int(suite.get(n, 0)) for n in ("tests", "failures", "errors", "skipped")}
    passed = counts["tests"] - counts["failures"] - counts["errors"] - counts["skipped"]
    wrong = [c.get("name") for c in suite.iter("testcase") if len(c) and c[0].tag != "skipped"]
    yield {"what": "tests marked gpu that pass", "value": passed, "unit": f"of {counts['tests']}",
           **counts, "failed": wrong[:20]}  # fmt: skip


def reference(x: np.ndarray, k: int, first: int) -> list[int]:
    """Return k-center's picks by a float64 loop."""
    wide = x.astype(np.float64)
    near = ((wide - wide[first]) ** 2).sum(axis=1)
    out = []
    for _ in range(k):
        out.append(int(near.argmax()))
        near = np.minimum(near, ((wide - wide[out[-1]]) ** 2).sum(axis=1))
    return out


def kcenter(device: str, small: bool) -> Iterator[Row]:
    """k-center, and its first picks beside a float64 loop over fewer rows."""
    n, dim, k = (20_000, 64, 50) if small else (1_000_000, 768, 1000)
    torch.manual_seed(0)
    few = torch.randn(2000, dim, device=device)
    picks = coreset.select("kcenter", 30, features=few, selected=[0]).indices.tolist()
    expected = reference(few.cpu().numpy(), 30, 0)
    same = sum(a == b for a, b in zip(picks, expected, strict=True))
    yield {
        "what": "k-center: picks of a float64 loop on 2,000 rows",
        "value": same,
        "unit": "of 30",
    }
    x = torch.randn(n, dim, device=device)
    run = partial(coreset.select, "kcenter", k, features=x, selected=[0])
    took = seconds(device, run, 1 if small else 3)
    yield timed(f"k-center, {n:,} x {dim}, k = {k:,}", k, "picks/s", took, **peak(device))


def ifd(device: str, small: bool) -> Iterator[Row]:
    """IFD of Alpaca's rows by SmolLM2-135M, and the same numbers on the CPU."""
    try:
        asset_dir("smollm2")
        file = asset_dir("llamafactory") / "data" / "alpaca_en_demo.json"
    except FileNotFoundError as error:
        raise NotRun(str(error)) from error
    rows = sorted(json.loads(file.read_text()), key=lambda row: len(row["output"]))
    rows = rows[200:202] if small else rows[-512:]

    def batch(some: list[dict[str, str]]) -> dict[str, Any]:
        names = {"instruction": "instruction", "input": "input", "response": "output"}
        return {n: objects([r[field] for r in some]) for n, field in names.items()}

    words = sum(len(f"{r['instruction']} {r['input']} {r['output']}".split()) for r in rows)
    kinds = ("float32",) if small else ("float32", "bfloat16")
    for dtype in kinds:
        scorer = Ifd("smollm2", dtype, device)
        took = seconds(device, partial(scorer, batch(rows)), 1)
        about = {"rows": len(rows), "words": words, **peak(device)}
        yield timed(f"IFD, SmolLM2-135M, {dtype}", len(rows), "rows/s", took, **about)
        if device == "cuda" and dtype == "float32":
            own = np.asarray(scorer(batch(rows[:8]))["ifd"])
            other = np.asarray(Ifd("smollm2", dtype, "cpu")(batch(rows[:8]))["ifd"])
            apart = float(np.abs(own - other).max())
            yield {
                "what": "IFD: largest difference from the CPU, 8 rows",
                "value": apart,
                "unit": "",
            }


def clip(device: str, small: bool) -> Iterator[Row]:
    """CLIPScore with random weights: the arithmetic of trained ones."""
    from scripts.benchmarks.rows_multimodal.images import clip_folder

    count, side = (8, 64) if small else (2048, 224)
    rng = np.random.default_rng(0)
    pixels = objects(list(rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8)))
    texts = objects([f"a drawing of the number {i % 1000}" for i in range(count)])
    scorer = ClipScore(clip_folder(small), device=device)
    took = seconds(device, lambda: scorer({"pixels": pixels, "text": texts}), 1 if small else 3)
    size = "two layers of 64 units" if small else "the size of ViT-B/32"
    yield timed(
        f"CLIPScore, a model of {size}, images of {side} pixels",
        count,
        "pairs/s",
        took,
        **peak(device),
    )


def distill(device: str, small: bool) -> Iterator[Row]:
    """The table of distillation: DM beside random, herding, k-center, on scikit-learn's digits."""
    from coreset.distillation.nn.convnet import convnet
    from scripts.distill_grid import maker

    names = ("random", "dm") if small else ("random", "herding", "kcenter", "dm")
    options = {
        "dm": {
            "steps": 5 if small else 2000,
            "width": 8 if small else 64,
            "real": 16 if small else 128,
        }
    }
    spent: dict[str, list[float]] = {}
    methods = {name: maker(name, spent, options) for name in names}
    recipe = TrainingConfig(steps=5 if small else 300, batch_size=64, weight_decay=0.0005)
    teaching = (
        TrainingConfig(steps=10, batch_size=64)
        if small
        else TrainingConfig(steps=None, epochs=20, batch_size=64)
    )
    plan = Plan(1, 1, (0.003,)) if small else Plan(2, 2)
    models: dict[str, Any] = {"convnet": partial(convnet, width=8 if small else 64)}
    for ipc in (1,) if small else (1, 10):
        with tempfile.TemporaryDirectory() as folder:
            entries = grid(
                digits(),
                methods,
                [ipc],
                models,
                recipe,
                teaching,
                Path(folder),
                plan,
                device=device,
            )
        for entry in entries:
            plain = entry["labels"] == "hard" and not entry["augment"]
            if not plain or (entry["method"] == "full" and ipc > 1):
                continue
            each = f", {ipc} a class" if entry["ipc"] else ""
            mean = 100 * float(np.mean(entry["accuracy"]))
            yield {"what": f"digits, {entry['method']}{each}, hard labels", "value": round(mean, 2),
                   "unit": "% correct", "trials": entry["accuracy"]}  # fmt: skip
        for score in scores(entries):
            yield {"what": f"digits, {score['method']}, {ipc} a class: label-robust score",
                   "value": round(score["label_robust"], 3), "unit": ""}  # fmt: skip


def training(device: str, small: bool) -> Iterator[Row]:
    """Images a second of the loops' own training, on random images of CIFAR's size."""
    count, steps, batch = (256, 4, 64) if small else (50_000, 300, 512)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    labels = rng.integers(0, 10, count)
    names = tuple(str(c) for c in range(10))
    data = ImageData("random", images, labels, images[:64], labels[:64], names, augment="crop_flip")
    models: dict[str, Any] = (
        {"small_cnn": partial(small_cnn, width=8)}
        if small
        else {
            "small_cnn": small_cnn,
            "resnet18, CIFAR stem": partial(timm_model, name="resnet18", stem="cifar"),
        }
    )
    for name, model in models.items():
        fitter = Fitter(data, model, {"accelerator": "cpu" if device == "cpu" else "gpu"})
        recipe = TrainingConfig(steps=steps, batch_size=batch)
        run = partial(fitter.fit, recipe, labels, np.arange(count), seed=(0,), test=False)
        took = seconds(device, run, 1 if small else 2)
        yield timed(
            f"training {name}, {batch} x 32 x 32 x 3 a step",
            steps * batch,
            "images/s",
            took,
            **peak(device),
        )


SECTIONS = (
    Section("tests", 80, tests), Section("kcenter", 50, kcenter), Section("ifd", 80, ifd),
    Section("clip", 60, clip), Section("distill", 110, distill), Section("training", 60, training),
)  # fmt: skip
