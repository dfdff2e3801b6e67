import inspect

import numpy as np
import pytest
import torch
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coreset.scorers.language.load import load
from coreset.scorers.language.nll import cross_entropy, groups, token_nll
from coreset.scorers.language.spans import Span

SIZES = {"vocab_size": 336, "initializer_range": 0.4}
DEEP = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
OTHERS = {
    "gpt2": lambda t: t.GPT2LMHeadModel(
        t.GPT2Config(**SIZES, n_embd=32, n_layer=2, n_head=4, n_positions=512)
    ),
    # squashes its logits, and looks back 16 tokens in every other layer
    "gemma2": lambda t: t.Gemma2ForCausalLM(
        t.Gemma2Config(
            **SIZES,
            **DEEP,
            head_dim=8,
            sliding_window=16,
            final_logit_softcapping=2.0,
            max_position_embeddings=512,
        )
    ),
    "mistral": lambda t: t.MistralForCausalLM(
        t.MistralConfig(**SIZES, **DEEP, sliding_window=8, max_position_embeddings=512)
    ),
    "cohere": lambda t: t.CohereForCausalLM(
        t.CohereConfig(**SIZES, **DEEP, logit_scale=0.3, max_position_embeddings=512)
    ),
    "mamba": lambda t: t.MambaForCausalLM(
        t.MambaConfig(**SIZES, hidden_size=32, num_hidden_layers=2, state_size=4)
    ),
}
tokens = st.lists(st.integers(0, 335), max_size=14).map(tuple)


def some_spans(seed=0, n=30):
    rng = np.random.default_rng(seed)
    shared = tuple(rng.integers(0, 336, 11).tolist())
    spans = []
    for i in range(n):
        own, target = (tuple(rng.integers(0, 336, int(k)).tolist()) for k in rng.integers(1, 40, 2))
        spans.append(Span(own, target) if i % 3 else Span(shared + own, target, 11))
    return [
        *spans,
        Span((), (5, 6, 7)),
        Span((), (9,)),
        Span((3,), ()),
        Span(shared, (1, 2), 11),
        Span(shared, (4,), 11),
    ]


def close(a, b, tolerance):
    assert [len(x) for x in a] == [len(x) for x in b]
    assert (
        max((np.abs(x - y).max() for x, y in zip(a, b, strict=True) if len(x)), default=0)
        < tolerance
    )


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-10), ("float32", 2e-5)])
@pytest.mark.parametrize("budget", [1, 60, 400, None])
def test_every_token_as_in_the_plain_loop(tiny, reference, dtype, tolerance, budget):
    spans = some_spans()
    close(
        token_nll(load(tiny, dtype), spans, budget),
        [reference.losses(s.context, s.target) for s in spans],
        tolerance,
    )


@pytest.mark.parametrize("kind", OTHERS)
def test_other_architectures(tmp_path, save, reference_of, kind):
    torch.manual_seed(1)
    folder = save(tmp_path, OTHERS[kind](transformers))
    spans = some_spans(1, 16)
    got = token_nll(load(folder, "float32"), spans, 200)
    plain = reference_of(folder)
    close(got, [plain.losses(s.context, s.target) for s in spans], 2e-4)


@settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.tuples(tokens, tokens, st.integers(0, 14)), max_size=8),
    st.integers(1, 120),
    st.randoms(use_true_random=False),
)
def test_batches_order_and_sharing_change_nothing(tiny, rows, budget, random):
    lm = load(tiny, "float64")
    beginning = tuple(range(20, 32))
    spans = [
        Span(beginning + c, t, len(beginning)) if k % 2 else Span(c, t, min(k, len(c)))
        for c, t, k in rows
    ]
    alone = [token_nll(lm, [Span(s.context, s.target)], 1)[0] for s in spans]
    order = list(range(len(spans)))
    random.shuffle(order)
    together = token_nll(lm, [spans[i] for i in order], budget)
    close([together[order.index(i)] for i in range(len(spans))], alone, 1e-10)


