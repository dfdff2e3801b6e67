"""Rows about the local engine: what it costs beside its operators, and its memory as the input
grows.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from coreset.core.batch import Batch
from coreset.core.cache import asset_dir
from coreset.curation.engines.local import Engine
from coreset.curation.io.formats import content_id
from coreset.curation.operators.base import GroupBy, Operator
from coreset.curation.operators.contract import checked, row_keys
from coreset.curation.operators.dedup import ExactDuplicates, NearDuplicates
from coreset.curation.operators.rules import (
    C4Filter,
    FineWebFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)
from coreset.curation.run import Settings, curate
from coreset.scorers.text.c4 import C4
from coreset.scorers.text.fineweb import FineWeb
from coreset.scorers.text.gopher_quality import GopherQuality
from coreset.scorers.text.gopher_repetition import GopherRepetition
from scripts.benchmarks.harness import Answer, Method, Row

FOLDER = Path(tempfile.gettempdir()) / "coreset-benchmark-curate"


def web_rules() -> list[Operator]:
    """Return the rules and the deduplication of the recipe `pretrain` that need no other package."""
    return [
        GopherQuality(), GopherQualityFilter(), GopherRepetition(), GopherRepetitionFilter(), C4(), C4Filter(), FineWeb(), FineWebFilter(),
        ExactDuplicates(), NearDuplicates(numbers="fold"),
    ]  # fmt: skip


@cache
def pages(count: int) -> Path:
    """Return a file of `count` pages: the 300 real ones of C4, again and again, their sentences in
    another order and one in twenty a copy.
    """
    path = FOLDER / f"pages-{count}.jsonl"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        real = [
            json.loads(line)["text"]
            for line in (asset_dir("llamafactory") / "data" / "c4_demo.jsonl").open()
        ]
        rng = np.random.default_rng(0)
        with path.with_suffix(".part").open("w") as file:
            for i in range(count):
                sentences = real[i % len(real)].split(". ")
                text = (
                    ". ".join(np.array(sentences, object)[rng.permutation(len(sentences))])
                    if i >= len(real) and i % 20
                    else real[i % len(real)]
                )
                file.write(
                    json.dumps({"text": text, "url": f"http://example.org/{i}"}, ensure_ascii=False)
                    + "\n"
                )
        path.with_suffix(".part").rename(path)
    return path


def alone(operators: list[Operator], table: pa.Table, batch: int = 512) -> dict[str, bool]:
    """Return {id: kept}: the operators one after the other over a table in memory, nothing read,
    written or remembered. Groups by sorted keys.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    kept = dict.fromkeys(table["id"].to_pylist(), False)
    for operator in operators:
        parts = [table.slice(start, batch) for start in range(0, table.num_rows, batch)]
        if isinstance(operator, GroupBy):
            keys = np.concatenate([row_keys(operator, Batch(p)) for p in parts])
            flat, row = keys.reshape(-1), np.repeat(np.arange(len(keys)), keys.shape[1])
            order = np.argsort(flat, kind="stable")
            flat, row = flat[order], row[order]
            same = (flat[1:] == flat[:-1]) & (flat[1:] != 0)
            graph = coo_array(
                (np.ones(same.sum(), bool), (row[:-1][same], row[1:][same])),
                shape=(len(keys), len(keys)),
            )
            label = connected_components(graph, directed=False)[1]
            keep = np.ones(table.num_rows, bool)
            order = np.argsort(label, kind="stable")
            for group in np.split(order, np.flatnonzero(np.diff(label[order])) + 1):
                if len(group) >= operator.smallest:
                    rows = table.take(pa.array(group)).sort_by("id")
                    decision = checked(operator, Batch(rows))[1]
                    assert decision is not None
                    answer = dict(zip(rows["id"].to_pylist(), decision.keep.tolist(), strict=True))
                    keep[group] = [answer[i] for i in table["id"].take(pa.array(group)).to_pylist()]
            table = table.filter(pa.array(keep))
            continue
        done = []
        for part in parts:
            columns, decision = checked(operator, Batch(part))
            for name, values in columns.items():
                part = part.append_column(name, pa.array(values))
            done.append(part if decision is None else part.filter(pa.array(decision.keep)))
        table = pa.concat_tables(done, promote_options="permissive").combine_chunks()
    return kept | dict.fromkeys(table["id"].to_pylist(), True)


