"""A model's chat template: what it writes before an answer, after it, and when nothing is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from coreset.scorers.language.contexts import Answer, Found, Row, Tokens, common, encode

_WORD = "ANSWER"


@dataclass(frozen=True)
class ChatForm:
    """What a chat template does whatever the turns are. header: how an answer is opened, after the
    start token where conversations begin with it; end: the token that closes an answer, () where
    there is none; head: what every conversation of one question begins with.
    """

    header: Tokens
    end: Tokens
    head: Tokens


def chat_form(tokenizer: Any) -> ChatForm:
    """Return the form of a tokenizer's chat template. Raises ValueError when it has none, or none
    that opens an answer.
    """
    if not tokenizer.chat_template:
        raise ValueError(
            "variant: the tokenizer has no chat template; choose another variant than chat"
        )
    turns = [{"role": "user", "content": "Add"}]
    opened, plain = render(tokenizer, turns, True), render(tokenizer, turns, False)
    if not opened.startswith(plain) or opened == plain:
        raise ValueError(
            "variant: the chat template opens no answer (it ignores add_generation_prompt); choose"
            " another variant than chat"
        )
    header, bos = opened[len(plain) :], tokenizer.bos_token
    if bos and opened.startswith(bos) and not header.startswith(bos):
        header = bos + header
    closed = render(tokenizer, [*turns, {"role": "assistant", "content": _WORD}], False)
    end = end_token(tokenizer, closed[closed.rfind(_WORD) + len(_WORD) :])
    several = encode(
        tokenizer,
        [
            render(tokenizer, [{"role": "user", "content": w}], True)
            for w in ("Add", "1", "Überall")
        ],
        False,
    )
    return ChatForm(
        encode(tokenizer, [header], False)[0], end, several[0][: max(0, common(*several) - 1)]
    )


def end_token(tokenizer: Any, tail: str) -> Tokens:
    """Return the token that closes an answer: the special one that a template writes first after
    it, else the end token, () where there is none.
    """
    ids = encode(tokenizer, [tail], False)[0]
    last = ids[:1] if ids and ids[0] in tokenizer.all_special_ids else ()
    return last or (() if tokenizer.eos_token_id is None else (int(tokenizer.eos_token_id),))


def render(tokenizer: Any, turns: Sequence[Any], opened: bool) -> str:
    """Return a conversation as the template writes it; opened:
    up to where the next answer begins.
    """
    return str(
        tokenizer.apply_chat_template(list(turns), tokenize=False, add_generation_prompt=opened)
    )


def chat(tokenizer: Any, turns: str, rows: Sequence[Row]) -> Found:
    """Return the answers of conversations: the last assistant turn after all turns before it, or
    (turns = "all") every assistant turn after those before it.
    """
    form = chat_form(tokenizer)
    out: Found = []
    contexts: list[str] = []
    answers: list[str] = []
    for row in rows:
        answered: list[Answer] | str = []
        if row.messages is None:
            out.append("missing_field")
            continue
        messages = [dict(m) for m in row.messages]
        spoken = [t for t, m in enumerate(messages) if m["role"] == "assistant"][
            0 if turns == "all" else -1 :
        ]
        texts = [messages[t]["content"] for t in spoken]
        if not texts or any(not text.strip() for text in texts):
            out.append("empty_text" if texts else "missing_field")
            continue
        try:
            before = [render(tokenizer, messages[:t], True) for t in spoken]
        # whatever a template's author lets it raise: roles in an order it does not take
        except Exception:
            answered = "template_error"
        else:
            contexts += before
            answers += texts
            answered = [Answer((), (), (), ())] * len(texts)  # filled in below
        out.append(answered)
    encoded = zip(
        encode(tokenizer, contexts, False), encode(tokenizer, answers, False), strict=True
    )
    for i, answered in enumerate(out):
        if not isinstance(answered, str):
            filled = []
            for _ in answered:
                context, target = next(encoded)
                shared = len(form.head) if context[: len(form.head)] == form.head else 0
                filled.append(
                    Answer(context, target + form.end, form.header, target + form.end, shared)
                )
            out[i] = filled
    return out
