"""Linear layers with their weights laid out for the processor once instead of at every call: the
same values to rounding.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def packed_linear(weight: Tensor, bias: Tensor | None) -> Callable[[Tensor], Tensor] | None:
    """Return the function x -> x W^T + b on packed weights (oneDNN), or None where this torch or
    this processor has none.

    >>> f = packed_linear(torch.eye(4), None)
    >>> f is None or torch.equal(f(torch.ones(2, 4)), torch.ones(2, 4))
    True
    """
    try:
        pack, product = torch.ops.mkldnn._reorder_linear_weight, torch.ops.mkldnn._linear_pointwise
        packed = pack(weight.detach().contiguous(), None)
    except (AttributeError, RuntimeError, TypeError):
        return None
    return lambda x: product(x, packed, bias, "none", [], "")


@torch.inference_mode()
def pack(net: nn.Module) -> int:
    """Let the linear layers of a language model on a CPU work on packed weights; return how many
    do.

    Plain weights that nothing else uses are freed, so the network is for reading only from then on.
    Its answer to a few tokens is compared before and after: where something reaches for the plain
    weights, or the answer is another one, everything stays as it was (0).
    """
    uses: dict[int, int] = {}
    for module in net.modules():
        for parameter in module.parameters(recurse=False):
            uses[id(parameter)] = uses.get(id(parameter), 0) + 1
    probe = torch.arange(8)[None] % net.get_input_embeddings().weight.shape[0]  # type: ignore[operator]
    before = net(probe, use_cache=False).logits.float()
    plain: dict[nn.Linear, Tensor] = {}
    for module in net.modules():
        product = packed_linear(module.weight, module.bias) if type(module) is nn.Linear else None
        if product is not None and isinstance(module, nn.Linear):
            plain[module] = module.weight
            module.forward = product  # type: ignore[assignment,method-assign]
            if uses[id(module.weight)] == 1:
                module.weight = nn.Parameter(
                    torch.empty(0, dtype=module.weight.dtype), requires_grad=False
                )
    try:
        after = net(probe, use_cache=False).logits.float()
    except RuntimeError:
        after = torch.full_like(before, torch.nan)
    tolerance = (1e-3 if net.dtype == torch.float32 else 0.1) * float(before.abs().max())
    if not torch.allclose(before, after, rtol=0, atol=tolerance):
        for linear, weight in plain.items():
            del linear.forward  # the instance's; the class has its own
            linear.weight = nn.Parameter(weight, requires_grad=False)
        return 0
    return len(plain)
