"""What the curves say, in one sentence that is true whoever wins."""

from __future__ import annotations

from collections.abc import Sequence

from coreset.report.compare import by_strategy, mean_line
from coreset.report.table import TARGET
from coreset.report.words import count, counted, percent, share
from coreset.runs.curve import Curve


def seeds_of(curves: Sequence[Curve]) -> str:
    """Return how many seeds stand behind the lines: '5 seeds', or '3 to 5 seeds'."""
    sizes = sorted({len(group) for group in by_strategy(curves).values()})
    return (
        counted(sizes[0], "seed")
        if len(sizes) == 1
        else f"{sizes[0]} to {counted(sizes[-1], 'seed')}"
    )


def _trials(curves: Sequence[Curve]) -> str:
    seeds = seeds_of(curves)
    return "one seed, so chance is not ruled out" if seeds == "1 seed" else f"mean of {seeds}"


def _cost(labels: float, line: Curve, exact: bool = False) -> str:
    per_label = line.points[-1].share / line.points[-1].labels
    return (
        counted(round(labels), "label")
        if exact or per_label <= 0
        else f"{share(labels * per_label)} of the labels"
    )


def _at_most(labels: float, line: Curve) -> str:
    return " or fewer" if labels == line.points[0].labels else ""


def sentence(curves: Sequence[Curve], full: float | None) -> str:
    """Return one sentence on the means: who needs how many labels for 95 % of the full value.

    Or who leads at the largest budget, when nobody gets there or a mean value lies above `full`. It
    describes; what a test proves is `coreset.report.headline.headline`.

    curves: one per strategy and seed; full: mean test value of training on all data, None when
    unknown.
    """
    lines = {name: mean_line(group) for name, group in fair_groups(curves).items()}
    if full is not None and any(line.values.max() > full for line in lines.values()):
        full = None  # no ceiling: a share of it says nothing
    text = None if full is None else _to_target(lines, TARGET * full)
    return f"{text or _at_largest(lines, full)} ({_trials(curves)})."


def fair_groups(curves: Sequence[Curve]) -> dict[str, list[Curve]]:
    """Return the curves by strategy, without those that know more labels than they spend.

    All of them where none would be left.
    """
    groups = by_strategy(curves)
    fair = {name: group for name, group in groups.items() if not _knows_all(group)}
    return fair or groups


def _knows_all(group: Sequence[Curve]) -> bool:
    """Return whether the curve's budget is not what it knows: it re-selects while training, from
    labels of the whole pool.
    """
    return any(p.extra.get("labels_used", 0) > p.labels for c in group for p in c.points)


def _to_target(lines: dict[str, Curve], target: float) -> str | None:
    """Return the sentence on labels to the target; None when no line gets there."""
    needs = {
        name: n for name, line in lines.items() if (n := line.labels_to_reach(target)) is not None
    }
    if not needs:
        return None
    goal = f"95 % of full {next(iter(lines.values())).metric}"
    order = sorted(needs, key=lambda name: (needs[name], name))
    best, need = order[0], needs[order[0]]
    rest = [name for name in order if name != best and (best == "random" or name == "random")]
    rival = rest[0] if rest else None
    exact = rival is not None and _cost(need, lines[best]) == _cost(needs[rival], lines[rival])
    first = f"{_cost(need, lines[best], exact)}{_at_most(need, lines[best])}"
    if rival is not None and round(needs[rival]) == round(need):
        return f"{best} and {rival} both reach {goal} with {first}"
    if best == "random":
        if rival is None:
            others = (
                "no other strategy reaches it" if len(lines) > 1 else "nothing was compared with it"
            )
        else:
            others = f"the next, {rival}, needs {_bare(needs[rival], lines[rival], exact)}"
        return f"random needs fewest labels for {goal}: {first}; {others}"
    if rival is not None:
        return (
            f"{best} reaches {goal} with {first}; random needs"
            f" {_bare(needs[rival], lines[rival], exact)}"
        )
    if "random" not in lines:
        return f"{best} reaches {goal} with {first}; there is no random baseline to compare it with"
    most = lines["random"].points[-1]
    return (
        f"{best} reaches {goal} with {first}; random does not get there with"
        f" {_cost(most.labels, lines['random'], exact)}"
    )


def _bare(labels: float, line: Curve, exact: bool) -> str:
    return count(labels) if exact else _cost(labels, line).removesuffix(" of the labels")


def _at_largest(lines: dict[str, Curve], full: float | None) -> str:
    """Return the sentence on the largest budget that random and another line have, or else any two,
    or else one.
    """
    counts = [p.labels for line in lines.values() for p in line.points]
    shared = [n for n in counts if counts.count(n) > 1]
    with_random = [n for n in shared if "random" in lines and n in lines["random"].labels]
    labels = max(with_random or shared or counts)
    at = {name: p.value for name, line in lines.items() for p in line.points if p.labels == labels}
    order = sorted(at, key=lambda name: (-at[name], name))
    best = order[0]
    metric = lines[best].metric
    where = _cost(labels, lines[best])
    claim = f"{best} has {percent(at[best])} {metric} with {where}"
    if full is not None:
        claim = (
            f"no strategy reaches 95 % of full {metric}; with {where} the best, {best}, has"
            f" {percent(at[best])}"
        )
        claim = (
            claim
            if len(lines) > 1
            else (
                f"{best} does not reach 95 % of full {metric}; with {where} it has"
                f" {percent(at[best])}"
            )
        )
    if len(at) == 1:
        return (
            claim
            if best == "random"
            else f"{claim}; there is no random baseline to compare it with"
        )
    other = order[1] if best == "random" else "random"
    if other not in at:
        return f"{claim}; there is no random baseline to compare it with"
    return (
        f"{claim},"
        f" {'the next, ' if best == 'random' else ''}{other}{',' if best == 'random' else ''}"
        f" {percent(at[other])}"
    )
