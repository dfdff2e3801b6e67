"""What comes next: another turn with a budget, or stop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset.flywheel.assemble import arm
from coreset.flywheel.power_law import fit_power_law, forecast
from coreset.flywheel.stage import Artifact, Turn
from coreset.flywheel.versions import Version
from coreset.numerics.random import keyed_uniform


@dataclass(frozen=True)
class Decide:
    """Fit a learning curve and stop when more labels are not worth their cost.

    The curve: error of the whole test set of trainings on nested random shares (`shares`) of the
    version that is now in force, a power law a + b n^-c. Its forecast for the next budget has an
    interval from `draws` bootstrap samples of the test examples.

    Stop when no slice is weak; when the pool has no candidate for the weak ones; when the batch has
    tied with random rows at equal cost in `ties` turns that follow one another; or when the upper
    end of the forecast gain is below `least_gain` (error per 1,000 of cost). Otherwise the next
    budget is this turn's, or half of it where half already brings nine tenths of the forecast.
    """

    shares: tuple[float, ...] = (0.125, 0.25, 0.5)
    draws: int = 200
    ties: int = 2
    least_gain: float = 0.001

    def run(self, turn: Turn) -> Artifact:
        """Return the decision in words, the curve and the forecast."""
        promoted = turn.facts("gate")["promoted"]
        version = arm(turn, "candidate") if promoted else turn.version
        sizes, errors = self._curve(turn, version)
        budget = turn.budget
        ahead = [len(version) + budget / 2, len(version) + budget]
        middle, low, high = forecast(
            sizes, errors, len(version), ahead, turn.rng("decide"), self.draws
        )
        law = fit_power_law(sizes, errors.mean(axis=1)[None])[0]
        weak = turn.facts("diagnose")["weak"]
        versus = turn.facts("gate")["versus_control"]
        best = versus.get("target", versus["all"])
        tie = bool(weak) and not (best["low"] > 0 or versus["all"]["low"] > 0)
        before = turn.earlier[-1].get("tied_in_a_row", 0) if turn.earlier else 0
        tied = before + 1 if tie else 0
        per_thousand = 1000 * high[1] / budget
        mined = sum(turn.facts("mine")["candidates"].values())
        stop = ""
        if not weak:
            stop = "no slice is weak: nothing to buy on purpose"
        elif not mined:
            stop = "the pool has no candidate for the weak slices"
        elif tied >= self.ties:
            stop = f"the batch tied with random rows at equal cost {tied} turns in a row"
        elif per_thousand < self.least_gain and not promoted:
            stop = (
                f"the forecast gain is at most {per_thousand:.4f} per 1,000 of cost, below"
                f" {self.least_gain:g}"
            )
        half = middle[0] >= 0.9 * middle[1] > 0
        facts = {
            "stop": stop,
            "next_budget": 0.0 if stop else budget / 2 if half else budget,
            "tied_in_a_row": tied,
            "curve": {
                "sizes": sizes.tolist(),
                "error": errors.mean(axis=1).tolist(),
                "law": dict(zip("abc", law.tolist(), strict=True)),
            },
            "forecast": {
                "labels": ahead,
                "gain": middle.tolist(),
                "low": low.tolist(),
                "high": high.tolist(),
            },
            "measured_on": "all test examples",
        }
        return Artifact(facts)

    def _curve(
        self, turn: Turn, version: Version
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return sizes (P,) and mean errors over seeds (P, n) of every test example."""
        test = turn.trainings.of_role("test")
        order = np.argsort(keyed_uniform(turn.seed, version.ids), kind="stable")
        sizes, errors = [], []
        for share in (*self.shares, 1.0):
            n = max(1, round(share * len(version)))
            keep = order[:n]
            part = Version(
                version.number, version.ids[keep], version.labels[keep], version.reasons[keep],
                version.turns[keep],
            )  # fmt: skip
            sizes.append(float(n))
            errors.append(turn.trainings.errors(part, turn.seeds)[:, test].mean(axis=0))
        return np.array(sizes), np.stack(errors)


def confirmed(turn: Turn) -> dict[str, int]:
    """Return the labels that this turn's second look left as they were or set, by id."""
    second: dict[str, Any] = turn.table("label", "second")
    return {str(i): int(n) for i, n in zip(second["id"], second["new"], strict=True)}
