"""Compare ways to choose images for a detector: average precision against boxes paid for.

    python scripts/detection.py [--seeds 4] [--jobs 2]

`stamps`: cut-outs of four classes on photographs (apt-get install tuxpaint-stamps-default), the first
ten times as frequent as the last, other images in each seed. `trees`: crowns on aerial photographs
(scripts/fetch_assets.py tree_boxes), cut into tiles, split anew in each seed. Runs are kept in
outputs/detection and go on where they were; results/detection/curves.jsonl and table.md are written
anew.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from coreset.report.evidence import ALPHA, spread
from coreset.report.words import p_value
from coreset.runs.run_folder import hardware, versions
from coreset.runs.statistics import LEVEL, difference, holm, paired_p
from coreset.scorers.image.files import open_image

BASE, OUT = Path("outputs/detection"), Path("results/detection")
SIDE = 128  # of a tile
START, BUDGETS = 30, [60, 150]  # images
CHOICES = {  # name in the table -> what coreset-train gets
    "random": ["strategy=random"],
    "kcenter": ["strategy=kcenter"],
    "uncertainty, sum": ["strategy=top_k", "strategy.signal=uncertainty", "task.aggregate=sum"],
    "uncertainty, max": ["strategy=top_k", "strategy.signal=uncertainty", "task.aggregate=max"],
}
FIT = ["fit.steps=250", "fit.batch_size=8", "fit.lr=0.003", "model=light_detector", "model.convolutions=1"]  # fmt: skip


def stamps(folder: Path, seed: int) -> None:
    """Write 400 images of a pool and 250 of a test set."""
    from scripts.stamps import build

    build(folder, 400, 250, size=(128, 96), classes=4, most=3, imbalance=10, seed=seed)


def trees(folder: Path, seed: int) -> None:
    """Write tiles of the photographs, 160 of them, drawn at random, as the test set. A crown belongs
    to the tile of its center and is cut at the edge.
    """
    from scripts.fetch_assets import fetch

    source = fetch("tree_boxes") / "data"
    (folder / "images").mkdir(parents=True, exist_ok=True)
    images, drawn = [], []
    for name, boxes in crowns(source).items():
        with open_image(source / name) as photograph:
            rgb = photograph.convert("RGB")
        for column, row in np.ndindex(rgb.width // SIDE, rgb.height // SIDE):
            corner = np.array([column, row, column, row]) * SIDE
            tile = f"{Path(name).stem}_{column}_{row}.png"
            left, top = SIDE * column, SIDE * row
            rgb.crop((left, top, left + SIDE, top + SIDE)).save(folder / "images" / tile)
            inside = ((boxes[:, :2] + boxes[:, 2:]) / 2 // SIDE == [column, row]).all(axis=1)
            images.append({"file_name": tile, "width": SIDE, "height": SIDE})
            drawn.append(np.clip(boxes[inside] - corner, 0, SIDE))
    order = np.random.default_rng(seed).permutation(len(images))
    for part, places in (("test", order[:160]), ("train", order[160:])):
        entries: list[dict[str, Any]] = []
        for at in sorted(places.tolist()):
            for x1, y1, x2, y2 in drawn[at].tolist():
                box = [x1, y1, x2 - x1, y2 - y1]
                entries.append({"id": len(entries) + 1, "image_id": at, "category_id": 1, "bbox": box, "area": box[2] * box[3], "iscrowd": 0})  # fmt: skip
        about = {
            "images": [{"id": at, **images[at]} for at in sorted(places.tolist())],
            "annotations": entries,
            "categories": [{"id": 1, "name": "tree"}],
        }
        (folder / f"{part}.json").write_text(json.dumps(about))


def crowns(source: Path) -> dict[str, NDArray[np.float64]]:
    """Return the boxes (n, 4) as x1, y1, x2, y2 of each photograph."""
    table = pd.read_csv(source / "OSBS_029.csv")
    out = {"OSBS_029.png": table[["xmin", "ymin", "xmax", "ymax"]].to_numpy(float)}
    for file in sorted(source.glob("*.xml")):
        found = ElementTree.parse(file).getroot().iter("bndbox")
        out[f"{file.stem}.png"] = np.array(
            [[float(b.findtext(k, "")) for k in ("xmin", "ymin", "xmax", "ymax")] for b in found]
        )
    return out


DATA = {"stamps": stamps, "trees": trees}


@dataclass(frozen=True)
class Points:
    """One run: images and boxes paid for and mean average precision, round by round."""

    data: str
    choice: str
    seed: int
    images: list[int]
    boxes: list[int]
    precision: list[float]


def run(data: str, seed: int) -> list[Points]:
    """Return the runs of one seed, those that are not there made."""
    folder = BASE / data / str(seed)
    if not (folder / "test.json").exists():
        DATA[data](folder, seed)
    count = boxes_of(json.loads((folder / "train.json").read_text()))
    out = []
    for choice, settings in CHOICES.items():
        into = folder / choice.replace(", ", "_")
        budgets = [*BUDGETS, len(count)] if choice == "random" else BUDGETS
        if not finished(into):
            train(data, folder, into, seed, budgets, settings)
        rounds = [json.loads(line) for line in (into / "ledger.jsonl").read_text().splitlines()]
        paid = np.cumsum([sum(count[i] for i in r["ids"]) for r in rounds]).tolist()
        images = [r["labels"] for r in rounds]
        out.append(Points(data, choice, seed, images, paid, [r["metrics"]["mAP"] for r in rounds]))
    return out


def finished(folder: Path) -> bool:
    """Return whether a run came to its end."""
    state = folder / "state.json"
    return state.exists() and bool(json.loads(state.read_text())["finished"])


def boxes_of(instances: dict[str, Any]) -> dict[int, int]:
    """Return the number of boxes by image."""
    count = {image["id"]: 0 for image in instances["images"]}
    for entry in instances["annotations"]:
        count[entry["image_id"]] += 1
    return count


def train(
    data: str, folder: Path, into: Path, seed: int, budgets: Sequence[int], settings: Sequence[str]
) -> None:
    """Run coreset-train in a process of its own, or go on with what was killed."""
    arguments = [
        "mode=active", "task=detection", f"data.root={folder}", f"start={START}",
        f"budget={list(budgets)}".replace(" ", ""), f"seed={seed}", "baseline=[]", "threads=1",
        "report=false", f"hydra.run.dir={into}", f"store={folder / 'store'}", *FIT, *settings,
    ]  # fmt: skip
    if (into / "state.json").exists():
        arguments = [f"resume={into}", "threads=1", "report=false"]
    print(data, *arguments, flush=True)
    command = [sys.executable, "scripts/train.py", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)} failed:\n{done.stderr}")


def at_cost(curve: Points, boxes: float) -> float:
    """Return the precision of a curve at a number of boxes, straight between its points over log
    boxes.

    >>> at_cost(Points("a", "random", 0, [1, 2], [10, 1000], [0.1, 0.3]), 100)
    0.2
    """
    return float(np.round(np.interp(np.log(boxes), np.log(curve.boxes), curve.precision), 12))


def table(runs: Sequence[Points], data: str) -> str:
    """Return the table of one data set in Markdown."""
    mine = [r for r in runs if r.data == data]
    random = {r.seed: r for r in mine if r.choice == "random"}
    names = [name for name in CHOICES if name != "random"]
    gaps = {  # seeds x budgets: against random that paid for as many boxes
        name: np.array([
            [p - at_cost(random[r.seed], b) for p, b in zip(r.precision[1:], r.boxes[1:], strict=True)]
            for r in mine if r.choice == name
        ])
        for name in names
    }  # fmt: skip
    p = dict(
        zip(names, holm([paired_p(gaps[n].mean(axis=1).tolist()) for n in names]), strict=True)
    )
    budgets = [START, *BUDGETS]
    rows = [
        "| chosen by | " + " | ".join(f"{n} images" for n in budgets) + " | minus random at as many boxes | p (Holm) |",
        "|---" * (len(budgets) + 3) + "|",
    ]  # fmt: skip
    for name in CHOICES:
        own = [r for r in mine if r.choice == name]
        cells = [
            f"{100 * np.mean([r.precision[i] for r in own]):.1f} ({np.mean([r.boxes[i] for r in own]):.0f} boxes)"
            for i in range(len(budgets))
        ]
        tail = ["–", "–"]
        if name != "random":
            tail = [
                spread(difference(gaps[name].mean(axis=1), np.zeros(len(own)))),
                p_value(p[name]),
            ]
        rows.append(f"| {name} | {' | '.join([*cells, *tail])} |")
    whole = [r for r in mine if r.choice == "random"]
    full = 100 * np.mean([r.precision[-1] for r in whole])
    size, boxes = whole[0].images[-1], np.mean([r.boxes[-1] for r in whole])
    small = {n for n, value in p.items() if value is not None and value < ALPHA}
    better = [n for n in names if n in small and gaps[n].mean() > 0]
    said = (
        f"Shown to beat random at as many boxes: {'; '.join(better) or 'none'} (p below {ALPHA})."
    )
    return "\n".join([f"{said} All {size} images ({boxes:.0f} boxes): {full:.1f}.", "", *rows])


def words(runs: Sequence[Points], seeds: int) -> str:
    """Return the page."""
    parts = "\n\n".join(f"## {data}\n\n{table(runs, data)}" for data in DATA)
    origin = ", ".join(f"{k} {v}" for k, v in versions("coreset-lightning", "torch", "torchvision", "timm").items())  # fmt: skip
    return (
        "# Images for a detector, by average precision and boxes paid for\n\n"
        f"mAP (COCO, IoU 0.5 to 0.95) in points, mean over {seeds} seeds, each with other pool, start"
        " and test images, the same for every row; FCOS on a frozen EfficientNet-Lite0, 250 steps at"
        f" every budget. In brackets what was paid for. The difference is against random, interpolated"
        " over log boxes to as many boxes, mean over the budgets after the start, with its"
        f" {100 * LEVEL:.0f} % bootstrap interval over seeds; p: paired t-test, Holm's correction over the"
        " rows of a data set. Uncertainty: binary entropy of the boxes, summed or its largest; k-center:"
        " the detector's features of whole images.\n\n"
        f"{parts}\n\nMade by `python scripts/detection.py --seeds {seeds}` on {hardware()}, one thread a"
        f" run; {origin}.\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--seeds", type=int, default=4, help="at least 2")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    if options.seeds < 2:
        parser.error("--seeds: expected at least 2, a mean of one says nothing")
    todo = [(data, seed) for seed in range(options.seeds) for data in DATA]
    with ThreadPoolExecutor(options.jobs) as workers:
        runs = [r for rs in workers.map(lambda cell: run(*cell), todo) for r in rs]
    OUT.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(vars(r)) for r in runs]
    (OUT / "curves.jsonl").write_text("\n".join(lines) + "\n")
    (OUT / "table.md").write_text(words(runs, options.seeds))
    print(OUT / "table.md")


if __name__ == "__main__":
    main()
