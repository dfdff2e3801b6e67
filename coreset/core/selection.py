"""A selection: positions in the order chosen, with weights, scores, reasons and ids."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from coreset.core.pool import Indices


@dataclass(frozen=True, eq=False)
class Selection:
    """Positions in the order chosen: any prefix of a greedy answer is itself the answer for a
    smaller budget.

    indices (k,) int64; weights (k,) for weighted training; scores (k,) the gain or score each was
    chosen by; reasons k words; ids (k,) outside names; info: strategy, parameters, variant, seed,
    certificates.

    >>> Selection([4, 1, 3]).prefix(2).indices
    array([4, 1])
    """

    indices: Indices
    weights: NDArray[np.float64] | None = None
    scores: NDArray[np.float64] | None = None
    reasons: Sequence[str] | None = None
    ids: NDArray[Any] | None = None
    info: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        indices = np.asarray(self.indices)
        if indices.ndim != 1 or (indices.size and indices.dtype.kind not in "iu"):
            raise TypeError(
                f"indices: expected a one-dimensional list of positions, got {indices.dtype} with"
                f" shape {indices.shape}"
            )
        indices = indices.astype(np.int64)
        object.__setattr__(self, "indices", indices)
        for name in ("weights", "scores"):
            values = getattr(self, name)
            if values is not None:
                values = np.asarray(values, np.float64)
                if values.shape != indices.shape:
                    raise ValueError(
                        f"{name}: expected shape {indices.shape}, one per chosen example, got"
                        f" {values.shape}"
                    )
                object.__setattr__(self, name, values)
        for name in ("reasons", "ids"):
            values = getattr(self, name)
            if values is not None and len(values) != len(indices):
                raise ValueError(
                    f"{name}: expected {len(indices)} entries, one per chosen example, got"
                    f" {len(values)}"
                )

    def __len__(self) -> int:
        return len(self.indices)

    def prefix(self, k: int) -> Self:
        """Return the first `k` choices."""
        rows = ("indices", "weights", "scores", "reasons", "ids")
        cut: dict[str, Any] = {
            n: None if (values := getattr(self, n)) is None else values[:k] for n in rows
        }
        return replace(self, **cut)

    def of(self, dataset: Any) -> Any:
        """Return the chosen part of a map-style dataset, in order (a `torch.utils.data.Subset`)."""
        from torch.utils.data import Subset

        if len(self.indices) and len(dataset) <= int(self.indices.max()):
            raise ValueError(
                f"the dataset has {len(dataset)} examples but position {int(self.indices.max())}"
                " was chosen"
            )
        return Subset(dataset, self.indices.tolist())

    def _repr_html_(self) -> str:
        """Return the first choices as a table, for a notebook."""
        from coreset.core import html

        columns: dict[str, Any] = {"#": range(len(self)), "index": self.indices}
        for name in ("ids", "scores", "weights", "reasons"):
            if (values := getattr(self, name)) is not None:
                columns[name.removesuffix("s")] = values
        by = self.info.get("strategy")
        title = f"{len(self):,} chosen" + (f" by {by}" if by else "")
        return html.card(title, html.rows(columns, total=len(self)))

    def sheet(self, images: Any, most: int = 60) -> HtmlSheet:
        """Return the first choices as pictures for a notebook. images: (N, H, W) or (N, H, W, C)
        uint8 of the whole dataset, or anything that gives such an array by position.
        """
        return HtmlSheet([(np.asarray(images[i]), f"{i}") for i in self.indices[:most].tolist()])

    def save(self, path: str | Path) -> Path:
        """Write a Parquet file: one row per choice in order; `info` as metadata. Written beside and
        renamed, so never half there.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        from coreset.core.store import to_json, write_atomic

        columns: dict[str, Any] = {"index": self.indices}
        for name, values in (
            ("weight", self.weights),
            ("score", self.scores),
            ("reason", self.reasons),
            ("id", self.ids),
        ):
            if values is not None:
                columns[name] = list(values) if name == "reason" else values
        table = pa.table(columns).replace_schema_metadata(
            {"coreset": to_json(dict(self.info), _plain, sort_keys=True)}
        )
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        return write_atomic(path, sink.getvalue().to_pybytes())

    @classmethod
    def load(cls, path: str | Path) -> Selection:
        """Read what `save` wrote. Raises ValueError when the file has no `index` column."""
        import pyarrow.parquet as pq

        table = pq.read_table(path)
        if "index" not in table.column_names:
            raise ValueError(
                f"{path}: not a saved selection, it has no column 'index' but {table.column_names}"
            )
        get = {n: table[n].to_numpy() for n in table.column_names}
        reasons = table["reason"].to_pylist() if "reason" in get else None
        info = json.loads((table.schema.metadata or {}).get(b"coreset", b"{}"))
        return cls(get["index"], get.get("weight"), get.get("score"), reasons, get.get("id"), info)


@dataclass(frozen=True, eq=False)
class HtmlSheet:
    """Pictures (H, W[, C]) uint8 and what is said of each, shown by a notebook."""

    images: Sequence[tuple[NDArray[np.uint8], str]]

    def _repr_html_(self) -> str:
        """Return the pictures in order."""
        from coreset.core import html

        return html.sheet(self.images)


def _plain(value: Any) -> Any:
    """Return numpy values as Python's own, anything else as text: what JSON cannot say itself."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)
