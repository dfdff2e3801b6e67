"""Rows about corpus rules: scorers and rules against datatrove's filters, the same pages, every
rule set on every page.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset.core.batch import as_batch
from coreset.core.cache import asset_dir
from coreset.curation.operators.rules import (
    C4Filter,
    FineWebFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)
from coreset.scorers.text.c4 import C4
from coreset.scorers.text.fineweb import FineWeb
from coreset.scorers.text.gopher_quality import GopherQuality
from coreset.scorers.text.gopher_repetition import GopherRepetition
from scripts.benchmarks.harness import Answer, Method, Row


@cache
def pages(count: int) -> list[str]:
    """Return the 300 real pages of C4 and worse ones made of them, one sort after the other: cut
    into lines, doubled, trailing off.
    """
    lines = (asset_dir("llamafactory") / "data" / "c4_demo.jsonl").read_text().splitlines()
    real = [json.loads(line)["text"] for line in lines]
    worse = [
        text
        for page in real
        for text in (
            "\n".join(page.split(". ")),
            f"{page}\n{page}",
            "\n".join(f"{w}..." for w in page.split()[:200]),
        )
    ]
    return (real + worse)[:count]


def datatrove_verdicts(texts: list[str]) -> NDArray[np.bool_]:
    """datatrove: four filters on every page; the words of a page are cut once and remembered, as
    datatrove does.
    """
    filters = import_module("datatrove.pipeline.filters")
    document = import_module("datatrove.data").Document
    own = [
        filters.GopherQualityFilter(),
        filters.GopherRepetitionFilter(),
        filters.FineWebQualityFilter(),
        filters.C4QualityFilter(filter_no_terminal_punct=False),
    ]
    import_module("datatrove.utils.text").split_into_parts.cache_clear()
    return np.array([[f.filter(document(text=t, id="0")) is True for f in own] for t in texts])


def our_verdicts(texts: list[str]) -> NDArray[np.bool_]:
    """The scorers in their variant `datatrove`, then the rules."""
    rows = as_batch({"text": texts})
    pairs: list[tuple[Any, Any]] = [
        (GopherQuality(variant="datatrove"), GopherQualityFilter()),
        (GopherRepetition(variant="datatrove"), GopherRepetitionFilter()),
        (FineWeb(variant="datatrove"), FineWebFilter()),
        (C4(punctuation=False), C4Filter()),
    ]
    return np.stack([rule.decide(as_batch(score(rows))).keep for score, rule in pairs], axis=1)


def web_rules(scale: float = 1) -> Row:
    """600 pages, half of them real."""
    count = max(20, int(600 * scale))
    texts = pages(count)

    def agree(ours: Answer, peer: Answer, _: int) -> dict[str, Any]:
        return {"same_rows": int((ours == peer).sum()), "of": int(ours.size)}

    return Row(
        f"web rules, {count:,} pages: Gopher quality and repetition, FineWeb, C4, each on every page",
        count,
        Method("coreset", lambda k: our_verdicts(texts[:k])),
        [Method("datatrove filters", lambda k: datatrove_verdicts(texts[:k]), note="its words are spaCy's; the few verdicts that differ are shares near a threshold")],
        agree,
        "3x datatrove's filters",
        facts=lambda keep: {"kept_by_filter": keep.sum(axis=0).tolist()},
    )  # fmt: skip


ROWS = {"web_rules": web_rules}
