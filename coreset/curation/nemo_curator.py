"""Scorers and filters as one stage of a NeMo Curator pipeline, `RowWise(["length", "language"])`
between its readers and its writers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from coreset.core.compute import compute_of, largest
from coreset.core.places import place
from coreset.core.store import fingerprint
from coreset.curation.in_memory import curate_rows
from coreset.curation.operators.base import kind
from coreset.curation.runtime.checkpoint import write_table
from coreset.registry import operator

try:
    from nemo_curator.stages.base import ProcessingStage
    from nemo_curator.stages.resources import Resources
    from nemo_curator.tasks import DocumentBatch
except ImportError as error:
    raise ImportError(
        "stages of NeMo Curator need it beside this package: pip install nemo-curator"
    ) from error

ROW_WISE = ("score", "filter")
FATE = ("id", "file", "line", "state", "operator", "reason", "duplicate_of")


@dataclass
class RowWise(ProcessingStage[DocumentBatch, DocumentBatch]):  # type: ignore[misc]
    """Score and filter the documents of a batch as `coreset.curate` does.

    operators: names, `{name: options}` or instances of scorers and filters, in order; their columns
    stand in the batch that goes on. settings: of `coreset.curation.Settings`, such as
    `fields={"text": "body"}`. dropped: a folder, also in a store, that gets a Parquet file per
    batch with the decision on every document that does not go on; None: they are forgotten. gpus:
    share of a GPU that a worker is lent for each one that an operator declares.

    Raises TypeError for an operator that compares documents: a stage sees one batch, so it would
    answer otherwise than on the whole; use `coreset.curate` or `coreset-curate engine=ray`.
    """

    operators: Sequence[Any]
    settings: Mapping[str, Any] = field(default_factory=dict)
    dropped: str | None = None
    gpus: float = 1.0
    name: str = "coreset"

    def __post_init__(self) -> None:
        self.operators = [operator(one) for one in self.operators]
        whole = [one for one in self.operators if kind(one) not in ROW_WISE]
        if whole or not self.operators:
            what = f"{type(whole[0]).__name__} is of kind {kind(whole[0])}" if whole else "none"
            raise TypeError(
                f"operators: expected scorers and filters, {what}; what compares documents needs all"
                " of them: coreset.curate, or coreset-curate engine=ray"
            )
        compute = largest([compute_of(one) for one in self.operators])
        self.resources = Resources(cpus=compute.cpus, gpus=self.gpus * compute.gpus)

    def inputs(self) -> tuple[list[str], list[str]]:
        """Return that the stage reads the batch's data."""
        return ["data"], []

    def outputs(self) -> tuple[list[str], list[str]]:
        """Return the columns that the operators add."""
        return ["data"], sorted({name for one in self.operators for name in one.gives})

    def process(self, task: DocumentBatch) -> DocumentBatch | None:
        """Return the documents kept with their scores; None where none is kept."""
        table = task.to_pyarrow()
        result = curate_rows(self.operators, table, **self.settings)
        decisions = result.decisions
        kept = pa.compute.equal(decisions["state"], "kept")
        if self.dropped is not None and not pa.compute.all(kept).as_py():
            self._write(table, decisions.filter(pa.compute.invert(kept)))
        if not pa.compute.any(kept).as_py():
            return None
        for name in decisions.column_names:
            if name not in FATE:
                values = decisions[name]
                at = table.column_names.index(name) if name in table.column_names else None
                table = (
                    table.append_column(name, values)
                    if at is None
                    else table.set_column(at, name, values)
                )
        return DocumentBatch(
            dataset_name=task.dataset_name,
            data=table.filter(kept),
            _metadata=task._metadata,
            _stage_perf=task._stage_perf,
        )

    def _write(self, table: pa.Table, decisions: pa.Table) -> None:
        """Write decisions under a name by the content of the batch: done again, the same file."""
        key = fingerprint(table.to_pydict(), decisions.to_pydict())
        write_table(place(str(self.dropped)) / f"{key}.parquet", decisions)
