"""How much an answer leans on its image: its loss with the image by its loss without.

One case of the ratio of losses under two contexts (`coreset.scorers.ratio`). Below 1 the image
helps; from 1 on the question alone does as well. With the question left out instead of the image it
is PreSel's instruction relevance score: Safaei et al., "Filter Images First, Generate Instructions
Later", CVPR 2025 (arXiv:2503.07591).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from coreset.core.pool import Array
from coreset.scorers.device import OnDevice
from coreset.scorers.image_text.vision_language import (
    Asked,
    ImageLikelihood,
    Pixels,
    VisionLanguageModel,
    ask,
    load_vision_language,
    message,
)
from coreset.scorers.language.load import DTYPES, model_hash
from coreset.scorers.language.scorer import texts, written
from coreset.scorers.ratio import contrast

PLACE = "<image>"  # where conversations of LLaVA's form say that the image goes
NAMES = {"image": "visual_dependence", "question": "instruction_relevance"}


@dataclass(frozen=True)
class VisualDependence(OnDevice):
    """Compare an answer's loss after image and question with that after the question alone, inside
    `Images`; the last answer of `messages`, after all turns before it.

    Gives `visual_dependence`, the ratio of the mean losses per token; `..._loss` and
    `..._loss_without`, in nats; `..._tokens`, how many tokens each is a mean of; its status.
    without: `image`, or `question`, which gives `instruction_relevance` and its like: the loss
    after image and question by that after the image alone. model: folder or name of a
    vision-language model of transformers (LLaVA and its like); the image stands first in the first
    question. batch: rows at a time; values do not depend on it but for rounding. Undefined, with
    the status: that of the image, missing_field, empty_text, template_error, too_long, non_finite.
    """

    model: str
    without: str = "image"
    dtype: str = "float32"
    batch: int = 8
    device: str = "auto"

    needs = frozenset({"pixels", "messages"})

    def __post_init__(self) -> None:
        if not isinstance(self.model, str) or not self.model:
            raise ValueError(
                "model: expected the folder or name of a vision-language model (model=...)"
            )
        for name, known in (("without", NAMES), ("dtype", DTYPES)):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name}: expected {', '.join(known)}, got {getattr(self, name)!r}"
                )
        if self.batch < 1:
            raise ValueError(f"batch: expected at least 1, got {self.batch}")

    @property
    def gives(self) -> frozenset[str]:
        """Return the columns written."""
        name = NAMES[self.without]
        return frozenset(
            {name, f"{name}_loss", f"{name}_loss_without", f"{name}_tokens", f"{name}_status"}
        )

    def resources(self) -> dict[str, str]:
        """Return the hash of the model."""
        return {"model": model_hash(self.model)}

    def __call__(self, batch: Mapping[str, Array]) -> dict[str, Array]:
        """Return the columns for every row."""
        model = load_vision_language(self.model, self.dtype, self.device)
        images = batch["pixels"]
        seen = (
            list(batch["pixels_status"])
            if "pixels_status" in batch
            else ["missing_field" if p is None else "ok" for p in images]
        )
        full: list[list[Asked]] = []
        reduced: list[list[Asked]] = []
        status: list[str] = []
        for word, pixels, turns in zip(seen, images, texts(batch, "messages"), strict=True):
            outcome = word if word != "ok" else self._sides(model, pixels, turns)
            both = None if isinstance(outcome, str) else outcome
            status.append("ok" if both else str(outcome))
            full.append([both[0]] if both else [])
            reduced.append([both[1]] if both else [])
        losses = contrast(ImageLikelihood(model, self.batch), full, reduced)
        name = NAMES[self.without]
        columns: dict[str, Any] = {
            name: losses.of_losses(),
            f"{name}_loss": losses.full,
            f"{name}_loss_without": losses.reduced,
            f"{name}_tokens": losses.n_full,
        }
        return written(columns, status, name)

    def _sides(
        self, model: VisionLanguageModel, pixels: Pixels, turns: Any
    ) -> tuple[Asked, Asked] | str:
        """Return the answer after both contexts, or the status that says why not."""
        if turns is None or not len(turns) or turns[-1]["role"] != "assistant":
            return "missing_field"
        *before, last = [(t["role"], t["content"].replace(PLACE, "").strip()) for t in turns]
        if not last[1]:
            return "empty_text"
        first = next((i for i, (role, _) in enumerate(before) if role == "user"), None)
        if first is None:
            return "missing_field"
        with_image = [
            message(role, text, pixels if i == first else None)
            for i, (role, text) in enumerate(before)
        ]
        fewer = (
            [message(r, t) for r, t in before]
            if self.without == "image"
            else [message("user", "", pixels)]
        )
        try:
            for turns in (with_image, fewer):
                model.processor.apply_chat_template(
                    turns, add_generation_prompt=True, tokenize=False
                )
        # whatever a template's author lets it raise: roles in an order it does not take
        except Exception:
            return "template_error"
        sides = ask(model, with_image, last[1]), ask(model, fewer, last[1])
        return "too_long" if max(s.length for s in sides) > model.longest else sides
