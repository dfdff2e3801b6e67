"""A teacher's labels for a set of images: one for each image, one for each of many crops, or asked
anew while training.

One for each: Qin, Deng & Alvarez-Melis, "A Label is Worth a Thousand Images in Dataset
Distillation", NeurIPS 2024 (arXiv:2406.10485). Of crops: Shen & Xing, "A Fast Knowledge
Distillation Framework for Visual Recognition" (FKD), ECCV 2022 (arXiv:2112.01528), as SRe2L labels
its images. Asked anew: as RDED trains.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coreset.distillation.dataset import Synthetic
from coreset.distillation.distiller import Teacher
from coreset.distillation.views import STORED, Views, look


def fixed_labels(
    distilled: Synthetic,
    teacher: Teacher,
    device: torch.device | str = "cpu",
    temperature: float = 1.0,
    mix: float = 0.0,
) -> Synthetic:
    """Return the set with one logit vector for each training image, float16, and its hard labels
    beside them; mix: their share of the loss.

    Raises ValueError when the teacher's classes are others, or its answer is NaN or too large for
    float16.
    """
    teacher.check(distilled.classes)
    x = torch.from_numpy(distilled.normalized()).to(device)
    logits = _half(teacher.logits(x))
    return distilled.with_labels(
        logits, "logits", temperature, truth=distilled.hard, mix=mix, teacher=about(teacher)
    )


def crop_labels(
    distilled: Synthetic,
    teacher: Teacher,
    views: Views,
    crops: int,
    seed: int,
    device: torch.device | str = "cpu",
    temperature: float = 20.0,
    mix: float = 0.0,
    show: Callable[[int, int], None] = lambda _done, _all: None,
) -> Synthetic:
    """Return the set with `crops` views of each training image and a logit vector for each,
    float16: training looks at view e mod `crops` in epoch e.

    show: called with (views done, of how many). Raises ValueError as `fixed_labels`, and for more
    than 65,536 images to paste pieces of.
    """
    teacher.check(distilled.classes)
    x = torch.from_numpy(distilled.normalized()).to(device)
    if views.cutmix and len(x) > np.iinfo(STORED).max + 1:
        raise ValueError(
            f"cutmix: {len(x)} images are more than {np.iinfo(STORED).max + 1}: set it to 0"
        )
    drawn = np.stack(
        [views.draw(len(x), x.shape[-1], np.random.default_rng([seed, e])) for e in range(crops)]
    )
    logits = []
    for number, each in enumerate(drawn):
        blocks = np.array_split(np.arange(len(x)), -(-len(x) // 512))
        logits.append(_half(torch.cat([teacher.logits(look(x, each, rows)) for rows in blocks])))
        show(number + 1, crops)
    return distilled.with_labels(
        np.stack(logits), "crops", temperature, truth=distilled.hard, mix=mix,
        views=drawn.astype(STORED), teacher=about(teacher)
    )  # fmt: skip


def online_labels(
    distilled: Synthetic,
    teacher: Teacher,
    views: Views,
    asked: Mapping[str, Any],
    temperature: float = 20.0,
    mix: float = 0.0,
) -> Synthetic:
    """Return the set with hard labels and the word that training asks the teacher about every batch
    it sees; asked: network and epoch that make it again.
    """
    teacher.check(distilled.classes)
    weights = sum(v.numel() * v.element_size() for v in teacher.model.state_dict().values())
    online = {
        **asked,
        "bytes": weights,
        "scale": list(views.scale),
        "flips": views.flips,
        "cutmix": views.cutmix,
    }
    return distilled.with_labels(
        distilled.hard, "online", temperature, mix=mix, online=online, teacher=about(teacher)
    )


def about(teacher: Teacher) -> dict[str, Any]:
    """Return what a manifest says of a teacher; accuracy None where it is not known."""
    accuracy = None if np.isnan(teacher.accuracy) else teacher.accuracy
    return {"name": teacher.name, "epoch": teacher.epoch, "accuracy": accuracy}


def _half(logits: Tensor) -> NDArray[np.float16]:
    with np.errstate(over="ignore"):
        out = logits.cpu().numpy().astype(np.float16)
    if not np.isfinite(out).all():
        raise ValueError(
            "teacher: its answer is NaN or too large for float16 for"
            f" {int((~np.isfinite(out)).any(axis=1).sum())} of {len(out)} images"
        )
    return out