def test_a_shared_beginning_is_run_once(tiny, monkeypatch):
    lm = load(tiny, "float32")
    run = []
    forward = lm.net.model.forward
    monkeypatch.setattr(
        lm.net.model,
        "forward",
        lambda input_ids=None, **more: (
            run.append(tuple(input_ids.shape)) or forward(input_ids=input_ids, **more)
        ),
    )
    beginning = tuple(range(20))
    token_nll(lm, [Span((*beginning, i), (i + 1, i + 2), 20) for i in range(10)])
    assert run == [(1, 20), (10, 2)]  # the last token of a target is never run
    run.clear()
    # several answers to one prompt
    token_nll(lm, [Span(beginning, (i, i + 1), 20) for i in range(10)])
    assert run == [(1, 19), (10, 2)]


def test_the_vocabulary_is_computed_where_it_is_needed(tiny, monkeypatch):
    lm = load(tiny, "float32")
    seen = []
    head = lm.net.get_output_embeddings()
    forward = head.forward
    monkeypatch.setattr(head, "forward", lambda x: seen.append(x.shape[-2]) or forward(x))
    token_nll(lm, [Span(tuple(range(30)), (1, 2, 3)), Span(tuple(range(5)), (1, 2))])
    assert sum(seen) == 5
    assert not head._forward_pre_hooks


def test_the_padding_token_is_a_target_like_any_other(tiny, reference):
    pad = load(tiny).tokenizer.pad_token_id
    # as in many models: masking it would lose the end of every answer
    assert pad == load(tiny).tokenizer.eos_token_id
    spans = [Span((1, 2), (7, pad)), Span((1, 2, 3, 4, 5, 6), (pad, pad, 8))]
    close(
        token_nll(load(tiny, "float64"), spans),
        [reference.losses(s.context, s.target) for s in spans],
        1e-10,
    )


def test_nothing_asked(tiny):
    assert token_nll(load(tiny), []) == []
    assert [len(x) for x in token_nll(load(tiny), [Span((), ()), Span((), (1,))])] == [0, 0]


def test_a_row_longer_than_the_model_takes_is_refused(tiny):
    with pytest.raises(ValueError, match="a row has 1025 tokens, but the model takes 1024"):
        token_nll(load(tiny), [Span((1,), (2,) * 1024)])


def test_bfloat16_is_near(tiny, reference):
    spans = some_spans(2, 8)
    got = np.concatenate(token_nll(load(tiny, "bfloat16"), spans))
    wanted = np.concatenate([reference.losses(s.context, s.target) for s in spans])
    assert np.abs(got - wanted).max() > 1e-4
    assert np.abs(got - wanted).mean() < 0.1


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_cross_entropy_in_pieces(dtype):
    logits = (torch.randn(50, 20_000, generator=torch.Generator().manual_seed(0)) * 9).to(dtype)
    target = torch.arange(50) * 7
    z = logits.double().numpy()
    wanted = (
        np.log(np.exp(z - z.max(1, keepdims=True)).sum(1)) + z.max(1) - z[np.arange(50), target]
    )
    assert np.allclose(
        cross_entropy(logits, target).numpy(),
        wanted,
        rtol=1e-12 if dtype == torch.float64 else 2e-6,
        atol=1e-5,
    )


def test_groups_keep_one_token_of_the_context_for_the_row():
    beginning = tuple(range(10))
    by_beginning = groups(
        [
            Span(beginning, (1,), 10),
            Span(beginning, (2,), 10),
            Span(beginning[:8], (3,), 10),
            Span((), (1, 2), 4),
        ],
        99,
    )
    assert by_beginning == {(): [2, 3], beginning[:9]: [0, 1]}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu(tiny, reference):
    spans = some_spans(3)
    close(
        token_nll(load(tiny, "float32", "cuda"), spans),
        [reference.losses(s.context, s.target) for s in spans],
        1e-3,
    )


def test_the_reference_has_neither_batches_nor_shortcuts(reference):
    source = inspect.getsource(type(reference).losses)
    assert "use_cache=False" in source
    assert "coreset" not in source
