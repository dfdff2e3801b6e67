"""Which examples: a contact sheet of the picks in the order they were made."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image

from coreset.report.render import render
from coreset.report.shapes import key
from coreset.report.theme import class_color, figure
from coreset.report.words import counted

_SMALL = 32  # pixels: pictures up to this size are kept exactly and drawn with hard pixels


def data_uri(pixels: NDArray[Any]) -> str:
    """Return one picture (h, w, c) uint8, c = 1, 3 or 4, as a data URI: PNG up to 32 pixels, else
    JPEG of 96 at most.

    >>> data_uri(np.zeros((4, 4, 1), np.uint8))[:21]
    'data:image/png;base64'
    """
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4) or pixels.dtype != np.uint8:
        raise ValueError(
            f"thumbs: expected (h, w, 1, 3 or 4) uint8 pictures, got {pixels.shape} {pixels.dtype}"
        )
    image = Image.fromarray(
        np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    )
    out = io.BytesIO()
    small = max(image.size) <= _SMALL
    if small:
        image.save(out, "PNG", optimize=True)
    else:
        image.thumbnail((96, 96))
        (image.convert("RGB") if image.mode == "RGBA" else image).save(out, "JPEG", quality=82)
    return f"data:image/{'png' if small else 'jpeg'};base64,{base64.b64encode(out.getvalue()).decode()}"


def class_name(classes: NDArray[Any], label: int) -> str:
    """Return the name of a class, '?' for -1 and for a number without a name."""
    return str(classes[label]) if 0 <= label < len(classes) else "?"


def _score(value: float) -> str:
    return "" if np.isnan(value) else "∞" if np.isinf(value) else f"{value:.3g}".replace("-", "−")


def sheet_html(
    gallery: Mapping[str, NDArray[Any]],
    labels: Mapping[int, int],
    per_round: int,
    noun: str = "label",
) -> Markup:
    """Return the first `per_round` picks of every round as HTML, one block per round: a border in
    the color of the class, the score below, id and class on hover.

    labels: how many labels there were after each round, for the heading of its block; noun: what
    they are, where not labels.
    """
    thumbs, rounds = gallery["thumbs"], gallery["thumb_round"]
    blocks = []
    for number in np.unique(rounds).tolist():
        shown = np.flatnonzero(rounds == number)[:per_round].tolist()
        blocks.append(
            {
                "round": number,
                "size": counted(labels[number], noun) if number in labels else "",
                "labels": labels.get(number, 0),
                "picks": [_pick(gallery, i) for i in shown],
            }
        )
    hard = len(thumbs) and max(thumbs.shape[1:3]) <= _SMALL
    return render("training/picks.html", blocks=blocks, hard=hard)


def _pick(gallery: Mapping[str, NDArray[Any]], i: int) -> dict[str, Any]:
    label = int(gallery["thumb_labels"][i])
    name, score = class_name(gallery["classes"], label), _score(float(gallery["thumb_scores"][i]))
    about = f"{gallery['thumb_ids'][i]}, {name}" + (f", score {score}" if score else "")
    return {
        "about": about,
        "id": str(gallery["thumb_ids"][i]),
        "label": label,
        "name": name,
        "rank": i,
        "score": score,
        "color": class_color(label),
        "uri": data_uri(gallery["thumbs"][i]),
    }


def sheet_figure(gallery: Mapping[str, NDArray[Any]], most: int = 96, across: int = 16) -> Figure:
    """Return the first `most` picks in order as a figure, `across` a row, framed in the color of
    the class; for PNG and SVG.
    """
    thumbs = gallery["thumbs"][:most, ..., :3]
    rows = max(1, -(-len(thumbs) // across))
    h, w = thumbs.shape[1:3]
    high, wide = h + 2 * max(1, h // 12), w + 2 * max(1, w // 12)  # one picture with its margin
    paper = np.full((rows * high, across * wide, 3), 255, np.uint8)
    fig, ax = figure(0.5 * across, 0.5 * rows * high / wide)
    ax.set_position((0.0, 0.0, 1.0, 1.0))
    ax.axis("off")
    for i, (pixels, label) in enumerate(zip(thumbs, gallery["thumb_labels"], strict=False)):
        y, x = i // across * high + (high - h) // 2, i % across * wide + (wide - w) // 2
        paper[y : y + h, x : x + w] = pixels
        ax.add_patch(
            Rectangle((x, y), w, h, fill=False, edgecolor=class_color(int(label)), linewidth=1.2)
        )
    ax.imshow(
        paper, extent=(0, paper.shape[1], paper.shape[0], 0), interpolation="nearest", aspect="auto"
    )
    return fig


def class_key(classes: NDArray[Any], most: int = 20) -> Markup:
    """Return the colors of the classes as HTML; empty when there are more than `most`, whose colors
    would repeat.
    """
    if len(classes) > most:
        return Markup()
    return key([(class_color(i), str(c)) for i, c in enumerate(classes)])
