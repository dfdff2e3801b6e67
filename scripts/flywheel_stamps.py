"""One turn of a flywheel on a detector: a class of objects that the start set lacks, judged by mAP.

python scripts/flywheel_stamps.py

Images are cut-outs of four classes pasted on photographs (`scripts/stamps.py`, which needs the
Debian package tuxpaint-stamps-default), 128 x 96 pixels. Bovines are the rarest class, in some 8 %
of the images; of those that hold one 90 % are left out of the start set. The model is the light
detector (`coreset.trainers.tasks.light_detector`), three seeds. Images are mined by what their
regions look like (`MineObjects(by="regions")`). Writes results/flywheel/stamps.json and
stamps.md, and the page in outputs/flywheel/stamps.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from coreset.core.store import Store, to_json, write_atomic
from coreset.flywheel import Artifact, Freeze, Turn
from coreset.flywheel.diagnose import Diagnose
from coreset.flywheel.gate import Gate
from coreset.flywheel.mine_objects import MineObjects
from coreset.flywheel.tables import read_table
from coreset.runs.run_folder import versions
from coreset.trainers.coco_flywheel import coco_flywheel
from coreset.trainers.data.base import ImageData
from coreset.trainers.data.coco import CocoData, coco_folder
from coreset.trainers.learners.config import TrainingConfig
from coreset.trainers.tasks.features import Pretrained
from coreset.trainers.tasks.light_detector import light_detector

OUT = Path("results/flywheel")
FOLDER = Path("outputs/flywheel/stamps")
CLASSES, RARE = 4, "bovine"
SIZES = {"train": 300, "dev": 300}  # of all images but the test's; the others may be bought
POOL, TEST, HIDE, IMBALANCE = 1800, 650, 0.9, 10
BUDGET = 200
FIT: dict[str, Any] = {
    "steps": 350,
    "batch_size": 8,
    "lr": 0.003,
    "augment": True,
    "precision": "32",
}
MODEL: dict[str, Any] = {"min_size": 144, "max_size": 192, "convolutions": 1}


@dataclass(frozen=True)
class OneTurn:
    """No learning curve: six more trainings for a decision that nobody asks for here."""

    def run(self, turn: Turn) -> Artifact:
        """Stop."""
        return Artifact({"stop": "one turn was asked for", "next_budget": 0.0, "tied_in_a_row": 0})


@dataclass(frozen=True)
class BothWays:
    """Candidates by regions; those by boxes beside them, to be compared."""

    def run(self, turn: Turn) -> Artifact:
        """Mine twice."""
        regions, boxes = MineObjects(by="regions").run(turn), MineObjects().run(turn)
        return replace(regions, tables={**regions.tables, "by_boxes": boxes.tables["candidates"]})


def images(folder: Path, seed: int) -> CocoData:
    """Return the images of a seed, made where they are not there yet."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("stamps", Path(__file__).with_name("stamps.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not (folder / "test.json").exists():
        module.build(
            folder, POOL, TEST,
            size=(128, 96), classes=CLASSES, most=3, imbalance=IMBALANCE, seed=seed,
        )  # fmt: skip
    return coco_folder(str(folder), cache=str(folder / "cache"))


def holds_rare(data: CocoData, part: Any) -> NDArray[np.bool_]:
    """Return which images of a part hold an object of the rare class."""
    rare = data.classes.index(RARE)
    return np.array([rare in part.boxes(i)[1] for i in range(part.pool.size)])


def roles_of(data: CocoData, seed: int) -> NDArray[np.str_]:
    """Return the roles of pool and test images: the start set lacks `HIDE` of the rare ones."""
    rng = np.random.default_rng(seed)
    rare = holds_rare(data, data.part)
    order = rng.permutation(POOL)
    roles = np.full(POOL, "pool", "<U6")
    roles[order[: SIZES["dev"]]] = "dev"
    left = order[SIZES["dev"] :]
    few = round((1 - HIDE) * rare.mean() * SIZES["train"])
    roles[left[rare[left]][:few]] = "train"
    roles[left[~rare[left]][: SIZES["train"] - few]] = "train"
    return np.concatenate([roles, np.full(TEST, "test")])


