"""All signals of a model over some rows in one fused pass: features, logits, probs, member_probs,
predicted_loss.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from coreset.distillation.nn.layers import last_linear
from coreset.trainers.data.base import ImageData
from coreset.trainers.data.batches import EvalBatches, as_channels, prepare
from coreset.trainers.tasks.learning_loss import PredictsLoss

MODEL_SIGNALS = frozenset({"features", "logits", "probs", "member_probs", "predicted_loss"})


_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)


class _Mask:
    """One dropout mask per member, the same for every example: any batching gives the same values,
    and joint entropies make sense.
    """

    def __init__(self, p: float, seed: int) -> None:
        self.p, self.seed = p, seed
        self.member: int | None = None  # None: nothing is dropped
        self.masks: dict[tuple[int, tuple[int, ...]], Tensor] = {}

    def __call__(self, module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        x = args[0]
        if self.member is None:
            return x
        per_channel = isinstance(module, nn.Dropout1d | nn.Dropout2d | nn.Dropout3d) and x.ndim > 2
        shape = (1, x.shape[1]) + ((1,) * (x.ndim - 2) if per_channel else tuple(x.shape[2:]))
        key = (self.member, shape)
        if key not in self.masks:
            rng = np.random.default_rng([self.seed, self.member])
            keep = torch.from_numpy((rng.random(shape) >= self.p).astype(np.float32) / (1 - self.p))
            self.masks[key] = keep.to(x.device)
        return x * self.masks[key].to(x.dtype)


def dropouts(model: nn.Module) -> list[nn.Module]:
    """Return the dropout layers that drop anything: what makes the members of MC dropout differ."""
    return [m for m in model.modules() if isinstance(m, _DROPOUTS) and 0 < m.p < 1]


@contextmanager
def fixed_masks(model: nn.Module, seed: int) -> Iterator[list[_Mask]]:
    """Replace the dropout of an evaluated model by fixed masks."""
    masks, handles = [], []
    for number, module in enumerate(dropouts(model)):
        mask = _Mask(float(cast(nn.Dropout, module).p), seed * 1009 + number)
        masks.append(mask)
        handles.append(module.register_forward_hook(mask))
    try:
        yield masks
    finally:
        for handle in handles:
            handle.remove()


def _head_only(model: nn.Module, head: nn.Linear) -> bool:
    """Return whether the only active dropout is the one right before the last linear layer: then
    members share everything below it.
    """
    active = dropouts(model)
    ordered = [m for m in model.modules() if not list(m.children())]
    return (
        len(active) == 1 and isinstance(active[0], nn.Dropout) and ordered[-2:] == [active[0], head]
    )


@torch.no_grad()
def measure(
    model: nn.Module,
    data: ImageData,
    indices: NDArray[np.int64],
    names: Iterable[str],
    *,
    device: torch.device | str = "cpu",
    members: int = 10,
    seed: int = 0,
    batch_size: int = 512,
    bf16: bool = False,
) -> dict[str, NDArray[Any]]:
    """Return the columns `names` at `indices`, float32: features (n, D) = input of the last linear
    layer, logits and probs (n, C), member_probs (n, T, C), predicted_loss (n,) of a model that
    learned to predict its loss.

    members: T passes with dropout on, each with one fixed mask (MC dropout). Raises ValueError for
    a name that no model gives, and for member_probs of a model without dropout or predicted_loss of
    one that predicts none. One forward pass serves all names; members share the layers below the
    dropout when it is the last one.
    """
    wanted = frozenset(names)
    if wanted - MODEL_SIGNALS:
        raise ValueError(
            f"names: a model gives {sorted(MODEL_SIGNALS)}, not {sorted(wanted - MODEL_SIGNALS)}"
        )
    if "predicted_loss" in wanted and not isinstance(model, PredictsLoss):
        raise ValueError(
            "predicted_loss: the model does not predict its loss; make the Fitter with"
            " predict_loss=True"
        )
    model = model.to(device).eval()
    head = last_linear(model)
    caught: dict[str, Tensor] = {}
    handle = head.register_forward_hook(lambda _, args, output: caught.update(x=args[0], z=output))
    mean, std = (t.to(device) for t in as_channels(data.mean, data.std))
    cast = torch.autocast(torch.device(device).type, torch.bfloat16) if bf16 else nullcontext()
    out: dict[str, NDArray[np.float32]] = {}
    shared = _head_only(model, head)

    def write(name: str, start: int, values: Tensor) -> None:
        block = values.float().cpu().numpy()
        if name not in out:
            out[name] = np.empty((len(indices), *block.shape[1:]), np.float32)
        out[name][start : start + len(block)] = block

    try:
        with fixed_masks(model, seed) as masks, cast:
            if "member_probs" in wanted and not masks:
                raise ValueError(
                    "member_probs: the model has no dropout, so its passes would all be the same;"
                    " use a model with dropout"
                )
            start = 0
            for batch in EvalBatches(data.images, None, indices, batch_size):
                x = prepare({"image": batch["image"].to(device)}, mean, std)
                for handle_mask in masks:
                    handle_mask.member = None
                plain = model(x)
                features = caught["x"]
                if (
                    plain is caught["z"]
                    # in float32 whatever the rest computes in: logits are a linear function of
                    # features, exactly
                ):
                    plain = _linear(head, features)
                if "features" in wanted:
                    write("features", start, features.flatten(1))
                if "logits" in wanted:
                    write("logits", start, plain)
                if isinstance(model, PredictsLoss) and "predicted_loss" in wanted:
                    write("predicted_loss", start, model.predicted())
                if "probs" in wanted:
                    write("probs", start, plain.float().softmax(dim=1))
                if "member_probs" in wanted:
                    passes = []
                    for member in range(members):
                        for mask in masks:
                            mask.member = member
                        logits = (
                            _linear(head, masks[0](nn.Dropout(), (features,), features))
                            if shared
                            else model(x)
                        )
                        passes.append(logits.float().softmax(dim=1))
                    write("member_probs", start, torch.stack(passes, dim=1))
                start += len(x)
    finally:
        handle.remove()
    return out


def _linear(head: nn.Linear, features: Tensor) -> Tensor:
    with torch.autocast(features.device.type, enabled=False):
        return nn.functional.linear(
            features.float(), head.weight.float(), None if head.bias is None else head.bias.float()
        )
