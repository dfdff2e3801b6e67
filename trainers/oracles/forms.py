"""What people are asked of one example, and what their answers come to: a class of each image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Protocol

from coreset.trainers.oracles.base import SKIPPED, Request
from coreset.trainers.oracles.sheet import data_uri

IMAGE = '<Image name="image" value="$image" zoom="true"/>'
Annotations = Sequence[Mapping[str, Any]]


class Form(Protocol):
    """A labeling configuration. An answer is plain JSON data, kept in the run folder."""

    def config(self) -> str:
        """Return the labeling configuration of a project."""

    def images(self, request: Request, rows: Sequence[int]) -> list[str | tuple[str, bytes, str]]:
        """Return the images of some rows of a request: an address, or a file to send (name,
        content, media type).
        """

    def proposal(self, request: Request, row: int) -> tuple[list[dict[str, Any]], float] | None:
        """Return the results that the current model proposes and their score, None for none."""

    def answer(self, index: int, done: Annotations) -> Any | None:
        """Return what the annotations that were not skipped come to, None where people have to say
        more. Raises ValueError naming position and class for a class that there is not.
        """

    def take(self, index: int, answer: Any) -> int:
        """Take a kept answer into use; return the class of the example."""


def strange_class(index: int, name: object, classes: Sequence[str]) -> ValueError:
    """Return the error of an annotation whose class is not known."""
    return ValueError(
        f"label_studio: position {index} is annotated {name!r}, which is not in"
        f" data.classes: {', '.join(classes[:10])}"
    )


def answer_of(form: Form, index: int, task: Mapping[str, Any] | None, annotators: int) -> Any:
    """Return the answer of a task: `SKIPPED` where everybody skipped it, None where people have to
    say more.
    """
    given = (task or {}).get("annotations") or []
    done = [a for a in given if not a.get("was_cancelled")]
    answer = form.answer(index, done) if done else SKIPPED  # names a strange class at once
    return None if len(given) < annotators else answer


@dataclass(frozen=True)
class Choices:
    """One class an image. agreement: what counts where several people chose."""

    classes: Sequence[str]
    agreement: str

    def config(self) -> str:
        """Return one choice of each class."""
        choices = "".join(f'<Choice value="{escape(name)}"/>' for name in self.classes)
        return (
            f'<View>{IMAGE}<Choices name="label" toName="image" choice="single" required="true">'
            f'{choices}</Choices><Text name="reason" value="$reason"/></View>'
        )

    def images(self, request: Request, rows: Sequence[int]) -> list[str | tuple[str, bytes, str]]:
        """Return small pictures, inside their addresses."""
        if request.pictures is None:
            return [""] * len(rows)
        return [data_uri(p) for p in request.pictures(request.indices[list(rows)])]

    def proposal(self, request: Request, row: int) -> tuple[list[dict[str, Any]], float] | None:
        """Return the most probable class and its probability."""
        if request.proposed is None:
            return None
        value = {"choices": [self.classes[int(request.proposed[row])]]}
        result = {"from_name": "label", "to_name": "image", "type": "choices", "value": value}
        sure = 1.0 if request.confidence is None else float(request.confidence[row])
        return [result], sure

    def answer(self, index: int, done: Annotations) -> int | None:
        """Return the number of the class most people chose; a tie waits."""
        votes: list[int] = []
        for annotation in done:
            for result in annotation.get("result") or []:
                for name in (result.get("value") or {}).get("choices") or []:
                    if name not in self.classes:
                        raise strange_class(index, name, self.classes)
                    votes.append(list(self.classes).index(name))
        if len(votes) < len(done):
            return None
        (first, most), *rest = Counter(votes).most_common()
        if self.agreement == "all" and rest:
            return None
        return None if rest and rest[0][1] == most else first

    def take(self, index: int, answer: Any) -> int:
        """Return the class number of an answer."""
        return int(answer)
