"""LightlyStudio: chosen images as a dataset with a tag, metadata and captions; back by file name.

Only LightlyStudio and the standard library are imported: it wants numpy below 2, and so an
environment of its own, in which `python lightly.py load rows.json` and `python lightly.py dump
out.json` do what the functions do.
"""

from __future__ import annotations

import glob
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

INSTALL = "LightlyStudio is not installed: pip install lightly-studio, in an environment of its own"


def _lightly() -> Any:
    try:
        import lightly_studio
    except ImportError as error:
        raise ImportError(INSTALL) from error
    return lightly_studio


def to_lightly(rows: Sequence[Mapping[str, Any]], name: str = "coreset") -> Any:
    """Return a LightlyStudio dataset of chosen images (see `ImageSelection.to_rows`): tag `chosen`,
    metadata `coreset_id`, `priority` and `score`. Raises ValueError for two rows of one file, and
    naming the first where LightlyStudio does not take all images.
    """
    ls = _lightly()
    dataset = ls.ImageDataset.load_or_create(name)
    by_path = {str(Path(row["filepath"]).resolve()): row for row in rows}
    if len(by_path) < len(rows):
        raise ValueError(f"rows: {len(rows)} rows of {len(by_path)} files; expected one of each")
    for path in _together(by_path):
        dataset.add_images_from_path(path=path, embed=False)
    left = dict(by_path)
    for sample in dataset:
        row = left.pop(str(Path(sample.file_path_abs).resolve()), None)
        if row is None:
            continue
        sample.add_tag("chosen")
        sample.metadata["coreset_id"] = str(row["id"])
        sample.metadata["file_name"] = row["file_name"]
        sample.metadata["priority"] = row["priority"]
        if row["score"] is not None:
            sample.metadata["score"] = row["score"]
    if left:
        raise ValueError(
            f"LightlyStudio did not take {len(left)} of {len(rows)} images, first {next(iter(left))!r}:"
            " broken, or of a format that it does not read"
        )
    return dataset


def _together(paths: Mapping[str, Any]) -> list[str]:
    """Return paths to add: a folder of which everything was chosen as one, else file by file. To
    LightlyStudio they are patterns, in which *, ? and brackets would mean other files.
    """
    folders: dict[Path, list[str]] = {}
    for path in paths:
        folders.setdefault(Path(path).parent, []).append(path)
    out: list[str] = []
    for folder, held in folders.items():
        there = {str(p) for p in folder.rglob("*") if p.is_file()}
        plain = str(folder) == glob.escape(str(folder))
        out += [str(folder)] if plain and there <= set(held) else map(glob.escape, held)
    return out


def from_lightly(dataset: Any) -> list[dict[str, Any]]:
    """Return `file_name` and `tags` of every sample that came from a choice."""
    out = []
    for sample in dataset:
        name = sample.metadata["file_name"]
        if name is not None:
            out.append({"file_name": name, "tags": sorted(sample.tags)})
    return out


def main(arguments: Sequence[str]) -> None:
    """Load a file of rows as a dataset, or dump the tags of one."""
    what, path = arguments
    if what == "load":
        to_lightly(json.loads(Path(path).read_text()))
    else:
        rows = from_lightly(_lightly().ImageDataset.load("coreset"))
        Path(path).write_text(json.dumps(rows))


if __name__ == "__main__":
    main(sys.argv[1:])
