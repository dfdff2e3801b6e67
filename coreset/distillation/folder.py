"""The folder of a distilled set: manifest.json, images.safetensors, labels.safetensors; and its
export as an image folder.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset.core.store import to_json, write_atomic

FORMAT = 1
FILES = ("manifest.json", "images.safetensors", "labels.safetensors")


def write_folder(
    folder: str | Path,
    manifest: Mapping[str, Any],
    images: NDArray[Any],
    columns: Mapping[str, NDArray[Any]],
) -> Path:
    """Write images, label columns and, last, the manifest; each file is whole or not there."""
    from safetensors.numpy import save

    folder = Path(folder)
    write_atomic(folder / "images.safetensors", save({"images": np.ascontiguousarray(images)}))
    write_atomic(
        folder / "labels.safetensors",
        save({name: np.ascontiguousarray(v) for name, v in columns.items()}),
    )
    write_atomic(
        folder / "manifest.json", to_json({"format": FORMAT, **manifest}, _plain, indent=1)
    )
    return folder


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)


def read_folder(folder: str | Path) -> dict[str, Any]:
    """Return the fields of a distilled set from its three files.

    Raises ValueError for another format version, a missing file or numbers that do not fit the
    manifest.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    folder = Path(folder)
    path = folder / "manifest.json"
    if not path.exists():
        raise FileNotFoundError(f"{folder}: no distilled set, it has no manifest.json")
    try:
        manifest = json.loads(path.read_text())
        version = manifest.get("format")
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{path}: not a manifest ({error})") from error
    if version != FORMAT:
        raise ValueError(
            f"{folder}: a distilled set of format {version}, this version reads format {FORMAT}"
        )
    missing = [name for name in FILES if not (folder / name).exists()]
    if missing:
        raise ValueError(f"{folder}: not a whole distilled set, {', '.join(missing)} is missing")
    try:
        images = load_file(folder / "images.safetensors")["images"]
        columns = load_file(folder / "labels.safetensors")
        image, label = manifest["image"], manifest["label"]
        shape = (image["count"], image["channels"], image["size"], image["size"])
        known = {
            key: manifest[key] for key in ("method", "configuration", "seed", "data", "recipe")
        }
        if images.shape != shape or str(images.dtype) != image["dtype"]:
            raise ValueError(
                f"{folder}: the manifest says {image['dtype']} images {shape}, the file holds"
                f" {images.dtype} {images.shape}"
            )
        return {
            "images": images,
            "labels": columns["labels"],
            "classes": tuple(manifest["classes"]),
            "mean": tuple(image["mean"]),
            "std": tuple(image["std"]),
            "space": image["space"],
            "decode": image["decode"],
            "kind": label["kind"],
            "temperature": label["temperature"],
            "info": {**{k: v for k, v in known.items() if v is not None}, **manifest["info"]},
            "truth": columns.get("truth"),
            "mix": label["mix"],
            "views": columns.get("views"),
        }
    except (SafetensorError, KeyError) as error:
        raise ValueError(f"{folder}: not a readable distilled set ({error!r})") from error


def write_images(
    folder: str | Path, pixels: NDArray[np.uint8], labels: NDArray[np.int64], classes: Sequence[str]
) -> Path:
    """Write PNG files `<label>_<class>/<number>.png`; pixels (M, S, S, C), labels (M,).

    Raises ValueError for images of other than 1 or 3 channels and for a folder that is not empty.
    """
    from PIL import Image

    folder = Path(folder)
    if pixels.shape[3] not in (1, 3):
        raise ValueError(f"export: PNG takes 1 or 3 channels, these images have {pixels.shape[3]}")
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"export: {folder} is not empty")
    width = len(str(len(classes) - 1))
    numbers = [0] * len(classes)
    for image, label in zip(pixels, labels.tolist(), strict=True):
        name = re.sub(r"[^\w.=+-]+", "_", classes[label])
        path = folder / f"{label:0{width}d}_{name}" / f"{numbers[label]:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        numbers[label] += 1
        Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(path)
    return folder
