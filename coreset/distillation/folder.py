"""The folder of a distilled set: manifest.json, images.safetensors, labels.safetensors; and its export as an image folder."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from coreset.core.store import to_json, write_atomic

if TYPE_CHECKING:
    from coreset.distillation.dataset import Synthetic

FORMAT = 1
FILES = ("manifest.json", "images.safetensors", "labels.safetensors")


def manifest(made: Synthetic) -> dict[str, Any]:
    """Return everything about a distilled set but its numbers, as plain JSON values.

    info holds method, configuration, seed, data set (name, fingerprint, size, labels used) and the recipe it is to be trained with, as far as they are known.
    """
    known = ("method", "configuration", "seed", "data", "recipe")
    return {
        "format": FORMAT,
        **{key: made.info.get(key) for key in known},
        "classes": list(made.classes),
        "images_per_class": made.counts.tolist(),
        "image": {
            "count": len(made), "channels": made.images.shape[1], "size": made.images.shape[2], "dtype": str(made.images.dtype),
            "space": made.space, "mean": list(made.mean), "std": list(made.std), "decode": made.decode,
        },
        "label": {"kind": made.kind, "dtype": str(made.labels.dtype), "temperature": made.temperature, "mix": made.mix},
        "bytes": made.nbytes,
        "info": {key: value for key, value in made.info.items() if key not in known},
    }  # fmt: skip


def write_folder(made: Synthetic, folder: str | Path) -> Path:
    """Write the three files, the manifest last; each is whole or not there."""
    from safetensors.numpy import save

    from coreset.distillation.dataset import smallest_labels

    folder = Path(folder)
    small = smallest_labels(len(made.classes))
    columns = {"labels": made.labels.astype(small) if made.kind in ("hard", "online") else made.labels}
    if made.truth is not None:
        columns["truth"] = made.truth.astype(small)
    if made.views is not None:
        columns["views"] = made.views
    write_atomic(folder / "images.safetensors", save({"images": np.ascontiguousarray(made.images)}))
    write_atomic(folder / "labels.safetensors", save({name: np.ascontiguousarray(v) for name, v in columns.items()}))
    write_atomic(folder / "manifest.json", to_json(manifest(made), _plain, indent=1))
    return folder


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)


def read_folder(folder: str | Path) -> Synthetic:
    """Read the three files back; ValueError for another format version, a missing file or numbers that do not fit the manifest."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    from coreset.distillation.dataset import Synthetic

    folder = Path(folder)
    path = folder / "manifest.json"
    if not path.exists():
        raise FileNotFoundError(f"{folder}: no distilled set, it has no manifest.json")
    try:
        said = json.loads(path.read_text())
        version = said.get("format")
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{path}: not a manifest ({error})") from error
    if version != FORMAT:
        raise ValueError(f"{folder}: a distilled set of format {version}, this version reads format {FORMAT}")
    missing = [name for name in FILES if not (folder / name).exists()]
    if missing:
        raise ValueError(f"{folder}: not a whole distilled set, {', '.join(missing)} is missing")
    try:
        images = load_file(folder / "images.safetensors")["images"]
        columns = load_file(folder / "labels.safetensors")
        image, label = said["image"], said["label"]
        shape = (image["count"], image["channels"], image["size"], image["size"])
        known = {key: said[key] for key in ("method", "configuration", "seed", "data", "recipe")}
        if images.shape != shape or str(images.dtype) != image["dtype"]:
            raise ValueError(
                f"{folder}: the manifest says {image['dtype']} images {shape}, the file holds {images.dtype} {images.shape}"
            )
        return Synthetic(
            images, columns["labels"], tuple(said["classes"]), tuple(image["mean"]), tuple(image["std"]), image["space"], image["decode"],
            label["kind"], label["temperature"], {**{k: v for k, v in known.items() if v is not None}, **said["info"]},
            columns.get("truth"), label["mix"], columns.get("views"),
        )  # fmt: skip
    except (SafetensorError, KeyError) as error:
        raise ValueError(f"{folder}: not a readable distilled set ({error!r})") from error


def write_images(made: Synthetic, folder: str | Path) -> Path:
    """Write PNG files `<label>_<class>/<number>.png`. Raises ValueError for images of other than 1 or 3 channels and for a folder that is not empty."""
    from PIL import Image

    folder = Path(folder)
    if made.images.shape[1] not in (1, 3):
        raise ValueError(f"export: PNG takes 1 or 3 channels, these images have {made.images.shape[1]}")
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"export: {folder} is not empty")
    pixels = np.clip(np.rint(made.pixels()), 0, 255).astype(np.uint8)
    width = len(str(len(made.classes) - 1))
    numbers = [0] * len(made.classes)
    for image, label in zip(pixels, np.repeat(made.hard, made.decode**2).tolist(), strict=True):
        name = re.sub(r"[^\w.=+-]+", "_", made.classes[label])
        path = folder / f"{label:0{width}d}_{name}" / f"{numbers[label]:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        numbers[label] += 1
        Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(path)
    return folder
