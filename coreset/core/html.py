"""Small HTML for notebooks: rows, bars, lines and pictures,
without a library and without script.
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

_STYLE = "font:13px/1.5 system-ui,sans-serif;max-width:720px"
_TABLE = '<table style="font:inherit;border-spacing:12px 1px;border-collapse:separate">'
_BLUE = "#0a6ebd"


def card(title: str, *parts: str) -> str:
    """Return a block with a title; parts are HTML."""
    return f'<div style="{_STYLE}"><b>{escape(title)}</b>{"".join(parts)}</div>'


def rows(columns: Mapping[str, Iterable[Any]], most: int = 10, total: int | None = None) -> str:
    """Return a table of the first `most` rows; total: how many there are, said below.

    >>> ">1</td>" in rows({"index": [1, 2]})
    True
    """
    held = [list(values)[:most] for values in columns.values()]
    heads = "".join(
        f'<th style="text-align:{_side(values[0] if values else "")}">{escape(str(n))}</th>'
        for n, values in zip(columns, held, strict=True)
    )
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in zip(*held, strict=True))
    shown = len(held[0]) if held else 0
    left = "" if total is None or total <= shown else f"<p>and {total - shown:,} more</p>"
    return f"{_TABLE}<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>{left}"


def _side(value: Any) -> str:
    number = isinstance(value, int | float | np.number)
    return "right" if number else "left"


def _cell(value: Any) -> str:
    """Return a value as a cell, a number at its right."""
    if isinstance(value, float | np.floating):
        shown = f"{float(value):.4g}"
    else:
        text = str(value)
        shown = escape(text if len(text) <= 60 else text[:60] + "…")
    return f'<td style="text-align:{_side(value)}">{shown}</td>'


def bars(counts: Mapping[str, int], width: int = 320) -> str:
    """Return one horizontal bar per entry, as long as its count: a funnel, a histogram; none for 0."""
    most = max(counts.values(), default=1) or 1
    out = []
    for name, n in counts.items():
        bar = f'<span style="display:inline-block;height:10px;background:{_BLUE};width:{max(int(n > 0), round(width * n / most))}px"></span>'
        out.append(
            f'<tr><td style="text-align:left">{escape(name)}</td>'
            f'<td style="text-align:left">{bar}</td><td style="text-align:right">{n:,}</td></tr>'
        )
    return f"{_TABLE}{''.join(out)}</table>"


def line(
    x: Sequence[float], y: Sequence[float], label: str, width: int = 360, height: int = 140
) -> str:
    """Return points as an SVG line with the ends of both axes, x on a log axis where all are
    positive; label: for a reader who does not see it.
    """
    a, b = np.asarray(x, np.float64), np.asarray(y, np.float64)
    good = np.isfinite(a) & np.isfinite(b)
    a, b = a[good], b[good]
    if not len(a):
        return "<p>no points yet</p>"
    left, low = 52, height - 24
    ends = [
        (left - 8, 12, "end", b.max()),
        (left - 8, low, "end", b.min()),
        (left, height - 4, "start", a.min()),
        (width - 8, height - 4, "end", a.max()),
    ]
    texts = "".join(
        f'<text x="{u}" y="{v}" text-anchor="{side}">{value:.4g}</text>'
        for u, v, side, value in (ends if len(a) > 1 else ends[:1] + ends[2:3])
    )
    a = np.log(a) if (a > 0).all() else a
    px = left + (width - left - 8) * (a - a.min()) / max(float(np.ptp(a)), 1e-12)
    py = low - 4 - (low - 12) * (b - b.min()) / max(float(np.ptp(b)), 1e-12)
    points = " ".join(f"{u:.1f},{v:.1f}" for u, v in zip(px, py, strict=True))
    dots = "".join(
        f'<circle cx="{u:.1f}" cy="{v:.1f}" r="3"/>' for u, v in zip(px, py, strict=True)
    )
    return (
        f'<svg role="img" aria-label="{escape(label)}" width="{width}" height="{height}"'
        f' fill="{_BLUE}"><polyline fill="none" stroke="{_BLUE}" stroke-width="2"'
        f' points="{points}"/>'
        f'{dots}<g fill="currentColor" font-size="11">{texts}</g></svg>'
    )


def png_uri(pixels: NDArray[np.uint8]) -> str:
    """Return pixels (H, W), (H, W, 1) or (H, W, 3) as a PNG in a data URI. Raises ValueError for
    another shape or type.

    >>> png_uri(np.zeros((2, 2), np.uint8))[:22]
    'data:image/png;base64,'
    """
    array = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
    color = array.ndim == 3 and array.shape[2] == 3
    if array.dtype != np.uint8 or not (array.ndim == 2 or color):
        raise ValueError(
            f"pixels: expected uint8 (H, W[, 1 or 3]), got {pixels.dtype} {pixels.shape}"
        )
    height, width = array.shape[:2]
    flat = np.ascontiguousarray(array).reshape(height, -1)
    raw = np.concatenate([np.zeros((height, 1), np.uint8), flat], axis=1).tobytes()

    def part(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    head = struct.pack(">IIBBBBB", width, height, 8, 2 if color else 0, 0, 0, 0)
    whole = (
        b"\x89PNG\r\n\x1a\n"
        + part(b"IHDR", head)
        + part(b"IDAT", zlib.compress(raw))
        + part(b"IEND", b"")
    )
    return "data:image/png;base64," + base64.b64encode(whole).decode()


def sheet(images: Iterable[tuple[NDArray[np.uint8], str]], side: int = 56) -> str:
    """Return pictures with their captions, in order: a contact sheet."""
    return '<div style="display:flex;flex-wrap:wrap;gap:6px">' + "".join(
        f'<figure style="margin:0;width:{side}px"><img alt="{escape(caption)}"'
        f' title="{escape(caption)}" style="width:100%;image-rendering:pixelated" src="{png_uri(pixels)}"></figure>'
        for pixels, caption in images
    ) + "</div>"  # fmt: skip
