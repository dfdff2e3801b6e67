"""The page of a flywheel: verdicts, funnel, weak slices, what was bought, the gate, what is next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from coreset.core.files import read_json
from coreset.core.store import write_atomic
from coreset.flywheel.data import FlywheelData
from coreset.flywheel.stage import STAGES
from coreset.flywheel.tables import read_table
from coreset.report.css import CSS
from coreset.report.document import document
from coreset.report.sheet import data_uri
from coreset.report.theme import MUTED, RANDOM, STRATEGIES, figure, quiet, svg
from coreset.report.words import count, counted, percent, points, text

_SHOWN = 12  # pictures of a slice
_ARMS = {"current": (MUTED, "in force"), "candidate": (STRATEGIES[0], "candidate"), "control": (RANDOM, "control: random, same cost")}  # fmt: skip
Facts = Mapping[str, Any]


def write_page(folder: Path, data: FlywheelData) -> Path:
    """Write `report.html` into the folder of a flywheel and return its path; the same turns give
    the same bytes. Raises FileNotFoundError where no flywheel is.
    """
    state = read_json(folder / "state.json")
    config = read_json(folder / "flywheel.json")
    turns = [_turn(folder / "turns" / f"{i:03d}") for i in range(1, state["turns"] + 1)]
    parts = [_head(state, config, turns)]
    if turns:
        last = turns[-1]
        where = folder / "turns" / f"{len(turns):03d}"
        parts += [
            f'<div class="curve">{svg(_curves(turns), "curves")}</div>',
            _funnel(last),
            _slices(last, read_table(where / "diagnose-slices.parquet")),
            _bought(last, read_table(where / "label-batch.parquet"), data),
            _gate(last, read_table(where / "gate-comparisons.parquet")),
            _next(last),
        ]
    page = document(text("Flywheel"), CSS, "\n".join(p for p in parts if p))
    return write_atomic(folder / "report.html", page)


def _turn(folder: Path) -> dict[str, Any]:
    return {name: read_json(folder / f"{name}.json")["facts"] for name in STAGES}


def _head(state: Facts, config: Facts, turns: Sequence[Facts]) -> str:
    if not turns:
        claim, under = "Version 1 is frozen; no turn yet", []
    else:
        gate, arms = turns[-1]["gate"], turns[-1]["retrain"]["arms"]
        claim = (
            f"{state['version']} is in force: ship it"
            if gate["promoted"]
            else f"{state['version']} stays: the candidate of turn {len(turns)} was refused"
        )
        under = [*gate["why"], f"Test error {percent(arms['current']['error'])} before,"
                 f" {percent(arms['candidate']['error'])} of the candidate,"
                 f" {percent(arms['control']['error'])} with as much spent on random rows;"
                 f" {counted(len(turns[-1]['retrain']['seeds']), 'seed')}."]  # fmt: skip
        if state["stopped"]:
            under.append(f"Stopped: {state['stopped']}.")
    kicker = f"{count(config['counts']['train'])} rows to begin with, {counted(len(turns), 'turn')}"
    lines = "".join(f"<p>{text(line)}</p>" for line in under)
    return f'<header><p class="kicker">{text(kicker)}</p><h1>{text(claim)}</h1>{lines}</header>'


def _curves(turns: Sequence[Facts]) -> Any:
    fig, ax = figure(8.6, 3.6)
    for name, (color, word) in _ARMS.items():
        xs = [t["retrain"]["arms"][name]["rows"] for t in turns]
        ys = [100 * np.array(t["retrain"]["arms"][name]["by_seed"]) for t in turns]
        middle, low, high = ([float(f(y)) for y in ys] for f in (np.mean, np.min, np.max))
        ax.vlines(xs, low, high, color=color, linewidth=1)
        ax.plot(xs, middle, marker="o", markersize=5, color=color, linewidth=1.6, label=word)
    quiet(ax)
    ax.set_title("test error in %, mean and range over seeds", loc="left", fontsize=9, color=MUTED)
    ax.set_xlabel("training rows", fontsize=9, color=MUTED, loc="left")
    ax.legend(frameon=False, fontsize=9)
    return fig


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{text(h)}</th>" for h in heads)
    body = "".join(f"<tr>{''.join(f'<td>{text(c)}</td>' for c in row)}</tr>" for row in rows)
    table = f'<table class="numbers"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return f'<div class="scroll">{table}</div>'


def _funnel(turn: Facts) -> str:
    mine, choose, label = turn["mine"], turn["choose"], turn["label"]
    rows = [
        ("pool", count(mine["pool"]), ""),
        ("not in training", count(mine["free"]), ""),
        ("clear of the test set", count(mine["clean"]), f"{count(mine['leaks'])} leaks taken out"),
        ("candidates", count(sum(mine["candidates"].values())), "near the weak slices"),
        ("chosen", count(choose["rows"]), f"{count(choose['random'])} of them at random"),
        ("added", count(turn["version"]["added"]), f"{count(label['ambiguous'])} held back"),
        ("relabeled", count(turn["version"]["relabeled"]), f"of {count(label['asked_again'])} asked again"),
    ]  # fmt: skip
    return "<h2>From the pool to the training set</h2>" + _table(("", "rows", ""), rows)


def _slices(turn: Facts, table: Mapping[str, Any]) -> str:
    lines = [
        (
            table["name"][i],
            count(table["rows"][i]),
            f"{100 * table['error'][i]:.1f} [{100 * table['low'][i]:.1f}, {100 * table['high'][i]:.1f}]",
            points(float(table["excess"][i])),
            f"{table['ratio'][i]:.2f}",
            table["verdict"][i],
        )
        for i in sorted(range(len(table["name"])), key=lambda i: (table["verdict"][i] != "weak", table["verdict"][i] != "hard", -table["excess"][i]))[:15]
    ]  # fmt: skip
    note = (
        f"Turn's answer: {turn['diagnose']['answer']}. Errors in % on"
        f" {count(turn['diagnose']['measured_on'])} development examples, with intervals; excess"
        " over examples alike; share of the training rows over the share in production. Hard: errs"
        " more but lacks no rows, so none are bought."
    )
    heads = ("slice", "rows", "error", "excess", "share", "verdict")
    return f'<h2>Where it is weak</h2><p class="note">{text(note)}</p>' + _table(heads, lines)


def _bought(turn: Facts, batch: Mapping[str, Any], data: FlywheelData) -> str:
    blocks = []
    for name in dict.fromkeys(batch["slice"].astype(str).tolist()):
        own = np.flatnonzero((batch["slice"] == name) & (batch["status"] == ""))
        shots = ""
        if data.pictures is not None:
            for i in own[:_SHOWN].tolist():
                row = int(data.where([batch["id"][i]])[0])
                said = text(
                    f"{batch['id'][i]}: {data.classes[int(batch['label'][i])]}, {batch['reason'][i]}"
                )
                shots += f'<figure title="{said}"><img class="hard" alt="{said}" src="{data_uri(data.pictures[row])}"></figure>'
        word = f"{name or 'random share'} {count(len(own))}"
        blocks.append(f'<h3>{text(word)}</h3><div class="picks">{shots}</div>')
    return f"<h2>What was bought</h2>{''.join(blocks)}" if blocks else ""


def _gate(turn: Facts, table: Mapping[str, Any]) -> str:
    rows = [
        (
            str(table["name"][i]),
            str(table["role"][i]),
            count(table["rows"][i]),
            f"{100 * table['before'][i]:.1f}",
            f"{100 * table['after'][i]:.1f}",
            f"{points(float(table['gain'][i]))} [{points(float(table['low'][i]))}, {points(float(table['high'][i]))}]",
            "holds" if table["holds"][i] else "fails",
        )
        for i in range(len(table["name"]))
    ]
    note = (
        f"Errors in % on the frozen test set. The target must gain; nothing may lose more than"
        f" {100 * turn['gate']['delta']:g} points."
    )
    versus = turn["gate"]["versus_control"]
    for name, gain in versus.items():
        note += (
            f" Against random rows at equal cost, {name}: {points(gain['gain'])}"
            f" [{points(gain['low'])}, {points(gain['high'])}]."
        )
    heads = ("examples", "role", "rows", "before", "after", "gain", "")
    return f'<h2>The gate</h2><p class="note">{text(note)}</p>' + _table(heads, rows)


def _next(turn: Facts) -> str:
    decide, watch = turn["decide"], turn["watch"]
    ahead = decide["forecast"]
    said = (
        f"Stop: {decide['stop']}." if decide["stop"] else f"Next budget: {decide['next_budget']:g}."
    )
    said += (
        f" Forecast with {count(ahead['labels'][-1])} rows: {points(ahead['gain'][-1])} points"
        f" [{points(ahead['low'][-1])}, {points(ahead['high'][-1])}] by the power law of the curve."
    )
    alarms = ", ".join(watch["alarms"]) or "none"
    return (
        f'<h2>What is next</h2><p class="note">{text(said)} Drift of {text(watch["compared"])}:'
        f" {text(alarms)}.</p>"
    )
