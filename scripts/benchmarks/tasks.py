"""Detection and segmentation: a million boxes scored and aggregated, CCMS between ten thousand
images, segmentation scores beside the forward pass.

python scripts/benchmarks/tasks.py                 everything python scripts/benchmarks/tasks.py
boxes ccms      some parts: boxes, ccms, segmentation

One thread, CPU seconds, the median of the trials. Writes results/tasks/tasks.json and table.md.
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[2])

from scripts.benchmarks.threads import single_thread  # noqa: E402

single_thread()

import argparse  # noqa: E402
import json  # noqa: E402
import statistics  # noqa: E402
import time  # noqa: E402
import tracemalloc  # noqa: E402
from collections.abc import Callable  # noqa: E402
from functools import partial  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402

from coreset import Pool  # noqa: E402
from coreset.runs.run_folder import versions  # noqa: E402
from coreset.vision import (  # noqa: E402
    BoxSets,
    Detections,
    SegmentationScorer,
    aggregate,
    box_scores,
    dcus,
    select,
)
from scripts.benchmarks import harness  # noqa: E402

OUT = harness.RESULTS.parent / "tasks"
TRIALS = 5
NETS = (
    ("lraspp_mobilenet_v3_large", 256),
    ("lraspp_mobilenet_v3_large", 512),
    ("deeplabv3_mobilenet_v3_large", 256),
    ("fcn_resnet50", 256),
)
REDUCTIONS = ("mean", "quantile:0.95", "class_mean", "region_max", "boundary_mean")


def clock(work: Callable[[], Any], trials: int = TRIALS) -> dict[str, Any]:
    """Return CPU seconds of every trial after one that is not counted."""
    work()
    seconds = []
    for _ in range(trials):
        begin = time.process_time()
        work()
        seconds.append(time.process_time() - begin)
    return {"median_s": statistics.median(seconds), "min_s": min(seconds), "trials": trials}


def table_of_boxes(
    images: int, boxes: int, features: int = 0, classes: int = 80, probs: bool = False
) -> Detections:
    """Return boxes at random places, as many an image as it happens."""
    rng = np.random.default_rng(0)
    corner, side = rng.uniform(0, 400, (boxes, 2)), rng.uniform(8, 100, (boxes, 2))
    p = rng.dirichlet(np.full(classes, 0.1), boxes).astype(np.float32) if probs else None
    x = rng.normal(size=(boxes, features)).astype(np.float32) if features else None
    image = np.sort(rng.integers(0, images, boxes))
    return Detections(
        np.arange(images),
        image,
        np.hstack([corner, corner + side]),
        rng.uniform(0.05, 1, boxes),
        rng.integers(0, classes, boxes),
        probs=p,
        features=x,
    )


def boxes() -> list[dict[str, Any]]:
    """Score and aggregate 10^6 boxes of 10^5 images, every way."""
    table = table_of_boxes(100_000, 1_000_000)
    rules: dict[str, Any] = {"score_threshold": 0.05, "min_size": 4.0, "empty": "quota:0.05"}
    weights = dict.fromkeys(range(80), 1.5)
    rows = []
    for how in ("max", "mean", "sum", "topk_mean", "weighted_sum"):
        given = weights if how == "weighted_sum" else None
        entry = clock(
            lambda how=how, given=given: aggregate(  # type: ignore[misc]
                table, box_scores(table, "binary_entropy"), how, class_weights=given, **rules
            )
        )
        rows.append({"what": f"binary entropy, {how}", **entry})
    quality = dict.fromkeys(range(80), 0.5)
    rows.append({"what": "DCUS", **clock(lambda: dcus(table, quality, empty="last"))})
    rich = table_of_boxes(100_000, 1_000_000, probs=True)
    rows.append(
        {
            "what": "category entropy of 80 classes, sum",
            **clock(lambda: aggregate(rich, box_scores(rich, "entropy"), "sum", **rules)),
        }
    )
    scores = aggregate(table, box_scores(table, "binary_entropy"), "sum", **rules)
    cost = np.diff(table.offsets).astype(float)
    rows.append(
        {
            "what": "select by score within 3,000 boxes",
            **clock(
                lambda: select(Pool(100_000), {"boxes": 3000}, scores=scores, costs={"boxes": cost})
            ),
        }
    )
    return rows


def _scored(table: Detections, how: str, weights: Any, rules: Any) -> Any:
    return aggregate(
        table, box_scores(table, "binary_entropy"), how, class_weights=weights, **rules
    )


def ccms() -> list[dict[str, Any]]:
    """Choose 100 of 10^4 images under CCMS; a matrix of all distances would hold 800 MB."""
    table = table_of_boxes(10_000, 70_000, features=256)
    rows = []
    sets = BoxSets.of(table)
    choices: tuple[tuple[str, dict[str, Any]], ...] = (
        ("kcenter", {}),
        ("kmedoids", {"iterations": 5}),
    )
    for name, options in choices:
        begin = time.process_time()
        select(Pool(10_000), 100, name, distance=sets, options=options)
        spent = time.process_time() - begin
        tracemalloc.start()  # numpy's arrays, exactly
        select(Pool(10_000), 100, name, distance=sets, options=options)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        what = f"{name}, 100 of 10,000 images, 7 boxes each, 256 features {options or ''}".strip()
        rows.append({"what": what, "median_s": spent, "trials": 1, "extra_mb": peak / 2**20})
    return rows


@torch.no_grad()
def segmentation() -> list[dict[str, Any]]:
    """Score maps of 21 classes, 4 images at a time, beside the network's forward pass; and what 500
    images leave behind.
    """
    from torchvision.models import segmentation as nets

    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = []
    for name, size in NETS:
        model = (
            getattr(nets, name)(weights=None, weights_backbone=None, num_classes=21)
            .eval()
            .to(memory_format=torch.channels_last)
        )
        x = torch.rand(4, 3, size, size).contiguous(memory_format=torch.channels_last)
        maps = model(x)["out"]
        parts: dict[str, Callable[[], Any]] = {"forward": partial(model, x)}
        parts |= {r: partial(_score, r, maps) for r in REDUCTIONS}
        spent: dict[str, list[float]] = {part: [] for part in parts}
        for trial in range(TRIALS + 1):
            for part, work in parts.items():  # in turns: what else the machine does meets all alike
                begin = time.process_time()
                work()
                if trial:
                    spent[part].append(time.process_time() - begin)
        median = {part: statistics.median(s) for part, s in spent.items()}
        rows.append(
            {
                "net": name,
                "size": size,
                "trials": TRIALS,
                "forward_s": median["forward"],
                "scorer_s": {r: median[r] for r in REDUCTIONS},
            }
        )
    kept = {}
    for images in (50, 500):
        maps = torch.randn(1, 21, 128, 128)
        kept[images] = harness.peak_of(partial(_stream, images, maps))[0] / 2**20
    rows.append({"net": "stream", "peak_mb": kept})
    return rows


def _score(reduction: str, maps: torch.Tensor) -> Any:
    scorer = SegmentationScorer("entropy", [reduction])
    scorer.update(list(range(len(maps))), maps)
    return scorer.columns()


def _stream(images: int, maps: torch.Tensor) -> Any:
    scorer = SegmentationScorer("entropy", ["mean", "class_mean"])
    for i in range(images):
        scorer.update([i], maps)
    return scorer.columns()


def report(results: dict[str, Any]) -> str:
    """Return everything in Markdown."""
    lines = [
        "# Detection and segmentation",
        "",
        "One thread; CPU seconds, the median of the trials.",
        "",
    ]
    if "boxes" in results:
        lines += [
            "## 1,000,000 boxes of 100,000 images",
            "",
            "| what | s | trials |",
            "|---|---|---|",
        ]
        lines += [
            f"| {r['what']} | {r['median_s']:.2f} | {r['trials']} |"
            for r in results["boxes"]["rows"]
        ] + [""]
    if "ccms" in results:
        lines += ["## CCMS, never N x N", "", "| what | s | extra memory, MB |", "|---|---|---|"]
        lines += [
            f"| {r['what']} | {r['median_s']:.1f} | {r['extra_mb']:.0f} |"
            for r in results["ccms"]["rows"]
        ] + [""]
    if "segmentation" in results:
        lines += [
            (
                "## Segmentation scores (entropy, 21 classes, 4 images a batch) as a share of the"
                " network's forward pass"
            ),
            "",
        ]
        lines += [
            f"| net | pixels | forward, ms | {' | '.join(REDUCTIONS)} |",
            "|---|---|---|" + "---|" * len(REDUCTIONS),
        ]
        for r in results["segmentation"]["rows"][:-1]:
            shares = " | ".join(f"{r['scorer_s'][k] / r['forward_s']:.1%}" for k in REDUCTIONS)
            lines.append(
                f"| {r['net']} | {r['size']} x {r['size']} | {1000 * r['forward_s']:.0f} |"
                f" {shares} |"
            )
        kept = results["segmentation"]["rows"][-1]["peak_mb"]
        lines += [
            "",
            (
                "Extra memory while streaming images of 128 x 128 one by one:"
                f" {'; '.join(f'{n} images {v:.1f} MB' for n, v in kept.items())}."
            ),
            "",
        ]
    for part in results.values():
        about = part["about"]
        lines.append(
            f"Made by `{about['command']}` on {about['hardware']}, {about['date']}, torch"
            f" {part['versions']['torch']}, numpy {part['versions']['numpy']}."
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="part", help="boxes, ccms, segmentation")
    parts: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "boxes": boxes,
        "ccms": ccms,
        "segmentation": segmentation,
    }
    names = parser.parse_args().parts or list(parts)
    OUT.mkdir(parents=True, exist_ok=True)
    file = OUT / "tasks.json"
    results: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    for name in names:
        rows = parts[name]()
        print(name, *rows, sep="\n  ", flush=True)
        results[name] = {
            "rows": rows,
            "about": harness.about(f"python scripts/benchmarks/tasks.py {name}"),
            "versions": versions("torch", "torchvision", "numpy"),
        }
        file.write_text(json.dumps(results, indent=1) + "\n")
        (OUT / "table.md").write_text(report(json.loads(file.read_text())))


if __name__ == "__main__":
    main()
