"""Sections of the page about one turn: gate, weak slices, funnel, what was bought, what is next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from coreset.flywheel.data import FlywheelData
from coreset.flywheel.measure import change, shown
from coreset.flywheel.tables import read_table
from coreset.report.render import render
from coreset.report.shapes import Cell, table
from coreset.report.sheet import data_uri
from coreset.report.words import count

_SHOWN = 12  # examples of a slice
_LONGEST = 160  # characters of a text
Facts = Mapping[str, Any]


def _bold(rows: Sequence[Sequence[str]], word: str) -> list[list[str | Cell]]:
    """Return the rows with those in bold whose last cell is this word."""
    return [[Cell(c, bold=True) if row[-1] == word else c for c in row] for row in rows]


def funnel(turn: Facts) -> Markup:
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
    notes = []
    if label.get("waiting") and "waiting_cost" in label:  # a stage of one's own may leave it out
        many = "label looks" if label["waiting"] == 1 else "labels look"
        notes.append(
            f"{count(label['waiting'])} more {many} wrong and nobody was asked again: the turn kept"
            f" {choose.get('reserve', 0):g} of its budget for second labels, and"
            f" {label['waiting_cost']:g} more (a larger budget, or a larger share of it in the"
            " setting choose.relabel) would ask for them. They are in label-waiting.parquet."
        )
    return table("From the pool to the training set", ("", "rows", ""), rows, notes)


def slices(turn: Facts, path: Path, percent: bool) -> Markup:
    """Return the weak and hard slices and those next to them; their names where a stage of one's
    own has left no table of all slices.
    """
    if not path.exists():
        names = ", ".join(w["name"] for w in turn["diagnose"]["weak"]) or "none"
        return render("note.html", title="Where it is weak", note=names)
    columns = read_table(path)
    places = range(len(columns["name"]))
    rank = {"weak": 0, "hard": 1, "lacking": 2, "": 3}
    order = sorted(places, key=lambda i: (rank[columns["verdict"][i]], -columns["excess"][i]))[:15]
    lines = [
        (
            str(columns["name"][i]),
            count(columns["rows"][i]),
            f"{shown(columns['error'][i], percent)}"
            f" [{shown(columns['low'][i], percent)}, {shown(columns['high'][i], percent)}]",
            change(float(columns["excess"][i]), percent),
            f"{columns['ratio'][i]:.2f}",
            str(columns["verdict"][i]),
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
    heads = ("slice", "rows", "error", "excess", "share", "verdict")
    notes = [note, *(_unproven(one, percent) for one in turn["diagnose"].get("unproven", ()))]
    return table("Where it is weak", heads, _bold(lines, "weak"), notes)


def _unproven(one: Facts, percent: bool) -> str:
    return (
        f"{one['name']} has {count(one['rows'])} development rows and errs"
        f" {change(one['excess'], percent)}{' points' if percent else ''} more than the rest, which is not"
        f" proven beside all other slices: with about {count(one['needed'])} rows it would be in"
        " four of five cases, if it errs as much more as it seems to."
    )


def bought(batch: Mapping[str, Any], data: FlywheelData) -> Markup:
    """Return the first examples of every slice that were labeled."""
    blocks = []
    for name in dict.fromkeys(batch["slice"].astype(str).tolist()):
        own = np.flatnonzero((batch["slice"] == name) & (batch["status"] == ""))
        pictures, texts = [], []
        for i in own[:_SHOWN].tolist():
            row = int(data.where([batch["id"][i]])[0])
            label = data.classes[int(batch["label"][i])]
            if data.pictures is not None:
                about = f"{batch['id'][i]}: {label}, {batch['reason'][i]}"
                pictures.append((about, data_uri(data.pictures[row])))
            elif data.texts is not None:
                words = str(data.texts[row])
                words = words if len(words) <= _LONGEST else words[:_LONGEST] + " ..."
                texts.append((label, words))
        word = f"{name or 'random share'} {count(len(own))}"
        blocks.append({"name": word, "pictures": pictures, "texts": texts})
    kind = "pictures" if data.pictures is not None else "texts"
    return render("flywheel/bought.html", slices=blocks, kind=kind) if blocks else Markup()


def gate(turn: Facts, columns: Mapping[str, Any], percent: bool) -> Markup:
    """Return the comparisons that the verdict rests on, those that fail in bold."""
    rows = [
        (
            str(columns["name"][i]),
            str(columns["role"][i]),
            count(columns["rows"][i]),
            shown(columns["before"][i], percent),
            shown(columns["after"][i], percent),
            f"{change(columns['gain'][i], percent)}"
            f" [{change(columns['low'][i], percent)}, {change(columns['high'][i], percent)}]",
            "" if columns["role"][i] == "all" else "holds" if columns["holds"][i] else "fails",
        )
        for i in range(len(columns["name"]))
    ]
    delta = turn["gate"]["delta"]
    note = (
        f"Errors{' in %' if percent else ''} on the frozen test set, version in force against the"
        " candidate. The target must gain (interval above 0); nothing may lose more than"
        f" {f'{100 * delta:g} points' if percent else f'{delta:g}'}."
    )
    heads = ("examples", "role", "rows", "before", "after", "gain", "")
    return table("The gate of the last turn", heads, _bold(rows, "fails"), [note])


def synthesis(turn: Facts, percent: bool) -> Markup:
    """Return what children brought beyond as many real rows; nothing without children."""
    told = turn["gate"].get("synthesis")
    if not told:
        return Markup()
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
    return table("What synthesis added", heads, rows, [note])


def next_step(turn: Facts, percent: bool) -> Markup:
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
    return render("note.html", title="What is next", note=words)
