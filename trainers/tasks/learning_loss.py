"""A model that also learns to predict its loss.

Yoo & Kweon, "Learning Loss for Active Learning", CVPR 2019 (arXiv:1905.03677).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

WIDTH = 128  # of each level's layer
MARGIN = 1.0
# share of the training after which the predictor no longer changes the model: 120 of 200 epochs
DETACHED = 0.6


def ranking_loss(predicted: Tensor, losses: Tensor, margin: float = MARGIN) -> Tensor:
    """Return the mean over pairs (i, B - 1 - i) of max(0, margin - s (predicted_i - predicted_j)),
    s = 1 where loss i is greater and -1 elsewhere; 0 without a pair.

    predicted, losses (B,); the middle one of an odd batch is left out. The scale of the losses does
    not matter, their order in pairs does.

    >>> ranking_loss(torch.tensor([2.0, 0.5]), torch.tensor([0.3, 0.1])).item()
    0.0
    """
    half = len(losses) // 2
    if not half:
        return predicted.sum() * 0
    gap = predicted[:half] - predicted.flip(0)[:half]
    sign = torch.where(losses[:half] > losses.flip(0)[:half], 1.0, -1.0)
    return (margin - sign * gap).clamp_min(0).mean()


# layer, width, whether its input is meant, whether only the positive part
_Level = tuple[nn.Module, int, bool, bool]


class _Catch:
    """Keep what goes into or comes out of a layer, or its positive part; an object, so that a
    copied or pickled model catches its own.
    """

    def __init__(
        self, caught: dict[int, Tensor], number: int, is_input: bool, positive: bool
    ) -> None:
        self.caught, self.number = caught, number
        self.is_input, self.positive = is_input, positive

    def __call__(self, module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        x = args[0] if self.is_input else output
        self.caught[self.number] = x.relu() if self.positive else x


class PredictsLoss(nn.Module):
    """Return `model`'s logits; beside them a small module predicts the loss of each example from
    the model's levels.

    example: one input (1, C, H, W). Levels: what the last layer at each resolution of the model
    gives, (channels, at least 2 positions), its positive part where a max-pooling takes it; where
    there is none, the input of the last linear layer. Each is averaged over positions and goes
    through a layer of 128 units and a ReLU; one linear layer reads them side by side.
    """

    def __init__(self, model: nn.Module, example: Tensor) -> None:
        super().__init__()
        levels = _levels(model, example)
        self.layers = nn.ModuleList(nn.Linear(width, WIDTH) for _, width, *_ in levels)
        self.last = nn.Linear(WIDTH * len(levels), 1)
        self.model = model  # after the rest: `last_linear` is still the classifier's
        self._caught: dict[int, Tensor] = {}
        for number, (module, _, is_input, positive) in enumerate(levels):
            module.register_forward_hook(_Catch(self._caught, number, is_input, positive))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, classes)."""
        return self.model(x)  # type: ignore[no-any-return]

    def predicted(self, detach: bool = False) -> Tensor:
        """Return the predicted losses (B,) float32 of the last batch. detach: no gradient into the
        model.
        """
        levels = [
            self._caught[n].detach() if detach else self._caught[n] for n in range(len(self.layers))
        ]
        self._caught.clear()
        with torch.autocast(levels[0].device.type, enabled=False):
            pooled = [_pooled(x.float()) for x in levels]
            hidden = [layer(x).relu() for layer, x in zip(self.layers, pooled, strict=True)]
            predicted: Tensor = self.last(torch.cat(hidden, dim=1))[:, 0]
        return predicted

    def ranking_loss(self, losses: Tensor, progress: float) -> Tensor:
        """Return the ranking loss of the last batch, to be added to the model's own. losses (B,)
        before weighting; progress: share of the training that is done.
        """
        return ranking_loss(self.predicted(detach=progress >= DETACHED), losses.detach())


def _pooled(x: Tensor) -> Tensor:
    """Return the mean over positions, (B, D), of maps (B, D, H, W), tokens (B, T, D) or vectors (B,
    D).
    """
    return x.mean(dim=(2, 3)) if x.ndim == 4 else x.mean(dim=1) if x.ndim == 3 else x


@torch.no_grad()
def _levels(model: nn.Module, example: Tensor) -> list[_Level]:
    """Return the levels of a model, from one pass in evaluation mode."""
    by_size: dict[tuple[int, ...], _Level] = {}
    head: list[_Level] = []

    def see(module: nn.Module, args: tuple[Tensor, ...], output: object) -> None:
        if isinstance(module, nn.Linear):
            head[:] = [(module, module.in_features, True, False)]
        if isinstance(module, nn.MaxPool2d) and (level := by_size.get(tuple(args[0].shape[2:]))):
            by_size[tuple(args[0].shape[2:])] = (*level[:3], True)
        if not isinstance(output, Tensor) or output.ndim not in (3, 4):
            return
        where = tuple(output.shape[2:]) if output.ndim == 4 else (output.shape[1],)
        if torch.Size(where).numel() > 1:
            by_size[where] = (module, output.shape[1 if output.ndim == 4 else 2], False, False)

    leaves = [m for m in model.modules() if not list(m.children())]
    handles = [m.register_forward_hook(see) for m in leaves]
    before = model.training
    try:
        model.eval()(example)
    finally:
        model.train(before)
        for handle in handles:
            handle.remove()
    if not by_size and not head:
        raise ValueError(
            f"{type(model).__name__}: expected convolutions, tokens or a linear layer to predict"
            " the loss from, found none"
        )
    return list(by_size.values()) or head
