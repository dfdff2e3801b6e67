"""From maps of class scores to numbers: uncertainty per pixel, and its reductions per image and per
region, on the device the maps are on.

entropy, margin and least confidence as in `score`; BALD as in Houlsby et al., 2011
(arXiv:1112.5745), pixel by pixel. Sums over classes and regions are taken in fixed point (multiples
of 2^-32), so that they do not depend on the order in which a GPU adds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from coreset.numerics.tensors import as_float
from coreset.vision import fused

SCORES = ("entropy", "margin", "least_confidence", "bald")
_UNIT = 2.0**32


def as_probs(maps: Tensor, given: bool) -> Tensor:
    """Return class probabilities (n, C, H, W), float32 at least, from logits or, with `given`, from
    probabilities as they are.
    """
    return as_float(maps) if given else as_float(maps).softmax(dim=1)


def no_probs(maps: Tensor) -> Tensor:
    """Return which pixels (n, H, W) of maps (n, C, H, W) hold no probabilities: negative ones, or a
    sum more than 1e-2 from 1.
    """
    return ((as_float(maps).sum(dim=1) - 1).abs() > 1e-2) | (maps < 0).any(dim=1)


def sampled(maps: Tensor) -> Tensor:
    """Return rows and columns of maps (..., H, W) evenly spread, fewer than 64 of each."""
    height, width = maps.shape[-2:]
    return maps[..., :: max(1, height // 32), :: max(1, width // 32)]


def like_probs(maps: Tensor, ignore: Tensor | None) -> Tensor:
    """Return which maps (n,) of two or more classes are probabilities, or probabilities in percent,
    at every pixel (of a sample) that is not ignored.

    Logits that are non-negative and sum to 1, or to 100, at every pixel do not come from a network:
    a softmax was applied already.

    >>> z = torch.tensor([[2.0, -1.0], [0.5, 0.5]]).reshape(2, 2, 1, 1)
    >>> like_probs(z, None).tolist()
    [False, True]
    >>> like_probs(100 * z, None).tolist()
    [False, True]
    """
    valid = torch.ones_like(maps[:, 0], dtype=torch.bool) if ignore is None else ~ignore.bool()
    finite = as_float(maps).isfinite().all(dim=1)
    some = valid.flatten(1).any(dim=1)
    seen = torch.zeros_like(some)
    for whole in (1, 100):
        one = ~no_probs(as_float(maps) / whole) & finite
        seen |= some & (one | ~valid).flatten(1).all(dim=1)
    return seen if maps.shape[1] > 1 else torch.zeros_like(seen)


def entropy(probs: Tensor) -> Tensor:
    """Return -sum p ln p over the classes (n, H, W) from (n, C, H, W), in nats."""
    nats: Tensor = torch.special.entr(probs).sum(dim=1)
    return nats


def scored(maps: Tensor, kind: str, given: bool) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Return the uncertainty of each pixel (n, H, W), and its class or the probabilities, whichever
    was made on the way; given: maps are probabilities.

    Logits in float32 or less on a CPU go through one fused pass.
    """
    if not given and fused.fits(maps):
        score, predicted = fused.score(maps, kind)
        return score, predicted, None
    probs = as_probs(maps, given)
    return pixel_scores(probs, kind), None, probs


def pixel_scores(probs: Tensor, kind: str) -> Tensor:
    """Return the uncertainty of each pixel (n, H, W) from probs (n, C, H, W); higher = more
    uncertain.

    >>> pixel_scores(torch.tensor([0.5, 0.25, 0.25]).reshape(1, 3, 1, 1), "margin").item()
    0.75
    """
    if kind == "entropy":
        return entropy(probs)
    top = probs.max(dim=1, keepdim=True)
    if kind == "least_confidence":
        return 1 - top.values[:, 0]
    if probs.shape[1] < 2:
        raise ValueError(
            f"a margin needs at least two classes, got maps of shape {tuple(probs.shape)}"
        )
    second = probs.scatter(1, top.indices, -1.0).amax(dim=1)
    return 1 - (top.values[:, 0] - second)


def member_scores(members: Iterable[Tensor], given: bool, kind: str) -> tuple[Tensor, Tensor]:
    """Return the uncertainty per pixel (n, H, W), and mean p (n, C, H, W), from T maps (n, C, H, W)
    one after another: no more than one is held.

    bald: H[mean p] - mean H[p]; any other score is that of mean p.
    """
    total, inside, count = torch.zeros(()), torch.zeros(()), 0
    for maps in members:
        p = as_probs(maps, given)
        if count and p.shape != total.shape:
            raise ValueError(
                f"member {count}: expected maps of shape {tuple(total.shape)} as for the others,"
                f" got {tuple(p.shape)}"
            )
        total, inside, count = (
            (p.clone(), entropy(p) if kind == "bald" else inside, 1)
            if not count
            else (total.add_(p), inside.add_(entropy(p)) if kind == "bald" else inside, count + 1)
        )
    if not count:
        raise ValueError(f"{kind}: expected at least one member's maps, got none")
    mean = total / count
    if kind != "bald":
        return pixel_scores(mean, kind), mean
    return (entropy(mean) - inside / count).clamp_min(0), mean


