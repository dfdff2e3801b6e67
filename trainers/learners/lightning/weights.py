"""Weights of a module as they are kept in a run folder."""

from __future__ import annotations

import torch
from torch import nn


def tensors_of(module: nn.Module) -> dict[str, torch.Tensor]:
    """Return copies of a module's state: safetensors refuses tensors that share memory."""
    return {
        name: value.detach().cpu().contiguous().clone()
        for name, value in module.state_dict().items()
        if isinstance(value, torch.Tensor)
    }
