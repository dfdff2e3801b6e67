"""Score rows by a language model behind an endpoint: strict reading, a cost known before, a budget
that holds, and no row asked twice.

Pointwise judging as in AlpaGasus (Chen et al., ICLR 2024, arXiv:2307.08701). Every reply is written
to the store when it comes, with what it cost, so that a run that was killed, or that met its
budget, goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from coreset.core.batch import objects
from coreset.core.pool import Array
from coreset.scorers import cache
from coreset.scorers.judge.endpoint import Endpoint, Failed, Refused, estimated_tokens
from coreset.scorers.judge.replies import read_by
from coreset.scorers.judge.rubrics import RUBRICS

READING = "2"  # raised when replies come to be read in another way


@dataclass(frozen=True)
class Estimate:
    """What scoring would ask: rows that can be scored, replies known already, requests, tokens in
    and at most out, and at most how many dollars.
    """

    rows: int
    known: int
    requests: int
    tokens_in: int
    tokens_out: int
    cost: float


@dataclass(frozen=True)
class Judge:
    """Ask `model` at `url` for a score of every instruction row. Gives `judge` (mean of the votes
    that are scores), `judge_votes` (how many are), `judge_raw` (the first reply), `judge_cost`
    (dollars its replies cost when they were bought) and `judge_status`.

    rubric: alpagasus (0 to 5) or quality (0 to 10). votes: replies per row, with seeds 0, 1, ...;
    more than one needs a temperature above 0. price_in, price_out: dollars for a million tokens.
    budget: dollars that all replies of this judge in the store may cost together, None = no limit;
    a question is only asked when the most it can cost still fits. dry_run: ask nothing;
    `judge_cost` is then at most what is left to pay. concurrency: questions at a time. store:
    folder of the replies. The key is read from the environment variable `key_variable`. pattern: a
    regular expression whose one group is the score, in place of the strict reading of
    `coreset.scorers.judge.replies`. Replies in the store are read anew in every run, by whatever
    reading the run has: those that were parse_error are not paid for again. dry_run reads them and
    asks nothing.

    Undefined: missing_field, empty_text, parse_error (the reply is no score; it is kept and not
    asked for again), model_error (no reply; asked again in the next run), budget, dry_run.
    """

    model: str
    url: str = "http://127.0.0.1:8000/v1"
    rubric: str = "alpagasus"
    votes: int = 1
    temperature: float = 0.0
    max_tokens: int = 128
    price_in: float = 0.0
    price_out: float = 0.0
    budget: float | None = None
    dry_run: bool = False
    concurrency: int = 8
    retries: int = 5
    pause: float = 1.0
    timeout: float = 60.0
    per_minute: int | None = None
    key_variable: str = "OPENAI_API_KEY"
    store: str = ".cache/coreset"
    pattern: str | None = None

    needs = frozenset({"instruction", "input", "response"})
    gives = frozenset({"judge", "judge_votes", "judge_raw", "judge_cost", "judge_status"})

    def __post_init__(self) -> None:
        if not self.model or not str(self.url).startswith(("http://", "https://")):
            raise ValueError(
                "judge: expected a model and the http address of an endpoint, got"
                f" model={self.model!r}, url={self.url!r}"
            )
        if self.rubric not in RUBRICS:
            raise ValueError(f"rubric: expected {' or '.join(RUBRICS)}, got {self.rubric!r}")
        if self.pattern is not None:
            try:
                several = re.compile(self.pattern).groups
            except re.error as error:
                raise ValueError(
                    f"pattern: {self.pattern!r} is no regular expression: {error}"
                ) from error
            if several != 1:
                raise ValueError(
                    f"pattern: expected one group, the score, got {several} in {self.pattern!r}"
                )
        if self.votes < 1 or (self.votes > 1 and self.temperature <= 0):
            raise ValueError(
                "votes: expected 1, or more with a temperature above 0 (else all say the same),"
                f" got {self.votes}"
            )
        if (
            min(self.max_tokens, self.concurrency) < 1
            or min(self.retries, self.price_in, self.price_out, self.pause) < 0
        ):
            raise ValueError(
                "judge: max_tokens and concurrency are at least 1; retries, pause and prices at"
                " least 0"
            )
        if self.budget is not None and (
            self.budget < 0 or (self.price_in == 0 and self.price_out == 0)
        ):
            raise ValueError(
                "budget: needs price_in and price_out, dollars for a million tokens, and is at"
                " least 0"
            )

    @property
    def file(self) -> Path:
        """Return the file of the replies."""
        return Path(self.store) / "judge.sqlite"

    @property
    def prefix(self) -> str:
        """Return what the keys of all replies of this judge begin with: its model, rubric and
        settings.
        """
        rubric = RUBRICS[self.rubric]
        what = [
            self.url,
            self.model,
            rubric.system,
            rubric.question,
            self.temperature,
            self.max_tokens,
        ]
        return f"judge {hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]} "

    def cost(self, tokens_in: int, tokens_out: int) -> float:
        """Return dollars.

        >>> Judge("m", "http://127.0.0.1", price_in=1.0, price_out=2.0).cost(1_000_000, 500_000)
        2.0
        """
        return (tokens_in * self.price_in + tokens_out * self.price_out) / 1e6

    def resources(self) -> dict[str, str]:
        """Return what the answer depends on beside the fields: how replies are read."""
        return {"reading": READING}

    def read(self, reply: str) -> float | None:
        """Return the score that a reply gives, None for none: by `pattern` where there is one. Asks
        nothing.

        >>> Judge("m", "http://127.0.0.1").read("**4.5** (helpful)")
        4.5
        """
        rubric = RUBRICS[self.rubric]
        if self.pattern is None:
            return rubric.score(reply)
        return read_by(self.pattern, reply, rubric.low, rubric.high)

    def _rows(
        self, batch: Mapping[str, Array]
    ) -> list[tuple[str, list[str], list[dict[str, str]]]]:
        """Return, per row, its status, the key of each vote, and the messages."""
        out: list[tuple[str, list[str], list[dict[str, str]]]] = []
        for instruction, given, response in zip(
            *(list(batch[n]) for n in ("instruction", "input", "response")), strict=True
        ):
            if not isinstance(instruction, str) or not isinstance(response, str):
                out.append(("missing_field", [], []))
            elif not response.strip():
                out.append(("empty_text", [], []))
            else:
                messages = RUBRICS[self.rubric].messages(
                    instruction, given if isinstance(given, str) else "", response
                )
                content = hashlib.sha256(json.dumps(messages).encode()).hexdigest()
                out.append(
                    (
                        "ok",
                        [f"{self.prefix}{content} {vote}" for vote in range(self.votes)],
                        messages,
                    )
                )
        return out

    def estimate(self, batch: Mapping[str, Array]) -> Estimate:
        """Return what scoring these rows would ask and cost at most; asks nothing."""
        rows = self._rows(batch)
        known = cache.read(self.file, [k for _, keys, _ in rows for k in keys])
        asked = {
            k: estimated_tokens(messages)
            for _, keys, messages in rows
            for k in keys
            if k not in known
        }
        tokens_in, tokens_out = sum(asked.values()), len(asked) * self.max_tokens
        scored = sum(status == "ok" for status, _, _ in rows)
        return Estimate(
            scored, len(known), len(asked), tokens_in, tokens_out, self.cost(tokens_in, tokens_out)
        )

    def __call__(self, batch: Mapping[str, Array]) -> dict[str, Array]:
        """Return the columns for every row. Raises ValueError when the endpoint refuses all
        questions (address, key, model).
        """
        rows = self._rows(batch)
        known = {
            k: json.loads(v)
            for k, v in cache.read(self.file, [k for _, keys, _ in rows for k in keys]).items()
        }
        wanted = {
            k: (messages, vote)
            for _, keys, messages in rows
            for vote, k in enumerate(keys)
            if k not in known
        }
        lost: dict[str, str] = {}
        if not self.dry_run:
            for key, reply in self._ask(wanted):
                if isinstance(reply, str):
                    lost[key] = reply
                else:
                    known[key] = reply
        score, votes, cost = (
            np.full(len(rows), np.nan),
            np.zeros(len(rows), np.int64),
            np.zeros(len(rows)),
        )
        raw, words = objects([""] * len(rows)), []
        for i, (status, keys, messages) in enumerate(rows):
            replies = [known[k] for k in keys if k in known]
            scores = [s for s in (self.read(r["text"]) for r in replies) if s is not None]
            left = [k for k in keys if k not in known]
            cost[i] = sum(r["cost"] for r in replies)
            if self.dry_run:
                cost[i] = len(left) * self.cost(estimated_tokens(messages), self.max_tokens)
            votes[i], raw[i] = len(scores), replies[0]["text"] if replies else ""
            if status == "ok" and left:
                status = "dry_run" if self.dry_run else lost[left[0]]
            elif status == "ok" and not scores:
                status = "parse_error"
            if status == "ok":
                score[i] = np.mean(scores)
            words.append(status)
        return {
            "judge": score,
            "judge_votes": votes,
            "judge_raw": raw,
            "judge_cost": cost,
            "judge_status": objects(words),
        }

    def _ask(
        self, wanted: Mapping[str, tuple[Sequence[Mapping[str, str]], int]]
    ) -> Iterator[tuple[str, dict[str, Any] | str]]:
        """Yield (key, reply or the status that says why there is none), a reply after it was
        written to the store.
        """
        if not wanted:
            return
        endpoint = Endpoint(
            self.url, self.key_variable, self.retries, self.pause, self.timeout, self.per_minute
        )
        spent = cache.total(self.file, self.prefix) if self.budget is not None else 0.0

        def one(key: str) -> tuple[dict[str, Any] | str, float]:
            messages, vote = wanted[key]
            question = {
                "model": self.model,
                "messages": list(messages),
                "temperature": self.temperature,
                "max_tokens": self.max_tokens,
                "seed": vote,
            }
            try:
                reply = endpoint.ask(question)
            except Failed:
                return "model_error", 0.0
            tokens_in = estimated_tokens(messages) if reply.tokens_in is None else reply.tokens_in
            tokens_out = self.max_tokens if reply.tokens_out is None else reply.tokens_out
            cost = self.cost(tokens_in, tokens_out)
            answer = {"text": reply.text, "cost": cost}
            cache.write(self.file, {key: json.dumps(answer)})
            return answer, cost

        keys = list(wanted)
        with ThreadPoolExecutor(self.concurrency) as pool:
            while keys:
                some: list[str] = []
                most = 0.0
                while keys and len(some) < self.concurrency:
                    price = self.cost(estimated_tokens(wanted[keys[0]][0]), self.max_tokens)
                    if self.budget is not None and spent + most + price > self.budget:
                        break
                    most += price
                    some.append(keys.pop(0))
                if not some:
                    yield from ((key, "budget") for key in keys)
                    return
                try:
                    for key, (outcome, price) in zip(some, pool.map(one, some), strict=True):
                        spent += price
                        yield key, outcome
                except Refused:
                    pool.shutdown(cancel_futures=True)
                    raise
