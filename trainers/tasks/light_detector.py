"""A detector that a CPU trains in under a minute: FCOS on frozen, packaged ImageNet weights."""

from __future__ import annotations

import hashlib
from typing import cast

import timm
import torch
from torch import Tensor, nn
from torchvision.models.detection import FCOS
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import FCOSHead
from torchvision.ops import FeaturePyramidNetwork

from coreset.scorers.image.backbone import LITE0, backbone

STRIDE = 8  # pixels between the places that a box may be told from
_REMEMBERED = 4096  # images whose maps are kept, some 100 kB each at 160 x 120 pixels
_MAPS: dict[tuple[str, bytes], tuple[Tensor, ...]] = {}
_CHANNELS = (40, 112, 320)  # of EfficientNet-Lite0 at strides 8, 16 and 32


@torch.no_grad()
def frozen_maps(body: nn.Module, image: Tensor) -> tuple[Tensor, ...]:
    """Return the maps (1, C, h, w) of one image (3, H, W), remembered by its pixels: what never
    trains is computed once for all steps, models and seeds, and the same in any batch.
    """
    key = (str(image.device), hashlib.sha256(image.cpu().numpy().tobytes()).digest())
    if key not in _MAPS:
        while len(_MAPS) >= _REMEMBERED:
            _MAPS.pop(next(iter(_MAPS)))
        _MAPS[key] = tuple(m.clone() for m in body(image[None]))
    return _MAPS[key]


class FrozenLite0(nn.Module):
    """EfficientNet-Lite0 (extra `weights`), never trained, under a feature pyramid of which only
    the finest map (stride 8) is used.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = timm.create_model(LITE0, features_only=True, out_indices=(2, 3, 4))
        left = self.body.load_state_dict(backbone(LITE0)[0].state_dict(), strict=False)
        assert not left.missing_keys
        self.body.requires_grad_(False).eval()
        self.pyramid = FeaturePyramidNetwork(list(_CHANNELS), width)
        self.out_channels = width

    def train(self, mode: bool = True) -> FrozenLite0:
        """Keep the body in evaluation mode: its batch norms stay as they came."""
        super().train(mode)
        self.body.eval()
        return self

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return the finest map of images (B, 3, H, W)."""
        each = [frozen_maps(self.body, image) for image in x]
        maps = [torch.cat(level) for level in zip(*each, strict=True)]
        return {"0": self.pyramid(dict(zip("012", maps, strict=True)))["0"]}


def light_detector(
    num_classes: int,
    in_channels: int,
    image_size: int,
    width: int = 64,
    convolutions: int = 2,
    min_size: int = 120,
    max_size: int = 320,
) -> nn.Module:
    """Return FCOS (Tian et al., "FCOS: Fully Convolutional One-Stage Object Detection", ICCV 2019)
    with one level of stride 8 on a frozen EfficientNet-Lite0.

    width: channels of pyramid and head (a multiple of 32); convolutions: of the head's two towers.
    min_size, max_size: shorter and longer side in pixels inside the network. in_channels and
    image_size are the small squares' and play no part. Raises ImportError with the install line
    where the weights are missing.

    An anchor's side is the stride: with one level, boxes of any size are told from there.
    """
    anchors = AnchorGenerator(((STRIDE,),), ((1.0,),))
    head = FCOSHead(width, 1, num_classes, convolutions)
    half = [0.5, 0.5, 0.5]  # what the weights were trained with
    made = FCOS(
        FrozenLite0(width), num_classes, min_size=min_size, max_size=max_size,
        image_mean=half, image_std=half, anchor_generator=anchors, head=head, score_thresh=0.05,
    )  # fmt: skip
    return cast(nn.Module, made)
