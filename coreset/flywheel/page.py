"""The page of a flywheel: what is in force and why, turn by turn, then the last turn in full."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from coreset.core.files import read_json
from coreset.core.store import write_atomic
from coreset.flywheel.data import FlywheelData
from coreset.flywheel.measure import change, shown
from coreset.flywheel.page_sections import (
    bought,
    funnel,
    gate,
    next_step,
    slices,
    synthesis,
)
from coreset.flywheel.stage import STAGES
from coreset.flywheel.tables import read_table
from coreset.report.css import css
from coreset.report.document import document
from coreset.report.render import render
from coreset.report.shapes import header, table
from coreset.report.theme import MUTED, RANDOM, STRATEGIES, figure, quiet, svg
from coreset.report.words import count, counted

_ARMS = {"candidate": (STRATEGIES[0], "-"), "control": (RANDOM, (0, (4, 3)))}
Facts = Mapping[str, Any]


def write_page(folder: Path, data: FlywheelData) -> Path:
    """Write `report.html` into the folder of a flywheel and return its path; the same turns give
    the same bytes. Raises FileNotFoundError where no flywheel is.
    """
    state = read_json(folder / "state.json")
    config = read_json(folder / "flywheel.json")
    percent = bool(config["percent"])
    turns = [_turn(folder / "turns" / f"{i:03d}") for i in range(1, state["turns"] + 1)]
    parts = [_head(state, config, turns, "")]
    if turns:
        last = turns[-1]
        where = folder / "turns" / f"{len(turns):03d}"
        compared = read_table(where / "gate-comparisons.parquet")
        parts = [_head(state, config, turns, _worst(last, compared, percent))]
        parts += [
            render("curve.html", figure=svg(_curves(turns, config), "curves")),
            _turns(turns, percent),
            gate(last, compared, percent),
            slices(last, where / "diagnose-slices.parquet", percent),
            funnel(last),
            synthesis(last, percent),
            bought(read_table(where / "label-batch.parquet"), data),
            next_step(last, percent),
        ]
    page = document("Flywheel", css("base"), Markup("\n").join(p for p in parts if p))
    return write_atomic(folder / "report.html", page)


def _turn(folder: Path) -> dict[str, Any]:
    return {name: read_json(folder / f"{name}.json")["facts"] for name in STAGES}


def _worst(turn: Facts, compared: Facts, percent: bool) -> str:
    """Return in words on which slices of the test set the version in force errs most."""
    error = compared["after" if turn["gate"]["promoted"] else "before"]
    places = [i for i, role in enumerate(compared["role"]) if role == "slice"]
    worst = sorted(places, key=lambda i: -error[i])[:3]
    unit = " %" if percent else ""
    names = [f"{compared['name'][i]} {shown(error[i], percent)}{unit}" for i in worst]
    return f"It errs most on {', '.join(names)}." if names else ""


def _head(state: Facts, config: Facts, turns: Sequence[Facts], worst: str) -> Markup:
    name, number = state["version"], int(state["version"].split("-")[0][1:])
    under = []
    if not turns:
        claim = "Version 1 is frozen; no turn yet"
    else:
        percent, word = bool(config["percent"]), config["word"]
        first = turns[0]["retrain"]["arms"]["current"]["error"]
        last = turns[-1]["retrain"]["arms"]
        now = last["candidate" if turns[-1]["gate"]["promoted"] else "current"]["error"]
        unit = " %" if percent else ""
        fall = (
            f"test {word} {shown(now, percent)}{unit}, {shown(first, percent)}{unit} at the start"
        )
        claim = (
            f"Ship version {number}: {fall}"
            if number > 1
            else f"Keep version 1, test {word} {shown(now, percent)}{unit}: no candidate has passed"
        )
        verdict = "promoted" if turns[-1]["gate"]["promoted"] else "refused"
        under.append(
            f"In force: {name}. The candidate of turn {len(turns)} was {verdict}:"
            f" {'; '.join(turns[-1]['gate']['why'])}."
        )
        under += [worst] if worst else []
        under.append(
            f"Stopped: {state['stopped']}."
            if state["stopped"]
            else f"It goes on, with a budget of {turns[-1]['decide']['next_budget']:g}."
        )
    kicker = (
        f"{count(config['counts']['train'])} rows to begin with, {counted(len(turns), 'turn')},"
        f" {counted(len(config['seeds']), 'seed')}"
    )
    return header(kicker, claim, under)


def _curves(turns: Sequence[Facts], config: Facts) -> Any:
    """Return the figure: from the version in force of each turn to its candidate and control."""
    scale = 100 if config["percent"] else 1
    fig, ax = figure(8.6, 3.6)
    points: dict[str, list[tuple[float, Any]]] = {"current": [], "candidate": [], "control": []}
    for turn in turns:
        for name, arm in turn["retrain"]["arms"].items():
            if name in points:
                points[name].append((arm["rows"], scale * np.array(arm["by_seed"])))
    for name, (color, dash) in _ARMS.items():
        for here, there in zip(points["current"], points[name], strict=True):
            ends = [here[0], there[0]], [here[1].mean(), there[1].mean()]
            ax.plot(*ends, color=color, linewidth=1.6, linestyle=dash)
            ax.vlines(there[0], there[1].min(), there[1].max(), color=color, linewidth=1)
            ax.plot(there[0], there[1].mean(), "o", color=color, markersize=5)
    for rows, errors in points["current"]:
        ax.plot(rows, errors.mean(), "o", color=MUTED, markersize=6, markerfacecolor="none")
    key = (
        ("in force", MUTED, "none"),
        ("candidate", _ARMS["candidate"][0], "-"),
        ("control: random rows at the same cost", _ARMS["control"][0], _ARMS["control"][1]),
    )
    for word, color, dash in key:
        face = "none" if word == "in force" else color
        ax.plot([], [], marker="o", color=color, linestyle=dash, label=word, markerfacecolor=face)
    quiet(ax)
    unit = " in %" if config["percent"] else ""
    title = f"test {config['word']}{unit}, mean and range over seeds; one fork for every turn"
    ax.set_title(title, loc="left", fontsize=9, color=MUTED)
    ax.set_xlabel("training rows", fontsize=9, color=MUTED, loc="left")
    ax.legend(frameon=False, fontsize=9)
    return fig


def _turns(turns: Sequence[Facts], percent: bool) -> Markup:
    rows = []
    for i, turn in enumerate(turns, 1):
        versus = turn["gate"]["versus_control"]
        target = versus.get("target", versus["all"])
        rows.append(
            (
                str(i),
                ", ".join(w["name"] for w in turn["diagnose"]["weak"]) or "none",
                count(turn["label"]["cost"]),
                *(shown(turn["retrain"]["arms"][n]["error"], percent)
                  for n in ("current", "candidate", "control")),
                _interval(versus["all"], percent),
                _interval(target, percent),
                "promoted" if turn["gate"]["promoted"] else "refused",
            )
        )  # fmt: skip
    note = (
        "Gain against the control, in all and on the weak slices: errors of the control, which has"
        " random rows for the same cost, minus those of the candidate, with an interval of 95 %."
    )
    heads = ("turn", "weak slices", "cost", "before", "candidate", "control", "gain, all",
             "gain, weak", "verdict")  # fmt: skip
    return table("Turn by turn", heads, rows, [note])


def _interval(gain: Facts, percent: bool) -> str:
    middle, low, high = (change(float(gain[n]), percent) for n in ("gain", "low", "high"))
    return f"{middle} [{low}, {high}]"
