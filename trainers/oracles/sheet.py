"""The sheet of pictures that lies beside a table of labels: what is asked, and why."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

import jinja2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from coreset.trainers.oracles.base import Request

PAGE = jinja2.Environment(autoescape=True).from_string(
    """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{{ count }} examples to label</title>
<style>
body { font: 15px system-ui, sans-serif; margin: 2rem; max-width: 75rem }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: 1rem }
figure { margin: 0; padding: .6rem; border: 1px solid #ccc; border-radius: 6px }
img { width: 100%; image-rendering: pixelated } figcaption { font-size: 13px; line-height: 1.4 }
</style>
<h1>{{ count }} examples to label</h1>
<p>Write a class into the column <code>label</code> of <code>{{ table }}</code>, or
<code>skip</code>. {{ reason }}</p>
<p>Classes: {{ classes | join(", ") }}</p>
<main>{% for row in rows %}
<figure>{% if row.image %}<img src="{{ row.image }}" alt="{{ row.name }}">{% endif %}
<figcaption><b>{{ row.index }}</b> {{ row.name }}{% if row.proposed %}<br>proposed:
{{ row.proposed }}{% endif %}{% if row.score %}<br>score {{ row.score }}{% endif %}</figcaption>
</figure>{% endfor %}
</main></html>
"""
)


def sheet(
    request: Request, ids: NDArray[Any], classes: Sequence[str], table: str = "labels.csv"
) -> str:
    """Return the page: a picture, the proposed class and the score of each example, most wanted
    first. Of an id that is a path only the file's name is shown: folders are often classes.
    """
    images = [""] * len(request.indices)
    if request.pictures is not None:
        images = [data_uri(pixels) for pixels in request.pictures(request.indices)]
    rows = []
    for i, index in enumerate(request.indices.tolist()):
        row = {"index": index, "name": PurePosixPath(str(ids[index])).name, "image": images[i]}
        if request.proposed is not None:
            sure = "" if request.confidence is None else f", {100 * request.confidence[i]:.0f} %"
            row["proposed"] = f"{classes[int(request.proposed[i])]}{sure}"
        if request.scores is not None and np.isfinite(request.scores[i]):
            row["score"] = f"{request.scores[i]:.4g}"
        rows.append(row)
    return PAGE.render(
        count=len(rows), table=table, reason=request.reason, classes=classes, rows=rows
    )


def data_uri(pixels: NDArray[np.uint8]) -> str:
    """Return an image (H, W, C) as a PNG inside a URI."""
    flat = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(flat)).save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
