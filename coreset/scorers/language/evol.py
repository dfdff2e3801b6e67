"""Deita's complexity and quality: a trained rater's mean rating from 1 to 6, turn by turn.

Liu, Zeng, He, Jiang & He, "What Makes Good Data for Alignment? A Comprehensive Study of Automatic
Data Selection in Instruction Tuning", ICLR 2024 (arXiv:2312.15685). A rating is the mean of 1 ..
6 under the probabilities of these digits as the next token, scaled to sum to one; that of a
conversation is the sum over its turns. The prompts are those the authors' raters were trained on
(hkust-nlp/deita-complexity-scorer, hkust-nlp/deita-quality-scorer). Their program rates with 3
what it cannot read, which is undefined here, and rates a last question without an answer, which
is no turn here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coreset.core.batch import objects
from coreset.core.pool import Array
from coreset.scorers.language.contexts import encode
from coreset.scorers.language.ratings import kept_logs, rating_tokens
from coreset.scorers.language.scorer import LanguageScorer, texts, written
from coreset.scorers.language.turns import Turn, one_turn, turns_of

Float = NDArray[np.float64]
SCORES = ("complexity", "quality")
FORMS = ("messages", "instruction")
MOST = 6


def evol_prompt(score: str, turn: Turn) -> str:
    r"""Return the prompt whose next token rates the question (complexity) or answer (quality).

    >>> evol_prompt("complexity", Turn("Add 1 and 2.", "3")).split("\n")[1]
    '##Query: Add 1 and 2.  '
    """
    ask = f"You are a helpful assistant. Please identify the {score} score of the"
    if score == "complexity":
        return f"{ask} following user query. \n##Query: {turn.instruction}  \n##Complexity: "
    return (
        f"{ask} Response corresponding to the Question. \n "
        f"#Question#:\n{turn.instruction}\n#Response#:\n{turn.response} \n##Quality: "
    )


def expected_rating(logs: Float) -> Float:
    """Return the mean rating (n,) for log-weights (n, K) of the ratings 1 .. K.

    >>> expected_rating(np.log([[0.1, 0.3]])).tolist()
    [1.75]
    """
    weight = np.exp(logs - logs.max(axis=1, keepdims=True))
    mean: Float = weight @ np.arange(1.0, logs.shape[1] + 1) / weight.sum(axis=1)
    return mean


@dataclass(frozen=True)
class Evol(LanguageScorer):
    """Complexity or quality of every turn, rated by a language model.

    Gives `complexity`, the sum over the turns, `complexity_turns`, one rating in [1, 6] per turn,
    and `complexity_status`; with score `quality` the same by that name. score: complexity or
    quality, each of which has a model of its own. form: `messages`, or `instruction` for rows of
    instruction, input and response, which are one turn. max_length: tokens of a prompt.

    A row is undefined as a whole: missing_field, empty_text, odd_turns (no answer after a question,
    or none before an answer), too_long, non_finite. `coreset.strategies.instruction.deita.Deita`
    takes the lists: the score of a conversation is then the sum of the products of its turns.
    """

    score: str = "complexity"
    form: str = "messages"
    max_length: int = 2048

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, known in (("score", SCORES), ("form", FORMS)):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name}: expected {' or '.join(known)}, got {getattr(self, name)!r}"
                )
        if self.max_length < 1:
            raise ValueError(f"max_length: expected at least 1 token, got {self.max_length}")

    @property
    def needs(self) -> frozenset[str]:
        """Return the columns that are read."""
        return frozenset(
            {"messages"} if self.form == "messages" else {"instruction", "input", "response"}
        )

    @property
    def gives(self) -> frozenset[str]:
        """Return the sum, the ratings of the turns and the status."""
        return frozenset({self.score, f"{self.score}_turns", f"{self.score}_status"})

    def __call__(self, batch: Mapping[str, Array]) -> dict[str, Array]:
        """Return the columns for every row."""
        lm = self.fitting(self.max_length, "max_length")
        digits = rating_tokens(lm.tokenizer, MOST)
        if self.form == "messages":
            rows = [turns_of(m) for m in texts(batch, "messages")]
        else:
            columns = (texts(batch, name) for name in ("instruction", "input", "response"))
            rows = [one_turn(*values) for values in zip(*columns, strict=True)]
        status = [word for _, word in rows]
        owner = [i for i, (turns, _) in enumerate(rows) for _ in turns]
        prompts = [evol_prompt(self.score, turn) for turns, _ in rows for turn in turns]
        asked = list(zip(owner, encode(lm.tokenizer, prompts, True), strict=True))
        for i, tokens in asked:
            if len(tokens) > self.max_length:
                status[i] = "too_long"
        asked = [(i, tokens) for i, tokens in asked if status[i] == "ok"]
        logs = kept_logs(lm, [t for _, t in asked], digits, self.batch_tokens, self.cache)
        return rated([i for i, _ in asked], expected_rating(logs), status, self.score)


def rated(
    owner: Sequence[int], ratings: Float, status: Sequence[str], name: str
) -> dict[str, Array]:
    """Return sums, lists and statuses of the ratings of the rows `owner`, as columns by `name`.

    >>> rated([0, 0], np.array([1.0, 2.0]), ["ok", "too_long"], "quality")["quality"].tolist()
    [3.0, nan]
    """
    lists: list[list[float]] = [[] for _ in status]
    for i, rating in zip(owner, ratings.tolist(), strict=True):
        lists[i].append(rating)
    total = np.array([sum(own) if own else np.nan for own in lists], np.float64)
    there = np.isfinite(total)
    turns = objects([own if ok else None for own, ok in zip(lists, there.tolist(), strict=True)])
    return written({name: total}, status, name) | {f"{name}_turns": turns}
