"""What runs are worth and how they came about: certificates of the final sets, trials, hardware,
settings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup

from coreset.certificates import in_words
from coreset.report.compare import Comparison, flat
from coreset.report.load import Run
from coreset.report.render import render
from coreset.report.sentence import seeds_of
from coreset.report.words import counted


def standing(seen: Comparison, order: Sequence[str]) -> Markup:
    """Return one line of certificates per strategy, the mean over the runs that have them; nothing
    when none has.
    """
    lines = {}
    for name in order:
        measures = [run.certificates for run in seen.runs[name]]
        names = sorted(
            {
                key
                for one in measures
                for key, value in one.items()
                if isinstance(value, int | float)
            }
        )
        lines[name] = in_words(
            {key: float(np.mean([one[key] for one in measures if key in one])) for key in names}
        )
    if not any(lines.values()):
        return Markup()
    return render("training/standing.html", lines=_some(lines))


def about(seen: Comparison, read: Sequence[Run]) -> Markup:
    """Return how it was run: trials, hardware, versions, and the settings with what differs."""
    runs = [run for group in seen.runs.values() for run in group]
    main = [run for run in runs if not run.baseline] or runs
    trainings = sum(len(run.rounds) for run in runs) + sum(
        len(run.rounds) for run in seen.full_runs
    )
    trials = f"{counted(len(seen.runs), 'strategy')}, {seeds_of(seen.curves)}; "
    trials += (
        f"{counted(trainings, 'training')} in {counted(len(runs) + len(seen.full_runs), 'run')}"
    )
    if seen.full_runs:
        trials += f", {len(seen.full_runs)} of them on all data"
    versions: dict[str, set[str]] = {}
    for run in read:
        for key, value in (run.state.get("versions") or {}).items():
            versions.setdefault(str(key), set()).add(str(value))
    facts = {
        "trials": trials,
        "hardware": " / ".join(
            sorted({str(run.state["hardware"]) for run in read if run.state.get("hardware")})
        ),
        "versions": ", ".join(
            f"{key} {' / '.join(sorted(distinct))}" for key, distinct in sorted(versions.items())
        ),
    }
    values: dict[str, list[str]] = {}
    for run in main:
        for key, value in flat(run.config).items():
            if str(value) not in values.setdefault(key, []):
                values[key].append(str(value))
    settings = {key: " / ".join(distinct) for key, distinct in values.items()}
    return render("training/about.html", facts=_some(facts), settings=_some(settings))


def _some(pairs: Mapping[str, str]) -> dict[str, str]:
    return {name: words for name, words in pairs.items() if words}
