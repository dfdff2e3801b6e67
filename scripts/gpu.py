"""What a GPU makes of it, in one command of under eight minutes: tests, k-center, IFD, CLIP,
distillation, training.

python scripts/gpu.py                        results/gpu/gpu.json and table.md
python scripts/gpu.py --device cpu --small   the same in small sizes on the CPU, printed
python scripts/gpu.py --only kcenter ifd     some sections, printed (written with --out FOLDER)

Each section runs in a process of its own, in a time box of its own (440 s in all); one that fails
or takes too long does not lose the others, and the table says why it stopped. IFD needs
`python scripts/fetch_assets.py smollm2 llamafactory`; all else needs no file.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
# this file's own folder would hide modules of other packages
sys.path[0] = str(ROOT)

import os  # noqa: E402

# torch then counts devices without touching them: the sections are forked and each touches its own
os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"

import argparse  # noqa: E402
import logging  # noqa: E402
import time  # noqa: E402
import warnings  # noqa: E402
from collections.abc import Iterator  # noqa: E402
from typing import Any  # noqa: E402

from coreset.core.store import to_json, write_atomic  # noqa: E402
from scripts.benchmarks.accelerator.boxes import NotRun, Row, Section, run  # noqa: E402
from scripts.benchmarks.accelerator.sections import SECTIONS  # noqa: E402

OUT = ROOT / "results" / "gpu"
PACKAGES = (
    "coreset-lightning", "torch", "pytorch-lightning", "transformers", "timm", "numpy",
)  # fmt: skip


def machine(device: str, _: bool) -> Iterator[Row]:
    """Name the hardware and the versions; refuse a device that is not there."""
    import torch

    from coreset.runs.run_folder import hardware, versions

    if device == "cuda" and not torch.cuda.is_available():
        raise NotRun("torch sees no CUDA device; --device cpu --small is the reduced form")
    torch.zeros(1, device=device)  # raises where a device that is listed cannot be used
    cuda = {"cuda": str(torch.version.cuda)} if device == "cuda" else {}
    yield {"hardware": hardware(), "versions": {**versions(*PACKAGES), **cuda}}


def measure(device: str, small: bool, names: list[str]) -> dict[str, Any]:
    """Return the result of some sections. Raises SystemExit where the device is not there."""
    about = run(Section("machine", 60, machine), device, small)
    if not about["rows"]:
        raise SystemExit(f"gpu.py: {about['why']}")
    sections = []
    for section in SECTIONS:
        if section.name in names:
            sections.append(run(section, device, small))
            last = sections[-1]
            print(
                f"{section.name}: {len(last['rows'])} rows, {last['seconds']} s,"
                f" {last['why'] or 'whole'}",
                flush=True,
            )
    command = f"python scripts/gpu.py --device {device}{' --small' if small else ''}"
    return {
        "command": command, "device": device, "small": small, **about["rows"][0],
        "date": time.strftime("%Y-%m-%d"), "seconds": sum(s["seconds"] for s in sections),
        "sections": sections,
    }  # fmt: skip


def table(result: dict[str, Any]) -> str:
    """Return the page of a result."""
    versions = ", ".join(f"{k} {v}" for k, v in result["versions"].items())
    lines = [
        "# What a GPU makes of it",
        "",
        f"`{result['command']}`: {result['hardware']}, {result['seconds']:.0f} s, {result['date']}."
        f" {versions}. Rates are of the median of the trials, after one that is not timed; wall"
        " seconds.",
        "",
        "| section | what | value | trials (s, or shares) | peak GB |",
        "|---|---|---|---|---|",
    ]
    for section in result["sections"]:
        for row in section["rows"]:
            trials = ", ".join(f"{t:.4g}" for t in row.get("trials", [])) or "-"
            value = f"{row['value']:.6g} {row['unit']}".strip()
            lines.append(
                f"| {section['section']} | {row['what']} | {value} | {trials} |"
                f" {row.get('peak_gb', '-')} |"
            )
        if section["why"] is not None:
            lines.append(f"| {section['section']} | {section['why']} | - | - | - |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [s.name for s in SECTIONS]
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--small", action="store_true", help="tiny sizes, printed, not written")
    parser.add_argument("--only", nargs="+", choices=names, help="these sections, printed")
    parser.add_argument("--out", type=Path, help="folder of gpu.json and table.md")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    result = measure(options.device, options.small, options.only or names)
    print(table(result))
    out = options.out or (None if options.small or options.only else OUT)
    if out is not None:
        write_atomic(out / "gpu.json", to_json(result, indent=1))
        write_atomic(out / "table.md", table(result))


if __name__ == "__main__":
    main()
