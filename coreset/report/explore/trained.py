"""The table of runs of training on the same rows, and of a selection on columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from coreset.core.selection import Selection
from coreset.core.store import write_atomic
from coreset.report.explore.curated import encode
from coreset.report.explore.table import THUMBNAIL
from coreset.report.load import Run


def trained_columns(runs: Sequence[Run]) -> tuple[dict[str, Any], NDArray[Any] | None]:
    """Return the columns of runs on the same rows, several strategies and seeds side by side, and
    the vectors (N, D) where a run has written `rows.parquet`.

    The first run is `decision`, `rank` and `round`; with several every one has `rank:NAME:SEED` and
    `round:NAME:SEED`. Raises ValueError for runs over different numbers of rows, or without a
    choice.
    """
    runs = [r for r in runs if r.strategy != "full" and any(e.get("indices") for e in r.rounds)]
    if not runs:
        raise ValueError("no run has chosen anything yet")
    sizes = {str(r.path): _size(r) for r in runs}
    if len(set(sizes.values())) > 1:
        lengths = ", ".join(f"{Path(k).name} {v}" for k, v in sizes.items())
        raise ValueError(f"the runs are over different rows: {lengths}; explore them one by one")
    size = sizes[str(runs[0].path)]
    columns: dict[str, Any] = {"row": np.arange(size), "id": _ids(runs, size)}
    for i, run in enumerate(runs):
        rank, when, scores = _choice(run, size)
        if i == 0:
            columns["decision"] = np.where(when >= 0, "chosen", "pool").astype(object)
            columns |= {"rank": _null(rank), "round": _null(when)}
            if np.isfinite(scores).any():
                columns["score"] = scores
        if len(runs) > 1:
            name = f"{run.strategy}:{run.seed}"
            columns |= {f"rank:{name}": rank, f"round:{name}": when}
    more, x = _pool_rows(runs[0], size)
    return columns | more, x


def _null(values: NDArray[np.int64]) -> list[int | None]:
    return [v if v >= 0 else None for v in values.tolist()]


def _size(run: Run) -> int:
    rows = run.path / "rows.parquet"
    if rows.exists():
        return int(pq.ParquetFile(rows).metadata.num_rows)
    points = [p for c in run.curves for p in c.points if p.share > 0]
    shares = [round(p.labels / p.share) for p in points]
    indices = [i for e in run.rounds for i in e.get("indices", ())]
    return max([*shares, max(indices, default=0) + 1])


def _ids(runs: Sequence[Run], size: int) -> list[str]:
    ids = [str(i) for i in range(size)]
    for run in runs:
        for entry in run.rounds:
            for i, name in zip(entry.get("indices", ()), entry.get("ids") or (), strict=False):
                ids[i] = str(name)
    return ids


def _choice(run: Run, size: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[Any]]:
    """Return rank and round (N,), -1: not chosen, and the scores chosen by (N,), NaN: none."""
    rank, when, scores = np.full(size, -1), np.full(size, -1), np.full(size, np.nan)
    prune = run.config.get("mode") == "prune"
    place = 0
    for entry in run.rounds[::-1] if prune else run.rounds:
        index = np.array(entry.get("indices", ()), np.int64)
        when[index] = entry["round"]
        if prune and place:
            continue  # smaller budgets of the same order: only the round changes
        rank[index] = np.arange(place, place + len(index))
        if entry.get("scores"):
            scores[index] = np.array(entry["scores"], np.float64)
        place += len(index)
    return rank, when, scores


def _pool_rows(run: Run, size: int) -> tuple[dict[str, Any], NDArray[Any] | None]:
    """Return what the run has written of every row: id, label, thumbnail, vector."""
    if not (run.path / "rows.parquet").exists():
        return _of_gallery(run, size), None
    return read_rows(run.path)


def read_rows(folder: Path) -> tuple[dict[str, Any], NDArray[Any] | None]:
    """Return what `write_rows` wrote: the columns to show, and the features (N, D)."""
    table = pq.read_table(folder / "rows.parquet")
    out = {n: table[n].combine_chunks() for n in table.column_names if n != "features"}
    if "features" not in table.column_names:
        return out, None
    x = table["features"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return out, x.reshape(table.num_rows, -1)


def _of_gallery(run: Run, size: int) -> dict[str, Any]:
    """Return the pictures of a run that has written only those of its first choices."""
    gallery = run.gallery
    if gallery is None or "thumbs" not in gallery or not len(run.chosen):
        return {}
    shown: list[Any] = [None] * size
    for i, pixels in zip(run.chosen.tolist(), gallery["thumbs"], strict=False):
        shown[i] = {"bytes": encode(pixels), "path": None}
    return {"thumbnail": shown}


def write_rows(
    folder: Path,
    ids: Sequence[Any],
    labels: Sequence[str | None],
    images: Any,
    features: NDArray[Any] | None,
    more: Mapping[str, Any] | None = None,
) -> Path:
    """Write `rows.parquet` into the folder of a run: what is shown of every row of its pool.

    labels (N,): names of classes, None: unknown. images: (N, H, W, C) uint8, a list with None where
    there is none, or None; features (N, D) or None. more: further columns (N,), numbers or texts.
    """
    columns = {"id": pa.array([str(k) for k in ids]), "label": pa.array(labels, pa.string())}
    if images is not None:
        columns["thumbnail"] = pa.array(encoded(images), THUMBNAIL)
    if features is not None:
        x = np.asarray(features, np.float32).reshape(len(ids), -1)
        columns["features"] = pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), x.shape[1])
    columns |= {k: pa.array(values) for k, values in (more or {}).items()}
    table = pa.table(columns)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return write_atomic(folder / "rows.parquet", sink.getvalue().to_pybytes())


def selection_columns(picked: Path, size: int, ids: Any = None) -> dict[str, Any]:
    """Return the columns of a selection that was saved as Parquet, over `size` rows.

    Raises ValueError for positions beyond them, or ids of another number.
    """
    chosen = Selection.load(picked)
    if len(chosen) and int(chosen.indices.max()) >= size:
        raise ValueError(
            f"{picked}: position {int(chosen.indices.max())} of {size} rows was chosen"
        )
    if ids is not None and len(ids) != size:
        raise ValueError(f"ids: expected {size}, one per row, got {len(ids)}")
    rank: list[int | None] = [None] * size
    reason: list[str | None] = [None] * size
    score = np.full(size, np.nan)
    for place, i in enumerate(chosen.indices.tolist()):
        rank[i] = place
        reason[i] = None if chosen.reasons is None else str(chosen.reasons[place]) or None
    if chosen.scores is not None:
        score[chosen.indices] = chosen.scores
    names = [str(i) for i in range(size)] if ids is None else [str(k) for k in ids]
    decision = ["pool" if r is None else "chosen" for r in rank]
    out = {"row": np.arange(size), "id": names, "decision": decision, "rank": rank}
    out |= {"reason": reason} if any(reason) else {}
    return out | ({"score": score} if np.isfinite(score).any() else {})


def encoded(images: Any) -> list[dict[str, Any] | None]:
    """Return images (N, H, W) or (N, H, W, C) uint8 as thumbnails; None stays None."""
    return [p if p is None else {"bytes": encode(np.asarray(p)), "path": None} for p in images]
