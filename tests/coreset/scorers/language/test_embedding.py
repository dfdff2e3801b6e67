"""Against the definition: the last hidden states of a float64 model, one row at a time, weights
written out.
"""

import numpy as np
import pytest
import torch

from coreset.scorers.language.embedding import HiddenEmbedding
from coreset.testing import check_scorer

TEXTS = [
    "The capital of France is Paris.",
    "a",
    "",
    " \n ",
    None,
    "the sun and the moon " * 30,
    "1 2 3 :)",
    "Sun",
]


def vector(reference, ids, pooling):
    with torch.no_grad():
        states = (
            reference.net(torch.tensor([ids]), output_hidden_states=True)
            .hidden_states[-1][0]
            .numpy()
        )
    n = len(ids)
    weight = {
        "weighted": np.arange(1, n + 1) / (n * (n + 1) / 2),
        "mean": np.full(n, 1 / n),
        "last": np.eye(n)[-1],
    }[pooling]
    mean = (weight[:, None] * states).sum(axis=0)
    return mean / np.sqrt((mean**2).sum())


@pytest.mark.parametrize("pooling", ["weighted", "mean", "last"])
@pytest.mark.parametrize("batch_tokens", [None, 1])
def test_the_definition(tiny, reference, pooling, batch_tokens):
    got = HiddenEmbedding(tiny, pooling=pooling, longest=40, batch_tokens=batch_tokens)(
        {"text": TEXTS}
    )
    assert (
        got["text_embedding_status"].tolist()
        == ["ok", "ok", "empty_text", "empty_text", "missing_field"] + ["ok"] * 3
    )
    for text, status, row in zip(
        TEXTS, got["text_embedding_status"], got["text_embedding"], strict=True
    ):
        if status == "ok":
            np.testing.assert_allclose(
                row, vector(reference, reference.ids(text)[:40], pooling), atol=2e-6
            )
        else:
            assert np.isnan(row).all()


def test_the_tokenizers_own_start_token_is_a_token(with_bos, reference_of):
    reference = reference_of(with_bos)
    got = HiddenEmbedding(with_bos, longest=40)({"text": ["Sun and moon", ""]})
    ids = reference.ids("Sun and moon", special=True)
    assert ids[0] == 0
    np.testing.assert_allclose(
        got["text_embedding"][0], vector(reference, ids, "weighted"), atol=2e-6
    )
    assert got["text_embedding_status"][1] == "empty_text"


def test_conversations_stand_as_the_template_writes_them(tiny, reference):
    turns = [{"role": "user", "content": "add 1 and 2"}, {"role": "assistant", "content": "3"}]
    refused = [{"role": "tool", "content": "x"}]
    got = HiddenEmbedding(tiny, column="messages", longest=200)(
        {"messages": [turns, refused, None]}
    )
    assert got["messages_embedding_status"].tolist() == ["ok", "template_error", "missing_field"]
    text = reference.tokenizer.apply_chat_template(turns, tokenize=False)
    np.testing.assert_allclose(
        got["messages_embedding"][0], vector(reference, reference.ids(text), "weighted"), atol=2e-6
    )


def test_contract(tiny):
    check_scorer(HiddenEmbedding(tiny, longest=64), {"text": TEXTS}, tolerance=2e-6)


def test_bad_input(tiny):
    for options, match in (
        ({"pooling": "max"}, "pooling: expected weighted, mean, last, got 'max'"),
        ({"longest": 0}, "longest: expected at least 1 token"),
        ({"cache": "x.sqlite"}, "cache: embeddings are not kept"),
    ):
        with pytest.raises(ValueError, match=match):
            HiddenEmbedding(tiny, **options)
    with pytest.raises(ValueError, match="longest: 2048 tokens, but .* takes 1024"):
        HiddenEmbedding(tiny)({"text": ["a"]})
