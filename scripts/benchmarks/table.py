"""table.md from the result files of a benchmark."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def seconds(value: float) -> str:
    """Return a time in three figures."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def agreement(entry: dict[str, Any]) -> str:
    """Return in words how far the answer agrees with ours."""
    facts = entry.get("agreement") or {}
    words = []
    if "same_place" in facts:
        words.append(
            f"{facts['same_place']:,} of {facts['of']:,} picks"
            if facts["same_place"] < facts["of"]
            else f"all {facts['of']:,} picks"
        )
    if "objective_ratio" in facts:
        words.append(f"objective {100 * facts['objective_ratio']:.2f} % of ours")
    for name in (
        "matching_error",
        "gap_to_mean",
        "covered",
        "coverage",
        "mean_squared_distance_to_picks",
    ):
        if name in facts:
            words.append(f"{name.replace('_', ' ')} {facts[name]:.4g}, ours {facts['ours']:.4g}")
    if "recall" in facts:
        words.append(
            f"{100 * facts['recall']:.2f} % of the true pairs, ours {100 * facts['ours']:.2f} %"
        )
    if "same_rows" in facts:
        words.append(f"{facts['same_rows']:,} of {facts['of']:,} rows decided alike")
    if "random" in facts:
        words.append("in distribution")
    if "in_fifths_of_the_range" in facts:
        words.append(
            f"{facts['chosen']:,} of {facts['of']:,} chosen; {facts['in_fifths_of_the_range']} in"
            f" fifths of the range, ours {facts['ours']}"
        )
    if "largest_difference" in facts:
        words.append(
            f"largest difference {facts['largest_difference']:.2g} of"
            f" {facts['largest_distance']:.3g}"
        )
    return "; ".join(words)


def _memory(entry: dict[str, Any], k: int) -> str:
    if "peak_extra_bytes" not in entry:
        return "–"
    at = entry.get("peak_at_k", k)
    return f"{entry['peak_extra_bytes'] / 1e6:,.0f}" + ("" if at == k else f" (at {at} picks)")


def section(result: dict[str, Any], first: float | None) -> list[str]:
    """Return the lines of one row."""
    floor = result["floor"]
    lines = [f"## {result['what']}", ""]
    lines.append("| method | CPU s | times ours | extra MB | agrees with ours |")
    lines.append("|---|---|---|---|---|")
    for entry in result["methods"]:
        if "error" in entry:
            lines.append(
                f"| {entry['name']} | – | – | – | failed:"
                f" {entry['error'].replace('|', '/').splitlines()[0]} |"
            )
            continue
        mark = (
            " slope"
            if entry.get("slope")
            else (
                f" ({len(entry['trials'])} trials)"
                if len(entry["trials"]) < result["trials"]
                else ""
            )
        )
        mark += f" (power {entry['slope_power']})" if "slope_power" in entry else ""
        ours = entry is result["methods"][0]
        ratio = "1" if ours else f"{entry['ratio']:.3g}"
        lines.append(
            f"| {entry['name']} | {seconds(entry['cpu_s'])}{mark} | {ratio} |"
            f" {_memory(entry, result['k'])} | {'' if ours else agreement(entry)} |"
        )
    lines.append("")
    text = ""
    if floor:
        text = (
            f"Floor {seconds(floor['cpu_s'])} s ({floor['of']}); ours is"
            f" {floor['ours_over_floor']:.2g} times that."
        )
    if first is not None and first > 0.01:
        text += f" First call ever (compiling): {seconds(max(first, 0))} CPU s more."
    if result["goal"]:
        text += f" Goal: {result['goal']}."
    lines += [text.strip()] if text else []
    facts = result["methods"][0].get("facts")
    if facts:
        lines.append(
            "Checked: "
            + ", ".join(f"{k.replace('_', ' ')} {_value(v)}" for k, v in facts.items())
            + "."
        )
    notes = [f"{e['name']}: {e['note']}" for e in result["methods"] if e.get("note")]
    if notes:
        lines.append("Notes: " + "; ".join(notes) + ".")
    load = "" if result["load"] < 1.5 else f", load {result['load']}: busy machine"
    lines += [f"{result['trials']} interleaved trials, median; {result['date']}{load}.", ""]
    return lines


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, list):
        return " ± ".join(f"{v:.5g}" for v in value)
    return str(value)


def write_table(names: Sequence[str], folder: Path, title: str, command: str) -> None:
    """Write table.md from the files that are there, in the order of `names`, under `title`;
    command: what makes them again.
    """
    results = [
        json.loads(p.read_text()) for name in names if (p := folder / f"{name}.json").exists()
    ]
    if not results:
        return
    last = results[-1]
    calls = folder / "first_calls.json"
    first = json.loads(calls.read_text()) if calls.exists() else {}
    versions = ", ".join(f"{k} {v}" for k, v in last["versions"].items())
    text = [
        f"# {title}",
        "",
        (
            "CPU seconds of the process on one thread; each table is one process, its methods in"
            " turns. `slope`: the cost of a pick, from two small budgets, times the budget, so"
            " set-up and imports are left out in the peer's favor. Extra MB: rise of the resident"
            " set over the inputs, in a process of its own; what it had freed before and takes"
            " again is not seen, so tens of MB may be missing."
        ),
        "",
        *[
            line
            for result in results
            for line in section(result, first.get(result["name"], {}).get("cpu_s"))
        ],
        f"Made by `{command}` on {last['hardware']}; {versions}.",
    ]
    (folder / "table.md").write_text("\n".join(text) + "\n")
