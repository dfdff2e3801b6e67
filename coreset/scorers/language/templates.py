"""How published work writes an instruction and its input before the answer, and the short header
that is left when both are taken away.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Template:
    """`with_input` and `without` end where the answer begins; `header` is what stands before an
    answer of which nothing is asked.

    room: tokens by which the released programs let an answer alone be longer than one after its
    prompt.
    """

    with_input: str
    without: str
    header: str
    room: int

    def prompt(self, instruction: str, given: str) -> str:
        r"""Return what stands before the answer.

        >>> TEMPLATES["plain"].prompt("Add.", "1 and 2")
        'Add.\n1 and 2\n'
        """
        form = self.with_input if given else self.without
        words = {"instruction": instruction, "input": given}
        return re.sub(r"\{(instruction|input)\}", lambda match: words[match[1]], form)


_VICUNA = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions. USER: "
)

TEMPLATES = {
    "plain": Template("{instruction}\n{input}\n", "{instruction}\n", "", 1),
    "alpaca": Template(
        "Below is an instruction that describes a task, paired with an input that provides further"
        " context. Write a response that appropriately completes the request.\n\n###"
        " Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:",
        "Below is an instruction that describes a task. Write a response that appropriately"
        " completes the request.\n\n### Instruction:\n{instruction}\n\n### Response:",
        "### Response:",
        4,
    ),
    "wizard": Template(
        "{instruction}\nInput:{input}\n\n### Response:",
        "{instruction}\n\n### Response:",
        "### Response:",
        4,
    ),
    "vicuna": Template(
        _VICUNA + "{instruction}\nInput:\n{input} ASSISTANT:",
        _VICUNA + "{instruction} ASSISTANT:",
        "ASSISTANT:",
        6,
    ),
}
