"""Drop texts that repeat themselves: n-grams over and over, or a loop at the end."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from coreset.core.batch import Batch
from coreset.curation.operators.base import Decision, Filter
from coreset.curation.operators.rules.limits import Limit, decision


@dataclass(frozen=True)
class RepetitionFilter(Filter):
    """Keep texts with little repetition (Data-Juicer's limits, 0.5 each); reads the columns of
    `coreset.scorers.text.repetition.Repetition`.

    A loop at the end fails when it has at least `loop_copies` copies and covers at least
    `loop_characters` characters; both limits are this project's own. None switches a rule off.

    >>> from coreset.core.batch import as_batch
    >>> from coreset.scorers.text.repetition import Repetition
    >>> RepetitionFilter().decide(
    ...     as_batch(Repetition()({"text": ["He said " + "ha" * 40]}))
    ... ).reason.tolist()
    ['repeated character n-grams above 0.5; ends in a loop']
    """

    needs = frozenset(
        {"char_repetition", "word_repetition", "loop_unit", "loop_copies", "repetition_status"}
    )

    max_char: float | None = 0.5
    max_word: float | None = 0.5
    loop_copies: int | None = 3
    loop_characters: int = 60

    def decide(self, batch: Batch) -> Decision:
        """Return the decision."""
        limits = [
            Limit(
                "char_repetition",
                f"repeated character n-grams above {self.max_char}",
                high=self.max_char,
            ),
            Limit(
                "word_repetition",
                f"repeated word n-grams above {self.max_word}",
                high=self.max_word,
            ),
        ]
        limited = decision(batch, limits, "repetition_status")
        if self.loop_copies is None:
            return limited
        copies, covered = batch["loop_copies"], batch["loop_unit"] * batch["loop_copies"]
        loop = (copies >= self.loop_copies) & (covered >= self.loop_characters)
        reason = limited.reason.copy()
        reason[loop] = [f"{r}; ends in a loop" if r else "ends in a loop" for r in reason[loop]]
        return Decision(np.asarray(reason == ""), reason)
