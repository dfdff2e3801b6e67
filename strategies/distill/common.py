"""What the distillation methods share: real images to begin with, random draws by step, checks of
options.
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor

from coreset.distillation import Source
from coreset.distillation.nn.decode import pack

STARTS = ("real", "noise")


def stream(seed: int, *numbers: int) -> np.random.Generator:
    """Return the generator of one step of one purpose: the same however the run came there."""
    return np.random.default_rng([seed, *numbers])


def torch_stream(seed: int, *numbers: int) -> torch.Generator:
    """Return the same for torch, on the CPU."""
    return torch.Generator().manual_seed(int(stream(seed, *numbers).integers(2**63)))


def start_images(
    source: Source, ipc: int, seed: int, start: str = "real", factor: int = 1
) -> Tensor:
    """Return the images (classes x ipc, C, S, S) a method begins with, class after class.

    start: `real` = random images of the class, with a decode factor f each a mosaic of f^2 of them
    made smaller; `noise` = normal noise. Raises ValueError when a class has fewer images than that
    takes, and for another start.
    """
    if start not in STARTS:
        raise ValueError(f"start: expected {' or '.join(STARTS)}, got {start!r}")
    classes = len(source.classes)
    if start == "noise":
        shape = (classes * ipc, *source.shape)
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(source.device)
    need, fewest = ipc * factor**2, int(source.counts.min())
    if need > fewest:
        name = source.classes[int(source.counts.argmin())]
        raise ValueError(
            f"start: {ipc} images of {factor} x {factor} take {need} real ones of each class, class"
            f" {name!r} has {fewest}"
        )
    rows = np.concatenate([r[:need] for r in source.rows(seed)])
    return pack(source.tensor(rows), factor)


def hard_labels(source: Source, ipc: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return 0 .. classes - 1, each `ipc` times, class after class."""
    return np.repeat(np.arange(len(source.classes)), ipc)


def real_batch(source: Source, wanted: int) -> int:
    """Return how many real images of a class a step takes; warn when a class has fewer than
    `wanted`, of which all are taken then.
    """
    fewest = int(source.counts.min())
    if fewest < wanted:
        name = source.classes[int(source.counts.argmin())]
        warnings.warn(
            f"real: class {name!r} has {fewest} images, fewer than the batch of {wanted}: a step"
            " takes all there are",
            stacklevel=2,
        )
    return wanted


def positive(**values: float) -> None:
    """Raise ValueError naming the first option that is not above zero."""
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{name}: expected more than 0, got {value!r}")
