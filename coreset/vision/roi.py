"""Class distributions and box features of torchvision's two-stage detectors, whose outputs keep
neither.

The box predictor sees all proposals; which of them became a detection is told by class and score,
which are copied without change. Works for Faster, Mask and Keypoint R-CNN: models with `roi_heads`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def detect(model: Any, images: Sequence[Tensor]) -> list[dict[str, Tensor]]:
    """Return what `model(images)` returns, with `probs` (n, C) and `features` (n, D) for every
    detection; column 0 of `probs` is the background.

    The model must be in evaluation mode. Raises TypeError for a detector without `roi_heads`
    (RetinaNet, SSD and FCOS have per-class scores, no distribution).
    """
    heads = getattr(model, "roi_heads", None)
    if heads is None or not hasattr(heads, "box_predictor"):
        raise TypeError(
            f"{type(model).__name__} has no roi_heads with a box_predictor: only two-stage"
            " detectors have a class distribution per box"
        )
    if model.training:
        raise ValueError("detect needs the model in evaluation mode: call model.eval()")
    counts: list[int] = []
    seen: list[tuple[Tensor, Tensor]] = []
    hooks = [
        heads.box_roi_pool.register_forward_pre_hook(
            lambda _, args: counts.extend(len(p) for p in args[1])
        ),
        heads.box_predictor.register_forward_hook(
            lambda _, args, out: seen.append((args[0].flatten(1), out[0]))
        ),
    ]
    try:
        with torch.no_grad():
            outputs: list[dict[str, Tensor]] = model(list(images))
    finally:
        for hook in hooks:
            hook.remove()
    features, logits = (torch.cat(parts) for parts in zip(*seen, strict=True))
    # the very call that the scores come from: equality below is exact
    probs = logits.softmax(dim=-1)
    for out, p, f in zip(
        outputs, torch.split(probs, counts), torch.split(features, counts), strict=True
    ):
        rows = match(p, out["labels"], out["scores"])
        out["probs"], out["features"] = p[rows], f[rows]
    return outputs


def match(probs: Tensor, labels: Tensor, scores: Tensor) -> Tensor:
    """Return the proposal each detection came from (n,): the row whose probability of the label is
    the score, the lowest one not yet used for that label.

    Raises ValueError when there is none: the detector changes its scores after the softmax.

    >>> match(
    ...     torch.tensor([[0.1, 0.9], [0.6, 0.4]]), torch.tensor([1, 1]), torch.tensor([0.4, 0.9])
    ... ).tolist()
    [1, 0]
    """
    rows: list[int] = []
    used: set[tuple[int, int]] = set()
    for label, score in zip(labels.tolist(), scores, strict=True):
        proposals = [
            r
            for r in torch.nonzero(probs[:, label] == score)[:, 0].tolist()
            if (r, label) not in used
        ]
        if not proposals:
            raise ValueError(
                f"no proposal has probability {float(score)} for class {label}: this detector"
                " changes its scores after the softmax"
            )
        used.add((proposals[0], label))
        rows.append(proposals[0])
    return torch.tensor(rows, dtype=torch.int64, device=probs.device)
