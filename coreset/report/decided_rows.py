"""Which rows of a curation a reader looks at: around every cut, duplicates beside what stands for
them, a uniform sample beside a suspicious one; with their texts out of the state.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from coreset.core.places import parquet
from coreset.numerics.random import keyed_uniform

AROUND = 3  # rows on each side of a cut
_PAIRS = 300  # duplicate pairs looked at
_SALT = 0x6C6F6F6B


@dataclass(frozen=True)
class Cut:
    """A threshold and the rows around it. name: the column; value: the threshold; kept, dropped:
    rows nearest to it on both sides, nearest first.
    """

    operator: str
    name: str
    value: float
    kept: Sequence[Mapping[str, Any]]
    dropped: Sequence[Mapping[str, Any]]


def limits(manifest: Mapping[str, Any]) -> list[tuple[str, str, float]]:
    """Return (operator, column, threshold) of every operator that cuts one column at a number.

    >>> limits({"operators": [{"name": "threshold", "column": "loss", "low": 2, "high": None}]})
    [('threshold', 'loss', 2.0)]
    """
    out = []
    for one in manifest["operators"]:
        for end in ("low", "high"):
            value = one.get(end)
            if isinstance(one.get("column"), str) and isinstance(value, int | float):
                out.append((str(one["name"]), str(one["column"]), float(value)))
    return out


def cuts(table: pa.Table, manifest: Mapping[str, Any]) -> list[Cut]:
    """Return the rows around every threshold, and around the end of every selection (by `rank` the
    last taken; by `gain` the first left out, where they have one).
    """
    out = []
    state = np.array(table["state"].to_pylist(), object)
    operator = np.array(table["operator"].to_pylist(), object)
    for name, column, value in limits(manifest):
        if column not in table.column_names:
            continue
        scores = pc.cast(table[column], pa.float64()).to_numpy()
        far = np.where(np.isfinite(scores), np.abs(scores - value), np.inf)
        sides = []
        for side in (operator != name, operator == name):
            rows = np.flatnonzero(side & np.isfinite(far))
            rows = rows[np.argsort(far[rows], kind="stable")][:AROUND]
            sides.append(table.take(pa.array(rows)).to_pylist())
        out.append(Cut(name, column, value, sides[0], sides[1]))
    for one in manifest["operators"]:
        if one.get("kind") == "select" and "rank" in table.column_names:
            rank = pc.fill_null(pc.cast(table["rank"], pa.int64()), -1).to_numpy()
            last = np.flatnonzero((rank >= 0) & (state == "kept"))
            last = last[np.argsort(-rank[last], kind="stable")][:AROUND]
            first = np.flatnonzero(operator == one["name"])
            if "gain" in table.column_names and len(first):
                gain = pc.cast(table["gain"], pa.float64()).to_numpy()[first]
                first = first[np.argsort(-np.nan_to_num(gain, nan=-np.inf), kind="stable")]
            value = float(rank.max()) if len(rank) else 0.0
            kept, dropped = (table.take(pa.array(r[:AROUND])).to_pylist() for r in (last, first))
            out.append(Cut(str(one["name"]), "rank", value, kept, dropped))
    return out


def duplicate_pairs(
    table: pa.Table,
) -> list[tuple[Mapping[str, Any], Mapping[str, Any] | None, float | None]]:
    """Return duplicates with the row that stands for each, and their distance in bits where both
    are images with a hash; the most uncertain first: all distances are compared, the farthest apart
    come first, those of which none is known before equal hashes. Of equals, and at most 300 in all,
    by a hash of their ids.
    """
    twins = table.filter(table["duplicate_of"].is_valid())
    place = pc.index_in(twins["duplicate_of"], value_set=table["id"].combine_chunks())
    far = _distances(twins, table, place)
    luck = keyed_uniform(_SALT, np.array(twins["id"].to_pylist(), object))
    first = np.lexsort((luck, -np.nan_to_num(far, nan=0.5)))[:_PAIRS]
    at = pa.array(first, pa.int64())
    rows, others = twins.take(at).to_pylist(), place.take(at).to_pylist()
    there = pa.array([k for k in others if k is not None], pa.int64())
    stands = iter(table.take(there).to_pylist())
    bits = [None if np.isnan(v) else v for v in far[first].tolist()]
    partners = [None if k is None else next(stands) for k in others]
    return list(zip(rows, partners, bits, strict=True))


def _distances(twins: pa.Table, table: pa.Table, place: pa.ChunkedArray) -> NDArray[np.float64]:
    """Return (twins,) the bits between the perceptual hashes of a row and of the one that stands
    for it, at `place` in the table; else what the operator that dropped it measured; else NaN.
    """
    out = np.full(twins.num_rows, np.nan)
    if "phash" in twins.column_names:
        pairs = zip(twins["phash"].to_pylist(), table["phash"].take(place).to_pylist(), strict=True)
        out[:] = [(int(a, 16) ^ int(b, 16)).bit_count() if a and b else np.nan for a, b in pairs]
    if "image_distance" in twins.column_names:
        measured = pc.cast(twins["image_distance"], pa.float64()).to_numpy()
        by = np.array(twins["reason"].to_pylist(), object) == "near duplicate image"
        out = np.where(np.isnan(out) & by, measured, out)
    return out


def suspicious(table: pa.Table, most: int = 6) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return kept rows drawn uniformly (by a hash of their ids), and the kept rows that lie
    farthest out in any score, in units of the interquartile range; each of those says in `oddest`
    which score that is.
    """
    kept = table.filter(pc.equal(table["state"], "kept"))
    if not kept.num_rows:
        return [], []
    ids = np.array(kept["id"].to_pylist(), object)
    uniform = np.argsort(keyed_uniform(_SALT + 1, ids), kind="stable")[:most]
    far, names = np.zeros(kept.num_rows), np.full(kept.num_rows, "", object)
    for field in kept.schema:
        if not pa.types.is_floating(field.type) or field.name in ("repeat", "gain"):
            continue
        values = kept[field.name].to_numpy().astype(np.float64)
        good = values[np.isfinite(values)]
        if len(good) < 8:
            continue
        low, middle, high = np.quantile(good, [0.25, 0.5, 0.75])
        if high > low:
            away = np.nan_to_num(np.abs(values - middle) / (high - low))
            names[away > far] = field.name
            far = np.maximum(far, away)
    odd = np.argsort(-far, kind="stable")[:most]
    odd = odd[far[odd] > 0]
    rows = kept.take(pa.array(odd)).to_pylist()
    oddest = [
        {**r, "oddest": f"{names[i]} {far[i]:.1f} interquartile ranges out"}
        for r, i in zip(rows, odd.tolist(), strict=True)
    ]
    return kept.take(pa.array(uniform)).to_pylist(), oddest