def grouped(scores: Tensor, valid: Tensor, group: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Return the mean score (n, G) float64, NaN where a group is absent, and the number of valid
    pixels (n, G) in each group; group (n, P), -1 = none.
    """
    if scores.device.type == "cpu":
        total, counts = fused.grouped(scores, valid, group.expand(valid.shape), groups)
        return total.double() / _UNIT / counts, counts
    use = valid & (group >= 0)
    at = torch.where(use, group, groups).long()
    fixed = torch.where(use, scores.double() * _UNIT, 0).round().long()
    sums = torch.zeros(
        len(scores), groups + 1, dtype=torch.int64, device=scores.device
    ).scatter_add_(1, at, fixed)[:, :groups]
    counts = torch.zeros(
        len(scores), groups + 1, dtype=torch.int64, device=scores.device
    ).scatter_add_(1, at, torch.ones_like(at))[:, :groups]
    return sums.double() / _UNIT / counts, counts


def mean_of_known(values: Tensor) -> Tensor:
    """Return the mean over the entries of each row that are not NaN (n,);
    NaN where there is none.
    """
    return values.nan_to_num(0).sum(dim=1) / (~values.isnan()).sum(dim=1)


def max_of_known(values: Tensor) -> Tensor:
    """Return the largest entry of each row that is not NaN (n,); NaN where there is none."""
    top = values.nan_to_num(-torch.inf).amax(dim=1)
    return torch.where(top.isinf(), torch.nan, top)


def quantile(scores: Tensor, valid: Tensor, q: float) -> Tensor:
    """Return the q-quantile of each row's valid scores (n,) float64, linear between the two values
    next to it; NaN where there is none.
    """
    if scores.device.type == "cpu":
        return fused.quantile(scores, valid, q)
    ordered = torch.where(valid, scores, torch.inf).sort(dim=1).values
    count = valid.sum(dim=1)
    at = q * (count - 1).clamp_min(0).double()
    low = ordered.gather(1, at.floor().long()[:, None])[:, 0].double()
    high = ordered.gather(1, at.ceil().long()[:, None])[:, 0].double()
    return torch.where(
        count > 0,
        low + torch.where(at > at.floor(), (high - low) * (at - at.floor()), 0),
        torch.nan,
    )


def boundary(predicted: Tensor, valid: Tensor, width: int) -> Tensor:
    """Return which valid pixels (n, H, W) have a valid pixel of another predicted class at most
    `width` rows and columns away.
    """
    if predicted.device.type == "cpu":
        return fused.boundary(predicted, valid, width)
    classes = predicted.float()

    def pool(x: Tensor) -> Tensor:
        return torch.nn.functional.max_pool2d(x[:, None], 2 * width + 1, stride=1, padding=width)[
            :, 0
        ]

    high = pool(torch.where(valid, classes, -torch.inf))
    low = -pool(torch.where(valid, -classes, -torch.inf))
    return valid & (high != low)


def tiles(height: int, width: int, size: int, device: torch.device) -> Tensor:
    """Return the number of the square tile of each pixel (H, W), row by row; those at the right and
    lower edge may be smaller.

    >>> tiles(2, 3, 2, torch.device("cpu")).tolist()
    [[0, 0, 1], [0, 0, 1]]
    """
    across = -(-width // size)
    rows, columns = (
        torch.arange(height, device=device) // size,
        torch.arange(width, device=device) // size,
    )
    return rows[:, None] * across + columns


def reduced(
    name: str,
    flat: Tensor,
    valid: Tensor,
    count: Tensor,
    groups: Mapping[str, tuple[Tensor, Tensor]],
) -> Tensor:
    """Return one reduction (n,) of the scores (n, P); groups: mean score and number of pixels per
    class and per region.
    """
    if name in ("mean", "sum"):
        total = flat.sum(dim=1, dtype=torch.float64)
        return total if name == "sum" else total / count
    if name == "max":
        return torch.where(valid, flat, -torch.inf).amax(dim=1)
    if name.startswith("quantile"):
        return quantile(flat, valid, float(name.partition(":")[2]))
    if name == "class_mean":
        return mean_of_known(groups["class"][0])
    if name.startswith("region"):
        means = groups["region"][0]
        return mean_of_known(means) if name == "region_mean" else max_of_known(means)
    other = groups["class"][1][:, 1:]
    if name == "foreground":
        return other.sum(dim=1).double() / count
    top = other.argmax(dim=1) + 1 if other.shape[1] else torch.zeros_like(count)
    return torch.where(other.sum(dim=1) > 0, top, 0)
