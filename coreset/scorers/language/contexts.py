"""From a row to the tokens a language model is asked about: the answer after its full context and
after a reduced one.

separate: prompt and answer are tokenized each for itself, so that both sides score the same tokens
and every character of the answer. `released` has the way of the released programs, `chat` the
model's own chat template, where the token that ends the turn is part of the answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from coreset.numerics.text.characters import whole_characters
from coreset.scorers.language.spans import Span
from coreset.scorers.language.templates import Template

Tokens = tuple[int, ...]


@dataclass(frozen=True)
class Row:
    """What a row says: an instruction, its input, the answer; and, for chats, all turns."""

    instruction: str | None = None
    given: str | None = None
    response: str | None = None
    messages: Sequence[Mapping[str, str]] | None = None


@dataclass(frozen=True)
class Answer:
    """The tokens of one answer under both contexts; `shared`: how many tokens of the full context
    stand in every row of this template.
    """

    context: Tokens
    target: Tokens
    reduced_context: Tokens
    reduced_target: Tokens
    shared: int = 0

    def cut(self, excess: int) -> Answer:
        """Return the answer without its last `excess` tokens, on both sides."""
        return replace(
            self, target=self.target[:-excess], reduced_target=self.reduced_target[:-excess]
        )

    @property
    def spans(self) -> tuple[Span, Span]:
        """Return what is asked: after the full context, after the reduced one."""
        return Span(self.context, self.target, self.shared), Span(
            self.reduced_context, self.reduced_target
        )


# per row: its answers (one, or one a turn), or the status that says why there is none
Found = list[list[Answer] | str]


def encode(
    tokenizer: Any, texts: Sequence[str], special: bool, longest: int | None = None
) -> list[Tokens]:
    """Return the tokens of every text, with the tokenizer's special tokens or without, cut by it to
    `longest`.

    A lone half of a surrogate pair, which no tokenizer reads, is U+FFFD.
    """
    if not texts:
        return []
    cut = {} if longest is None else {"truncation": True, "max_length": longest}
    ids = tokenizer(
        whole_characters(texts),
        add_special_tokens=special,
        return_attention_mask=False,
        verbose=False,
        **cut,
    )["input_ids"]
    return [tuple(row) for row in ids]


def common(*several: Tokens) -> int:
    """Return how many first tokens all have in common.

    >>> common((1, 2, 3), (1, 2, 4))
    2
    """
    return next(
        (i for i, column in enumerate(zip(*several, strict=False)) if len(set(column)) > 1),
        min(map(len, several)),
    )


def missing(row: Row) -> str | None:
    """Return the status of a row without an instruction or an answer, None for the others."""
    if row.instruction is None or row.response is None:
        return "missing_field"
    return None if row.response.strip() else "empty_text"


def heads(tokenizer: Any, template: Template, special: bool) -> dict[bool, Tokens]:
    """Return the tokens every prompt of a template begins with, without input and with."""
    beginnings = {}
    for given in (False, True):
        texts = [template.prompt(word, word if given else "") for word in ("Add", "1", "Überall")]
        beginnings[given] = (ids := encode(tokenizer, texts, special))[0][
            : max(0, common(*ids) - 1)
        ]
    return beginnings


def shared_head(head: Tokens, context: Tokens) -> int:
    """Return how many tokens of a context are those every prompt of its template begins with: all
    of `head`, or none.
    """
    return len(head) if context[: len(head)] == head else 0


def separate(tokenizer: Any, template: Template, start: Tokens, rows: Sequence[Row]) -> Found:
    """Return the answers of rows, prompt and answer tokenized apart, after the start token; the
    reduced context is the start token and the header.
    """
    out: Found = [missing(row) or [] for row in rows]
    good = [i for i, answered in enumerate(out) if not isinstance(answered, str)]
    prompts = encode(
        tokenizer,
        [template.prompt(rows[i].instruction or "", rows[i].given or "") for i in good],
        False,
    )
    answers = encode(tokenizer, [rows[i].response or "" for i in good], False)
    header = start + encode(tokenizer, [template.header], False)[0]
    first = {given: start + head for given, head in heads(tokenizer, template, False).items()}
    for i, prompt, answer in zip(good, prompts, answers, strict=True):
        context = start + prompt
        out[i] = (
            [
                Answer(
                    context,
                    answer,
                    header,
                    answer,
                    shared_head(first[bool(rows[i].given)], context),
                )
            ]
            if answer
            else "empty_text"
        )
    return out


def share_prompts(answers: Sequence[list[Answer] | str]) -> Found:
    """Return the answers with the whole context shared where several answers have the same: it is
    then computed once.
    """
    times = Counter(
        a.context for answered in answers if not isinstance(answered, str) for a in answered
    )
    return [
        (
            answered
            if isinstance(answered, str)
            else [
                replace(a, shared=len(a.context)) if times[a.context] > 1 else a for a in answered
            ]
        )
        for answered in answers
    ]
