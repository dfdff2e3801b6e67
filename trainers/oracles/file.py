"""Hand-off by a table of labels and a sheet of pictures."""

from __future__ import annotations

import csv
import json
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from coreset.core.pool import Indices
from coreset.core.store import write_atomic
from coreset.trainers.oracles.base import SKIPPED, AwaitingLabels, Request
from coreset.trainers.oracles.sheet import sheet

MISSING = -2  # nobody has labeled the example yet


@dataclass(frozen=True, eq=False)
class LabelFile:
    """Hand-off by a CSV file with the columns index, id, label; a label is a class name or its
    number.

    path: the file; rows asked for are added with an empty label, and `AwaitingLabels` is raised
    until all of them are filled; a sheet of pictures lies beside it. `skip` is the label of an
    example that has none. ids (N,): outside names. classes: class names in the order of
    their numbers.
    """

    path: Path
    ids: NDArray[np.generic]
    classes: tuple[str, ...]

    def check(self) -> None:
        """Nothing has to be there before a run."""

    def ask(self, request: Request) -> None:
        """Write the sheet that shows the batch: `<name of the file>.html` beside the table."""
        page = Path(self.path).with_suffix(".html")
        write_atomic(page, sheet(request, self.ids, self.classes, Path(self.path).name))

    def label(self, indices: Indices) -> NDArray[np.int64]:
        """Return the labels at `indices`, or write what is missing and raise AwaitingLabels.
        ValueError names line and value of a label that is no class.
        """
        path = Path(self.path)
        rows: dict[int, tuple[str, str]] = {}
        if path.exists():
            with path.open(newline="") as f:
                reader = csv.DictReader(f)
                if reader.fieldnames is None or not {"index", "label"} <= set(reader.fieldnames):
                    raise ValueError(
                        f"{path}: expected the columns index, id, label, got {reader.fieldnames}"
                    )
                for line, row in enumerate(reader, 2):
                    index = row["index"].strip()
                    if not index.isdigit() or int(index) >= len(self.ids):
                        raise ValueError(
                            f"{path}, line {line}: index must be a position below {len(self.ids)},"
                            f" got {index!r}"
                        )
                    if int(index) in rows:
                        raise ValueError(f"{path}, line {line}: index {index} stands there twice")
                    rows[int(index)] = (str(line), (row["label"] or "").strip())
        labels = self._with_taken(
            indices, [self._number(path, *rows.get(int(i), ("", ""))) for i in indices]
        )
        missing = sum(label == MISSING for label in labels)
        if missing:
            text = ["index,id,label\n"]
            everything = {
                **{i: value for i, (_, value) in rows.items()},
                **{int(i): rows.get(int(i), ("", ""))[1] for i in indices},
            }
            for i, value in everything.items():
                cells = [str(i), str(self.ids[i]), value]
                text.append(
                    ",".join(
                        '"' + c.replace('"', '""') + '"' if set(c) & set(',"\n') else c
                        for c in cells
                    )
                    + "\n"
                )
            write_atomic(path, "".join(text))
            raise AwaitingLabels(path, missing)
        self._take(indices, labels)
        return np.array(labels, np.int64)

    @property
    def _record(self) -> Path:
        """Where the labels lie that the run has trained on."""
        return Path(self.path).with_suffix(".taken.json")

    def _taken(self) -> dict[str, int]:
        record = self._record
        return dict(json.loads(record.read_text())) if record.exists() else {}

    def _take(self, indices: Indices, labels: list[int]) -> None:
        """Keep labels as taken."""
        taken = self._taken()
        more = taken | {str(int(i)): v for i, v in zip(indices, labels, strict=True)}
        if more != taken:
            write_atomic(self._record, json.dumps(more))

    def _with_taken(self, indices: Indices, labels: list[int]) -> list[int]:
        """Return labels as the run took them:
        rows changed or emptied since are named in a warning.
        """
        taken = self._taken()
        kept = [taken.get(str(int(i)), v) for i, v in zip(indices, labels, strict=True)]
        changed = [int(i) for i, a, b in zip(indices, kept, labels, strict=True) if a != b]
        if changed:
            warnings.warn(
                f"{self.path}: the labels of {len(changed)} examples were changed after the run"
                " took"
                f" them, first position {changed[0]}; the labels taken stay ({self._record.name})",
                stacklevel=3,
            )
        return kept

    def _number(self, path: Path, line: str, value: str) -> int:
        if not value:
            return MISSING
        if value.lower() == "skip" and "skip" not in self.classes:
            return SKIPPED
        if value in self.classes:
            return self.classes.index(value)
        if value.isdigit() and int(value) < len(self.classes):
            return int(value)
        raise ValueError(
            f"{path}, line {line}: label {value!r} is no class; expected one of"
            f" {', '.join(self.classes[:10])} or 0 to {len(self.classes) - 1}"
        )
