"""The three distances against numpy float64 on the same maps."""

import numpy as np
import pytest
import torch

from coreset.distillation.nn.convnet import convnet, random_net
from coreset.strategies.distill.matching import DISTANCES, FREQUENCIES, class_means, real_means

CLASSES, REAL, MADE = 3, 5, 2


@pytest.fixture(scope="module")
def setting():
    net = random_net(convnet(CLASSES, 2, 8, width=4), 0).double()
    rng = np.random.default_rng(0)
    real, distilled = (
        torch.from_numpy(rng.normal(size=(CLASSES, n, 2, 8, 8))) for n in (REAL, MADE)
    )
    return net, real, distilled


def unit(x):
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


def by_hand(name, net, real, distilled, seed):
    maps = [[m.numpy() for m in net.maps(x.flatten(0, 1))] for x in (real, distilled)]
    if name == "mean":
        r, s = (m[-1].reshape(CLASSES, -1, m[-1].shape[1]).mean(1) for m in maps)
        return ((r - s) ** 2).sum()
    if name == "attention":
        total = 0.0
        for layer in range(len(maps[0]) - 2):  # every ReLU but the last
            a = [unit((np.abs(m[layer]) ** 4).sum(1).reshape(len(m[layer]), -1)) for m in maps]
            r, s = (v.reshape(CLASSES, -1, v.shape[1]).mean(1) for v in a)
            total += 100 * ((r - s) ** 2).sum()
        return total + by_hand("mean", net, real, distilled, seed)
    t = (
        torch.randn(
            maps[0][-1].shape[1], FREQUENCIES, generator=torch.Generator().manual_seed(seed)
        )
        .double()
        .numpy()
    )
    total = 0.0
    for c in range(CLASSES):
        phi = [
            np.exp(1j * (unit(m[-1]).reshape(CLASSES, -1, m[-1].shape[1])[c] @ t)).mean(0)
            for m in maps
        ]
        amplitude = (np.abs(phi[0]) - np.abs(phi[1])) ** 2
        phase = 2 * (np.abs(phi[0]) * np.abs(phi[1]) - (phi[0] * phi[1].conj()).real)
        total += 300 * np.sqrt(0.5 * amplitude + 0.5 * np.maximum(phase, 0)).mean()
    return total


@pytest.mark.parametrize("name", DISTANCES)
def test_distance_is_the_formula_and_its_slope(name, setting):
    net, real, distilled = setting
    distance = DISTANCES[name]
    means = real_means(distance, net, list(real), 7)

    def loss(x):
        return distance.compare(
            means, class_means(distance.describe(net, x.flatten(0, 1), 7), CLASSES)
        )

    x = distilled.clone().requires_grad_()
    value = loss(x)
    with torch.no_grad():
        want = by_hand(name, net, real, distilled, 7)
    assert float(value.detach()) == pytest.approx(want, rel=1e-9)
    (slope,) = torch.autograd.grad(value, x)
    move = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=x.dtype)
    with torch.no_grad():
        difference = (loss(distilled + 1e-6 * move) - loss(distilled - 1e-6 * move)) / 2e-6
    assert float((slope * move).sum()) == pytest.approx(float(difference), rel=1e-5)


@pytest.mark.parametrize("name", DISTANCES)
def test_the_same_images_are_at_no_distance_and_blocks_do_not_matter(name, setting):
    net, real, _ = setting
    x = real
    distance = DISTANCES[name]
    whole = real_means(distance, net, list(x), 1)
    for a, b in zip(whole, real_means(distance, net, list(x), 1, block=2), strict=True):
        torch.testing.assert_close(a, b)
    with torch.no_grad():
        same = class_means(distance.describe(net, x.flatten(0, 1), 1), CLASSES)
    assert float(distance.compare(whole, same)) < 1e-3
