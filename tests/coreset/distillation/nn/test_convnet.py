"""ConvNet-D against the published parameter counts and a float64 transcription of its layers."""

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate

from coreset.distillation.nn.convnet import ConvNet, blocks_for, convnet, draw_weights, random_net

COUNTS = [(10, 3, 32, 320_010), (10, 1, 28, 317_706), (100, 3, 32, 504_420), (200, 3, 64, 857_160)]


@pytest.mark.parametrize(("classes", "channels", "size", "count"), COUNTS)
def test_parameters_are_those_of_the_literature(classes, channels, size, count):
    net = convnet(classes, channels, size)
    assert sum(p.numel() for p in net.parameters()) == count
    x = torch.zeros(2, channels, size, size)
    assert net(x).shape == (2, classes)
    if size <= 32:
        assert net.embed(x).shape == (2, 2048)


def test_padding_depends_on_28_pixels_not_on_the_channels():
    sixteen = ConvNet(10, 1, 16, 64, 2)
    assert sixteen.features[0].padding == (1, 1)
    assert sixteen.embed(torch.zeros(1, 1, 16, 16)).shape == (1, 64 * 16)
    assert ConvNet(10, 3, 28).features[0].padding == (3, 3)


def reference(net: ConvNet, x: np.ndarray) -> np.ndarray:
    """Convolution, instance norm, ReLU, mean of 2 x 2, written out in float64."""
    convs = [m for m in net.features if isinstance(m, torch.nn.Conv2d)]
    norms = [m for m in net.features if isinstance(m, torch.nn.GroupNorm)]
    for conv, norm in zip(convs, norms, strict=True):
        w, b = (p.detach().double().numpy() for p in (conv.weight, conv.bias))
        pad = conv.padding[0]
        x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
        out = np.zeros((len(x), len(w), x.shape[2] - 2, x.shape[3] - 2))
        for n in range(len(x)):
            for o in range(len(w)):
                for i in range(x.shape[1]):
                    out[n, o] += correlate(x[n, i], w[o, i], mode="constant")[1:-1, 1:-1]
        out += b[None, :, None, None]
        mean, var = out.mean((2, 3), keepdims=True), out.var((2, 3), keepdims=True)
        g, s = (p.detach().double().numpy()[None, :, None, None] for p in (norm.weight, norm.bias))
        out = np.maximum((out - mean) / np.sqrt(var + 1e-5) * g + s, 0)
        h = out.shape[2] // 2
        x = out[:, :, : 2 * h, : 2 * h].reshape(len(out), len(w), h, 2, h, 2).mean((3, 5))
    return x.reshape(len(x), -1)


@pytest.mark.parametrize(("channels", "size"), [(3, 28), (1, 9), (2, 16)])
def test_embedding_is_the_formula(channels, size):
    net = random_net(convnet(5, channels, size, width=6), 3)
    with torch.no_grad():
        for norm in (m for m in net.features if isinstance(m, torch.nn.GroupNorm)):
            norm.weight.uniform_(0.5, 2, generator=torch.Generator().manual_seed(1))
            norm.bias.uniform_(-1, 1, generator=torch.Generator().manual_seed(2))
    x = np.random.default_rng(0).normal(size=(3, channels, size, size))
    got = net.double().embed(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(got, reference(net, x), rtol=1e-9, atol=1e-10)
    assert torch.equal(net.maps(torch.from_numpy(x))[-1], net.embed(torch.from_numpy(x)))


def test_drawn_weights_have_torchs_distribution_and_leave_the_global_state_alone():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        fresh, net = ConvNet(10, 3, 32), ConvNet(10, 3, 32)
    state = torch.get_rng_state()
    draw_weights(net, torch.Generator().manual_seed(0))
    for (name, mine), theirs in zip(net.named_parameters(), fresh.parameters(), strict=True):
        if mine.numel() > 2000:
            assert float(mine.detach().abs().max()) == pytest.approx(
                float(theirs.detach().abs().max()), rel=0.01
            ), name
            assert float(mine.detach().std()) == pytest.approx(
                float(theirs.detach().std()), rel=0.05
            ), name
    assert (net.features[1].weight == 1).all()
    assert (net.features[1].bias == 0).all()
    first = random_net(net, 5).classifier.weight.clone()
    assert torch.equal(first, random_net(net, 5).classifier.weight)
    assert not torch.equal(first, random_net(net, 6).classifier.weight)
    assert torch.equal(state, torch.get_rng_state())


def test_batch_norm_and_no_norm():
    assert any(
        isinstance(m, torch.nn.BatchNorm2d) for m in ConvNet(2, 1, 8, 4, 1, "batch").modules()
    )
    assert len(ConvNet(2, 1, 8, 4, 1, "none").features) == 3


@pytest.mark.parametrize(
    ("change", "words"),
    [({"norm": "layer"}, "norm"), ({"depth": 4}, "halved 4 times"), ({"depth": 0}, "depth")],
)
def test_what_cannot_be_is_refused(change, words):
    with pytest.raises(ValueError, match=words):
        convnet(2, 1, 8, **change)


def test_depth_by_size():
    assert [blocks_for(s) for s in (8, 16, 28, 32, 64, 96, 128, 224)] == [2, 2, 3, 3, 4, 5, 5, 6]
