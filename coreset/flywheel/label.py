"""Labels for the batch and the control, second labels for those that look wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset.flywheel.label_errors import confident_errors
from coreset.flywheel.stage import Artifact, Turn, decided
from coreset.numerics.random import keyed_order

_CHANCE = 1e-4  # of as many rows of one label, below which nobody has looked at them


@dataclass(frozen=True)
class Label:
    """Ask the oracle for the batch and the control's rows; ask it again for `repeat` of the batch,
    which measures agreement, and for rows whose label looks wrong.

    Labels are scored by confident learning over the version with the batch, in `folds` folds, mean
    over the seeds. The likeliest errors are asked again as far as the money kept for it reaches; a
    new row that looks wrong and cannot be asked again, or whose two labels differ, is held back
    from training and listed as ambiguous; an old row that the money does not reach stays as it is
    and is listed in the table `waiting`, so that a second label can be paid for. A second label
    that differs from an old row's replaces it. Labels that an earlier turn has paid for cost
    nothing. A label that a person has given by an overrule is not asked for, costs nothing and is
    not doubted. folds: 0 scores no labels.

    Raises ValueError when all rows drawn at random, the batch's and the control's, get one label
    that so many development examples would have by a chance of less than 1 in 10,000: nobody looked
    at the examples.
    """

    repeat: float = 0.05
    folds: int = 5

    def run(self, turn: Turn) -> Artifact:
        """Return the labels of the batch, the control's and the second ones."""
        data = turn.data
        assert data.costs is not None
        batch = turn.table("choose", "batch")
        plan = turn.facts("choose")
        rows = data.where(batch["id"])
        control = data.where(turn.table("choose", "control")["id"])
        asked = np.unique(np.concatenate([rows, control]))
        told = _told(turn)
        asked = asked[~np.isin(asked, list(told))]
        answers = self._ask(turn, asked)
        given = {**dict(zip(asked.tolist(), answers.tolist(), strict=True)), **told}
        labels = np.array([given[r] for r in rows.tolist()], np.int64)
        drawn = np.union1d(rows[batch["slice"] == ""], control)
        self._check_constant(turn, np.array([given[r] for r in drawn.tolist() if r not in told]))
        open_ = rows[~np.isin(rows, list(told))]
        order = keyed_order(turn.rng("label"), data.ids[open_])
        again = open_[order][: round(self.repeat * len(open_))]
        second = np.asarray(turn.oracle.label(again), np.int64) if len(again) else again
        agree = np.array([given[r] for r in again.tolist()], np.int64) == second
        contradicted = set(again[~agree].tolist())
        contradicted |= {
            r for r in rows.tolist()
            if r not in told and turn.known.get(str(data.ids[r]), given[r]) != given[r]
        }  # fmt: skip
        reserve = plan["reserve"] - float(data.costs[again].sum())
        table, held, waiting = self._relabel(turn, rows, labels, contradicted, reserve)
        free = {*turn.known, *turn.overruled.labels}
        fresh = np.array([str(i) not in free for i in data.ids[rows]], bool)
        cost = float(data.costs[rows[fresh]].sum() + data.costs[again].sum())
        cost += float(data.costs[data.where(table["id"])].sum()) if table["id"] else 0.0
        held |= contradicted
        facts = {
            "labeled": len(rows),
            "agreement": float(agree.mean()) if len(again) else None,
            "repeated": len(again),
            "asked_again": len(table["id"]),
            "waiting": len(waiting["id"]),
            "waiting_cost": float(data.costs[data.where(waiting["id"])].sum())
            if waiting["id"]
            else 0.0,
            "relabeled": int(sum(o != s for o, s in zip(table["old"], table["new"], strict=True))),
            "ambiguous": len(held),
            "cost": cost,
        }
        held -= set(data.where(turn.overruled.kept).tolist() if turn.overruled.kept else ())
        status = np.array(["ambiguous" if r in held else "" for r in rows.tolist()], str)
        final = dict(zip(table["id"], table["new"], strict=True))
        labels = np.array(
            [final.get(str(data.ids[r]), v) for r, v in zip(rows.tolist(), labels, strict=True)],
            np.int64,
        )
        tables: dict[str, dict[str, Any]] = {
            "batch": {**batch, "label": labels, "status": status},
            "control": {
                "id": data.ids[control],
                "label": np.array([given[r] for r in control.tolist()], np.int64),
            },
            "second": table,
            "waiting": waiting,
        }
        return Artifact(facts, tables)

    def _ask(self, turn: Turn, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        labels = np.asarray(turn.oracle.label(rows), np.int64) if len(rows) else rows
        classes = len(turn.data.classes)
        if labels.shape != rows.shape or (
            len(labels) and not 0 <= labels.min() <= labels.max() < classes
        ):
            raise ValueError(
                f"label: expected {len(rows)} class numbers from 0 to {classes - 1} from the"
                f" oracle, got shape {labels.shape}"
            )
        return labels

    def _check_constant(self, turn: Turn, labels: NDArray[np.int64]) -> None:
        """Raise ValueError for labels of randomly drawn rows that are all the same by no chance."""
        if not len(labels) or len(np.unique(labels)) > 1:
            return
        one = int(labels[0])
        share = float((turn.data.labels[turn.data.at("dev")] == one).mean())
        if share ** len(labels) < _CHANCE:
            raise ValueError(
                f"label: all {len(labels)} randomly drawn rows got the label"
                f" {turn.data.classes[one]!r}, which {100 * share:.0f} % of the development examples"
                " have; nobody can have looked at them, nothing is added"
            )

    def _relabel(
        self,
        turn: Turn,
        rows: NDArray[np.int64],
        labels: NDArray[np.int64],
        contradicted: set[int],
        reserve: float,
    ) -> tuple[dict[str, list[Any]], set[int], dict[str, list[Any]]]:
        """Return the table of second labels, the new rows to hold back, and the old rows for which
        the money was short.
        """
        data = turn.data
        assert data.costs is not None
        table: dict[str, list[Any]] = {"id": [], "old": [], "new": [], "score": [], "new_row": []}
        waiting: dict[str, list[Any]] = {"id": [], "old": [], "score": []}
        held: set[int] = set()
        if not self.folds:
            return table, held, waiting
        added = {
            str(data.ids[r]): (int(v), "")
            for r, v in zip(rows.tolist(), labels.tolist(), strict=True)
            if r not in contradicted
        }
        both = decided(turn).changed(turn.number, added=added)
        parts = [turn.trainings.out_of_fold(both, self.folds, seed) for seed in turn.seeds]
        probs = np.mean(parts, axis=0)
        wrong, scores, _ = confident_errors(probs, both.labels)
        confirmed = _confirmed(turn)
        new = set(rows.tolist())
        left = reserve + 1e-9
        for at, score in zip(wrong.tolist(), scores.tolist(), strict=True):
            name, old = str(both.ids[at]), int(both.labels[at])
            row = int(data.where([name])[0])
            if confirmed.get(name) == old or name in turn.overruled.labels:
                continue
            if data.costs[row] > left:
                held |= {row} & new
                if row not in new:
                    for column, value in (("id", name), ("old", old), ("score", score)):
                        waiting[column].append(value)
                continue
            left -= float(data.costs[row])
            table["id"].append(name)
            table["old"].append(old)
            table["score"].append(score)
            table["new_row"].append(row in new)
        where = data.where(table["id"]) if table["id"] else np.empty(0, np.int64)
        table["new"] = self._ask(turn, where).tolist()
        held |= {
            int(r) for r, o, n in zip(where.tolist(), table["old"], table["new"], strict=True)
            if o != n and int(r) in new
        }  # fmt: skip
        return table, held, waiting


def _told(turn: Turn) -> dict[int, int]:
    """Return the labels that people have given by overrules, by position."""
    told = turn.overruled.labels
    rows = turn.data.where(list(told)).tolist() if told else []
    return dict(zip(rows, told.values(), strict=True))


def _confirmed(turn: Turn) -> dict[str, int]:
    """Return the labels that a second look has confirmed in earlier turns, by id."""
    out: dict[str, int] = {}
    for facts in turn.earlier:
        out |= {str(k): int(v) for k, v in facts.get("confirmed", {}).items()}
    return out
