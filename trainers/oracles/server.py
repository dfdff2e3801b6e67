"""The API of a Label Studio 1.x server (https://api.labelstud.io): projects, files, tasks."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import tenacity

PAGE = 100  # tasks per answer
MOST = 2**24  # bytes that one request sends, if more than one task or file
TIMEOUT = 30.0  # seconds that an answer may take
FIELDS = "id,data,annotations,result,was_cancelled"  # of tasks and their annotations
REFRESH = "token/refresh/"


@dataclass(frozen=True)
class Server:
    """url: of the server. token: the environment variable that holds the API token. Every method
    raises ConnectionError in words where the server is down or gives half an answer, ValueError
    where there is no token.
    """

    url: str
    token: str

    @property
    def _key(self) -> str:
        key = os.environ.get(self.token, "")
        if not key:
            raise ValueError(
                f"token: the environment variable {self.token} must hold the API token of"
                f" {self.url}"
            )
        return key

    def _authorization(self) -> str:
        """Return the header's value: legacy tokens are sent as they are, personal access tokens
        (JSON web tokens, of three parts) are exchanged for one that is valid for minutes.
        """
        key = self._key
        if key.count(".") != 2:
            return f"Token {key}"
        return f"Bearer {self.call('POST', REFRESH, json={'refresh': key})['access']}"

    def call(self, method: str, path: str, **options: Any) -> Any:
        """Return the answer of the server; three tries."""
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(httpx.TransportError),
            stop=tenacity.stop_after_attempt(3),
            wait=tenacity.wait_exponential(0.5),
            reraise=True,
        )
        url = f"{self.url.rstrip('/')}/api/{path}"
        headers = {} if path == REFRESH else {"Authorization": self._authorization()}
        try:
            answer = retrying(
                httpx.request, method, url, headers=headers, timeout=TIMEOUT, **options
            )
        except httpx.TransportError as error:
            raise ConnectionError(
                f"label_studio: {self.url} does not answer ({error}); nothing is lost, resume the"
                " run when it does"
            ) from error
        if answer.status_code >= 400:
            raise ConnectionError(
                f"label_studio: {method} {url} answers {answer.status_code}: {answer.text[:200]}"
            )
        try:
            return answer.json()
        except ValueError as error:
            raise ConnectionError(
                f"label_studio: {method} {url} answers no JSON: {answer.text[:80]!r}"
            ) from error

    def tasks(self, project: int) -> dict[int, dict[str, Any]]:
        """Return the tasks with their annotations by position (`index` of their data)."""
        tasks: dict[int, dict[str, Any]] = {}
        read, total, page = 0, 1, 1
        while read < total:
            answer = self.call(
                "GET",
                f"tasks/?project={project}&fields=all&include={FIELDS}&page={page}"
                f"&page_size={PAGE}",
            )
            rows, claimed = answer.get("tasks"), answer.get("total")
            if (
                not isinstance(rows, list)
                or not isinstance(claimed, int)
                or (claimed > read and not rows)
            ):
                raise ConnectionError(
                    f"label_studio: project {project} claims {claimed} tasks and gave {read};"
                    " nothing is lost, resume the run"
                )
            total, page = claimed, page + 1
            read += len(rows)
            for row in rows:
                if any("was_cancelled" not in a for a in row.get("annotations") or []):
                    raise ConnectionError(
                        f"label_studio: task {row.get('id')} has annotations without"
                        " 'was_cancelled'; is this a server of Label Studio 1.x?"
                    )
                index = (row.get("data") or {}).get("index")
                if isinstance(index, int):
                    tasks[index] = row
        return tasks

    def add(self, project: int, tasks: Sequence[Mapping[str, Any]]) -> None:
        """Add tasks to a project."""
        answer = self.call("POST", f"projects/{project}/import", json=list(tasks))
        if int(answer.get("task_count", -1)) != len(tasks):
            raise ConnectionError(
                f"label_studio: {len(tasks)} tasks were sent and {answer.get('task_count')} taken;"
                " resume the run to send the rest"
            )

    def upload(self, project: int, files: Sequence[tuple[str, bytes, str]]) -> list[str]:
        """Return the addresses on the server of files (name, content, media type), sent there."""
        sent = {str(i): one for i, one in enumerate(files)}
        path = f"projects/{project}/import?commit_to_project=false"
        ids = self.call("POST", path, files=sent).get("file_upload_ids") or []
        listed = self.call("GET", f"projects/{project}/file-uploads?ids={ids}".replace(" ", ""))
        places = {row.get("id"): str(row.get("file")) for row in listed}
        if len(ids) != len(files) or set(ids) - set(places):
            raise ConnectionError(
                f"label_studio: {len(files)} images were sent and {len(ids)} taken; resume the run"
            )
        return [f"/data/{places[number].lstrip('/')}" for number in ids]
