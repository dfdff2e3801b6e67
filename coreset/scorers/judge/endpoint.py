"""One question to an OpenAI-compatible endpoint, asked again with growing pauses when the server is
busy.
"""

from __future__ import annotations

import json
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


class Refused(ValueError):
    """The endpoint will refuse every question: wrong address, wrong key, unknown model."""


class Failed(Exception):
    """No answer to this one question."""


@dataclass(frozen=True)
class Reply:
    """What came back: the text, and how many tokens the server counted for question and answer
    (None where it does not say).
    """

    text: str
    tokens_in: int | None
    tokens_out: int | None


@dataclass(frozen=True)
class Endpoint:
    """Where questions go: `url` up to `/chat/completions`. key_variable: the environment variable
    with the key, which is sent and never kept.

    retries: times a question is asked again after 408, 409, 429, 5xx, a broken connection, no
    answer within `timeout` seconds or an answer that is no completion; pauses start at `pause`
    seconds and double up to a minute, or as long as the server asks for. per_minute: questions
    begun in a minute at most.
    """

    url: str
    key_variable: str = "OPENAI_API_KEY"
    retries: int = 5
    pause: float = 1.0
    timeout: float = 60.0
    per_minute: int | None = None
    _gate: dict[str, Any] = field(
        default_factory=lambda: {"lock": threading.Lock(), "next": 0.0}, compare=False, repr=False
    )

    def ask(self, question: Mapping[str, Any]) -> Reply:
        """Return the reply. Raises Refused when no question can succeed, and Failed when this one
        does not.
        """
        pause = self.pause
        for attempt in range(self.retries + 1):
            self._wait_for_turn()
            try:
                return self._once(question)
            except urllib.error.HTTPError as error:
                said = error.read(300).decode("utf-8", "replace").strip()
                if error.code in (401, 402, 403, 404, 405):
                    raise Refused(
                        f"judge: {self.url} answers {error.code} {error.reason}: {said}"
                    ) from error
                if error.code not in (408, 409, 429) and error.code < 500:
                    raise Failed(f"{error.code}: {said}") from error
                wait = _seconds(error.headers.get("Retry-After")) or pause
                why = f"{error.code}: {said}"
            # no connection, or no completion
            except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
                wait, why = pause, f"{type(error).__name__}: {error}"
            if attempt < self.retries:
                time.sleep(min(wait, 60.0))
            pause = min(2 * pause, 60.0)
        raise Failed(f"{self.retries + 1} times: {why}")

    def _once(self, question: Mapping[str, Any]) -> Reply:
        headers = {"Content-Type": "application/json"}
        key = os.environ.get(self.key_variable)
        if key:
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(
            f"{self.url.rstrip('/')}/chat/completions", json.dumps(question).encode(), headers
        )
        with urllib.request.urlopen(request, timeout=self.timeout) as answer:
            found = json.load(answer)
        text, used = found["choices"][0]["message"]["content"], found.get("usage") or {}
        if not isinstance(text, str):
            raise TypeError("the completion has no text")
        return Reply(text, used.get("prompt_tokens"), used.get("completion_tokens"))

    def _wait_for_turn(self) -> None:
        if self.per_minute:
            with self._gate["lock"]:
                at = max(self._gate["next"], time.monotonic())
                self._gate["next"] = at + 60.0 / self.per_minute
            time.sleep(max(0.0, at - time.monotonic()))


def _seconds(header: str | None) -> float | None:
    try:
        return None if header is None else max(0.0, float(header))
    except ValueError:  # a date: the own pause will do
        return None


def estimated_tokens(messages: Sequence[Mapping[str, str]]) -> int:
    """Return about how many tokens messages are: a token per four bytes, and four per message.

    >>> estimated_tokens([{"role": "user", "content": "12345678"}])
    6
    """
    return sum(-(-len(m["content"].encode(errors="replace")) // 4) + 4 for m in messages)
