"""Embedding Atlas opened on the table of rows: which column is what, and its charts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

INSTALL = "coreset-explore needs embedding-atlas: pip install 'coreset-lightning[explore]'"
_COUNTED = ("decision", "operator", "reason", "round", "label", "slice", "overruled")
_SCORES = 8  # histograms shown at first


def charts(names: Sequence[str], scores: Sequence[str]) -> dict[str, Any]:
    """Return the charts it opens with: map, table, counts of every outcome, some scores.

    >>> [c["title"] for c in charts(["id", "decision", "x", "y"], ["blur"])["charts"].values()]
    ['Map', 'Rows', 'decision', 'blur']
    """
    out: list[dict[str, Any]] = []
    if {"x", "y"} <= set(names):
        data = {"x": "x", "y": "y", "category": "decision"}
        data |= {k: k for k in ("text", "neighbors") if k in names}
        data |= {"image": "thumbnail"} if "thumbnail" in names else {}
        out.append({"type": "embedding", "title": "Map", "data": data})
    out.append({"type": "instances", "title": "Rows"})
    out += [
        {"type": "count-plot", "title": n, "data": {"field": n}} for n in _COUNTED if n in names
    ]
    rank = ["rank"] if "rank" in names else []
    out += [_histogram(n) for n in [*rank, *scores[:_SCORES]]]
    return {"charts": {str(i): chart for i, chart in enumerate(out, 1)}}


def _histogram(name: str) -> dict[str, Any]:
    """Return bars of all rows, faded, and of those that the filters leave; a brush filters."""
    encoding = {"x": {"field": name}, "y": {"aggregate": "count"}}
    faded = {"mark": "bar", "style": {"fillColor": "$markColorFade"}, "encoding": encoding}
    left = {"mark": "bar", "filter": "$filter", "encoding": encoding}
    return {
        "title": name, "layers": [faded, left], "selection": {"brush": {"encoding": "x"}},
        "widgets": [{"type": "scale.type", "channel": "x"}],
    }  # fmt: skip


def data_source(table: pa.Table, scores: Sequence[str]) -> Any:
    """Return the table as an Embedding Atlas data source. Raises ImportError without it."""
    try:
        from embedding_atlas.data_source import DataSource
        from embedding_atlas.options import make_embedding_atlas_props
    except ImportError as error:
        raise ImportError(INSTALL) from error
    names = set(table.column_names)

    def there(name: str) -> str | None:
        return name if name in names else None

    props = make_embedding_atlas_props(
        row_id="row",
        x=there("x"),
        y=there("y"),
        text=there("text"),
        image=there("thumbnail"),
        neighbors=there("neighbors"),
        initial_state=charts(table.column_names, scores),
    )
    from coreset.core.store import fingerprint

    key = fingerprint(table.num_rows, table.column_names, table["id"][:100].to_pylist())
    return DataSource(f"coreset-{key}", table.drop_columns(_unread(table)), {"props": props})


def _unread(table: pa.Table) -> list[str]:
    """Return the columns that Embedding Atlas does not show: none but those it has no type for."""
    return [f.name for f in table.schema if pa.types.is_null(f.type)]


def static_folder() -> Path:
    """Return the folder of Embedding Atlas' own page."""
    import embedding_atlas

    return Path(str(embedding_atlas.__file__)).parent / "static"
