"""Images listed in a table (CSV or Parquet): path, label, split, group."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from coreset.core.places import stamp
from coreset.core.ranges import check_range
from coreset.core.store import Store, fingerprint
from coreset.numerics.random import keyed_uniform
from coreset.scorers.image.files import open_image
from coreset.trainers.data.base import ImageData
from coreset.trainers.data.decode import decode

TEST = ("test", "val", "valid", "validation")


def image_table(
    path: str,
    root: str | None = None,
    image: str = "path",
    label: str = "label",
    split: str = "split",
    group: str = "group",
    classes: Sequence[str] | None = None,
    test_share: float = 0.2,
    size: int = 64,
    on_corrupt: str = "error",
    augment: str = "crop_flip",
    cache: str = ".cache/coreset",
) -> ImageData:
    """Return the images that a table lists; ids are their paths as the table has them.

    path: a .csv or .parquet file. root: what the paths begin at, default the table's folder. image,
    label, split, group: names of columns, of which only `image` must be there: an empty label is
    unknown; rows whose split is test, val or validation are the test set; without a split about
    `test_share` of the labeled rows are, whole groups (patients, videos, sessions) at a time by a
    hash of the group, or of the path. classes: names in the order of their numbers, default the
    labels found, sorted; needed where no label is known. Raises FileNotFoundError, KeyError for a
    missing column, ValueError naming row and value.
    """
    rows = _read(Path(path))
    if image not in rows:
        raise KeyError(f"{path}: no column {image!r} (data.image); it has {', '.join(rows)}")
    names = [str(v) for v in rows[image]]
    twice = rows[image][rows[image].duplicated()]
    if len(twice):
        raise ValueError(f"{path}: {len(twice)} paths are listed twice, first {twice.iloc[0]!r}")
    labels, known = _labels(path, rows, label, classes)
    test = _test(path, rows, split, group, names, labels, test_share)
    lost = np.flatnonzero(test & (labels < 0))
    if len(lost):
        raise ValueError(f"{path}: row {lost[0] + 2} is of the test set and has no label")
    if not test.any():
        warnings.warn(f"{path}: there is no test set, so nothing can be measured", stacklevel=2)
    order = np.argsort(test, kind="stable")  # the pool first
    base = Path(root) if root is not None else Path(path).parent
    paths = [base / names[i] for i in order]
    missing = [str(p) for p in paths if not p.is_file()]
    if missing and on_corrupt == "error":
        raise FileNotFoundError(
            f"{path}: {len(missing)} of {len(paths)} images are not there, first {missing[0]}"
        )
    stats = [list(stamp(path) or ()) for path in paths]
    pool = int((~test).sum())
    decoded = decode(
        Store(cache),
        fingerprint(list(map(str, paths)), stats, size, pool),
        list(map(str, paths)),
        lambda i: open_image(paths[i]),
        size,
        pool,
        on_corrupt,
    )
    kept = order[decoded.kept]
    cut = decoded.pool
    return ImageData(
        Path(path).stem, decoded.images[:cut], labels[kept[:cut]], decoded.images[cut:],
        labels[kept[cut:]], known,
        decoded.mean, decoded.std, np.array(names)[kept[:cut]], augment, decoded.content,
    )  # fmt: skip


def _read(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such table (data.path)")
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    if path.suffix in (".csv", ".tsv"):
        sep = "\t" if path.suffix == ".tsv" else ","
        return pd.read_csv(path, sep=sep, dtype=str, keep_default_na=False)
    raise ValueError(f"{path}: expected a .csv, .tsv or .parquet file")


def _labels(
    path: str, rows: pd.DataFrame, label: str, classes: Sequence[str] | None
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return class numbers (N,), -1 where unknown, and the class names."""
    column = rows[label] if label in rows else [""] * len(rows)
    values = ["" if pd.isna(v) else str(v).strip() for v in column]
    names = tuple(map(str, classes or sorted({v for v in values if v})))
    if len(names) < 2:
        raise ValueError(
            f"{path}: expected at least two classes, got {list(names)}; name them with"
            " 'data.classes=[rose,tulip]'"
        )
    number = {name: i for i, name in enumerate(names)}
    for row, value in enumerate(values):
        if value and value not in number:
            raise ValueError(
                f"{path}: row {row + 2} has the label {value!r}, which is not in data.classes:"
                f" {', '.join(names[:10])}"
            )
    return np.array([number.get(v, -1) for v in values], np.int64), names


def _test(
    path: str,
    rows: pd.DataFrame,
    split: str,
    group: str,
    names: Sequence[str],
    labels: NDArray[np.int64],
    share: float,
) -> NDArray[np.bool_]:
    """Return a mask (N,) of the rows of the test set."""
    groups: Any = np.array([str(g) for g in rows[group]] if group in rows else names)
    if split in rows:
        test = np.array([str(v).strip().lower() in TEST for v in rows[split]])
        if group in rows:
            both = sorted({str(g) for g in groups[test]} & {str(g) for g in groups[~test]})
            if both:
                raise ValueError(
                    f"{path}: {len(both)} groups are in the pool and in the test set, first"
                    f" {both[0]!r}"
                )
        return test
    check_range("a share in (0, 1)", test_share=share)
    return np.asarray((keyed_uniform(0, groups) < share) & (labels >= 0))
