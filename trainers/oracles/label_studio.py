"""Labels by people in Label Studio:
a project, its tasks with proposed labels, their annotations.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset.core.store import to_json, write_atomic
from coreset.trainers.oracles.base import SKIPPED, AwaitingLabels, Request
from coreset.trainers.oracles.drawn import Drawing, Drawn
from coreset.trainers.oracles.forms import Choices, Form, answer_of
from coreset.trainers.oracles.server import MOST, PAGE, Server

ANSWERS = ("majority", "all")


@dataclass(frozen=True, eq=False)
class LabelStudio:
    """An oracle on a Label Studio server.

    path: where the project's number and every answer taken are kept, in the run folder. ids (N,):
    outside names; classes: names in the order of their numbers. url: of the server. token: the
    environment variable that holds the API token, which is written nowhere. project: number of a
    project made by an earlier run, None = a new one. title: of a new one. wait: ask again every
    `poll` seconds until all is labeled; otherwise the run stops and is resumed. agreement: what
    counts where several people labeled an example: the `majority` (a tie waits), or only what `all`
    say. annotators: how many must have labeled it. An example that everybody skipped has no label.
    drawing: what people draw, None = they choose one class an image; prefix and overlap are of
    drawings, see `coreset.trainers.oracles.drawn.Drawn`.
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
    prefix: str | None = None
    overlap: float = 0.5
    drawing: Drawing | None = None

    def __post_init__(self) -> None:
        if self.agreement not in ANSWERS:
            raise ValueError(f"agreement: expected majority or all, got {self.agreement!r}")
        if self.poll <= 0 or self.annotators < 1:
            raise ValueError(
                f"poll, annotators: expected above 0 and at least 1, got {self.poll} and"
                f" {self.annotators}"
            )
        if not 0 < self.overlap <= 1:
            raise ValueError(f"overlap: expected a share in (0, 1], got {self.overlap}")
        if self.prefix is not None and self.drawing is None:
            raise ValueError("prefix: pictures of classes go inside the tasks; leave it out")

    @property
    def _form(self) -> Form:
        if self.drawing is None:
            return Choices(self.classes, self.agreement)
        return Drawn(self.drawing, self.agreement, self.overlap, self.prefix)

    @property
    def _server(self) -> Server:
        return Server(self.url, self.token)

    def check(self) -> None:
        """Raise before anything trains when the server is down, refuses the token, or the project
        is not there.
        """
        self._server.call("GET", "projects/?page_size=1")
        number = self._state()["project"]
        if number is not None:
            self._server.call("GET", f"projects/{number}/")

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
            created = self._server.call(
                "POST", "projects/", json={
                    "title": self.title, "label_config": self._form.config(),
                    "sampling": "Sequential sampling", "show_skip_button": True,
                    "maximum_annotations": self.annotators,
                },
            )  # fmt: skip
            state["project"] = int(created["id"])
            self._keep(state)
        return int(state["project"])

    # asking and reading

    def ask(self, request: Request) -> None:
        """Push the tasks that are not there yet, most wanted first,
        with what the model proposes.
        """
        project, form = self._open(), self._form
        there = self._server.tasks(project)
        rows = [r for r, i in enumerate(request.indices.tolist()) if i not in there]
        for start in range(0, len(rows), PAGE):
            part = rows[start : start + PAGE]
            tasks = [self._task(request, r) for r in part]
            for task, image in zip(tasks, self._addresses(project, request, part), strict=True):
                task["data"]["image"] = image
            for task, r in zip(tasks, part, strict=True):
                proposal = form.proposal(request, r)
                if proposal is not None:
                    result, score = proposal
                    about = {"model_version": "coreset", "score": score, "result": result}
                    task["predictions"] = [about]
            self._server.add(project, tasks)

    def _task(self, request: Request, row: int) -> dict[str, Any]:
        index = int(request.indices[row])
        data = {"index": index, "name": str(self.ids[index]).rsplit("/", 1)[-1]}
        data |= {"image": "", "reason": request.reason, "priority": row}
        if request.scores is not None and np.isfinite(request.scores[row]):
            data["acquisition_score"] = float(request.scores[row])
        return {"data": data}

    def _addresses(self, project: int, request: Request, rows: Sequence[int]) -> list[str]:
        """Return where the server finds the images of some rows; files are sent there first, a few
        at a time.
        """
        out: list[str] = []
        waiting: list[tuple[str, bytes, str]] = []
        for row in rows:
            (image,) = self._form.images(request, [row])
            if isinstance(image, str):
                out.append(image)
                continue
            if waiting and sum(len(w[1]) for w in waiting) + len(image[1]) > MOST:
                out += self._server.upload(project, waiting)
                waiting = []
            waiting.append(image)
        return out + (self._server.upload(project, waiting) if waiting else [])

    def label(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return labels (n,), `SKIPPED` where everybody skipped.

        An answer once taken stays: an annotation deleted or changed afterwards is named in a
        warning. Raises AwaitingLabels until all have one, ValueError for a class that there is not.
        """
        state, form, wanted = self._state(), self._form, [int(i) for i in indices]
        if state["project"] is None:
            raise AwaitingLabels(self.url, len(indices), "ask first")
        while True:
            tasks = self._server.tasks(int(state["project"]))
            now = {i: answer_of(form, i, tasks.get(i), self.annotators) for i in wanted}
            taken: dict[str, Any] = state["labels"]
            changed = [i for i, v in now.items() if str(i) in taken and taken[str(i)] != v]
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
            labels: dict[str, Any] = state["labels"]
            missing = [i for i in wanted if str(i) not in labels]
            if not missing:
                kept = [(i, labels[str(i)]) for i in wanted]
                return np.array([v if v == SKIPPED else form.take(i, v) for i, v in kept], np.int64)
            if not self.wait:
                place = f"{self.url}/projects/{state['project']}"
                raise AwaitingLabels(place, len(missing), "label them there")
            time.sleep(self.poll)
