"""A vision-language model as a `Likelihood`: how surprising an answer is after a conversation with
an image in it, or without.

The model's own processor writes the conversation and cuts up the image; the answer's tokens follow,
the same whatever stands before them. Rows are padded on the right, where a causal model never looks
from a real token; only the positions that predict an answer's token go through the vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from coreset.scorers.device import torch_device
from coreset.scorers.language.chat import end_token
from coreset.scorers.language.contexts import Tokens, encode
from coreset.scorers.language.load import longest, model_hash, read_net, read_part
from coreset.scorers.language.nll import cross_entropy, logits_at

Pixels = NDArray[np.uint8]
_WORD = "ANSWER"


@dataclass(frozen=True, eq=False)
class VisionLanguageModel:
    """A model ready to score. end: the token that closes an answer; longest: how many tokens it
    takes at once, those of an image among them.
    """

    net: Any
    processor: Any
    hash: str
    device: torch.device
    end: Tokens
    longest: int


@lru_cache(maxsize=2)
def load_vision_language(
    model: str, dtype: str = "float32", device: str = "auto"
) -> VisionLanguageModel:
    """Return a model of transformers that answers about images (LLaVA and its like), by folder or
    name, the last two asked for kept.

    Raises ImportError with the install line, ValueError for a model that cannot be read or has no
    chat template.
    """
    processor = read_part("processor", model, "AutoProcessor")
    if not getattr(processor, "chat_template", None):
        raise ValueError(f"model: the processor of {model} has no chat template")
    place = torch_device(device)
    net = (
        read_net(model, "AutoModelForImageTextToText", dtype).eval().requires_grad_(False).to(place)
    )
    turns = [message("user", "Say it."), message("assistant", _WORD)]
    closed = str(processor.apply_chat_template(turns, tokenize=False))
    end = end_token(processor.tokenizer, closed[closed.rfind(_WORD) + len(_WORD) :])
    return VisionLanguageModel(net, processor, model_hash(model), place, end, longest(net))


def message(role: str, text: str, image: Pixels | None = None) -> dict[str, Any]:
    """Return one turn as processors read it, the image before the text.

    >>> message("user", "What is it?")["content"]
    [{'type': 'text', 'text': 'What is it?'}]
    """
    seen = [] if image is None else [{"type": "image", "image": Image.fromarray(image)}]
    written = [{"type": "text", "text": text}] if text else []
    return {"role": role, "content": [*seen, *written]}


@dataclass(frozen=True, eq=False)
class Asked:
    """One question to the model. inputs: what its processor made of the conversation, each (1,
    ...); target: the answer's tokens.
    """

    inputs: Mapping[str, Tensor]
    target: Tokens

    @property
    def length(self) -> int:
        """Return how many tokens conversation and answer have."""
        return int(self.inputs["input_ids"].shape[1]) + len(self.target)

    @property
    def shapes(self) -> tuple[Any, ...]:
        """Return what questions must have in common to be asked at once."""
        return tuple(
            (n, tuple(v.shape[1:])) for n, v in sorted(self.inputs.items()) if not self.is_text(n)
        )

    def is_text(self, name: str) -> bool:
        """Return whether an input has one value per token."""
        return self.inputs[name].shape == self.inputs["input_ids"].shape


def ask(
    model: VisionLanguageModel, conversation: Sequence[Mapping[str, Any]], answer: str
) -> Asked:
    """Return a conversation that ends before the answer, and the answer with its end, as the model
    reads them.
    """
    inputs = model.processor.apply_chat_template(
        list(conversation),
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    return Asked(dict(inputs), encode(model.processor.tokenizer, [answer], False)[0] + model.end)


@dataclass(frozen=True, eq=False)
class ImageLikelihood:
    """Scores `Asked` with a model, `batch` at a time at most."""

    model: VisionLanguageModel
    batch: int = 8

    def totals(self, spans: Sequence[Asked]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return, per span, the summed negative log-likelihood of its target, in nats, and how many
        tokens that is; (n,) each.
        """
        sums, counts = np.zeros(len(spans)), np.array([len(s.target) for s in spans], np.int64)
        alike: dict[Any, list[int]] = {}
        for i, span in enumerate(spans):
            if span.target:
                alike.setdefault(span.shapes, []).append(i)
        for members in alike.values():
            members.sort(key=lambda i: -spans[i].length)
            for start in range(0, len(members), self.batch):
                rows = members[start : start + self.batch]
                sums[rows] = self._losses([spans[i] for i in rows])
        return sums, counts

    @torch.inference_mode()
    def _losses(self, spans: Sequence[Asked]) -> list[float]:
        width = max(s.length for s in spans)
        inputs: dict[str, Tensor] = {}
        for name, value in spans[0].inputs.items():
            if spans[0].is_text(name):
                inputs[name] = torch.zeros((len(spans), width), dtype=value.dtype)
            else:
                whole = torch.cat([s.inputs[name] for s in spans])
                inputs[name] = (
                    whole.to(self.model.net.dtype) if whole.is_floating_point() else whole
                )
        at = []
        for i, span in enumerate(spans):
            begin = span.length - len(span.target)
            for name in inputs:
                if span.is_text(name):
                    inputs[name][i, :begin] = span.inputs[name][0]
            inputs["input_ids"][i, begin : span.length] = torch.tensor(span.target)
            inputs["attention_mask"][i, : span.length] = 1
            at.append(i * width + np.arange(begin, span.length) - 1)
        place = self.model.device
        with logits_at(self.model.net, torch.from_numpy(np.concatenate(at)).to(place)):
            logits = self.model.net(
                **{n: v.to(place) for n, v in inputs.items()}, use_cache=False
            ).logits
        wanted = torch.tensor([t for s in spans for t in s.target], device=place)
        losses = cross_entropy(logits.reshape(len(wanted), -1), wanted).double().cpu()
        return [float(part.sum()) for part in torch.split(losses, [len(s.target) for s in spans])]
