"""The table of a flywheel for `coreset-explore`: every example, and what became of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from coreset.core.files import read_json
from coreset.core.overrules import read_overrules
from coreset.flywheel.data import FROZEN, FlywheelData
from coreset.flywheel.leaks import COLUMNS as LEAKS
from coreset.flywheel.tables import read_table
from coreset.flywheel.versions import Version
from coreset.report.explore.table import COLUMNS
from coreset.report.explore.trained import read_rows, write_rows

_KNOWN = ("operator", "reason", "duplicate_of", "label", "slice", "overruled")


def write_examples(folder: Path, data: FlywheelData) -> Path:
    """Write `rows.parquet` into the folder of a flywheel: what is shown of every example."""
    labels = [data.classes[v] if v >= 0 else None for v in data.labels.tolist()]
    more: dict[str, Any] = {"role": data.roles}
    for name, values in data.metadata.items():
        more[f"metadata {name}" if name in (*COLUMNS, "role") else name] = values
    return write_rows(folder, data.ids.tolist(), labels, data.pictures, data.features, more)


def flywheel_columns(folder: Path) -> tuple[dict[str, Any], NDArray[Any] | None]:
    """Return the columns of a flywheel, and the features (N, D) of its examples.

    decision: `frozen` (judges versions), `selected before` (in version 1), `chosen` (bought, in the
    version in force), `dropped` (a leak, held back, refused by the gate, taken out by a person; see
    operator and reason) or `pool`. rank: place in the order bought; round: turn, from 0. Raises
    FileNotFoundError for a flywheel that has not written its rows.
    """
    if not (folder / "rows.parquet").exists():
        raise FileNotFoundError(
            2, "no rows.parquet; write it with `coreset-flywheel show`", str(folder)
        )
    shown, x = read_rows(folder)
    ids = [str(k) for k in shown.pop("id").to_pylist()]
    roles = shown.pop("role").to_pylist()
    size, at = len(ids), {k: i for i, k in enumerate(ids)}
    decision = ["frozen" if r in FROZEN else "pool" for r in roles]
    text: dict[str, list[Any]] = {n: [None] * size for n in _KNOWN}
    text["label"] = shown.pop("label").to_pylist()
    rank: list[int | None] = [None] * size
    when: list[int | None] = [None] * size
    score = np.full(size, np.nan)
    config, state = read_json(folder / "flywheel.json"), read_json(folder / "state.json")
    classes = config["classes"]
    place = 0

    def say(name: str, fate: str, operator: str | None, why: str) -> int:
        i = at[name]
        decision[i], text["operator"][i], text["reason"][i] = fate, operator, why
        return i

    for number, turn in _turns(folder, state["turns"]):
        leaks = _leaks(turn)
        for name, twin, why, distance, fine in zip(
            leaks["id"], leaks["frozen_id"], leaks["why"], leaks["distance"], leaks["allowed"],
            strict=True,
        ):  # fmt: skip
            if not fine:
                near = f", distance {distance:.3g}" if np.isfinite(float(distance)) else ""
                i = say(str(name), "dropped", "mine", f"leak: {why}{near}")
                text["duplicate_of"][i] = str(twin)
        refused = read_json(turn / "gate.json")["facts"]["promoted"] is False
        batch = read_table(turn / "label-batch.parquet")
        for name, label, where, why, value, status in zip(
            *(batch[k] for k in ("id", "label", "slice", "reason", "score", "status")), strict=True
        ):
            held = "held back: its labels contradict or look wrong"
            outcome = held if status else f"the gate refused turn {number}" if refused else ""
            operator = "label" if status else "gate"
            i = (
                say(str(name), "dropped", operator, f"{outcome} ({why})")
                if outcome
                else at[str(name)]
            )
            text["label"][i], text["slice"][i] = classes[int(label)], str(where) or "random share"
            rank[i], when[i], score[i] = place, number - 1, float(value)
            place += 1
        if (turn / "overrules.jsonl").exists():
            overrules = read_overrules(turn / "overrules.jsonl")
            for key, one in overrules.items():
                text["overruled"][at[key]] = one.said
                if one.action == "drop":
                    say(key, "dropped", "overruled", one.said)
            for key, new in overrules.labels.items():
                earlier = [text["overruled"][at[key]]] if key in overrules else []
                text["overruled"][at[key]] = "; ".join([*earlier, f"relabel to {new}"])
    version = Version.load(folder / "versions", state["version"])
    for name, label, why, turned in zip(
        version.ids.tolist(), version.labels.tolist(), version.reasons.tolist(),
        version.turns.tolist(), strict=True,
    ):  # fmt: skip
        i = at[name]
        first = roles[i] == "train"
        say(name, "selected before" if first else "chosen", "choose" if turned else None, why)
        text["label"][i] = classes[label]
    twins = [at.get(k) for k in text["duplicate_of"]]
    columns = {
        "row": np.arange(size), "id": ids, "decision": decision, **text, "duplicate_row": twins,
        "rank": rank, "round": when, **shown, "role": pa.array(roles), "mined_score": score,
    }  # fmt: skip
    return {k: v for k, v in columns.items() if not _empty(v)}, x


def _leaks(turn: Path) -> dict[str, Any]:
    """Return the leaks of a turn, none where a stage of one's own has not looked for them."""
    path = turn / "mine-leaks.parquet"
    return read_table(path) if path.exists() else {c: [] for c in LEAKS}


def _empty(values: Any) -> bool:
    return isinstance(values, list) and all(v is None for v in values)


def _turns(folder: Path, count: int) -> Iterator[tuple[int, Path]]:
    for number in range(1, count + 1):
        yield number, folder / "turns" / f"{number:03d}"
