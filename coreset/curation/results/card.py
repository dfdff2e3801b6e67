"""A dataset card for what a curation kept: a README.md that the Hugging Face hub reads, with its
files, its recipe and its counts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from coreset.core.store import write_atomic

_BUILDERS = {
    ".jsonl": "json",
    ".json": "json",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".tar": "webdataset",
}


def write_card(out: str | Path, title: str, license_name: str | None = None) -> Path:
    """Write `README.md` into the folder of a finished curation, so that
    `datasets.load_dataset(folder)` and the hub find the rows in `data/`.

    license_name: of the rows, as the hub writes it (`mit`, `cc-by-4.0`); a license is never
    guessed. Raises FileNotFoundError where there is no manifest and ValueError where nothing was
    kept.
    """
    folder = Path(out)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    files = [f"data/{d['file']}" for d in manifest["output"]["data"] if d["rows"]]
    if not files:
        raise ValueError(f"{folder}: no row was kept")
    head: dict[str, Any] = {
        "pretty_name": title,
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": files}]}],
        "tags": ["coreset"],
    }
    head |= {"license": license_name} if license_name else {}
    return write_atomic(
        folder / "README.md",
        f"---\n{yaml.safe_dump(head, sort_keys=False)}---\n\n{_body(title, manifest)}",
    )


def _body(title: str, manifest: Mapping[str, Any]) -> str:
    counts = manifest["counts"]
    lines = [
        f"# {title}",
        "",
        f"{counts['kept']:,} of {counts['rows']:,} rows kept, {counts['dropped']:,} dropped, each"
        f" with its reason in `decisions.parquet`; {counts['rejected']:,} could not be read.",
        "",
        "| operator | rows in | dropped |",
        "| --- | ---: | ---: |",
    ]
    for one in manifest["operators"]:
        tally = one.get("counts")
        numbers = (f"{tally['in']:,}", f"{tally['dropped']:,}") if tally else ("–", "–")
        lines.append(f"| `{one['name']}` | {numbers[0]} | {numbers[1]} |")
    lines += ["", "Input files and their SHA-256:", ""]
    lines += [f"- `{f['file']}`: {f['rows']:,} rows, `{f['sha256']}`" for f in manifest["input"]]
    if overruled := manifest.get("overrules"):
        lines += [
            "",
            f"People overruled rows ({', '.join(overruled['who'])}): {overruled['keep']} kept,"
            f" {overruled['drop']} dropped, {overruled['pin']} pinned.",
        ]
    return "\n".join([*lines, ""])
