"""FiftyOne: chosen images as a dataset with tags, predictions and a saved view; back by file path.

Only FiftyOne and the standard library are imported, so that this file runs in an environment of its
own (FiftyOne brings 117 packages): `python fiftyone.py load rows.json NAME` there does what
`to_fiftyone` does, `python fiftyone.py dump NAME out.json` what `from_fiftyone` does.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

INSTALL = "FiftyOne is not installed: pip install fiftyone, best in an environment of its own"


def _fiftyone() -> Any:
    # this file has its name: the package is looked for elsewhere than beside it
    here = str(Path(__file__).resolve().parent)
    sys.path[:] = [p for p in sys.path if str(Path(p or ".").resolve()) != here]
    try:
        import fiftyone
    except ImportError as error:
        raise ImportError(INSTALL) from error
    return fiftyone


def to_fiftyone(rows: Sequence[Mapping[str, Any]], name: str, persistent: bool = True) -> Any:
    """Return a new FiftyOne dataset of chosen images (see `ImageSelection.to_rows`): every sample
    has the tag `chosen`, `coreset_id`, `priority`, `score` and its boxes as `predictions`; the view
    `in order` shows the first to label first. Raises ValueError where the name is taken.
    """
    fo = _fiftyone()
    if name in fo.list_datasets():
        raise ValueError(f"the FiftyOne dataset {name!r} exists; give another name")
    dataset = fo.Dataset(name, persistent=persistent)
    samples = []
    for row in rows:
        width, height = row["width"], row["height"]
        boxes = [
            fo.Detection(
                label=b["label"],
                confidence=b["score"],
                bounding_box=_relative(b["box"], width, height),
            )
            for b in row["boxes"]
        ]
        sample = fo.Sample(filepath=row["filepath"], tags=["chosen"])
        sample["coreset_id"] = str(row["id"])
        sample["file_name"] = row["file_name"]
        sample["priority"] = row["priority"]
        sample["score"] = row["score"]
        sample["predictions"] = fo.Detections(detections=boxes)
        sample.metadata = fo.ImageMetadata(width=width, height=height)
        samples.append(sample)
    dataset.add_samples(samples, progress=False)
    dataset.save_view("in order", dataset.sort_by("priority"))
    return dataset


def from_fiftyone(dataset: Any, labels: str = "ground_truth") -> list[dict[str, Any]]:
    """Return what was decided in FiftyOne: per sample `file_name`, `tags` and, where the field
    `labels` holds detections, `boxes` in pixels; None where it was not labeled.
    """
    out = []
    for sample in dataset.iter_samples():
        field = sample[labels] if labels in dataset.get_field_schema() else None
        size = sample.metadata.width, sample.metadata.height
        boxes = None if field is None else [
            {"label": d.label, "box": _pixels(d.bounding_box, *size)} for d in field.detections
        ]  # fmt: skip
        out.append({"file_name": sample["file_name"], "tags": list(sample.tags), "boxes": boxes})
    return out


def _relative(box: Sequence[float], width: int, height: int) -> list[float]:
    x, y, x2, y2 = box
    return [x / width, y / height, (x2 - x) / width, (y2 - y) / height]


def _pixels(box: Sequence[float], width: int, height: int) -> list[float]:
    x, y, w, h = box
    return [x * width, y * height, (x + w) * width, (y + h) * height]


def main(arguments: Sequence[str]) -> None:
    """Load a file of rows as a dataset, or dump what was decided in one."""
    what, first, second = arguments
    if what == "load":
        to_fiftyone(json.loads(Path(first).read_text()), second)
    else:
        rows = from_fiftyone(_fiftyone().load_dataset(first))
        Path(second).write_text(json.dumps(rows))


if __name__ == "__main__":
    main(sys.argv[1:])
