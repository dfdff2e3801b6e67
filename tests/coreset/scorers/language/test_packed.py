import pytest
import torch
import transformers
from torch import nn

from coreset.scorers.language.packed import pack, packed_linear

has_it = packed_linear(torch.ones(2, 2), None) is not None
needs_it = pytest.mark.skipif(
    not has_it, reason="this torch has no packed linear layer on this processor"
)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [
        pytest.param(torch.float32, 1e-5, marks=needs_it),
        pytest.param(
            torch.bfloat16,
            3e-2,
            marks=pytest.mark.skipif(
                packed_linear(torch.ones(2, 2, dtype=torch.bfloat16), None) is None,
                reason="no packed linear layer of bfloat16 on this processor",
            ),
        ),
    ],
)
def test_the_product(bias, dtype, tolerance):
    torch.manual_seed(0)
    layer = nn.Linear(24, 40, bias=bias).to(dtype)
    x = torch.randn(3, 5, 24).to(dtype)
    wanted = x.double() @ layer.weight.double().T + (layer.bias.double() if bias else 0)
    assert torch.allclose(
        packed_linear(layer.weight, layer.bias)(x).double(), wanted, atol=tolerance
    )


@needs_it
def test_plain_weights_are_freed_unless_tied(llama):
    net = llama()
    before = net(torch.arange(20)[None]).logits
    assert pack(net) == 2 * 7 + 1
    assert torch.allclose(before, net(torch.arange(20)[None]).logits, atol=1e-4)
    assert net.model.layers[0].mlp.up_proj.weight.numel() == 0
    assert net.lm_head.weight.shape == (336, 32)  # also the embedding


def test_a_network_that_reaches_for_its_plain_weights_stays_as_it_is():
    torch.manual_seed(0)
    net = transformers.MambaForCausalLM(
        transformers.MambaConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1, state_size=4)
    ).eval()
    before = net(torch.arange(9)[None], use_cache=False).logits
    assert pack(net) == 0
    assert torch.equal(before, net(torch.arange(9)[None], use_cache=False).logits)
    assert all(
        m.weight.numel() and "forward" not in vars(m)
        for m in net.modules()
        if isinstance(m, nn.Linear)
    )
