"""The table of a curation: its decisions, joined with the rows that lie in its state."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from coreset.core.places import parquet, read_table
from coreset.report.explore.table import TEXT
from coreset.scorers.image.decode import decode

_FATE = {
    "id", "file", "line", "state", "operator", "reason", "duplicate_of", "rank", "overruled",
    "new_label"
}  # fmt: skip
_PIXELS = 2**25
_PART = 2**16  # rows of a text column at once
_SIDE = 96


def curated_columns(
    out: Path, state: Path | None = None
) -> tuple[dict[str, Any], NDArray[Any] | None]:
    """Return the columns of a finished curation in `out`, and the vectors (N, D) an operator gave,
    if there are any.

    state: the folder of its state, by default out/state; without it there are decisions and scores,
    but no text, image or map. Raises FileNotFoundError where `out` holds no curation.
    """
    path = out / "decisions.parquet"
    if not path.exists() or not (out / "manifest.json").exists():
        raise FileNotFoundError(
            2, "expected decisions.parquet and manifest.json of a curation", str(out)
        )
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    table = read_table(path)
    n = table.num_rows
    place = pc.binary_join_element_wise(table["file"], pc.cast(table["line"], pa.string()), ":")
    names = pc.coalesce(table["id"], place)
    columns: dict[str, Any] = {"row": np.arange(n), "id": names, "decision": table["state"]}
    columns |= {name: table[name] for name in ("operator", "reason", "duplicate_of")}
    columns["slice"] = table["file"]
    columns["duplicate_row"] = _twins(table)
    if "rank" in table.column_names:
        rank = table["rank"]
        columns["rank"] = pc.if_else(pc.greater_equal(rank, 0), rank, None)
    if "overruled" in table.column_names:
        columns["overruled"], columns["label"] = table["overruled"], table["new_label"]
    for name in table.column_names:
        kind = table.schema.field(name).type
        shown = pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_string(kind)
        if name not in _FATE and shown:
            columns[name] = table[name]
    held = _rows(out / "state" if state is None else state, manifest, _Lines(table))
    columns |= held.shown(n)
    return columns, held.vectors(n)


def _twins(table: pa.Table) -> pa.Array:
    """Return the position of the row that `duplicate_of` names, null: none."""
    ids = table["id"].combine_chunks()
    at = pc.index_in(table["duplicate_of"], value_set=ids.drop_null())
    where = np.flatnonzero(ids.is_valid().to_numpy(zero_copy_only=False))
    twins = pa.array(where, pa.int64()).take(at.combine_chunks())
    return pc.if_else(pc.is_valid(table["duplicate_of"].combine_chunks()), twins, None)


class _Lines:
    """Where a line of a file is in the decisions, for many lines at once."""

    def __init__(self, table: pa.Table) -> None:
        files = pc.dictionary_encode(table["file"]).combine_chunks()
        code = files.indices.to_numpy(zero_copy_only=False)
        lines = table["line"].to_numpy().astype(np.int64)
        order = np.lexsort((lines, code))
        starts = np.searchsorted(code[order], np.arange(len(files.dictionary) + 1))
        self._of = {
            name: (lines[order[a:b]], order[a:b])
            for name, a, b in zip(files.dictionary.to_pylist(), starts, starts[1:], strict=False)
        }

    def places(self, name: str, lines: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the places of lines of a file, -1: not in the decisions."""
        known, rows = self._of.get(name, (np.empty(0, np.int64), np.empty(0, np.int64)))
        if not len(known):
            return np.full(len(lines), -1)
        at = np.minimum(np.searchsorted(known, lines), len(known) - 1)
        return np.where(known[at] == lines, rows[at], -1)


class _Held:
    """What the state knows of rows, by their place in the decisions."""

    def __init__(self) -> None:
        self.texts: list[tuple[NDArray[np.int64], pa.Array]] = []
        self.image: dict[int, str | bytes] = {}
        self.parts: list[tuple[NDArray[np.int64], NDArray[Any]]] = []

    def shown(self, size: int) -> dict[str, Any]:
        """Return the columns `text` and `thumbnail` of all rows, each where there is any."""
        out: dict[str, Any] = {}
        if self.texts:
            rows = np.concatenate([r for r, _ in self.texts])
            at = np.full(size, -1)
            at[rows] = np.arange(len(rows))
            whole = pa.chunked_array([t for _, t in self.texts])
            # in parts: more than 2 GB of text do not fit into one array
            out["text"] = pa.chunked_array(
                [
                    whole.take(pa.array(part, mask=part < 0)).cast(pa.string()).combine_chunks()
                    for part in np.split(at, range(_PART, size, _PART))
                ],
                pa.string(),
            )
            if not pc.any(pc.greater(pc.utf8_length(out["text"]), 0)).as_py():
                del out["text"]
        if self.image:
            out["thumbnail"] = list(_thumbnails(self.image.get(i) for i in range(size)))
        return out

    def vectors(self, size: int) -> NDArray[Any] | None:
        """Return the vectors (size, D), NaN where there is none; None without any."""
        if not self.parts:
            return None
        width = self.parts[0][1].shape[1]
        out = np.full((size, width), np.nan, np.float32)
        for rows, values in self.parts:
            if values.shape[1] == width:
                out[rows] = values
        return out


