"""The sheet of pictures that lies beside a table of labels: what is asked, and why."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from coreset.report.document import static
from coreset.report.render import render
from coreset.trainers.oracles.base import Request


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
        proposed = score = ""
        if request.proposed is not None:
            sure = "" if request.confidence is None else f", {100 * request.confidence[i]:.0f} %"
            proposed = f"{classes[int(request.proposed[i])]}{sure}"
        if request.scores is not None and np.isfinite(request.scores[i]):
            score = f"{request.scores[i]:.4g}"
        name = PurePosixPath(str(ids[index])).name
        rows.append(
            {"index": index, "name": name, "image": images[i], "proposed": proposed, "score": score}
        )
    style = Markup(static("sheet.css"))
    about = {"table": table, "reason": request.reason, "classes": classes}
    return render("oracle/sheet.html", css=style, rows=rows, **about)


def data_uri(pixels: NDArray[np.uint8]) -> str:
    """Return an image (H, W, C) as a PNG inside a URI."""
    flat = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(flat)).save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
