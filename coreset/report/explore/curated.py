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
from numpy.typing import NDArray

from coreset.core.places import parquet, read_table
from coreset.report.explore.table import TEXT
from coreset.scorers.image.decode import decode

_FATE = {
    "id", "file", "line", "state", "operator", "reason", "duplicate_of", "rank", "overruled",
    "new_label"
}  # fmt: skip
_PIXELS = 2**25
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
    ids = table["id"].to_pylist()
    lines = table["line"].to_numpy(zero_copy_only=False)
    files = table["file"].to_pylist()
    columns: dict[str, Any] = {
        "row": np.arange(n),
        "id": [
            k if k is not None else f"{f}:{i}" for k, f, i in zip(ids, files, lines, strict=True)
        ],
        "decision": table["state"].combine_chunks(),
        **{n_: table[n_].combine_chunks() for n_ in ("operator", "reason", "duplicate_of")},
        "slice": files,
    }
    where = {k: i for i, k in enumerate(ids) if k is not None}
    twin = [where.get(k) for k in table["duplicate_of"].to_pylist()]
    columns["duplicate_row"] = pa.array(twin, pa.int64())
    if "rank" in table.column_names:
        rank = table["rank"].to_pylist()
        columns["rank"] = [r if r is not None and r >= 0 else None for r in rank]
    if "overruled" in table.column_names:
        columns["overruled"] = table["overruled"].combine_chunks()
        columns["label"] = table["new_label"].combine_chunks()
    for name in table.column_names:
        kind = table.schema.field(name).type
        shown = pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_string(kind)
        if name not in _FATE and shown:
            columns[name] = table[name].combine_chunks()
    at = {key: i for i, key in enumerate(zip(files, lines.tolist(), strict=True))}
    held = _rows(out / "state" if state is None else state, manifest, at)
    columns |= _shown(held, n)
    return columns, held.vectors(n)


class _Held:
    """What the state knows of rows, by their place in the decisions."""

    def __init__(self) -> None:
        self.text: dict[int, str] = {}
        self.image: dict[int, str | bytes] = {}
        self.parts: list[tuple[NDArray[np.int64], NDArray[Any]]] = []

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


def _rows(state: Path, manifest: Mapping[str, Any], at: Mapping[tuple[str, int], int]) -> _Held:
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
        if held.text:
            break
    return held


def _partition(
    path: Path, names: list[str], at: Mapping[tuple[str, int], int], held: _Held
) -> NDArray[np.int64]:
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
    rows = np.array([at.get((name, line), -1) for line in table["line"].to_pylist()], np.int64)
    whole = table["text"] if "text" in known else table["preview"]
    if {"prompt", "response"} <= set(known):
        pairs = zip(table["prompt"].to_pylist(), table["response"].to_pylist(), strict=True)
        texts: list[str] = [f"{a}\n\n{b}" for a, b in pairs]
    else:
        texts = [str(t or "").replace("\x1e", "\n\n") for t in whole.to_pylist()]
    images = table["image"].to_pylist() if "image" in known else [None] * len(texts)
    for row, text, image in zip(rows.tolist(), texts, images, strict=True):
        if row >= 0:
            held.text[row] = text if len(text) <= TEXT else text[:TEXT] + "…"
            if image is not None:
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


def _shown(held: _Held, size: int) -> dict[str, Any]:
    out: dict[str, Any] = {}
    if any(held.text.values()):
        out["text"] = [held.text.get(i) for i in range(size)]
    if held.image:
        out["thumbnail"] = list(_thumbnails(held.image.get(i) for i in range(size)))
    return out


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
