"""What a judge is asked; `coreset.scorers.judge.replies` reads what it answers."""

from __future__ import annotations

import re
from dataclasses import dataclass

from coreset.scorers.judge.replies import read_score


@dataclass(frozen=True)
class Rubric:
    """system and question are the two messages; {instruction}, {input} and {response} in the
    question stand for the row. A score lies in [low, high].
    """

    system: str
    question: str
    low: float
    high: float

    def messages(self, instruction: str, given: str, response: str) -> list[dict[str, str]]:
        """Return the conversation that asks for a score."""
        words = {"instruction": instruction, "input": given, "response": response}
        text = re.sub(
            r"\{(instruction|input|response)\}", lambda match: words[match[1]], self.question
        )
        return [{"role": "system", "content": self.system}, {"role": "user", "content": text}]

    def score(self, reply: str) -> float | None:
        """Return the score that a reply gives, or None: see
        `coreset.scorers.judge.replies.read_score`.

        >>> r = RUBRICS["alpagasus"]
        >>> [r.score(t) for t in ("4.5", "**Score:** 5/5", "10", "5/10", "I would say 4", "")]
        [4.5, 5.0, None, None, None, None]
        """
        return read_score(reply, self.low, self.high)


_TRIPLET = "###Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n{response}\n\n"

RUBRICS = {
    # Chen et al., "AlpaGasus: Training a Better Alpaca with Fewer Data", ICLR 2024
    # (arXiv:2307.08701); rows of at least 4.5 are kept
    "alpagasus": Rubric(
        "We would like to request your feedback on the performance of an AI assistant in response"
        " to the instruction and the given input displayed following.",
        _TRIPLET
        + "Please rate according to the accuracy of the response to the instruction and the input."
        " Each assistant receives a score on a scale of 0 to 5, where a higher score indicates a"
        " higher level of accuracy. Please first output a single line containing the value"
        " indicating the score. In the subsequent line, please provide a comprehensive"
        " explanation of your evaluation, avoiding any potential bias.",
        0,
        5,
    ),
    # Chen et al., "Expanding Performance Boundaries of Open-Source Multimodal Models", 2024
    # (arXiv:2412.05271): a scale of 0 to 10, rows below 7 are dropped
    "quality": Rubric(
        "You judge the quality of training data for language models.",
        _TRIPLET
        + "Rate the quality of this instruction and its response on a scale of 0 to 10: is the"
        " instruction clear, is the response correct, complete, relevant and well written? Write"
        " the number alone on the first line, then one sentence that says why.",
        0,
        10,
    ),
    # the same paper: a second judge looks for repetition, on this scale too; rows below 3 are
    # dropped
    "repetition": Rubric(
        "You look for repetition in training data for language models.",
        _TRIPLET
        + "Rate on a scale of 0 to 10 how free the response is of needless repetition, of words,"
        " sentences, lines or patterns: 0 for a response that is little but repetition, 10 for"
        " one without any; repetition that the instruction asks for does not count. Write the"
        " number alone on the first line, then one sentence that says why.",
        0,
        10,
    ),
    # Liu et al., "What Makes Good Data for Alignment?", ICLR 2024 (arXiv:2312.15685): ratings of 1
    # to 6 of a question and of its answer, as in its ladders of six
    # evolved versions; the wording is this project's own. `TurnJudge` asks for every turn of a
    # conversation.
    "evol_complexity": Rubric(
        "You rate how complex instructions for language models are.",
        "###Instruction:\n{instruction}\n\n### Input:\n{input}\n\nRate the difficulty and"
        " complexity of this instruction on a scale of 1 to 6: 1 for one that anybody carries out"
        " at once, 6 for one with many constraints, much depth or several steps of reasoning. Its"
        " length alone does not count. Write the number alone on the first line, then one sentence"
        " that says why.",
        1,
        6,
    ),
    "evol_quality": Rubric(
        "You rate how good answers of language models are.",
        _TRIPLET
        + "Rate the quality of this response on a scale of 1 to 6, by its helpfulness, relevance,"
        " accuracy, depth, creativity and level of detail: 1 for the poorest, 6 for one that"
        " cannot be bettered. Write the number alone on the first line, then one sentence that"
        " says why.",
        1,
        6,
    ),
}
