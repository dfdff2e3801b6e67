"""Where a scorer with a model computes."""

from __future__ import annotations

import torch


def torch_device(device: str) -> torch.device:
    """Return the device of a name; auto = the GPU when there is one.

    >>> torch_device("cpu")
    device(type='cpu')
    """
    return torch.device(
        ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    )


class OnDevice:
    """A scorer with a field `device`."""

    device: str

    @property
    def gpu(self) -> bool:
        """Return whether a GPU is worth having."""
        return self.device != "cpu"
