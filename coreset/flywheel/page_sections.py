"""Sections of the page about one turn: gate, weak slices, funnel, what was bought, what is next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from coreset.flywheel.data import FlywheelData
from coreset.flywheel.measure import change, shown
from coreset.flywheel.tables import read_table
from coreset.report.sheet import data_uri
from coreset.report.words import count, text

_SHOWN = 12  # examples of a slice
_LONGEST = 160  # characters of a text
Facts = Mapping[str, Any]


def html_table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], bold: Sequence[int] = ()
) -> str:
    """Return a table as HTML; bold: numbers of the rows that stand out."""
    head = "".join(f"<th>{text(h)}</th>" for h in heads)
    body = ""
    for i, row in enumerate(rows):
        cells = [f"<b>{text(c)}</b>" if i in bold else text(c) for c in row]
        body += f"<tr>{''.join(f'<td>{c}</td>' for c in cells)}</tr>"
    table = f'<table class="numbers"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return f'<div class="scroll">{table}</div>'


def funnel(turn: Facts) -> str:
    """Return how the pool shrinks to what was added."""
    mine, choose, label = turn["mine"], turn["choose"], turn["label"]

    def line(name: str, facts: Facts, fact: str, note: str = "", more: str = "") -> list[Any]:
        if fact not in facts:  # a stage of one's own may leave it out
            return []
        about = note.format(count(facts[more])) if more in facts else "" if more else note
        value = facts[fact]
        rows = sum(value.values()) if isinstance(value, Mapping) else value
        return [(name, count(rows), about)]

    version = turn["version"]
    rows = [
        *line("pool", mine, "pool"),
        *line("not in training", mine, "free"),
        *line("clear of the test set", mine, "clean", "{} leaks taken out", "leaks"),
        *line("candidates", mine, "candidates", "near the weak slices"),
        *line("chosen", choose, "rows", "{} of them at random", "random"),
        *line("labeled and added", {**version, **label}, "added", "{} held back", "ambiguous"),
        *line("relabeled", {**label, **version}, "relabeled", "of {} asked again", "asked_again"),
    ]
    return "<h2>From the pool to the training set</h2>" + html_table(("", "rows", ""), rows)


def slices(turn: Facts, path: Path, percent: bool) -> str:
    """Return the weak and hard slices and those next to them; their names where a stage of one's
    own has left no table of all slices.
    """
    if not path.exists():
        names = ", ".join(w["name"] for w in turn["diagnose"]["weak"]) or "none"
        return f'<h2>Where it is weak</h2><p class="note">{text(names)}</p>'
    table = read_table(path)
    places = range(len(table["name"]))
    rank = {"weak": 0, "hard": 1, "lacking": 2, "": 3}
    order = sorted(places, key=lambda i: (rank[table["verdict"][i]], -table["excess"][i]))[:15]
    lines = [
        (
            str(table["name"][i]),
            count(table["rows"][i]),
            f"{shown(table['error'][i], percent)}"
            f" [{shown(table['low'][i], percent)}, {shown(table['high'][i], percent)}]",
            change(float(table["excess"][i]), percent),
            f"{table['ratio'][i]:.2f}",
            str(table["verdict"][i]),
        )
        for i in order
    ]
    note = (
        f"Turn's answer: {turn['diagnose']['answer']}. Errors{' in %' if percent else ''} on"
        f" {count(turn['diagnose']['measured_on'])} development examples, with intervals; excess"
        " over examples alike; share of the training rows over the share in production. Hard: errs"
        " more but lacks no rows; lacking: fewer rows than in production, but errs not provably"
        " more. Nothing is bought for these two."
    )
    bold = [i for i, line in enumerate(lines) if line[-1] == "weak"]
    heads = ("slice", "rows", "error", "excess", "share", "verdict")
    section = f'<h2>Where it is weak</h2><p class="note">{text(note)}</p>'
    return section + html_table(heads, lines, bold)


def bought(batch: Mapping[str, Any], data: FlywheelData) -> str:
    """Return the first examples of every slice that were labeled."""
    blocks = []
    for name in dict.fromkeys(batch["slice"].astype(str).tolist()):
        own = np.flatnonzero((batch["slice"] == name) & (batch["status"] == ""))
        shots = ""
        for i in own[:_SHOWN].tolist():
            row = int(data.where([batch["id"][i]])[0])
            label = data.classes[int(batch["label"][i])]
            about = text(f"{batch['id'][i]}: {label}, {batch['reason'][i]}")
            if data.pictures is not None:
                uri = data_uri(data.pictures[row])
                shots += (
                    f'<figure title="{about}"><img class="hard" alt="{about}" src="{uri}"></figure>'
                )
            elif data.texts is not None:
                words = str(data.texts[row])
                words = words if len(words) <= _LONGEST else words[:_LONGEST] + " ..."
                shots += f"<dt>{text(label)}</dt><dd>{text(words)}</dd>"
        kind = "div class='picks'" if data.pictures is not None else "dl"
        word = f"{name or 'random share'} {count(len(own))}"
        blocks.append(f"<h3>{text(word)}</h3><{kind}>{shots}</{kind.split()[0]}>")
    return f"<h2>What was bought</h2>{''.join(blocks)}" if blocks else ""


def gate(turn: Facts, table: Mapping[str, Any], percent: bool) -> str:
    """Return the comparisons that the verdict rests on, those that fail in bold."""
    rows = [
        (
            str(table["name"][i]),
            str(table["role"][i]),
            count(table["rows"][i]),
            shown(table["before"][i], percent),
            shown(table["after"][i], percent),
            f"{change(table['gain'][i], percent)}"
            f" [{change(table['low'][i], percent)}, {change(table['high'][i], percent)}]",
            "" if table["role"][i] == "all" else "holds" if table["holds"][i] else "fails",
        )
        for i in range(len(table["name"]))
    ]
    delta = turn["gate"]["delta"]
    note = (
        f"Errors{' in %' if percent else ''} on the frozen test set, version in force against the"
        " candidate. The target must gain (interval above 0); nothing may lose more than"
        f" {f'{100 * delta:g} points' if percent else f'{delta:g}'}."
    )
    bold = [i for i, row in enumerate(rows) if row[-1] == "fails"]
    heads = ("examples", "role", "rows", "before", "after", "gain", "")
    section = f'<h2>The gate of the last turn</h2><p class="note">{text(note)}</p>'
    return section + html_table(heads, rows, bold)


def synthesis(turn: Facts, percent: bool) -> str:
    """Return what the children brought beyond the same number of real rows; "" without children."""
    told = turn["gate"].get("synthesis")
    if not told:
        return ""
    words = {"all": "all test examples", "target": "weak slices"}
    version = turn["version"]
    rows = []
    for name, one in told.items():
        gains = [
            f"{change(g['gain'], percent)} [{change(g['low'], percent)}, {change(g['high'], percent)}]"
            for g in (one["gain"]["without"], one["gain"]["real"])
        ]
        errors = [shown(one["error"][n], percent) for n in ("without", "real", "candidate")]
        rows.append((words[name], *errors, *gains))
    note = (
        f"{count(version['children'])} children in the candidate;"
        f" {count(sum(turn['synthesize'].get('refused', {}).values()))} refused. Beside it: the candidate"
        f" without them, and with {count(version['real'])} random real rows in their place, whose"
        f" labels the control has paid for. Errors{' in %' if percent else ''}; gains of the children"
        " with an interval of 95 %."
    )
    heads = ("examples", "without", "same number of real rows", "with synthesis",
             "gain over none", "gain over real rows")  # fmt: skip
    section = f'<h2>What synthesis added</h2><p class="note">{text(note)}</p>'
    return section + html_table(heads, rows)


def next_step(turn: Facts, percent: bool) -> str:
    """Return the decision, the forecast it rests on, and the alarms."""
    decide, watch = turn["decide"], turn["watch"]
    words = (
        f"Stop: {decide['stop']}." if decide["stop"] else f"Next budget: {decide['next_budget']:g}."
    )
    if "forecast" in decide:  # a stage of one's own may have none
        ahead = decide["forecast"]
        gain, low, high = (change(ahead[n][-1], percent) for n in ("gain", "low", "high"))
        words += (
            f" Forecast with {count(ahead['labels'][-1])} rows: {gain}{' points' if percent else ''}"
            f" [{low}, {high}] by the power law of the curve."
        )
    words += f" Drift of {watch['compared']}: {', '.join(watch['alarms']) or 'none'}."
    return f'<h2>What is next</h2><p class="note">{text(words)}</p>'