def texts_of(
    rows: Iterable[Mapping[str, Any]], state: Path, manifest: Mapping[str, Any]
) -> dict[str, str]:
    """Return the texts of rows by id: as much of them as the state holds; none without it.

    Read are the partitions of the files that the rows lie in, one at a time.
    """
    out = _held(rows, state, manifest, ("text", "preview"))
    return {k: str(v or "").replace("\x1e", "\n\n") for k, v in out.items()}


def images_of(
    rows: Iterable[Mapping[str, Any]], state: Path, manifest: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the images of rows by id as the state refers to them; none where there are none."""
    return _held(rows, state, manifest, ("image",))


def _held(
    rows: Iterable[Mapping[str, Any]],
    state: Path,
    manifest: Mapping[str, Any],
    columns: Sequence[str],
) -> dict[str, Any]:
    """Return the first of the columns that a partition has, by id."""
    wanted = {(r["file"], r["line"]): str(r["id"]) for r in rows}
    names = [f["file"] for f in manifest["input"]]
    out: dict[str, Any] = {}
    for folder in sorted(state.glob("rows-*"), key=lambda p: p.stat().st_mtime, reverse=True):
        for path in sorted(folder.glob("*.parquet")):
            shard = int(path.name.split("-")[0])
            lines = [k[1] for k in wanted if shard < len(names) and k[0] == names[shard]]
            if lines:
                out |= _partition(path, names[shard], lines, wanted, columns)
        if out:
            break
    return out


def _partition(
    path: Path,
    file: str,
    lines: Sequence[int],
    wanted: Mapping[tuple[str, int], str],
    columns: Sequence[str],
) -> dict[str, Any]:
    with parquet(path) as held:
        known = [name for name in columns if name in held.schema_arrow.names]
        if not known:
            return {}
        table = held.read(["line", known[0]])
    table = table.filter(pc.is_in(table["line"], pa.array(lines, pa.int64())))
    return {
        wanted[file, line]: value
        for line, value in zip(table["line"].to_pylist(), table[known[0]].to_pylist(), strict=True)
    }


def before_after(table: pa.Table) -> dict[str, list[tuple[str, int, int]]]:
    """Return how many rows there were and are, by source, by language and by length: (value, rows
    read, rows kept), the commonest 12 of each.
    """
    kept = np.array(table["state"].to_pylist(), object) == "kept"
    out = {}
    for title, name in (("source", "file"), ("source", "source"), ("language", "language")):
        if name in table.column_names:
            values = np.array(
                [str(v) if v is not None else "–" for v in table[name].to_pylist()], object
            )
            distinct, place = np.unique(values.astype(str), return_inverse=True)
            out[title] = _counts(distinct.tolist(), place, kept)
    for name in ("text_words", "response_words", "gopher_words", "text_characters"):
        if name in table.column_names:
            values = pc.cast(table[name], pa.float64()).to_numpy()
            place = np.where(
                np.isfinite(values), np.floor(np.log2(np.maximum(values, 1))), -1
            ).astype(int)
            bins = {
                int(p): f"{2**p:,} to {2 ** (p + 1) - 1:,}" if p >= 0 else "unknown"
                for p in np.unique(place)
            }
            order = sorted(bins)
            at = np.searchsorted(order, place)
            out[name.replace("_", " ")] = _counts([bins[p] for p in order], at, kept, sort=False)
            break
    return {k: v for k, v in out.items() if len(v) > 1}


def _counts(
    names: Sequence[str], place: NDArray[Any], kept: NDArray[Any], sort: bool = True
) -> list[tuple[str, int, int]]:
    rows = np.bincount(place, minlength=len(names))
    left = np.bincount(place[kept], minlength=len(names))
    counts = list(zip(names, rows.tolist(), left.tolist(), strict=True))
    return sorted(counts, key=lambda r: -r[1])[:12] if sort else counts
