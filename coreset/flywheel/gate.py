"""The gate: whether the candidate becomes the next version."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset.flywheel.assemble import arm
from coreset.flywheel.measure import Columns, Subset, change
from coreset.flywheel.slices import Members, Slice, frozen_slices
from coreset.flywheel.stage import Artifact, Turn


@dataclass(frozen=True)
class Gate:
    """Promote only if the target gains and nothing else loses, on the frozen test set.

    The target is the union of the weak slices (all of the test set in a turn without any): its gain
    must have an interval of 1 - `alpha` above 0. Every frozen slice of at least `smallest` test
    examples, the canaries and the old failures (development examples that an earlier version got
    wrong and the one in force gets right) must not lose more than `delta`: the lower end of the
    gain's interval, one-sided at `alpha`, is above -delta. Calibration may be worse by
    `calibration` at most. A candidate that is no other than the version in force is not promoted.
    """

    alpha: float = 0.05
    delta: float = 0.05
    smallest: int = 100
    calibration: float = 0.03

    def run(self, turn: Turn) -> Artifact:
        """Return the verdict with every comparison it rests on."""
        trainings = turn.trainings
        rows = trainings.rows
        measure, labels = turn.measure, turn.data.labels[rows]
        before, after, random = (
            [trainings.columns(arm(turn, name), s) for s in turn.seeds]
            for name in ("current", "candidate", "control")
        )
        test = trainings.of_role("test")
        members = Members(turn.data, turn.slices, rows[test])
        weak = [w["name"] for w in turn.facts("diagnose")["weak"]]
        by_name = {s["name"]: s for s in turn.slices}
        target = np.zeros(len(test), bool)
        for name in weak:
            target |= members.of(by_name[name])
        if not weak:
            target[:] = True
        lines: list[dict[str, Any]] = []

        def mean(arms: Sequence[Columns], subset: Subset) -> float:
            return float(np.mean([measure.of_set(c, labels, subset) for c in arms]))

        def compare(name: str, role: str, subset: Subset) -> dict[str, Any]:
            two_sided = self.alpha if role in ("target", "all") else 2 * self.alpha
            gain, low, high = measure.gain(before, after, labels, subset, two_sided)
            line = {
                "name": name,
                "role": role,
                "rows": len(subset.rows),
                "before": mean(before, subset),
                "after": mean(after, subset),
                "control": mean(random, subset),
                "gain": gain,
                "low": low,
                "high": high,
                "holds": low > 0 if role == "target" else role == "all" or low > -self.delta,
            }
            lines.append(line)
            return line

        why: list[str] = []
        whole = Subset(test, test)
        compare("all", "all", whole)
        kinds = {by_name[name]["kind"] for name in weak}
        about = {c for name in weak for c in by_name[name].get("labels", ())}
        aim = Subset(test[target], test, tuple(sorted(about)) if kinds == {"class"} else ())
        if not target.any():
            why.append("the test set has no example of the weak slices: their gain cannot be shown")
        else:
            line = compare(" + ".join(weak) or "all, no weak slice", "target", aim)
            if not line["holds"]:
                why.append(
                    f"the target {line['name']} gains {_gain(line, turn.measure.percent)}: the"
                    " interval does not lie above 0"
                )
        for name in sorted({*frozen_slices(turn.data, turn.slices, self.smallest), *weak}):
            inside = members.of(by_name[name])
            if inside.sum() >= self.smallest:
                one = Subset(test[inside], test, _classes(by_name[name]))
                why += self._lost(compare(name, "slice", one), turn)
        canaries = trainings.of_role("canary")
        if len(canaries) > 1:
            why += self._lost(compare("canaries", "canary", Subset(canaries, canaries)), turn)
        old = self._old_failures(turn)
        if len(old) >= self.smallest:
            why += self._lost(compare("old failures", "regression", Subset(old, old)), turn)
        why += self._calibration(turn)
        if turn.facts("version")["unchanged"]:
            why.append("the candidate is the version in force: nothing was added or relabeled")
        versus = {
            name: dict(
                zip(
                    ("gain", "low", "high"),
                    measure.gain(random, after, labels, subset, self.alpha),
                    strict=True,
                )
            )
            for name, subset in (("all", whole), ("target", aim)) if len(subset.rows)
        }  # fmt: skip
        children = self._synthesis(turn, labels, whole, aim)
        facts = {
            "promoted": not why,
            "why": why or ["the target gains and nothing loses more than allowed"],
            "delta": self.delta,
            "target": weak,
            "versus_control": versus,
            **({"synthesis": children} if children else {}),
        }
        names = list(lines[0])
        return Artifact(facts, {"comparisons": {n: [x[n] for x in lines] for n in names}})

    def _lost(self, line: dict[str, Any], turn: Turn) -> list[str]:
        if line["holds"]:
            return []
        percent = turn.measure.percent
        verb = "loses" if line["high"] < -self.delta else "may lose"
        allowed = f"{100 * self.delta:g} points" if percent else f"{self.delta:g}"
        return [f"{line['name']} {verb} more than {allowed}: {_gain(line, percent)}"]

    def _synthesis(
        self, turn: Turn, labels: NDArray[np.int64], whole: Subset, aim: Subset
    ) -> dict[str, Any]:
        """Return what the children brought: errors of the candidate without them, with as many real
        rows in their place and with them, and its gain over the first two; nothing without
        children.
        """
        if not turn.facts("synthesize").get("children"):
            return {}
        measure, out = turn.measure, dict[str, Any]()
        arms = {
            name: [turn.trainings.columns(arm(turn, name), s) for s in turn.seeds]
            for name in ("without", "real", "candidate")
        }
        for name, subset in (("all", whole), ("target", aim)):
            if not len(subset.rows):
                continue
            out[name] = {"error": {}, "gain": {}}
            for other, seeds in arms.items():
                errors = [measure.of_set(c, labels, subset) for c in seeds]
                out[name]["error"][other] = float(np.mean(errors))
                if other != "candidate":
                    gain = measure.gain(seeds, arms["candidate"], labels, subset, self.alpha)
                    out[name]["gain"][other] = dict(zip(("gain", "low", "high"), gain, strict=True))
        return out

    def _old_failures(self, turn: Turn) -> NDArray[np.int64]:
        """Return where, among the frozen examples, those are that version 1 got wrong with every
        seed and the version in force gets right with every seed.
        """
        if not turn.earlier or turn.version.number == 1:
            return np.empty(0, np.int64)
        dev = turn.trainings.of_role("dev")
        failed = np.zeros(len(dev), bool)
        names = turn.data.ids[turn.trainings.rows[dev]]
        for facts in turn.earlier:
            failed |= np.isin(names, facts.get("failures", []))
        now = turn.trainings.errors(turn.version, turn.seeds)[:, dev].max(axis=0)
        return dev[failed & (now == 0)]  # type: ignore[no-any-return]

    def _calibration(self, turn: Turn) -> list[str]:
        arms = turn.facts("retrain")["arms"]
        old, new = arms["current"]["calibration"], arms["candidate"]["calibration"]
        if old is None or new - old <= self.calibration:
            return []
        return [
            f"calibration error rises from {old:.3f} to {new:.3f}, more than {self.calibration:g}"
        ]


def _classes(one: Slice) -> tuple[int, ...]:
    """Return the class that a slice is about, none where it is about something else."""
    return tuple(one["labels"]) if one["kind"] == "class" else ()


def _gain(line: dict[str, Any], percent: bool) -> str:
    gain, low, high = (change(line[name], percent) for name in ("gain", "low", "high"))
    return f"{gain} [{low}, {high}]{' points' if percent else ''}"
