"""What a network is made of: the layers that others look at."""

from __future__ import annotations

from torch import nn


def last_linear(model: nn.Module) -> nn.Linear:
    """Return the last `nn.Linear` in the order of the modules: its input is the signal `features`,
    its output `logits`. ValueError when there is none.

    >>> last_linear(nn.Sequential(nn.Linear(3, 2), nn.ReLU())).out_features
    2
    """
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise ValueError(
            f"{type(model).__name__}: expected a model that ends in an nn.Linear, found none in it"
        )
    return layers[-1]
