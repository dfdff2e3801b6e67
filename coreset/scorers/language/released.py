"""Rows as the released programs of Cherry_LLM and Superfiltering turn them into tokens: which are
scored, and where a row is cut.

Prompt and answer are one text for the tokenizer, and the answer is what lies behind as many tokens
as the prompt has by itself. Where a token straddles the border the two do not add up: that token,
or the token behind it, is not scored. A row longer than `max_length` tokens is cut there, and its
answer alone at `max_length` less the tokens of the prompt plus `Template.room`, so that what is
scored may differ by a token between the two sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from coreset.scorers.language.contexts import (
    Answer,
    Row,
    Tokens,
    encode,
    heads,
    missing,
    shared_head,
)
from coreset.scorers.language.templates import Template

Fitted = tuple[list[Answer], str]


def released(
    tokenizer: Any,
    template: Template,
    rows: Sequence[Row],
    max_length: int,
    over_long: str,
    selects: bool,
) -> list[Fitted]:
    """Return the answers of every row (one, or none where undefined) and its status.

    over_long: `truncate` = cut as the programs do (status truncated), `undefined` = a row that
    would be cut on either side has no score (too_long). selects: whether a row is passed over whose
    prompt and answer alone come to more than `max_length` tokens (too_long), as Cherry_LLM's
    selection does. No token of the answer left: no_context_left where the prompt fills
    `max_length`, else too_short.
    """
    status = [missing(row) or "ok" for row in rows]
    good = [i for i, s in enumerate(status) if s == "ok"]
    prompts = [template.prompt(rows[i].instruction or "", rows[i].given or "") for i in good]
    answers = [rows[i].response or "" for i in good]
    whole = [p + a for p, a in zip(prompts, answers, strict=True)]
    alone = [template.header + a for a in answers]
    # without a header the answer alone is scored whole, but for the first token, which follows
    # nothing
    header = len(encode(tokenizer, [template.header], True)[0]) if template.header else 0
    first = heads(tokenizer, template, True)
    out: list[Fitted] = [([], s) for s in status]
    sides = zip(
        good,
        *(encode(tokenizer, t, True) for t in (prompts, whole, alone)),
        whole,
        alone,
        strict=True,
    )
    for i, prompt, full, reduced, text, answer in sides:
        start, rest = len(prompt), max_length - len(prompt) + template.room
        if start >= max_length:
            out[i] = [], "no_context_left" if over_long == "truncate" else "too_long"
            continue
        over = len(full) > max_length or len(reduced) > rest
        if over and over_long == "undefined":
            out[i] = [], "too_long"
            continue
        full, reduced = (
            _cut(tokenizer, text, full, max_length),
            _cut(tokenizer, answer, reduced, rest),
        )
        tokens = Answer(
            full[:start],
            full[start:],
            reduced[:header],
            reduced[header:],
            shared_head(first[bool(rows[i].given)], full[:start]),
        )
        if selects and start + len(reduced) - header > max_length:
            out[i] = [], "too_long"
        elif min(span.scored for span in tokens.spans) < 1:
            out[i] = [], "too_short"
        else:
            out[i] = [tokens], "truncated" if over else "ok"
    return out


def _cut(tokenizer: Any, text: str, tokens: Tokens, length: int) -> Tokens:
    """Return the tokens of a text cut by the tokenizer itself,
    which keeps what it adds at the end.
    """
    if len(tokens) <= length:
        return tokens
    return encode(tokenizer, [text], True, length)[0]
