"""Labels by people in Label Studio: a project, its tasks with proposed labels, their annotations.

The API is that of Label Studio 1.x (https://api.labelstud.io): projects, import, tasks.
"""

from __future__ import annotations

import json
import os
import time
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import tenacity
from numpy.typing import NDArray

from coreset.core.store import to_json, write_atomic
from coreset.trainers.oracles.base import SKIPPED, AwaitingLabels, Request
from coreset.trainers.oracles.sheet import data_uri

PAGE = 100  # tasks per answer
TIMEOUT = 30.0  # seconds that an answer may take
REFRESH = "token/refresh/"
ANSWERS = ("majority", "all")


@dataclass(frozen=True, eq=False)
class LabelStudio:
    """An oracle on a Label Studio server.

    path: where the project's number and every label taken are kept, in the run folder. ids (N,):
    outside names; classes: names in the order of their numbers. url: of the server. token: the
    environment variable that holds the API token, which is written nowhere. project: number of a
    project made by an earlier run, None = a new one. title: of a new one. wait: ask again every
    `poll` seconds until all is labeled; otherwise the run stops and is resumed. agreement: what
    counts where several people labeled an example: the `majority` (a tie waits), or only what `all`
    say. annotators: how many must have labeled it. An example that everybody skipped has no label.
    """

    path: Path
    ids: NDArray[Any]
    classes: Sequence[str]
    url: str = "http://localhost:8080"
    token: str = "LABEL_STUDIO_API_KEY"
    project: int | None = None
    title: str = "coreset"
    wait: bool = False
    poll: float = 10.0
    agreement: str = "majority"
    annotators: int = 1

    def __post_init__(self) -> None:
        if self.agreement not in ANSWERS:
            raise ValueError(f"agreement: expected majority or all, got {self.agreement!r}")
        if self.poll <= 0 or self.annotators < 1:
            raise ValueError(
                f"poll, annotators: expected above 0 and at least 1, got {self.poll} and"
                f" {self.annotators}"
            )

    # the server

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
        return f"Bearer {self._call('POST', REFRESH, json={'refresh': key})['access']}"

    def _call(self, method: str, path: str, **options: Any) -> Any:
        """Return the answer of the server; three tries. Raises ConnectionError in words."""
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

    def check(self) -> None:
        """Raise before anything trains when the server is down, refuses the token, or the project
        is not there.
        """
        self._call("GET", "projects/?page_size=1")
        number = self._state()["project"]
        if number is not None:
            self._call("GET", f"projects/{number}/")

    # what is kept in the run folder

    def _state(self) -> dict[str, Any]:
        if not Path(self.path).exists():
            return {"project": self.project, "labels": {}}
        state: dict[str, Any] = json.loads(Path(self.path).read_text())
        return state

    def _keep(self, state: Mapping[str, Any]) -> None:
        write_atomic(self.path, to_json(state, indent=1))

    def _open(self) -> int:
        """Return the number of the project, made when there is none."""
        state = self._state()
        if state["project"] is None:
            created = self._call(
                "POST", "projects/", json={
                    "title": self.title, "label_config": config(self.classes),
                    "sampling": "Sequential sampling", "show_skip_button": True,
                    "maximum_annotations": self.annotators,
                },
            )  # fmt: skip
            state["project"] = int(created["id"])
            self._keep(state)
        return int(state["project"])

    def _tasks(self, project: int) -> dict[int, dict[str, Any]]:
        """Return the tasks by position. Raises ConnectionError when pages are missing."""
        tasks: dict[int, dict[str, Any]] = {}
        read, total, page = 0, 1, 1
        while read < total:
            answer = self._call(
                "GET",
                f"tasks/?project={project}&fields=all&page={page}&page_size={PAGE}",
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
                index = (row.get("data") or {}).get("index")
                if isinstance(index, int):
                    tasks[index] = row
        return tasks

    # asking and reading

    def ask(self, request: Request) -> None:
        """Push the tasks that are not there yet, most wanted first, with the proposed labels."""
        project = self._open()
        there = self._tasks(project)
        rows = [r for r, i in enumerate(request.indices.tolist()) if i not in there]
        if not rows:
            return
        images = [""] * len(rows)
        if request.pictures is not None:
            images = [data_uri(p) for p in request.pictures(request.indices[rows])]
        tasks = []
        for image, r in zip(images, rows, strict=True):
            index = int(request.indices[r])
            data = {"index": index, "name": str(self.ids[index]).rsplit("/", 1)[-1]}
            task: dict[str, Any] = {"data": {**data, "image": image, "reason": request.reason}}
            if request.proposed is not None:
                sure = 1.0 if request.confidence is None else float(request.confidence[r])
                task["predictions"] = [self._prediction(int(request.proposed[r]), sure)]
            tasks.append(task)
        answer = self._call("POST", f"projects/{project}/import", json=tasks)
        if int(answer.get("task_count", -1)) != len(tasks):
            raise ConnectionError(
                f"label_studio: {len(tasks)} tasks were sent and {answer.get('task_count')} taken;"
                " resume the run to send the rest"
            )

    def _prediction(self, label: int, confidence: float) -> dict[str, Any]:
        value = {"choices": [self.classes[label]]}
        result = {"from_name": "label", "to_name": "image", "type": "choices", "value": value}
        return {"model_version": "coreset", "score": confidence, "result": [result]}

    def label(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return labels (n,), `SKIPPED` where everybody skipped.

        A label once taken stays: an annotation deleted or changed afterwards is named in a warning.
        Raises AwaitingLabels until all have one, ValueError for a class that there is not.
        """
        state = self._state()
        if state["project"] is None:
            raise AwaitingLabels(self.url, len(indices), "ask first")
        while True:
            tasks = self._tasks(int(state["project"]))
            now = {i: self._answer(i, tasks.get(i)) for i in map(int, indices)}
            taken: dict[str, int] = state["labels"]
            changed = [
                i
                for i, v in now.items()
                if str(i) in taken and v is not None and taken[str(i)] != v
            ] + [i for i, v in now.items() if str(i) in taken and v is None]
            fresh = {str(i): v for i, v in now.items() if v is not None and str(i) not in taken}
            if fresh:
                state["labels"] = {**taken, **fresh}
                self._keep(state)
            if changed:
                warnings.warn(
                    f"label_studio: the annotations of {len(changed)} examples were changed or"
                    f" deleted after they were taken, first position {changed[0]}; the labels taken"
                    f" stay ({self.path})",
                    stacklevel=2,
                )
            missing = [i for i in map(int, indices) if str(i) not in state["labels"]]
            if not missing:
                return np.array([state["labels"][str(int(i))] for i in indices], np.int64)
            if not self.wait:
                place = f"{self.url}/projects/{state['project']}"
                raise AwaitingLabels(place, len(missing), "label them there")
            time.sleep(self.poll)

    def _answer(self, index: int, task: Mapping[str, Any] | None) -> int | None:
        """Return the label of a task, None while people still have to say something."""
        votes: list[int] = []
        skips = 0
        for annotation in (task or {}).get("annotations") or []:
            if annotation.get("was_cancelled"):
                skips += 1
                continue
            for result in annotation.get("result") or []:
                for name in (result.get("value") or {}).get("choices") or []:
                    if name not in self.classes:
                        raise ValueError(
                            f"label_studio: position {index} is annotated {name!r}, which is not in"
                            f" data.classes: {', '.join(self.classes[:10])}"
                        )
                    votes.append(list(self.classes).index(name))
        if len(votes) + skips < self.annotators:
            return None
        if not votes:
            return SKIPPED if skips else None
        (first, most), *rest = Counter(votes).most_common()
        if self.agreement == "all" and rest:
            return None
        return None if rest and rest[0][1] == most else first


def config(classes: Sequence[str]) -> str:
    """Return the labeling configuration of a project: one class an image."""
    choices = "".join(f'<Choice value="{escape(name)}"/>' for name in classes)
    return (
        '<View><Image name="image" value="$image"/>'
        f'<Choices name="label" toName="image" choice="single" required="true">{choices}</Choices>'
        '<Text name="reason" value="$reason"/></View>'
    )
