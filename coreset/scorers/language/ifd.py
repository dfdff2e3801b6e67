"""IFD, the instruction-following difficulty: how much harder an answer is after its instruction
than it is alone.

Li et al., "From Quantity to Quality: Boosting LLM Performance with Self-Guided Data Selection for
Instruction Tuning", NAACL 2024 (arXiv:2308.12032), and Li et al., "Superfiltering: Weak-to-Strong
Data Filtering for Fast Instruction-Tuning", ACL 2024 (arXiv:2402.00530). Above 1 the instruction
does not help, and the papers drop the row; among the rest they take the highest. Four different
numbers go by this name. The first two are those of the released programs (tianyi-lab/Cherry_LLM and
tianyi-lab/Superfiltering), with what they leave out: see `Ifd`.

| variant | context | reduced context | ratio |
|---|---|---|---|
| cherry | Alpaca template, one text with the answer | the template's header, `### Response:` | of mean losses |
| superfilter | `instruction, newline, input, newline`, one text with the answer | the template's header, here nothing (the first token has no loss) | of perplexities |
| matched | start token and the same prompt, tokenized apart from the answer | the start token: the same tokens are scored | of perplexities |
| chat | the model's chat template up to the answer | the header that opens an answer; the token that ends it is scored | of perplexities |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from coreset.core.pool import Array
from coreset.scorers.language import contexts
from coreset.scorers.language.chat import chat
from coreset.scorers.language.contexts import Answer, Found, Row
from coreset.scorers.language.load import load_tokenizer
from coreset.scorers.language.released import Fitted, released
from coreset.scorers.language.scorer import OVER_LONG, LanguageScorer, texts, written
from coreset.scorers.language.templates import TEMPLATES
from coreset.scorers.ratio import contrast

# the template, the tokens of a row, and what becomes of a longer one, as each was published with
VARIANTS = {
    "cherry": ("alpaca", 512, "truncate"),
    "superfilter": ("plain", 1024, "truncate"),
    "matched": ("plain", 1024, "undefined"),
    "chat": ("", 1024, "undefined"),
}
RELEASED = ("cherry", "superfilter")


@dataclass(frozen=True)
class Answers(LanguageScorer):
    """A score of a row's answer after its question.

    variant: see above. template: how cherry, superfilter and matched write a row: alpaca, wizard,
    vicuna or plain; None = the one of the variant. turns: in chats, `last` = the last answer after
    all before it, `all` = every answer, their tokens weighing the same. start_token: of matched, a
    token's text or number, auto = the tokenizer's own, None = none. max_length: tokens of context
    and answer, None = 512 for cherry and 1,024 for the others. over_long: a longer row is
    `undefined` (status too_long), or (`truncate`) its answer loses its last tokens (status
    truncated): the same on both sides in matched and chat, as the programs cut it in cherry and
    superfilter; with no room for any token of the answer it is undefined (no_context_left). None =
    truncate for cherry and superfilter, undefined for matched and chat.
    """

    variant: str = "matched"
    template: str | None = None
    turns: str = "last"
    start_token: str | int | None = "auto"
    max_length: int | None = None
    over_long: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, known in (
            ("variant", tuple(VARIANTS)),
            ("over_long", (*OVER_LONG, None)),
            ("turns", ("last", "all")),
        ):
            if getattr(self, name) not in known:
                known = tuple(k for k in known if k is not None)
                raise ValueError(
                    f"{name}: expected {', '.join(known)}, got {getattr(self, name)!r}"
                )
        if self.template is not None and (self.variant == "chat" or self.template not in TEMPLATES):
            raise ValueError(
                f"template: expected {', '.join(TEMPLATES)}, and none for the variant chat, got"
                f" {self.template!r}"
            )
        if self.turns == "all" and self.variant != "chat":
            raise ValueError(f"turns: all needs the variant chat, got {self.variant}")
        if self.max_length is not None and self.max_length < 2:
            raise ValueError(f"max_length: expected at least 2 tokens, got {self.max_length}")

    @property
    def needs(self) -> frozenset[str]:
        """Return the columns that are read: `messages` for chat, else `instruction`, `input`,
        `response`.
        """
        return frozenset(
            {"messages"} if self.variant == "chat" else {"instruction", "input", "response"}
        )

    def answers(self, batch: Mapping[str, Array]) -> tuple[list[list[Answer]], list[str]]:
        """Return the answers of every row as tokens (none where undefined) and a status per row."""
        tokenizer = load_tokenizer(self.model)
        template, length, over_long = VARIANTS[self.variant]
        length, over_long = self.max_length or length, self.over_long or over_long
        self.fitting(length, "max_length")
        tokenized: Found
        if self.variant == "chat":
            tokenized = chat(
                tokenizer, self.turns, [Row(messages=m) for m in texts(batch, "messages")]
            )
        else:
            columns = (texts(batch, "instruction"), texts(batch, "input"), texts(batch, "response"))
            rows = [Row(*values) for values in zip(*columns, strict=True)]
            form = TEMPLATES[self.template or template]
            if self.variant in RELEASED:
                cut = released(tokenizer, form, rows, length, over_long, self.variant == "cherry")
                return self._shared(cut)
            tokenized = contexts.separate(tokenizer, form, self.start(self.start_token), rows)
        return self._shared(
            [([], f) if isinstance(f, str) else fit(f, length, over_long) for f in tokenized]
        )

    @staticmethod
    def _shared(cut: Sequence[Fitted]) -> tuple[list[list[Answer]], list[str]]:
        shared = contexts.share_prompts([answers for answers, _ in cut])
        return [[] if isinstance(answers, str) else answers for answers in shared], [
            status for _, status in cut
        ]


def fit(answers: Sequence[Answer], max_length: int, over_long: str) -> tuple[list[Answer], str]:
    """Return the answers of a row that fit into `max_length` tokens, and the status: see `Answers`.

    >>> fit([Answer((1, 2), (3, 4, 5), (), (3, 4, 5))], 4, "truncate")[0][0].reduced_target
    (3, 4)
    """
    kept, status = [], "ok"
    for answer in answers:
        excess = len(answer.context) + len(answer.target) - max_length
        if excess > 0:
            if over_long == "undefined":
                return [], "too_long"
            if excess >= len(answer.target):
                return [], "no_context_left"
            answer, status = answer.cut(excess), "truncated"
        kept.append(answer)
    scored = [
        sum(span.scored for span in side) for side in zip(*(a.spans for a in kept), strict=True)
    ]
    return (kept, status) if min(scored) else ([], "too_short")


@dataclass(frozen=True)
class Ifd(Answers):
    """Instruction-following difficulty. Gives `ifd`; `ifd_loss` and `ifd_loss_alone`, the mean loss
    per token after the full and the reduced context, in nats; `ifd_tokens` and `ifd_tokens_alone`,
    how many tokens each is a mean of; `ifd_status`.

    `cherry` and `superfilter` are the numbers of the released programs. They count the prompt's
    tokens by themselves and score what lies behind as many tokens of the whole text, so that an
    answer whose first letters share a token with the end of the prompt (about one row of Alpaca in
    fifteen under SmolLM2's tokenizer) loses that token, on one side or on both; and they cut a row
    at `max_length`. `matched` scores the same tokens on both sides, every one of the answer: take
    it unless the numbers have to be theirs. Where the programs go on with nothing to score the row
    is undefined here, and a white answer is empty.

    Undefined, with the status: empty_text, missing_field, template_error (turns the chat template
    refuses), too_short (no token has a loss on one side: an answer of one token in superfilter, or
    one that lies in the token of the border), too_long, no_context_left, non_finite.
    """

    gives = frozenset(
        {"ifd", "ifd_loss", "ifd_loss_alone", "ifd_tokens", "ifd_tokens_alone", "ifd_status"}
    )

    def __call__(self, batch: Mapping[str, Array]) -> dict[str, Array]:
        """Return the columns for every row."""
        answers, status = self.answers(batch)
        spans = [[a.spans for a in row] for row in answers]
        contrasted = contrast(
            self.likelihood(),
            [[s[0] for s in row] for row in spans],
            [[s[1] for s in row] for row in spans],
        )
        ratio = contrasted.of_losses() if self.variant == "cherry" else contrasted.of_perplexities()
        columns: dict[str, Any] = {
            "ifd": ratio,
            "ifd_loss": contrasted.full,
            "ifd_loss_alone": contrasted.reduced,
            "ifd_tokens": contrasted.n_full,
            "ifd_tokens_alone": contrasted.n_reduced,
        }
        return written(columns, status, "ifd")


@dataclass(frozen=True)
class AnswerLoss(Answers):
    """Mean loss of the answer after its question, in nats per token. Gives `answer_loss`,
    `answer_loss_tokens`, `answer_loss_status`.
    """

    gives = frozenset({"answer_loss", "answer_loss_tokens", "answer_loss_status"})

    def __call__(self, batch: Mapping[str, Array]) -> dict[str, Array]:
        """Return the columns for every row."""
        answers, status = self.answers(batch)
        owner = np.repeat(np.arange(len(answers)), [len(row) for row in answers])
        sums, counts = self.likelihood().totals([a.spans[0] for row in answers for a in row])
        n = np.bincount(owner, counts, len(answers)).astype(np.int64)
        total = np.bincount(owner, sums, len(answers))
        mean = np.divide(total, n, out=np.full(len(n), np.nan), where=n > 0)
        return written({"answer_loss": mean, "answer_loss_tokens": n}, status, "answer_loss")
