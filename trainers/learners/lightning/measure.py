"""Columns of a user's module over a loader, in one pass."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from coreset.trainers.learners.lightning.reading import Reading, forms, inputs
from coreset.trainers.tasks.measure import fixed_masks


@torch.no_grad()
def measure(
    modules: Sequence[pl.LightningModule],
    reading: Reading,
    loader: Any,
    moved: Callable[[pl.LightningModule, Any], Any],
    names: frozenset[str],
    methods: Mapping[str, str],
    precision: Any,
    members: int = 10,
    seed: int = 0,
) -> dict[str, NDArray[Any]]:
    """Return the columns `names`, float32, in the order of the loader.

    modules: an ensemble, or one, whose members are passes of MC dropout with fixed masks. moved:
    brings a batch to a module's device. methods: names of columns -> methods of the module.
    """
    out: dict[str, list[NDArray[np.float32]]] = {name: [] for name in names}

    def keep(name: str, values: Tensor) -> None:
        out[name].append(values.detach().float().cpu().numpy())

    first = modules[0]
    own, names = names & set(methods), names - set(methods)
    dropout = "member_probs" in names and len(modules) == 1
    of_logits = names & {"logits", "probs", "member_probs"}
    with fixed_masks(first, seed) as masks, reading.features(first) as caught:
        for batch in loader:
            batch = precision.convert_input(moved(first, batch))
            with precision.forward_context():
                for mask in masks:
                    mask.member = None
                if of_logits or "features" in names:
                    logits = _pass(reading, first, batch)
                if "features" in names:
                    keep("features", caught())
                if "logits" in names:
                    keep("logits", logits)
                if "probs" in names:
                    keep("probs", logits.float().softmax(dim=1))
                if dropout:
                    passes = []
                    for member in range(members):
                        for mask in masks:
                            mask.member = member
                        passes.append(_pass(reading, first, batch).float().softmax(dim=1))
                    keep("member_probs", torch.stack(passes, dim=1))
                elif "member_probs" in names:
                    others = [_pass(reading, m, batch) for m in modules[1:]]
                    each = [z.float().softmax(dim=1) for z in (logits, *others)]
                    keep("member_probs", torch.stack(each, dim=1))
                for name in own:
                    keep(name, _own(first, methods[name], batch))
    return {name: np.concatenate(parts) for name, parts in out.items()}


def _pass(reading: Reading, module: pl.LightningModule, batch: Any) -> Tensor:
    """Return logits of a batch; where the module gives none, let the batch go through for its
    features.
    """
    if reading.method is not None:
        return reading.logits(module, batch)
    for form in forms(batch):
        args, keywords = inputs(batch, form, module.forward)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                module(*args, **keywords)
        except Exception:  # the wrong form for this module
            continue
        return torch.empty(0)
    raise ValueError(f"{type(module).__name__}: forward takes no batch of the pool")


def _own(module: pl.LightningModule, method: str, batch: Any) -> Tensor:
    values: Tensor = getattr(module, method)(batch)
    return values
