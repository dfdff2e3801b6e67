"""Children of instruction rows by any OpenAI-compatible server,
each accepted or refused in words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from coreset.flywheel.synthesis.prompts import OPERATIONS, eliminated, prompt, rouge_l
from coreset.scorers.judge.endpoint import Failed, Reply

COLUMNS = ("text", "answer", "parents", "operation", "generator", "prompt", "reason")


class Server(Protocol):
    """What answers a question: `coreset.scorers.judge.endpoint.Endpoint`."""

    def ask(self, question: Mapping[str, Any]) -> Reply:
        """Return the reply."""


@dataclass(frozen=True)
class TextGenerator:
    """Ask a server for children of chosen seeds and keep those that pass.

    server, model: where and whom to ask. operations: in turn. verify: a check of (instruction,
    answer) that returns why it fails or "" (format, running code, a judge). novel: largest ROUGE-L
    to a training row, a test row or a child kept before. Seeds are asked the hardest first, by the
    student's loss (arXiv:2512.00884), or in an order of chance where no losses are given: the
    control.
    """

    server: Server
    model: str
    operations: tuple[str, ...] = OPERATIONS
    verify: Callable[[str, str], str] | None = None
    novel: float = 0.7
    max_tokens: int = 256
    temperature: float = 0.7

    def children(
        self,
        seeds: Mapping[str, str],
        *,
        train: Sequence[str],
        test: Sequence[str],
        most: int,
        losses: Mapping[str, float] | None = None,
        seed: int = 0,
    ) -> dict[str, list[Any]]:
        """Return a table of all children, one question each; `reason` is "" for those accepted.

        seeds: id to instruction; losses: id to the student's loss; most: questions asked. parents
        holds ids, joined by a blank. Raises ValueError when `most` is not positive.
        """
        if most < 1 or not seeds:
            raise ValueError(f"most: expected at least 1 child of at least 1 seed, got {most}")
        rng = np.random.default_rng(seed)
        names = sorted(seeds)
        order = [names[i] for i in rng.permutation(len(names))]
        if losses is not None:
            order = sorted(names, key=lambda n: (-losses[n], n))
        out: dict[str, list[Any]] = {name: [] for name in COLUMNS}
        against = [*train, *test]
        for i in range(most):
            operation = self.operations[i % len(self.operations)]
            first = i % len(order)
            many = 3 if operation == "self_instruct" else 1
            chosen = [order[(first + j) % len(order)] for j in range(min(many, len(order)))]
            asked = prompt(operation, [seeds[n] for n in chosen])
            text, answer, why = self._one(asked, [seeds[n] for n in chosen], i + seed)
            if not why:
                near = max((rouge_l(text, other) for other in against), default=0.0)
                why = "" if near < self.novel else self._which(text, test)
            if not why:
                against.append(text)
            row = (text, answer, " ".join(chosen), operation, self.model, asked, why)
            for column, value in zip(COLUMNS, row, strict=True):
                out[column].append(value)
        return out

    def _one(self, asked: str, parents: Sequence[str], seed: int) -> tuple[str, str, str]:
        try:
            text = self._ask(asked, seed)
            answer = self._ask(text, seed) if text else ""
        except Failed as error:
            return "", "", f"no reply: {error}"
        why = eliminated(text, answer, parents)
        if not why and self.verify is not None:
            why = self.verify(text, answer)
        return text, answer, why

    def _ask(self, text: str, seed: int) -> str:
        question = {
            "model": self.model,
            "messages": [{"role": "user", "content": text}],
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "seed": seed,
        }
        return self.server.ask(question).text.strip()

    def _which(self, text: str, test: Sequence[str]) -> str:
        if any(rouge_l(text, other) >= self.novel for other in test):
            return "copies the test set"
        return "repeats a row or a child"
