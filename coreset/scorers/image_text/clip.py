"""How well a text fits its image, by a model that embeds both.

The cosine of the normalized embeddings, never a logit divided by 100: a model's own scale is not
100 everywhere. CLIPScore = 2.5 max(cos, 0): Hessel et al., "CLIPScore", EMNLP 2021
(arXiv:2104.08718). Flipped: the same with the image mirrored, which text in the image does not
survive (a caption that only repeats it falls); Yu et al., "The devil is in the details", 2023
(arXiv:2309.15954).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from coreset.core.batch import objects
from coreset.core.pool import Array
from coreset.scorers.device import OnDevice, torch_device
from coreset.scorers.language.load import model_hash, read_part

OPEN_CLIP = "open_clip:"
WEIGHT = 2.5
Pixels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class TwoTowers:
    """A model that embeds images and texts: images(list of pixels) and texts(list of str) -> unit
    rows (n, D) float32.
    """

    images: Callable[[Sequence[Pixels]], Tensor]
    texts: Callable[[Sequence[str]], Tensor]


def unit(x: Tensor) -> Tensor:
    """Return rows of length 1, in float32."""
    return torch.nn.functional.normalize(x.float(), dim=-1).cpu()


@lru_cache(maxsize=2)
def load_towers(model: str, device: str = "auto") -> TwoTowers:
    """Return CLIP, SigLIP or their like: a folder or name of transformers, or
    `open_clip:ARCHITECTURE/PRETRAINED`.

    Raises ImportError with the install line, ValueError for a model that cannot be read or embeds
    no texts.
    """
    place = torch_device(device)
    if model.startswith(OPEN_CLIP):
        return _open_clip(model.removeprefix(OPEN_CLIP), place)
    net = read_part("weights", model, "AutoModel").eval().requires_grad_(False).to(place)
    if not hasattr(net, "get_text_features"):
        raise ValueError(
            f"model: {model} is a {type(net).__name__}, which does not embed images and texts;"
            " expected CLIP, SigLIP or their like"
        )
    see = read_part("image processor", model, "AutoImageProcessor")
    tokenizer = read_part("tokenizer", model, "AutoTokenizer")
    longest = net.config.text_config.max_position_embeddings
    # SigLIP was trained to read the padding too
    padding = "max_length" if "siglip" in net.config.model_type else True

    def images(pixels: Sequence[Pixels]) -> Tensor:
        inputs = see(images=[Image.fromarray(p) for p in pixels], return_tensors="pt")
        with torch.inference_mode():
            return unit(
                _vector(net.get_image_features(pixel_values=inputs["pixel_values"].to(place)))
            )

    def texts(words: Sequence[str]) -> Tensor:
        inputs = tokenizer(
            list(words), padding=padding, truncation=True, max_length=longest, return_tensors="pt"
        ).to(place)
        for name in ("token_type_ids", *(["attention_mask"] if padding == "max_length" else [])):
            inputs.pop(name, None)
        with torch.inference_mode():
            return unit(_vector(net.get_text_features(**inputs)))

    return TwoTowers(images, texts)


def _vector(output: Any) -> Tensor:
    return output if isinstance(output, Tensor) else output.pooler_output


def _open_clip(name: str, place: torch.device) -> TwoTowers:
    try:
        open_clip: Any = import_module("open_clip")
    except ImportError as error:
        raise ImportError(
            f"model: {OPEN_CLIP}{name} needs open_clip: pip install open_clip_torch"
        ) from error
    architecture, _, pretrained = name.partition("/")
    net, _, preprocess = open_clip.create_model_and_transforms(
        architecture, pretrained=pretrained or None, device=place
    )
    net.eval()
    tokenizer = open_clip.get_tokenizer(architecture)

    def images(pixels: Sequence[Pixels]) -> Tensor:
        with torch.inference_mode():
            return unit(
                net.encode_image(
                    torch.stack([preprocess(Image.fromarray(p)) for p in pixels]).to(place)
                )
            )

    def texts(words: Sequence[str]) -> Tensor:
        with torch.inference_mode():
            return unit(net.encode_text(tokenizer(list(words)).to(place)))

    return TwoTowers(images, texts)


@dataclass(frozen=True)
class ClipScore(OnDevice):
    """Compare images with their texts, inside `Images`: gives `clip_cosine` (-1 to 1), `clipscore`
    (0 to 2.5) and `clip_status`.

    model: CLIP or SigLIP of transformers (folder or name), or `open_clip:ARCHITECTURE/PRETRAINED`.
    flipped: also `clip_cosine_flipped`. embeddings: also `image_embedding` and `text_embedding` (n,
    D), features for any strategy. batch: how many images at a time; values do not depend on it but
    for rounding. Texts longer than the model takes are cut at its end, as it does itself.
    """

    model: str
    column: str = "text"
    flipped: bool = False
    embeddings: bool = False
    batch: int = 32
    device: str = "auto"

    def __post_init__(self) -> None:
        if not isinstance(self.model, str) or not self.model:
            raise ValueError("model: expected the folder or name of a CLIP model (model=...)")
        if self.batch < 1:
            raise ValueError(f"batch: expected at least 1, got {self.batch}")

    @property
    def needs(self) -> frozenset[str]:
        """Return the pixels and the text."""
        return frozenset({"pixels", self.column})

    @property
    def gives(self) -> frozenset[str]:
        """Return the columns written."""
        more = {"clip_cosine_flipped"} if self.flipped else set()
        more |= {"image_embedding", "text_embedding"} if self.embeddings else set()
        return frozenset({"clip_cosine", "clipscore", "clip_status", *more})

    def resources(self) -> dict[str, str]:
        """Return the hash of the model."""
        return {} if self.model.startswith(OPEN_CLIP) else {"model": model_hash(self.model)}

    def __call__(self, batch: Mapping[str, Array]) -> dict[str, Array]:
        """Return the scores of every pair."""
        images, texts = batch["pixels"], batch[self.column]
        status = pair_status(batch, self.column)
        there = np.flatnonzero(status == "ok")
        towers = load_towers(self.model, self.device)
        parts: dict[str, list[Tensor]] = {"clip_cosine": []}
        for start in range(0, len(there), self.batch):
            rows = there[start : start + self.batch].tolist()
            seen, read = (
                towers.images([images[i] for i in rows]),
                towers.texts([str(texts[i]) for i in rows]),
            )
            parts["clip_cosine"].append((seen * read).sum(dim=1))
            if self.flipped:
                mirrored = towers.images([np.ascontiguousarray(images[i][:, ::-1]) for i in rows])
                parts.setdefault("clip_cosine_flipped", []).append((mirrored * read).sum(dim=1))
            if self.embeddings:
                parts.setdefault("image_embedding", []).append(seen)
                parts.setdefault("text_embedding", []).append(read)
        width = towers.texts(["a"]).shape[1] if self.embeddings else 0
        out: dict[str, Array] = {"clip_status": status}
        for name in sorted(self.gives - {"clip_status", "clipscore"}):
            column = np.full(
                (len(texts), width) if name.endswith("_embedding") else len(texts),
                np.nan,
                np.float32,
            )
            if parts.get(name):
                column[there] = torch.cat(parts[name]).numpy()
            out[name] = column
        out["clipscore"] = np.float32(WEIGHT) * np.maximum(out["clip_cosine"], 0)
        return out


def pair_status(batch: Mapping[str, Array], column: str) -> NDArray[np.object_]:
    """Return a status per pair: that of the image, or of a text that is missing or blank.

    >>> pair_status(
    ...     {"pixels": objects([None, np.zeros((1, 1, 3))]), "text": ["a", " "]}, "text"
    ... ).tolist()
    ['missing_field', 'empty_text']
    """
    images, texts = batch["pixels"], batch[column]
    seen = (
        batch["pixels_status"]
        if "pixels_status" in batch
        else ["missing_field" if p is None else "ok" for p in images]
    )
    words = [
        "missing_field" if t is None else "ok" if str(t).strip() else "empty_text" for t in texts
    ]
    return objects([s if s != "ok" else w for s, w in zip(seen, words, strict=True)])
