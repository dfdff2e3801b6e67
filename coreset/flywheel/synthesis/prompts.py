"""Prompts that make an instruction of others, and the rules by which a child is thrown away.

Depth and breadth, and the elimination rules: Xu et al., "WizardLM: Empowering Large Language Models
to Follow Complex Instructions", ICLR 2024 (arXiv:2304.12244), in words of our own. New tasks from
examples, and ROUGE-L below 0.7 to every other: Wang et al., "Self-Instruct", ACL 2023
(arXiv:2212.10560).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

DEPTH = {
    "constraint": "Add one more constraint or requirement to it.",
    "deepen": "If it asks about something, make it ask for more depth and breadth.",
    "concrete": "Replace general notions in it by more specific ones.",
    "reasoning": "If it can be solved in a few steps of thought, make it need several.",
}
OPERATIONS = (*DEPTH, "breadth", "self_instruct")
_LEAKED = ("given prompt", "rewritten prompt", "created prompt", "#prompt#", "new prompt")
_WORD = re.compile(r"\w+")
_STOP = frozenset(
    [
        "a",
        "an",
        "and",
        "are",
        "as",
        "at",
        "be",
        "but",
        "by",
        "for",
        "from",
        "in",
        "is",
        "it",
        "of",
        "on",
        "or",
        "that",
        "the",
        "this",
        "to",
        "was",
        "with",
    ]
)


def prompt(operation: str, parents: Sequence[str]) -> str:
    """Return what a generator is asked for one child. Raises ValueError for another operation.

    >>> "one more constraint" in prompt("constraint", ["Name a fish."])
    True
    """
    if operation in DEPTH:
        return (
            "Rewrite the instruction below into a harder version that a person can still understand"
            f" and answer. {DEPTH[operation]} Add at most 20 words, keep tables and code, and reply"
            f" with the new instruction only.\n\n{parents[0]}"
        )
    if operation == "breadth":
        return (
            "Write a brand-new instruction of the same domain as the one below, but rarer. It must"
            " be of similar length and difficulty, and answerable. Reply with the new instruction"
            f" only.\n\n{parents[0]}"
        )
    if operation == "self_instruct":
        tasks = "\n".join(f"{i}. {text}" for i, text in enumerate(parents, 1))
        return (
            "Here is a list of tasks. Write one more that differs from all of them in topic and"
            f" wording. Reply with the task only.\n\n{tasks}\n{len(parents) + 1}."
        )
    raise ValueError(f"operation: expected {', '.join(OPERATIONS)}, got {operation!r}")


def rouge_l(a: str, b: str) -> float:
    """Return the F1 of the longest common subsequence of the words of two texts (Lin, 2004).

    >>> rouge_l("name a big fish", "name a fish")
    0.8571428571428571
    """
    x, y = _WORD.findall(a.lower()), _WORD.findall(b.lower())
    if not x or not y:
        return 0.0
    row = [0] * (len(y) + 1)
    for word in x:
        corner = 0
        for j, other in enumerate(y, 1):
            corner, row[j] = row[j], corner + 1 if word == other else max(row[j], row[j - 1])
    return 2 * row[-1] / (len(x) + len(y))


def eliminated(child: str, answer: str, parents: Sequence[str], shortest: int = 3) -> str:
    """Return why a child and its answer are thrown away, or "" when they are kept.

    >>> eliminated("Name a fish, please.", "I am sorry, I cannot.", ["Name a fish."])
    'copies its parent'
    >>> eliminated("Which fish live in salt water?", "Sorry, no.", ["Name a bird."])
    'the answer refuses'
    """
    words = _WORD.findall(child.lower())
    if len(words) < shortest or not set(words) - _STOP:
        return "no instruction"
    if any(text in child.lower() for text in _LEAKED):
        return "speaks of its own prompt"
    if any(rouge_l(child, parent) >= 0.7 for parent in parents):
        return "copies its parent"
    reply = _WORD.findall(answer.lower())
    if not set(reply) - _STOP:
        return "no answer"
    if "sorry" in reply and len(reply) < 80:
        return "the answer refuses"
    return ""
