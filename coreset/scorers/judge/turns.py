"""A judge of conversations, turn by turn: the score of each is asked for like that of a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from coreset.core.batch import objects
from coreset.core.pool import Array
from coreset.scorers.judge.scorer import Judge
from coreset.scorers.language.turns import turns_of


@dataclass(frozen=True)
class TurnJudge:
    """Ask `judge` for a score of every turn of `messages`, a question and its answer.

    Gives `<writes>`, the sum over the turns (as Deita, Liu et al., ICLR 2024, arXiv:2312.15685),
    `<writes>_turns`, a list of one score per turn, `<writes>_cost` and `<writes>_status`: that of
    the judge's first turn that is not ok, missing_field, empty_text or odd_turns (no answer after
    a question, or none before an answer).
    """

    judge: Judge
    writes: str = "complexity"

    needs = frozenset({"messages"})

    def __post_init__(self) -> None:
        if not isinstance(self.judge, Judge):
            raise TypeError(f"judge: expected a coreset.scorers.judge.Judge, got {self.judge!r}")
        if not self.writes.isidentifier():
            raise ValueError(f"writes: expected the name of a column, got {self.writes!r}")

    @property
    def gives(self) -> frozenset[str]:
        """Return the columns that are written."""
        return frozenset(
            {self.writes, *(f"{self.writes}_{n}" for n in ("turns", "cost", "status"))}
        )

    def __call__(self, batch: Mapping[str, Array]) -> dict[str, Array]:
        """Return the columns for every row. Raises ValueError when the endpoint refuses all."""
        rows = [turns_of(messages) for messages in list(batch["messages"])]
        owner = [i for i, (turns, _) in enumerate(rows) for _ in turns]
        flat = [turn for turns, _ in rows for turn in turns]
        asked = self.judge(
            {
                "instruction": objects([turn.instruction for turn in flat]),
                "input": objects([""] * len(flat)),
                "response": objects([turn.response for turn in flat]),
            }
        )
        status = [word for _, word in rows]
        lists: list[list[float]] = [[] for _ in rows]
        cost = np.zeros(len(rows))
        columns = (asked[n].tolist() for n in ("judge", "judge_cost", "judge_status"))
        for i, score, dollars, word in zip(owner, *columns, strict=True):
            lists[i].append(score)
            cost[i] += dollars
            if status[i] == "ok":
                status[i] = word
        good = [word == "ok" for word in status]
        return {
            self.writes: np.array(
                [sum(own) if ok else np.nan for own, ok in zip(lists, good, strict=True)]
            ),
            f"{self.writes}_turns": objects(
                [own if ok else None for own, ok in zip(lists, good, strict=True)]
            ),
            f"{self.writes}_cost": cost,
            f"{self.writes}_status": objects(status),
        }