def curated(
    source: Path,
    operators: list[Operator],
    settings: Settings | None = None,
    engine: Engine | None = None,
) -> dict[str, bool]:
    """Return {id: kept} after a run from the file to all that is written."""
    out = Path(tempfile.mkdtemp(dir=FOLDER))
    try:
        curate(operators, source, out, settings=settings, engine=engine)
        table = pq.read_table(out / "decisions.parquet", columns=["id", "state"])
        return dict(
            zip(
                table["id"].to_pylist(),
                (s == "kept" for s in table["state"].to_pylist()),
                strict=True,
            )
        )
    finally:
        shutil.rmtree(out)


def _named(rows: Iterator[dict[str, Any]]) -> pa.Table:
    """Return rows as the engine names them."""
    seen: dict[str, int] = {}
    ids, texts = [], []
    for row in rows:
        name = content_id(row)
        seen[name] = seen.get(name, 0) + 1
        ids.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
        texts.append(row["text"])
    return pa.table({"id": ids, "text": texts})


def overhead_pages(scale: float = 1) -> Row:
    """20,000 pages through rules and deduplication."""
    count = int(20_000 * scale)
    source, operators = pages(count), web_rules()
    table = _named(json.loads(line) for line in source.open())

    def agree(ours: Answer, peer: Answer, _: int) -> dict[str, Any]:
        return {
            "same_rows": sum(ours[i] == peer[i] for i in ours),
            "of": len(ours),
            "kept": sum(ours.values()),
        }

    return Row(
        f"the local engine, {count:,} web pages ({source.stat().st_size / 1e6:.0f} MB), Gopher, C4"
        " and FineWeb rules, exact and near duplicates",
        count,
        Method("coreset-curate, file to files", lambda _: curated(source, operators), small=0),
        [
            Method(
                "the operators alone, in memory",
                lambda _: alone(operators, table),
                small=0,
                note="no reading, no checks of rows, no ids, no state, no output",
            )
        ],
        agree,
        "overhead below 10 %: at least 0.91 times ours",
        trials=3,
    )


def memory(scale: float = 1) -> Row:
    """Peak memory at 20,000 and at 200,000 pages."""
    count = int(20_000 * scale)
    small, large = pages(count), pages(10 * count)

    def peak(source: Path) -> float:
        code = (
            "import sys; sys.path.insert(0, '.'); from pathlib import Path; from"
            " scripts.benchmarks.harness import resident; from"
            " scripts.benchmarks.rows_curate.engine import curated, web_rules; kept ="
            f" curated(Path({str(source)!r}), web_rules()[:-1]); print(resident()[1] / 1e6)"
        )
        return float(
            subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, check=True
            ).stdout
        )

    def facts(_: Answer) -> dict[str, Any]:
        one, ten = peak(small), peak(large)
        return {
            "peak_MB_of_the_process_at_1x": one,
            "at_10x": ten,
            "ratio": ten / one,
            "input_MB_at_1x": small.stat().st_size / 1e6,
            "at_ten": large.stat().st_size / 1e6,
        }

    return Row(
        f"memory of the local engine, {count:,} and {10 * count:,} web pages",
        count,
        Method("coreset-curate, file to files", lambda _: curated(small, web_rules()[:2]), small=0),
        [],
        lambda ours, peer, k: {},
        "flat from 1x to 10x input",
        facts=facts,
        trials=1,
    )


ROWS = {"overhead_pages": overhead_pages, "memory": memory}
