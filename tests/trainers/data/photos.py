"""Photographs of scikit-image cut into pieces of many shapes, and tar files of them."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image

CLASSES = ("cat", "coffee")


def pieces(count, seed=0):
    """Return (PNG or JPEG bytes, suffix, class number) of `count` rectangles, classes in turn."""
    rng = np.random.default_rng(seed)
    sources = [skimage.data.chelsea(), skimage.data.coffee()]
    out = []
    for i in range(count):
        photo = sources[i % 2]
        height, width = rng.integers(30, 90, 2).tolist()
        top, left = (
            int(rng.integers(60, n - m - 60))
            for n, m in zip(photo.shape, (height, width), strict=False)
        )
        buffer = io.BytesIO()
        suffix = ("png", "jpg")[i // 2 % 2]
        Image.fromarray(photo[top : top + height, left : left + width]).save(
            buffer, {"png": "PNG", "jpg": "JPEG"}[suffix]
        )
        out.append((buffer.getvalue(), suffix, i % 2))
    return out


def tar(path, members):
    """Write a tar file of (name, bytes or TarInfo)."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as file:
        for name, content in members:
            if isinstance(content, tarfile.TarInfo):
                file.addfile(content)
                continue
            about = tarfile.TarInfo(name)
            about.size = len(content)
            file.addfile(about, io.BytesIO(content))
    return path


def shards(folder, count=36, each=12, text=lambda label: str(label), field=None, seed=0):
    """Write WebDataset shards of pieces, the class as `.cls` or as a field of `.json`."""
    paths, rows = [], pieces(count, seed)
    for start in range(0, count, each):
        members = []
        for i in range(start, min(start + each, count)):
            content, suffix, label = rows[i]
            members.append((f"{i:04d}.{suffix}", content))
            if field:
                members.append(
                    (f"{i:04d}.json", json.dumps({field: text(label), "width": 3}).encode())
                )
            elif text(label) is not None:
                members.append((f"{i:04d}.cls", text(label).encode()))
        paths.append(tar(Path(folder) / f"train-{start // each:03d}.tar", members))
    return paths
