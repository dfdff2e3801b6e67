"""One question to an OpenAI-compatible endpoint, asked again with growing pauses when the server is
busy.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx
    from tenacity import RetryCallState

_FATAL = (401, 402, 403, 404, 405)
_AGAIN = (408, 409, 429)  # and all from 500
_LONGEST = 60.0  # seconds of a pause


class Refused(ValueError):
    """The endpoint will refuse every question: wrong address, wrong key, unknown model."""


class Failed(Exception):
    """No answer to this one question."""


class _Busy(Exception):
    """No answer this time. wait: seconds that the server asks for."""

    def __init__(self, why: str, wait: float | None = None) -> None:
        super().__init__(why)
        self.wait = wait


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
        from tenacity import Retrying, retry_if_exception_type, stop_after_attempt
        from tenacity.wait import wait_exponential

        growing = wait_exponential(multiplier=self.pause, max=_LONGEST)

        def pause(state: RetryCallState) -> float:
            assert state.outcome is not None
            error = state.outcome.exception()
            asked = error.wait if isinstance(error, _Busy) else None
            return min(asked, _LONGEST) if asked else growing(state)

        again = Retrying(
            stop=stop_after_attempt(self.retries + 1),
            wait=pause,
            retry=retry_if_exception_type(_Busy),
            sleep=lambda seconds: time.sleep(seconds),
            reraise=True,
        )
        try:
            return again(self._once, question)
        except _Busy as error:
            raise Failed(f"{self.retries + 1} times: {error}") from error

    def _once(self, question: Mapping[str, Any]) -> Reply:
        import httpx

        self._wait_for_turn()
        key = os.environ.get(self.key_variable)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        try:
            answer = self._client().post(
                f"{self.url.rstrip('/')}/chat/completions", json=question, headers=headers
            )
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise Refused(f"judge: {self.url} is no address of an endpoint: {error}") from error
        except httpx.TransportError as error:  # no connection, or no answer in time
            raise _Busy(f"{type(error).__name__}: {error}") from error
        if not answer.is_success:
            raise self._error(answer)
        try:
            body = answer.json()
            text, used = body["choices"][0]["message"]["content"], body.get("usage") or {}
            if not isinstance(text, str):
                raise TypeError("the completion has no text")
            return Reply(text, used.get("prompt_tokens"), used.get("completion_tokens"))
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            raise _Busy(f"{type(error).__name__}: {error}") from error

    def _client(self) -> httpx.Client:
        """Return the client of all questions: one TLS context, connections kept."""
        import httpx

        with self._gate["lock"]:
            if "client" not in self._gate:
                self._gate["client"] = httpx.Client(timeout=self.timeout)
            client: httpx.Client = self._gate["client"]
        return client

    def _error(self, answer: httpx.Response) -> Exception:
        """Return what an answer with a status of its own means."""
        code, words = answer.status_code, answer.content[:300].decode("utf-8", "replace").strip()
        if code in _FATAL:
            return Refused(f"judge: {self.url} answers {code} {answer.reason_phrase}: {words}")
        if code in _AGAIN or code >= 500:
            return _Busy(f"{code}: {words}", _seconds(answer.headers.get("Retry-After")))
        return Failed(f"{code}: {words}")

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