def features_of(data: CocoData) -> NDArray[np.float32]:
    """Return EfficientNet-Lite0 features of the small squares of all images."""
    both = np.concatenate([data.images, data.test_images])
    none = np.arange(len(both)) % 2
    holder = ImageData("stamps", both, none, both[:2], none[:2], ("a", "b"))
    return np.asarray(Pretrained(size=64, precision=32)(holder, Store(FOLDER / "store")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", default="outputs/flywheel/stamps_images")
    parser.add_argument("--seed", type=int, default=1, help="of images and roles")
    options = parser.parse_args()
    torch.set_num_threads(1)
    begin = resource.getrusage(resource.RUSAGE_SELF)
    shutil.rmtree(FOLDER, ignore_errors=True)
    data = images(Path(f"{options.images}_{options.seed}"), options.seed)
    roles = roles_of(data, options.seed)
    wheel = coco_flywheel(
        FOLDER, data, roles, features_of(data),
        lambda **shape: light_detector(**shape, **MODEL), TrainingConfig(**FIT), about=MODEL,
        stages={"diagnose": Diagnose(smallest=15), "gate": Gate(smallest=20, delta=0.1),
                "mine": BothWays(), "decide": OneTurn()},
        log=print,
    )  # fmt: skip
    wheel.init(Freeze(leaks="drop", clusters=0))
    facts = wheel.turn(BUDGET, now="2026-01-01T00:00:00")
    wheel.show()
    end = resource.getrusage(resource.RUSAGE_SELF)
    turn = wheel.folder / "turns/001"
    rare = np.concatenate([holds_rare(data, p) for p in (data.part, data.test_part)])
    pool = wheel.data.at("pool")
    batch = read_table(turn / "label-batch.parquet")
    mined = wheel.data.where(batch["id"][batch["slice"] == f"class={RARE}"])
    other = read_table(turn / "mine-by_boxes.parquet")
    by_boxes = wheel.data.where(other["id"][other["slice"] == f"class={RARE}"][: len(mined)])
    costs, arms = wheel.data.costs, {}
    assert costs is not None
    for name in ("candidate", "control"):
        ids = read_table(turn / f"version-{name}.parquet")["id"]
        rows = wheel.data.where(ids[~np.isin(ids, wheel.data.ids[wheel.data.at("train")])])
        arms[name] = {
            "images": len(rows),
            "boxes": float(costs[rows].sum()),
            "rare": int(rare[rows].sum()),
        }
    result = {
        "seed": options.seed,
        "named": [w["name"] for w in facts["diagnose"]["weak"]],
        "planted": [f"class={RARE}"],
        "hard": facts["diagnose"]["hard"],
        "test_rare": int(rare[wheel.data.at("test")].sum()),
        "start_rare": int(rare[wheel.data.at("train")].sum()),
        "mining": {
            "images": len(mined),
            "precision": float(rare[mined].mean()) if len(mined) else None,
            "by_boxes": float(rare[by_boxes].mean()) if len(by_boxes) else None,
            "by_boxes_images": len(by_boxes),
            "chance": float(rare[pool].mean()),
        },
        "bought": arms,
        "budget": BUDGET,
        "cost": facts["label"]["cost"],
        "random_images": facts["choose"]["random"],
        "arms": facts["retrain"]["arms"],
        "versus_control": facts["gate"]["versus_control"],
        "promoted": facts["gate"]["promoted"],
        "why": facts["gate"]["why"],
        "comparisons": {
            k: v.tolist() for k, v in read_table(turn / "gate-comparisons.parquet").items()
        },
        "settings": {
            "fit": FIT,
            "model": MODEL,
            "sizes": {**SIZES, "pool": len(pool), "test": TEST},
        },
        "cpu_seconds": round(end.ru_utime + end.ru_stime - begin.ru_utime - begin.ru_stime, 1),
        "machine": platform.machine(),
        "versions": versions("coreset-lightning", "torch", "torchvision", "timm", "numpy"),
    }
    write_atomic(OUT / "stamps.json", to_json(result, indent=1))
    write_atomic(OUT / "stamps.md", report(json.loads((OUT / "stamps.json").read_text())))


def report(r: dict[str, Any]) -> str:
    """Return the result as a table in Markdown."""
    sizes, mining = r["settings"]["sizes"], r["mining"]
    shown, other = (
        "none" if mining[n] is None else f"{mining[n]:.2f}" for n in ("precision", "by_boxes")
    )
    lines = [
        "# A detection flywheel: average precision of the class that the start set lacks",
        "",
        f"`python scripts/flywheel_stamps.py --seed {r['seed']}`: cut-outs of four classes on",
        f"photographs, 128 x 96 pixels; FCOS on a frozen EfficientNet-Lite0, {FIT['steps']} steps,",
        "three seeds, one thread; AP is COCO's (IoU 0.5 to 0.95)."
        f" {r['start_rare']} of {sizes['train']} start images hold a {RARE};",
        f"{100 * mining['chance']:.0f} % of the {sizes['pool']} pool images do."
        f" {sizes['dev']} development images, {sizes['test']} test images,",
        f"{r['test_rare']} of them with a {RARE}. Settings and the way of mining were chosen on images"
        " of seed 0;",
        f"these are images of seed {r['seed']}, looked at once.",
        "",
        f"Named weak: {', '.join(r['named']) or 'none'} (planted: {r['planted'][0]}). Mined for it by"
        f" regions: {mining['images']} images, precision {shown} (chance {mining['chance']:.2f};"
        f" the {mining['by_boxes_images']} with the surest boxes of the class: {other}). Budget"
        f" {r['budget']} boxes, {r['random_images']} images of the batch at random. Verdict:"
        f" {'promoted' if r['promoted'] else 'refused'}: {'; '.join(r['why'])}.",
        "",
        "| arm | images bought | boxes bought | with the rare class |",
        "|---|---|---|---|",
        *(
            f"| {name} | {a['images']} | {a['boxes']:.0f} | {a['rare']} |"
            for name, a in r["bought"].items()
        ),
        "",
        "AP in points (mAP for more than one class), mean of the seeds; gain: candidate against the",
        "version in force, 95 % (target, all) or one-sided 95 % (slices), over images and seeds.",
        "",
        "| test images | in force | candidate | control | gain |",
        "|---|---|---|---|---|",
    ]  # fmt: skip
    c = r["comparisons"]
    for i, name in enumerate(c["name"]):
        values = (f"{100 - 100 * c[n][i]:.1f}" for n in ("before", "after", "control"))
        gain = f"{100 * c['gain'][i]:+.1f} [{100 * c['low'][i]:+.1f}, {100 * c['high'][i]:+.1f}]"
        lines.append(f"| {name} ({c['role'][i]}) | {' | '.join(values)} | {gain} |")
    lines.append("")
    for name, gain in r["versus_control"].items():
        lines.append(
            f"Candidate against control, {name}: {100 * gain['gain']:+.1f} points"
            f" [{100 * gain['low']:+.1f}, {100 * gain['high']:+.1f}] (95 %)."
        )
    used = ", ".join(f"{k} {v}" for k, v in r["versions"].items())
    minutes = r["cpu_seconds"] / 60
    return "\n".join([*lines, "", f"CPU minutes: {minutes:.1f}. Made with {used}.", ""])


if __name__ == "__main__":
    main()
