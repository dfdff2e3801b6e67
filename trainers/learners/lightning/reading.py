"""How a user's module is read: where its logits come from, and which layer gives features."""

from __future__ import annotations

import difflib
import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_utilities.core.overrides import is_overridden
from torch import Tensor, nn

from coreset.trainers.learners.lightning.pool import LABEL_KEYS

PREDICT, PENULTIMATE = "predict_step", "penultimate"
OUTPUTS = ("logits", "probs", "probabilities", "out")  # entries; out: torchvision's segmentation


@dataclass(frozen=True)
class Reading:
    """method, form: what is called for logits, with the whole batch (`batch`), its first entry
    (`first`) or its entries as keywords (`keywords`); None where the module gives no logits, for
    the reason `no_logits`. probabilities: the method returns those. classes: number of logits,
    spatial: whether there is one set of them per position. layer: name of the layer that gives
    features, by its input or output; None for the reason `no_features`.
    """

    method: str | None
    form: str = "batch"
    probabilities: bool = False
    classes: int = 0
    spatial: bool = False
    layer: str | None = None
    of_input: bool = True
    no_logits: str = ""
    no_features: str = ""

    def logits(self, module: pl.LightningModule, batch: Any) -> Tensor:
        """Return logits (B, C), or (B, C, ...) of a module with one set per position."""
        assert self.method is not None
        output = as_output(_call(module, self.method, self.form, batch))
        return output.clamp_min(1e-12).log() if self.probabilities else output

    @contextmanager
    def features(self, module: pl.LightningModule) -> Iterator[Callable[[], Tensor]]:
        """Give a function that returns the features (B, D) of the batch that just went through."""
        caught: dict[str, Any] = {}
        if self.layer is None:
            yield lambda: torch.empty(0)
            return

        def keep(_layer: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            caught["x"] = args[0] if self.of_input else output

        handle = module.get_submodule(self.layer).register_forward_hook(keep)
        try:
            yield lambda: pooled(caught["x"])
        finally:
            handle.remove()


def pooled(value: Any) -> Tensor:
    """Return what a layer took or gave as vectors (B, D): maps and tokens as means over positions,
    the last of several.
    """
    while not isinstance(value, Tensor):
        if isinstance(value, Mapping):
            value = list(value.values())[-1]
        elif hasattr(value, "last_hidden_state"):
            value = value.last_hidden_state
        else:
            value = value[-1]
    if value.ndim >= 4:
        return value.flatten(2).mean(dim=2)
    return value.mean(dim=1) if value.ndim == 3 else value.flatten(1)


def as_output(output: Any) -> Tensor:
    """Return the tensor of floats of what a method returned: itself, its first entry of `OUTPUTS`,
    its attribute `logits`, or the first of a tuple. Raises TypeError for anything else.
    """
    if isinstance(output, Mapping):
        entries = ", ".join(map(str, output)) or "nothing"
        output = next((output[k] for k in OUTPUTS if k in output), output)
        if isinstance(output, Mapping):
            raise TypeError(
                f"returns a mapping with {entries}, and {', '.join(OUTPUTS[:3])} are what is read"
            )
    elif not isinstance(output, Tensor) and hasattr(output, "logits"):
        output = output.logits
    elif isinstance(output, tuple | list) and output:
        output = output[0]
    if not isinstance(output, Tensor):
        raise TypeError(f"returns {type(output).__name__}")
    if not output.is_floating_point() or output.ndim < 2:
        kind = str(output.dtype).removeprefix("torch.")
        raise TypeError(f"returns {kind} of shape {tuple(output.shape)}")
    return output


def forms(batch: Any) -> tuple[str, ...]:
    """Return the ways to hand a batch to a method, the likeliest first."""
    mapping = isinstance(batch, Mapping)
    return ("batch", "keywords", "first") if mapping else ("first", "batch")


def inputs(
    batch: Any, form: str, method: Callable[..., Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments that a form of call makes of a batch, as keywords those that the method
    takes.
    """
    if form == "first" and isinstance(batch, tuple | list):
        return (batch[0],), {}
    if form == "first" and isinstance(batch, Mapping):
        return (next(v for k, v in batch.items() if k not in LABEL_KEYS),), {}
    if form == "keywords" and isinstance(batch, Mapping):
        takes = inspect.signature(method).parameters
        any_name = any(p.kind is p.VAR_KEYWORD for p in takes.values())
        entries = {k: v for k, v in batch.items() if k not in LABEL_KEYS}
        return (), {k: v for k, v in entries.items() if any_name or k in takes}
    return (batch,), {}


def _call(module: pl.LightningModule, method: str, form: str, batch: Any) -> Any:
    if method == PREDICT:
        return module.predict_step(batch, 0)
    called = getattr(module, method)
    args, keywords = inputs(batch, form, called)
    return called(*args, **keywords)


@torch.no_grad()
def find_reading(
    module: pl.LightningModule, batch: Any, size: int, logits: str, features: str
) -> Reading:
    """Return how a module is read, from one batch of `size` examples in evaluation mode.

    logits: a method's name; `predict_step` stands for forward where the module has none of its own.
    features: a layer's name, or `penultimate`: the input of the last linear layer that ran. Raises
    ValueError for a method or layer that is not there.
    """
    if not callable(getattr(module, logits, None)):
        raise ValueError(f"logits: {type(module).__name__} has no method {logits!r}")
    named = features != PENULTIMATE
    layers = dict(module.named_modules())
    if named and features not in layers:
        near = difflib.get_close_matches(features, [n for n in layers if n], n=3, cutoff=0.3)
        hint = f"; near: {', '.join(near)}" if near else ""
        raise ValueError(f"features: {type(module).__name__} has no layer {features!r}{hint}")
    ran: list[str] = []
    names = {layer: name for name, layer in layers.items()}
    watched = [layers[features]] if named else [m for m in names if isinstance(m, nn.Linear)]
    handles = [
        layer.register_forward_hook(lambda m, _args, _out: ran.append(names[m]))
        for layer in watched
    ]
    try:
        reading = _logits(module.eval(), batch, size, logits)
    finally:
        for handle in handles:
            handle.remove()
    name = type(module).__name__
    if not ran:
        what = f"the layer {features!r}" if named else "no nn.Linear"
        why = f"{what} {'did not run' if named else 'ran'} in {name}; name a layer with features="
        return _with(reading, layer=None, no_features=why)
    return _with(reading, layer=ran[-1], of_input=not named)


def _with(reading: Reading, **changes: Any) -> Reading:
    return Reading(**{**vars(reading), **changes})


def _logits(module: pl.LightningModule, batch: Any, size: int, logits: str) -> Reading:
    own = is_overridden(PREDICT, module, pl.LightningModule)
    if logits == PREDICT and own:
        tries = [(PREDICT, "batch")]
    else:
        method = "forward" if logits == PREDICT else logits
        tries = [(method, form) for form in forms(batch)]
    reasons: list[str] = []
    for method, form in tries:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                output = as_output(_call(module, method, form, batch))
        except Exception as error:  # a user's method raises whatever it stumbles over
            reasons.append(f"{method}({form}): {error}".split("\n")[0])
            continue
        if len(output) != size:
            reasons.append(f"{method}({form}) returns shape {tuple(output.shape)}")
            continue
        flat = output.flatten(1) if output.ndim == 2 else output
        shares = bool((flat >= 0).all()) and torch.allclose(
            flat.float().sum(dim=1), torch.ones_like(flat.float().sum(dim=1)), atol=1e-3
        )
        return Reading(method, form, shares, output.shape[1], output.ndim > 2)
    advice = "return them from predict_step, or name the method that does with logits="
    if logits == PREDICT and own and _logits(module, batch, size, "forward").method is not None:
        advice = "its forward returns floats of that shape: logits=forward reads those"
    why = (
        f"{type(module).__name__} gives no logits (examples, classes): {'; '.join(reasons)};"
        f" {advice}"
    )
    return Reading(None, no_logits=why)
