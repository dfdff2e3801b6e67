"""One turn of a text flywheel: a domain that the start set lacks, SmolLM2-135M, loss of answers.

python scripts/flywheel_text.py

Domains: Alpaca instructions and web pages of C4 that are to be continued, both of the asset
`llamafactory` and of at most 56 tokens. The start set has two pages; one pool row in six is one.
Bought by MiniLM neighbors, trained by LoRA in the last four layers, three seeds. Writes
results/flywheel/text.json and text.md, and the page in outputs/flywheel/text.
"""

from __future__ import annotations

import json
import platform
import resource
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoTokenizer

from coreset.core.cache import asset_dir
from coreset.core.store import to_json, write_atomic
from coreset.flywheel import Freeze
from coreset.flywheel.decide import Decide
from coreset.flywheel.diagnose import Diagnose
from coreset.flywheel.gate import Gate
from coreset.flywheel.tables import read_table
from coreset.runs.run_folder import versions
from coreset.scorers.language.load import locate
from coreset.trainers.text.flywheel import instruction_flywheel

OUT = Path("results/flywheel")
FOLDER = Path("outputs/flywheel/text")
LONGEST = 56
SIZES = {  # rows by role and domain
    "train": {"alpaca": 24, "pages": 2},
    "dev": {"alpaca": 20, "pages": 20},
    "test": {"alpaca": 24, "pages": 24},
    "pool": {"alpaca": 200, "pages": 40},
}
BUDGET = 20
MODULE = {"lora_rank": 8, "last_layers": 4, "lr": 2e-3}
ROWS = {"length": 320, "batch_size": 8}
TRAINER = {"max_epochs": 1, "precision": "bf16-mixed"}


def domains() -> dict[str, list[dict[str, str]]]:
    """Return rows (instruction, input, output) by domain, those that are short enough."""
    folder = asset_dir("llamafactory") / "data"
    alpaca = json.loads((folder / "alpaca_en_demo.json").read_text())
    pages = [json.loads(x) for x in (folder / "c4_demo.jsonl").read_text().splitlines()]
    words = [page["text"].split() for page in pages]
    parts: dict[str, list[tuple[str, str, str]]] = {
        "alpaca": [(r["instruction"], r.get("input") or "", r["output"]) for r in alpaca],
        "pages": [(" ".join(w[:8]), "", " ".join(w[8:28])) for w in words],
    }
    path, gguf = locate("smollm2")
    tokenizer = AutoTokenizer.from_pretrained(path, gguf_file=gguf)
    out: dict[str, list[dict[str, str]]] = {}
    for name, rows in parts.items():
        short = {r for r in rows if 8 < len(tokenizer(" ".join(r))["input_ids"]) <= LONGEST}
        out[name] = [
            {"instruction": a, "input": b, "output": c} for a, b, c in sorted(short) if a and c
        ]
    return out


def write_rows(path: Path) -> None:
    """Write the rows with id, role and domain, drawn by a fixed seed."""
    rng = np.random.default_rng(0)
    lines: list[dict[str, Any]] = []
    for name, rows in domains().items():
        order = iter(rng.permutation(len(rows)).tolist())
        for role, sizes in SIZES.items():
            for _ in range(sizes.get(name, 0)):
                at = next(order)
                lines.append({"id": f"{name}{at:03d}", "role": role, "domain": name, **rows[at]})
    write_atomic(path, "".join(json.dumps(line) + "\n" for line in lines))


def main() -> None:
    torch.set_num_threads(1)
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    rows = FOLDER.parent / "text_rows.jsonl"
    write_rows(rows)
    begin = resource.getrusage(resource.RUSAGE_SELF)
    wheel = instruction_flywheel(
        FOLDER, rows, module=MODULE, rows=ROWS, trainer=TRAINER, log=print,
        stages={"diagnose": Diagnose(smallest=20), "gate": Gate(delta=0.1, smallest=20),
                "decide": Decide(shares=(0.4, 0.7))},
    )  # fmt: skip
    wheel.init(Freeze(leaks="drop", clusters=0))
    facts = wheel.turn(BUDGET, now="2026-01-01T00:00:00")
    wheel.show()
    end = resource.getrusage(resource.RUSAGE_SELF)
    seconds = end.ru_utime + end.ru_stime - begin.ru_utime - begin.ru_stime
    batch = wheel.folder / "turns/001/label-batch.parquet"

    table = read_table(batch)
    domain = {name: int((table["label"] == i).sum()) for i, name in enumerate(wheel.data.classes)}
    result = {
        "named": [w["name"] for w in facts["diagnose"]["weak"]],
        "hard": facts["diagnose"]["hard"],
        "planted": ["class=pages"],
        "batch_by_domain": domain,
        "random_rows": facts["choose"]["random"],
        "cost": facts["label"]["cost"],
        "arms": facts["retrain"]["arms"],
        "versus_control": facts["gate"]["versus_control"],
        "promoted": facts["gate"]["promoted"],
        "why": facts["gate"]["why"],
        "next": facts["decide"],
        "alarms": facts["watch"]["alarms"],
        "comparisons": {
            k: v.tolist()
            for k, v in read_table(wheel.folder / "turns/001/gate-comparisons.parquet").items()
        },
        "settings": {"module": MODULE, "rows": ROWS, "trainer": TRAINER, "sizes": SIZES},
        "cpu_seconds": round(seconds, 1),
        "machine": platform.machine(),
        "versions": versions("coreset-lightning", "torch", "transformers", "peft", "numpy"),
    }
    write_atomic(OUT / "text.json", to_json(result, indent=1))
    write_atomic(OUT / "text.md", report(result))


def report(result: dict[str, Any]) -> str:
    """Return the result as a table in Markdown."""
    lines = [
        "# A text flywheel: held-out loss of the domain that the start set lacks",
        "",
        "`python scripts/flywheel_text.py`: SmolLM2-135M, LoRA in the last four layers, one epoch,",
        "three seeds, nats per answer token (mean over rows), one thread. Two of 26 start rows are",
        "pages; 40 of 240 pool rows are. Batch and control cost the same.",
        "",
        f"Named weak: {', '.join(result['named']) or 'none'} (planted: class=pages). Batch of"
        f" {sum(result['batch_by_domain'].values())}, {result['random_rows']} of them random:"
        f" {result['batch_by_domain']}. Verdict:"
        f" {'promoted' if result['promoted'] else 'refused'}: {'; '.join(result['why'])}.",
        "",
        "| test rows | rows | in force | candidate | control |",
        "|---|---|---|---|---|",
    ]
    c = result["comparisons"]
    for i, name in enumerate(c["name"]):
        lines.append(
            f"| {name} ({c['role'][i]}) | {c['rows'][i]} | {c['before'][i]:.3f} |"
            f" {c['after'][i]:.3f} | {c['control'][i]:.3f} |"
        )
    lines.append("")
    for name, gain in result["versus_control"].items():
        lines.append(
            f"Control minus candidate, {name}: {gain['gain']:+.3f}"
            f" [{gain['low']:+.3f}, {gain['high']:+.3f}] (95 %, over rows and seeds)."
        )
    used = ", ".join(f"{k} {v}" for k, v in result["versions"].items())
    minutes = result["cpu_seconds"] / 60
    return "\n".join([*lines, "", f"CPU minutes: {minutes:.1f}. Made with {used}.", ""])


if __name__ == "__main__":
    main()
