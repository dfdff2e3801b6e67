"""Rows about images: each decoded once or once per scorer, and scorers with a model against the
model's own forward pass.
"""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from coreset.core.batch import as_batch, objects
from coreset.scorers.image.backbone import LITE0, backbone
from coreset.scorers.image.classifier import Classifier, squared
from coreset.scorers.image.decode import decode
from coreset.scorers.image.hashes import ImageHashes
from coreset.scorers.image.images import Images
from coreset.scorers.image.quality import Quality
from coreset.scorers.image_text.clip import ClipScore
from scripts.benchmarks.harness import Answer, Method, Row

DRAWINGS = Path("/usr/share/openclipart/png")
BATCH = 32
ANIMALS = 398  # the first of ImageNet's classes


@cache
def drawings(count: int) -> list[str]:
    """Return `count` files, evenly spaced over the collection. Raises FileNotFoundError without the
    Debian package.
    """
    files = sorted(map(str, DRAWINGS.rglob("*.png")))
    if not files:
        raise FileNotFoundError(f"no drawings in {DRAWINGS}: apt-get install openclipart-png")
    return [files[i] for i in np.linspace(0, len(files) - 1, count).astype(int).tolist()]


@cache
def pixels(count: int) -> Any:
    """Return the pixels of drawings that can be decoded."""
    decoded = [decode(f).pixels for f in drawings(count + count // 10 + 1)]
    return objects([p for p in decoded if p is not None][:count])


def same(a: Answer, b: Answer, _: int) -> dict[str, Any]:
    """Return how many rows have the same values, to the last bit, in every column."""
    rows = np.ones(len(a["image_status"]), bool)
    for name, values in a.items():
        rows &= [
            x == y or (x != x and y != y)
            for x, y in zip(values.tolist(), b[name].tolist(), strict=True)
        ]
    return {"same_rows": int(rows.sum()), "of": len(rows)}


def decode_once(scale: float = 1) -> Row:
    """300 files."""
    count = max(10, int(300 * scale))
    files = drawings(count)
    scorers = (Quality(), ImageHashes())

    def ours(k: int) -> Answer:
        return Images(scorers)(as_batch({"image": files[:k]}))

    def each(k: int) -> Answer:
        rows = as_batch({"image": files[:k]})
        return {n: v for s in scorers for n, v in Images((s,))(rows).items()}

    def decoding(k: int) -> None:
        Images(())(as_batch({"image": files[:k]}))

    return Row(
        f"quality and hashes of {count} drawings, files to columns",
        count,
        Method("coreset, each image decoded once", ours),
        [Method("decoded once per scorer", each), Method("decoding alone", decoding)],
        lambda a, b, k: {} if b is None else same(a, b, k),
        facts=lambda a: {
            "megapixels": float(np.nansum(a["image_width"] * a["image_height"]) / 1e6)
        },
    )


def classifier(scale: float = 1) -> Row:
    """128 images through EfficientNet-Lite0 with its real weights."""
    count = max(8, int(128 * scale))
    images, files = pixels(count), drawings(count)
    scorer = Classifier("animal", dict.fromkeys(range(ANIMALS), 1.0), device="cpu")
    net, mean, std = backbone(LITE0, classes=True)
    ready = (
        torch.from_numpy(np.stack([squared(p, 224) for p in images])).permute(0, 3, 1, 2) / 255
        - mean
    ) / std

    def own(k: int) -> Answer:
        with torch.inference_mode():
            return torch.cat(
                [
                    net(ready[i : i + BATCH]).softmax(dim=1)[:, :ANIMALS].sum(dim=1)
                    for i in range(0, k, BATCH)
                ]
            ).numpy()

    def whole(k: int) -> None:
        Images((scorer,))(as_batch({"image": files[:k]}))

    return Row(
        f"EfficientNet-Lite0 as a scorer, {count} drawings, float32",
        count,
        Method("coreset, from pixels", lambda k: scorer({"pixels": images[:k]})["animal"]),
        [
            Method(
                "the model's forward pass, images cut and scaled before",
                own,
                note="channels last, the faster layout here",
            ),
            Method("coreset, from files", whole, note="decoding included"),
        ],
        difference,
        "0.9 of the model's own throughput: at least 0.9 times ours",
        trials=3,
    )


def difference(a: Answer, b: Answer, _: int) -> dict[str, Any]:
    """Return how far the values are apart."""
    if b is None:
        return {}
    return {
        "largest_difference": float(np.abs(a - b).max()),
        "largest_distance": float(np.abs(a).max()),
    }


@cache
def clip_folder(small: bool = False) -> str:
    """Return a folder with a CLIP of the size of ViT-B/32 and random weights: its arithmetic costs
    what the trained one's does. small: two layers of 64 units instead.
    """
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    folder = tempfile.mkdtemp()
    words = [
        "[PAD]",
        "[UNK]",
        "[BOS]",
        "[EOS]",
        "a",
        "drawing",
        "of",
        "the",
        "number",
        *map(str, range(1000)),
    ]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[BOS] $A [EOS]", special_tokens=[("[BOS]", 2), ("[EOS]", 3)]
    )
    torch.manual_seed(0)
    text: dict[str, Any] = {"eos_token_id": 3, "bos_token_id": 2, "pad_token_id": 0}
    size: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}  # fmt: skip
    vision = dict(size) if small else {}
    text |= size if small else {}
    config = transformers.CLIPConfig(text_config=text, vision_config=vision)
    transformers.CLIPModel(config).save_pretrained(folder)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        eos_token="[EOS]",
        bos_token="[BOS]",
        unk_token="[UNK]",
    ).save_pretrained(folder)
    transformers.CLIPImageProcessor().save_pretrained(folder)
    return folder


def clip(scale: float = 1) -> Row:
    """64 pairs through a CLIP of the size of ViT-B/32."""
    import transformers

    count = max(4, int(64 * scale))
    images = pixels(count)
    texts = objects([f"a drawing of the number {i}" for i in range(count)])
    folder = clip_folder()
    scorer = ClipScore(folder, device="cpu")
    net = transformers.CLIPModel.from_pretrained(folder).eval()
    see = transformers.AutoImageProcessor.from_pretrained(folder)
    tokens = transformers.AutoTokenizer.from_pretrained(folder)(
        texts.tolist(), padding=True, return_tensors="pt"
    )
    ready = see(images=list(images), return_tensors="pt")["pixel_values"]

    def own(k: int) -> Answer:
        parts: list[Tensor] = []
        with torch.inference_mode():
            for i in range(0, k, BATCH):
                rows = slice(i, min(k, i + BATCH))
                outputs = net(
                    input_ids=tokens["input_ids"][rows],
                    attention_mask=tokens["attention_mask"][rows],
                    pixel_values=ready[rows],
                )
                parts.append((outputs.image_embeds * outputs.text_embeds).sum(dim=1))
        return torch.cat(parts).numpy()

    return Row(
        f"CLIPScore, {count} drawings with captions, a model of the size of ViT-B/32, float32",
        count,
        Method("coreset, from pixels and text", lambda k: cast(Any, scorer({"pixels": images[:k], "text": texts[:k]}))["clip_cosine"]),
        [Method("the model's forward pass, inputs made before", own, note="random weights: the arithmetic of the trained ones")],
        difference,
        "0.9 of the model's own throughput: at least 0.9 times ours",
        trials=3,
    )  # fmt: skip


ROWS = {"decode_once": decode_once, "classifier": classifier, "clip": clip}
