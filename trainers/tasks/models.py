"""Models for the loops: a small CNN, an MLP, a linear probe, any model of timm; each is made as
`factory(num_classes=, in_channels=, image_size=)`.
"""

from __future__ import annotations

from typing import cast

from torch import nn

from coreset.scorers.image.backbone import LITE0, backbone


def small_cnn(
    num_classes: int, in_channels: int, image_size: int, width: int = 32, dropout: float = 0.2
) -> nn.Module:
    """Return three 3 x 3 convolutions of `width`, 2 and 4 times `width` channels, each with batch
    norm, the first two halving the image.

    The last map is averaged and dropped out before the last layer, so that MC dropout works. For
    images from 8 x 8 to 64 x 64.
    """
    if image_size < 4:
        raise ValueError(
            f"image_size: the two poolings need at least 4 pixels a side, got {image_size}"
        )
    layers: list[nn.Module] = []
    channels = [in_channels, width, 2 * width, 4 * width]
    for block, (before, after) in enumerate(zip(channels, channels[1:], strict=False)):
        layers += [
            nn.Conv2d(before, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after),
            # the greatest of positive parts is the positive part of the greatest: a quarter of the
            # work
            *([nn.MaxPool2d(2)] if block < 2 else []),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(
        *layers,
        nn.AvgPool2d(
            image_size // 4
        ),  # whose gradient stays channels-last, unlike AdaptiveAvgPool2d's
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(4 * width, num_classes),
    )


def mlp(
    num_classes: int, in_channels: int, image_size: int, width: int = 256, dropout: float = 0.2
) -> nn.Module:
    """Return two hidden layers of `width` units over the flattened image,
    each followed by dropout.
    """
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs in (in_channels * image_size**2, width):
        layers += [nn.Linear(inputs, width), nn.ReLU(inplace=True), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(width, num_classes))


def linear(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    """Return one linear layer over the flattened image."""
    return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * image_size**2, num_classes))


def timm_model(
    num_classes: int,
    in_channels: int,
    image_size: int,
    name: str = "resnet18",
    pretrained: bool = False,
    drop_rate: float = 0.0,
    stem: str = "default",
) -> nn.Module:
    """Return a model of timm by its name.

    pretrained: with the weights timm knows for it (downloaded once); those of
    `tf_efficientnet_lite0` come in a package (extra `weights`), with no network. drop_rate: dropout
    before the last layer; above 0 for MC dropout. stem: `cifar` gives a ResNet a 3 x 3 convolution
    of stride 1 and no max-pooling in front, for images below 64 x 64 (He et al., "Deep Residual
    Learning for Image Recognition", CVPR 2016, section 4.2); its new first layer starts from random
    weights. Raises ValueError for an unknown name or stem.
    """
    import timm

    if stem not in ("default", "cifar"):
        raise ValueError(f"stem: expected default or cifar, got {stem!r}")
    if not timm.is_model(name):
        near = ", ".join(timm.list_models(f"*{name.split('.')[0]}*")[:5])
        raise ValueError(f"name: timm has no model {name!r}" + (f"; near: {near}" if near else ""))
    sized = {"img_size": image_size} if name.startswith(("vit_", "deit", "swin")) else {}
    created = timm.create_model(
        name,
        pretrained=pretrained and name != LITE0,
        num_classes=num_classes,
        in_chans=in_channels,
        drop_rate=drop_rate,
        **sized,
    )
    model = cast(nn.Module, created)
    if pretrained and name == LITE0:
        packaged_weights(model, in_channels)
    if stem == "cifar":
        if not (isinstance(getattr(model, "conv1", None), nn.Conv2d) and hasattr(model, "maxpool")):
            raise ValueError(
                f"stem: cifar is for ResNets with one first convolution, {name} is none"
            )
        model.conv1 = nn.Conv2d(
            in_channels, cast(nn.Conv2d, model.conv1).out_channels, 3, padding=1, bias=False
        )
        nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
        model.maxpool = nn.Identity()
    return model


def packaged_weights(model: nn.Module, in_channels: int) -> None:
    """Give a `tf_efficientnet_lite0` of timm its packaged ImageNet weights, all but the classifier;
    the first convolution is adapted to `in_channels` as timm does it.

    Raises ImportError with the install line when the package is missing.
    """
    from timm.models import adapt_input_conv

    state = backbone(LITE0)[0].state_dict()
    state["conv_stem.weight"] = adapt_input_conv(in_channels, state["conv_stem.weight"])
    left = model.load_state_dict(state, strict=False)
    assert not left.unexpected_keys
    assert {key.split(".")[0] for key in left.missing_keys} <= {"classifier"}
