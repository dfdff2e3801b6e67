"""cleanlab's table of issues, taken in:
columns for a recipe, and decisions that a person may sign.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset.core.overrules import Overrule, now


def issue_columns(issues: Any) -> dict[str, NDArray[Any]]:
    """Return the columns of `Datalab.get_issues()` in the order of the data: `<issue>_score` (N,)
    float64, 0 = surely an issue, and `is_<issue>` (N,) bool.

    issues: the DataFrame, or a .csv or .parquet of it, whose index (a column `index` or the first
    unnamed one) is the position of the row. Raises ValueError for positions that are not 0 to N -
    1, each once, and for a table without any issue.
    """
    import pandas as pd

    if isinstance(issues, str | Path):
        path = Path(issues)
        frame = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
        name = next(
            (n for n in frame.columns if n == "index" or str(n).startswith("Unnamed")), None
        )
        frame = frame if name is None else frame.set_index(name)
    else:
        frame = issues
    at = np.asarray(frame.index)
    if at.dtype.kind not in "iu" or not np.array_equal(np.sort(at), np.arange(len(at))):
        raise ValueError("cleanlab: the index is to be the positions 0 to N - 1, each once")
    frame = frame.iloc[np.argsort(at, kind="stable")]
    out: dict[str, NDArray[Any]] = {}
    for name in map(str, frame.columns):
        if name.endswith("_score"):
            out[name] = np.asarray(frame[name], np.float64)
        elif name.startswith("is_") and name.endswith("_issue"):
            out[name.removesuffix("_issue")] = np.asarray(frame[name]).astype(bool)
    if not out:
        raise ValueError(f"cleanlab: no column *_score or is_*_issue among {list(frame.columns)}")
    return out


def issue_overrules(
    issues: Any, ids: Sequence[Any], issue: str, who: str, action: str = "drop"
) -> list[Overrule]:
    """Return one decision per row that has an issue (`label`, `near_duplicate`, `outlier`, ...),
    signed by `who`, the surest first. Raises KeyError for an issue that was not looked for.
    """
    columns = issue_columns(issues)
    if f"is_{issue}" not in columns:
        raise KeyError(
            f"no issue {issue!r}; there are {[c[3:] for c in columns if c.startswith('is_')]}"
        )
    flagged = np.flatnonzero(columns[f"is_{issue}"])
    score = columns.get(f"{issue}_score", np.zeros(len(ids)))
    flagged = flagged[np.argsort(score[flagged], kind="stable")]
    return [
        Overrule(str(ids[i]), action, who, now(), f"cleanlab: {issue}, score {score[i]:.3g}")
        for i in flagged.tolist()
    ]
