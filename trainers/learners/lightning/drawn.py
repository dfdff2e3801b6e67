"""Boxes and masks that people draw in the images of a user's own train dataset."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from torch.utils.data import Subset

from coreset.trainers.data.coco import Part, read_part
from coreset.vision.coco import CocoPool, positions

Annotations = Sequence[Mapping[str, Any]]  # of one image, entries of a COCO instances file


@dataclass(frozen=True)
class DrawnImages:
    """The images that people see: `root`/`train`, an instances file (images and categories; what is
    annotated in it is not read), and its files in `root`/`images`. masks: rather than boxes.
    prelabels: the least score of an object that the module's predict_step proposes to people.
    """

    root: str
    train: str = "train.json"
    images: str = "images"
    masks: bool = False
    prelabels: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.prelabels <= 1:
            raise ValueError(f"drawn.prelabels: expected a score in [0, 1], got {self.prelabels}")

    def part(self, dataset: Any) -> Part:
        """Return the images by their positions in a train dataset, with nothing drawn in them.

        A dataset with `ids` (COCO's, or file names) is put in order by them; one without has the
        images of the file in its order. Raises ValueError or KeyError where they do not fit, or
        where the dataset has no `set_label`.
        """
        setter(dataset)
        whole = read_part(self.root, self.train, self.images)
        pool, source = whole.pool, str(Path(self.root) / self.train)
        own = vars(dataset).get("ids") if hasattr(dataset, "__dict__") else None
        if own is not None and len(own) == len(dataset):
            order = positions(pool, np.asarray(own).tolist(), f"{type(dataset).__name__}.ids")
        elif len(dataset) == pool.size:
            order = np.arange(pool.size)
        else:
            raise ValueError(
                f"drawn: {source} lists {pool.size} images, the train dataset has {len(dataset)}"
                " examples and no `ids` (COCO's, or file names) that say which is which"
            )
        missing = [n for n in pool.names[order].tolist() if not (whole.root / str(n)).is_file()]
        if missing:
            raise FileNotFoundError(
                f"drawn: {len(missing)} of {len(order)} images of {source} are not there, first"
                f" {whole.root / str(missing[0])}"
            )
        placed = CocoPool(
            len(order), ids=pool.ids[order], names=pool.names[order], sizes=pool.sizes[order],
            categories=pool.categories, source=pool.source,
        )  # fmt: skip
        return Part(placed, whole.root, [[] for _ in order], whole.number)


@runtime_checkable
class TakesLabels(Protocol):
    """A train dataset whose examples get their boxes or masks while the loop runs."""

    def set_label(self, position: int, annotations: Annotations) -> None:
        """From now on the example at `position` has the target that these entries of a COCO
        instances file make; none at all: there is nothing in the image.
        """


def setter(dataset: Any) -> Callable[[int, Annotations], None]:
    """Return the `set_label` of a train dataset, of a subset that of what it is a part of. Raises
    ValueError where there is none.
    """
    if isinstance(dataset, Subset):
        inner, places = setter(dataset.dataset), dataset.indices
        return lambda position, rows: inner(int(places[position]), rows)
    if not isinstance(dataset, TakesLabels):
        raise ValueError(
            f"drawn: {type(dataset).__name__} has no method set_label(position, annotations), which"
            " takes what people draw (entries of a COCO instances file) for the example at the"
            " position"
        )
    return dataset.set_label


def put_labels(dataset: Any, drawn: Mapping[int, Annotations]) -> None:
    """Give a train dataset what was drawn, by position."""
    put = setter(dataset)
    for position, rows in drawn.items():
        put(position, [dict(row) for row in rows])
