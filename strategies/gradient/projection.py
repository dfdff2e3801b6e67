"""Per-example gradients of any model, projected to a few thousand numbers that keep their inner
products.

Random signs: Achlioptas, "Database-friendly random projections", JCSS 2003; for gradients, Park et
al., "TRAK", ICML 2023 (arXiv:2303.14186), and Xia et al., "LESS", ICML 2024, section 4
(arXiv:2402.04333), from which the Adam form comes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap
from torch.utils._pytree import tree_map

Predict = Callable[..., Any]

_BLOCK = 2**22  # signs made at a time


@lru_cache(maxsize=8)
def _signs(seed: int, block: int, rows: int, dim: int) -> Tensor:
    """Return rows [block * rows, (block + 1) * rows) of the projection, ±1."""
    bits = np.random.Generator(np.random.Philox(key=[seed, block])).bytes((rows * dim + 7) // 8)
    signs = np.unpackbits(np.frombuffer(bits, np.uint8))[: rows * dim].reshape(rows, dim)
    return torch.from_numpy(signs.astype(np.float32)).mul_(2).sub_(1)


def project(x: Tensor, dim: int, seed: int, offset: int = 0) -> Tensor:
    """Return x R / sqrt(dim), (n, dim), for a fixed matrix R of random signs that is made block by
    block and never held whole.

    x (n, P); offset: the row of R that belongs to x's first column, so that a long vector can come
    in pieces whose projections add up. Squared lengths and inner products are kept in expectation,
    with a relative error of about sqrt(2 / dim).

    >>> x = torch.arange(10.0).reshape(1, 10)
    >>> torch.allclose(
    ...     project(x, 4, 0), project(x[:, :3], 4, 0) + project(x[:, 3:], 4, 0, offset=3)
    ... )
    True
    """
    if dim < 1 or seed < 0:
        raise ValueError(f"expected dim >= 1 and seed >= 0, got dim {dim} and seed {seed}")
    rows = max(1, _BLOCK // dim)
    out = x.new_zeros(len(x), dim)
    start = 0
    while start < x.shape[1]:
        block, inside = divmod(offset + start, rows)
        stop = min(x.shape[1], start + rows - inside)
        signs = _signs(seed, block, rows, dim)[inside : inside + stop - start]
        out += x[:, start:stop] @ signs.to(x)
        start = stop
    return out.div_(dim**0.5)


def _step(g: Tensor, state: Mapping[str, Any], betas: tuple[float, float], eps: float) -> Tensor:
    """Return the step Adam would make next on the gradients `g` (n, ...), without the learning
    rate.
    """
    (b1, b2), step = betas, float(state["step"]) + 1
    mean = (b1 * state["exp_avg"] + (1 - b1) * g) / (1 - b1**step)
    square = (b2 * state["exp_avg_sq"] + (1 - b2) * g * g) / (1 - b2**step)
    return torch.div(mean, square.sqrt() + eps)


def _adam(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, Tensor]
) -> dict[str, Callable[[Tensor], Tensor]]:
    """Return `_step` for each parameter. Raises ValueError when the optimizer keeps no moments of
    one.
    """
    groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    out: dict[str, Callable[[Tensor], Tensor]] = {}
    for name, p in parameters.items():
        state, group = optimizer.state.get(p, {}), groups.get(id(p))
        if group is None or "exp_avg_sq" not in state:
            raise ValueError(
                "optimizer: expected an Adam that has made a step, but it has no moments of the"
                f" parameter '{name}'"
            )
        out[name] = partial(_step, state=state, betas=group["betas"], eps=group["eps"])
    return out


def projected_gradients(
    model: torch.nn.Module,
    loss_fn: Callable[[Predict, Any], Tensor],
    batches: Iterable[Any],
    dim: int,
    seed: int,
    parameters: Iterable[str] | None = None,
    optimizer: torch.optim.Optimizer | None = None,
) -> Tensor:
    """Return the projected loss gradient of every example, (N, dim) float32 on the CPU, in the
    order of `batches`.

    loss_fn(predict, batch): the loss of a batch of one, with `predict` called like the model; a
    batch is any nesting of tensors whose first axis is the examples. Every example is
    differentiated by itself, so the batching changes nothing. parameters: names to differentiate
    (default: all that require a gradient). optimizer: an Adam(W) that has made steps turns each
    gradient into the step Adam would make next (LESS, for training examples; leave it out for
    validation examples). The model runs in eval mode and is left as it was. Memory: one gradient
    per example of a batch; cost of the projection: parameters x dim per example.

    >>> layer = torch.nn.Linear(2, 1, bias=False)
    >>> g = projected_gradients(
    ...     layer, lambda predict, x: predict(x).sum(), [torch.ones(3, 2)], dim=8, seed=0
    ... )
    >>> g.shape, bool((g[0] == g[2]).all())
    (torch.Size([3, 8]), True)
    """
    every = dict(model.named_parameters())
    named = [n for n, p in every.items() if p.requires_grad or parameters is not None]
    wanted = named if parameters is None else list(parameters)
    unknown = [n for n in wanted if n not in named]
    if unknown or not wanted:
        raise ValueError(
            f"parameters: {', '.join(unknown) or 'nothing to differentiate'}; the model has"
            f" {', '.join(named) or 'none that require a gradient'}"
        )
    values = {n: every[n].detach() for n in wanted}
    turns = _adam(optimizer, {n: every[n] for n in wanted}) if optimizer else {}

    def loss(values: dict[str, Tensor], example: Any) -> Tensor:
        one = tree_map(lambda leaf: leaf[None], example)
        return loss_fn(lambda *args, **kwargs: functional_call(model, values, args, kwargs), one)

    each = vmap(grad(loss), in_dims=(None, 0))
    out = []
    with _eval_mode(model):
        for batch in batches:
            gradients = each(values, batch)
            parts, offset = [], 0
            for name in wanted:
                g = gradients[name].detach()
                g = (turns[name](g) if turns else g).flatten(1).float()
                parts.append(project(g, dim, seed, offset))
                offset += g.shape[1]
            out.append(torch.stack(parts).sum(dim=0).cpu())
    return torch.cat(out) if out else torch.zeros(0, dim)


@contextmanager
def _eval_mode(model: torch.nn.Module) -> Iterator[None]:
    """Put every module in eval mode, and each back into its own at the end."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
