"""Two texts before a judge: which of them has more of a quality, asked in both orders.

Wettig, Gupta, Malik & Chen, "QuRating: Selecting High-Quality Data for Training Language Models",
ICML 2024 (arXiv:2402.09739): four qualities, and that language, length and order must not matter.
The share of votes for a text is the mean of both orders, so that a judge who prefers the first
one says nothing. The wording is this project's own.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset.scorers import cache
from coreset.scorers.judge.endpoint import estimated_tokens
from coreset.scorers.judge.scorer import Judge

Messages = list[dict[str, str]]

CRITERIA = {
    "writing_style": "the more polished and beautiful writing style",
    "required_expertise": (
        "the higher demand on expertise and prior knowledge needed to understand it"
    ),
    "facts_and_trivia": "more facts and trivia; rather specific ones than common knowledge",
    "educational_value": (
        "more educational value, such as clear explanations, reasoning or questions and answers"
    ),
}
_LABEL = re.compile(r"\W*(?:option\s+)?([AB])\W*", re.IGNORECASE)


def pair_messages(criterion: str, first: str, second: str) -> Messages:
    """Return the conversation that asks which of two texts has more of a criterion.

    >>> "[Option B]" in pair_messages("writing_style", "one", "two")[1]["content"]
    True
    """
    question = (
        f"Which of two excerpts has {CRITERIA[criterion]}?\n\nDo not let these influence you: the"
        " language of a text, its length, and the order of the two. The excerpts are cut out of"
        " longer texts. They may be much alike; choose one nevertheless.\n\n[Option A]\n..."
        f" {first} ...\n\n[Option B]\n... {second} ...\n\nAnswer with a single word, A or B."
    )
    return [
        {"role": "system", "content": "You compare texts."},
        {"role": "user", "content": question},
    ]


def preferred(reply: str) -> int | None:
    """Return 0 for the first text, 1 for the second, None for a reply that is not A or B alone.

    >>> [preferred(r) for r in ("A", "Option B.", "A or B", "Both")]
    [0, 1, None, None]
    """
    label = _LABEL.fullmatch(reply)
    return None if label is None else "AB".index(label[1].upper())


@dataclass(frozen=True)
class PairJudge:
    """A judge of pairs of texts.

    Its model, endpoint, votes, prices, budget and store are those of `judge`, whose rubric plays
    no part. criterion: writing_style, required_expertise, facts_and_trivia or educational_value.
    """

    judge: Judge
    criterion: str = "educational_value"

    def __post_init__(self) -> None:
        if not isinstance(self.judge, Judge):
            raise TypeError(f"judge: expected a coreset.scorers.judge.Judge, got {self.judge!r}")
        if self.criterion not in CRITERIA:
            raise ValueError(f"criterion: expected {', '.join(CRITERIA)}, got {self.criterion!r}")

    def _questions(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[list[str], Messages]]:
        """Return the keys of the votes and the messages, of both orders of every pair in turn."""
        out = []
        for first, second in pairs:
            for one, two in ((first, second), (second, first)):
                messages = pair_messages(self.criterion, one, two)
                content = hashlib.sha256(json.dumps(messages).encode()).hexdigest()
                votes = range(self.judge.votes)
                out.append(
                    ([f"{self.judge.prefix}pair {content} {vote}" for vote in votes], messages)
                )
        return out

    def shares(self, pairs: Sequence[tuple[str, str]]) -> tuple[NDArray[np.float64], Counter[str]]:
        """Return the share of votes for the first text of each pair (m,), and why pairs are NaN.

        An order counts where more than half of its votes are A or B; a pair is decided where both
        orders count. Reasons: parse_error, model_error, budget, dry_run. Raises ValueError when the
        endpoint refuses all questions.
        """
        questions = self._questions(pairs)
        known = self._known([key for keys, _ in questions for key in keys])
        wanted = {
            key: (messages, vote)
            for keys, messages in questions
            for vote, key in enumerate(keys)
            if key not in known
        }
        lost: dict[str, str] = {}
        if not self.judge.dry_run:
            for key, reply in self.judge._ask(wanted):
                if isinstance(reply, str):
                    lost[key] = reply
                else:
                    known[key] = reply
        orders = [self._order([known.get(key) for key in keys]) for keys, _ in questions]
        forth, back = np.array(orders[::2], np.float64), np.array(orders[1::2], np.float64)
        share = (forth + 1 - back) / 2
        why: Counter[str] = Counter()
        for at in np.flatnonzero(np.isnan(share)).tolist():
            keys = questions[2 * at][0] + questions[2 * at + 1][0]
            missing = [key for key in keys if key not in known]
            why[lost.get(missing[0], "dry_run") if missing else "parse_error"] += 1
        return share, why

    def cost(self, pairs: Sequence[tuple[str, str]]) -> tuple[int, float]:
        """Return how many questions `shares` would ask, and at most how many dollars they cost."""
        questions = self._questions(pairs)
        known = self._known([key for keys, _ in questions for key in keys])
        asked = {key: m for keys, m in questions for key in keys if key not in known}
        dollars = (
            self.judge.cost(estimated_tokens(m), self.judge.max_tokens) for m in asked.values()
        )
        return len(asked), sum(dollars)

    def _known(self, keys: Sequence[str]) -> dict[str, Any]:
        return {k: json.loads(v) for k, v in cache.read(self.judge.file, keys).items()}

    def _order(self, replies: Sequence[Any]) -> float:
        """Return the share of votes for the text that stands first, NaN for too few votes."""
        votes = [preferred(r["text"]) for r in replies if r is not None]
        clear = [v for v in votes if v is not None]
        return clear.count(0) / len(clear) if 2 * len(clear) > len(replies) else float("nan")
