"""Where a scorer with a model computes."""

from __future__ import annotations

import torch

from coreset.core.compute import Compute


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
    def compute(self) -> Compute:
        """Return what it needs of a machine: a GPU unless it is told otherwise, with `auto` only
        where there is one.
        """
        return Compute() if self.device == "cpu" else Compute(gpus=1, or_cpu=self.device == "auto")
