"""The turns of a conversation: a question and the answer to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Turn(NamedTuple):
    """One question and its answer."""

    instruction: str
    response: str


def turns_of(messages: Sequence[Mapping[str, str]] | None) -> tuple[list[Turn], str]:
    """Return the turns of a conversation and a status, `ok` or the reason why there are none.

    System messages stand outside the turns. A last question without an answer is no turn: nothing
    is learned from it. Statuses: missing_field (no messages, or no answer), odd_turns (a question
    after a question, an answer without one, another role), empty_text (a question or an answer of
    white space).

    >>> turns_of([{"role": "user", "content": "1 + 1?"}, {"role": "assistant", "content": "2"}])
    ([Turn(instruction='1 + 1?', response='2')], 'ok')
    """
    if messages is None:
        return [], "missing_field"
    out: list[Turn] = []
    question: str | None = None
    for message in messages:
        role, text = message["role"], message["content"]
        if role == "system":
            continue
        if role != ("assistant" if question is not None else "user"):
            return [], "odd_turns"
        if not isinstance(text, str) or not text.strip():
            return [], "empty_text"
        if question is None:
            question = text
        else:
            out.append(Turn(question, text))
            question = None
    return (out, "ok") if out else ([], "missing_field")


def one_turn(
    instruction: str | None, given: str | None, response: str | None
) -> tuple[list[Turn], str]:
    r"""Return a row of instruction, input and response as one turn, and its status.

    >>> one_turn("Add.", "1 and 2", "3")
    ([Turn(instruction='Add.\n1 and 2', response='3')], 'ok')
    """
    if instruction is None or response is None:
        return [], "missing_field"
    if not instruction.strip() or not response.strip():
        return [], "empty_text"
    return [Turn(f"{instruction}\n{given}" if given else instruction, response)], "ok"