def _rows(state: Path, manifest: Mapping[str, Any], at: _Lines) -> _Held:
    """Return text, images and vectors of the rows; of several inputs in a state, the one whose
    lines the decisions name.
    """
    held = _Held()
    names = [f["file"] for f in manifest["input"]]
    folders = sorted(state.glob("rows-*"), key=lambda p: p.stat().st_mtime, reverse=True)
    sides = sorted(p for p in state.glob("[0-9][0-9]-*") if p.is_dir())
    for folder in folders:
        for path in sorted(folder.glob("*.parquet")):
            rows = _partition(path, names, at, held)
            _vectors(path.name, rows, [folder, *sides[::-1]], held)
        if any(len(rows) for rows, _ in held.texts):
            break
    return held


def _partition(path: Path, names: list[str], at: _Lines, held: _Held) -> NDArray[np.int64]:
    """Take in the texts and images of one partition; return the place of every row, -1: none."""
    shard = int(path.name.split("-")[0])
    with parquet(path) as file:
        known = file.schema_arrow.names
        wanted = [
            "line",
            "preview",
            *(n for n in ("text", "image", "prompt", "response") if n in known),
        ]
        table = file.read(wanted)
    name = names[shard] if shard < len(names) else ""
    rows = at.places(name, table["line"].to_numpy().astype(np.int64))
    if {"prompt", "response"} <= set(known):
        texts = pc.binary_join_element_wise(
            table["prompt"], table["response"], "\n\n", null_handling="replace"
        )
    else:
        whole = pc.fill_null(table["text" if "text" in known else "preview"], "")
        texts = pc.replace_substring(whole, "\x1e", "\n\n")
    short = pc.utf8_slice_codeunits(texts, 0, TEXT)
    long = pc.greater(pc.utf8_length(texts), TEXT)
    texts = pc.if_else(long, pc.binary_join_element_wise(short, "…", ""), short)
    good = rows >= 0
    held.texts.append(
        (rows[good], texts.cast(pa.large_string()).filter(pa.array(good)).combine_chunks())
    )
    if "image" in known:
        for row, image in zip(rows.tolist(), table["image"].to_pylist(), strict=True):
            if row >= 0 and image is not None:
                held.image[row] = image
    return rows


def _vectors(name: str, rows: NDArray[np.int64], folders: list[Path], held: _Held) -> None:
    """Take in the vectors of one partition from the first file that has any."""
    for path in (f / name for f in folders):
        if not path.exists():
            continue
        with parquet(path) as file:
            field = next(
                (f for f in file.schema_arrow if pa.types.is_fixed_size_list(f.type)), None
            )
            if field is None:
                continue
            own = "row" in file.schema_arrow.names
            table = file.read(["row", field.name] if own else [field.name])
        column = table[field.name].combine_chunks()
        place = table["row"].to_numpy().astype(np.int64) if own else np.arange(table.num_rows)
        good = column.is_valid().to_numpy(zero_copy_only=False)
        values = column.filter(pa.array(good)).flatten().to_numpy(zero_copy_only=False)
        target = rows[place[good]]
        values = values.reshape(len(target), -1)
        held.parts.append((target[target >= 0], values[target >= 0]))
        return


def _thumbnails(images: Iterator[str | bytes | None]) -> Iterator[dict[str, Any] | None]:
    with ThreadPoolExecutor(2) as pool:
        for data in pool.map(thumbnail_of, images):
            yield None if data is None else {"bytes": data, "path": None}


def thumbnail_of(image: str | bytes | None) -> bytes | None:
    """Return an image as a JPEG of at most 96 pixels; None where it cannot be read."""
    pixels = None if image is None else decode(image, _PIXELS).pixels
    return None if pixels is None else encode(pixels)


def encode(pixels: NDArray[np.uint8]) -> bytes:
    """Return pixels (H, W), (H, W, 1 or 3) as a small picture: PNG up to 32 pixels, else JPEG."""
    from PIL import Image

    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    picture, out = Image.fromarray(pixels), BytesIO()
    if max(picture.size) <= 32:
        picture.save(out, "PNG")
    else:
        picture.thumbnail((_SIDE, _SIDE))
        picture.convert("RGB").save(out, "JPEG", quality=80)
    return out.getvalue()
