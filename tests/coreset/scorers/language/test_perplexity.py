import numpy as np
import pytest

from coreset.scorers.language.perplexity import Perplexity, windows
from coreset.testing import check_scorer

TEXTS = [
    "The capital of France is Paris.",
    "a",
    "",
    " \n ",
    None,
    "the sun and the moon " * 30,
    "1 2 3 :)",
]


def sliding(reference, ids, start, window, stride):
    """The usual recipe: windows of `window`, a step of `stride`, only what was not scored before
    counts.
    """
    whole, done, losses = [*start, *ids], len(start), []
    for begin in range(0, len(whole), stride):
        end = min(begin + window, len(whole))
        new = end - max(done, begin)
        part = whole[begin:end]
        losses += reference.losses(part[: len(part) - new], part[len(part) - new :]).tolist()
        done = end
        if end == len(whole):
            break
    return np.array(losses)


@pytest.mark.parametrize(("window", "stride"), [(512, 256), (32, 16), (16, 15), (8, 1)])
@pytest.mark.parametrize("start", ["<|im_start|>", None])
def test_as_the_recipe_says(tiny, reference, window, stride, start):
    got = Perplexity(tiny, window=window, stride=stride, start_token=start)({"text": TEXTS})
    first = [reference.tokenizer.convert_tokens_to_ids(start)] if start else []
    for i, text in enumerate(TEXTS):
        losses = (
            sliding(reference, reference.ids(text), first, window, stride)
            if text and text.strip()
            else []
        )
        assert got["perplexity_tokens"][i] == len(losses)
        if len(losses):
            assert got["perplexity_loss"][i] == pytest.approx(np.mean(losses), rel=1e-5)
            assert got["perplexity"][i] == pytest.approx(np.exp(np.mean(losses)), rel=1e-4)
    one = "ok" if start else "too_short"
    assert got["perplexity_status"].tolist() == [
        "ok",
        one,
        "empty_text",
        "empty_text",
        "missing_field",
        "ok",
        "ok",
    ]


@pytest.mark.parametrize(
    ("n", "start", "window", "stride"),
    [(20, 0, 7, 3), (20, 1, 7, 6), (5, 1, 64, 32), (1, 1, 2, 1), (9, 2, 3, 1)],
)
def test_every_token_is_scored_once_after_enough_context(n, start, window, stride):
    spans = windows(tuple(range(100, 100 + n)), tuple(range(start)), window, stride)
    scored = [t for s in spans for t in s.target]
    assert scored == list(range(100 + (start == 0), 100 + n))
    assert all(len(s.context) + len(s.target) <= window for s in spans)
    assert all(len(s.context) >= window - stride for s in spans[1:])


def test_the_contract(tiny):
    check_scorer(
        Perplexity(tiny, window=64, stride=32, batch_tokens=100), {"text": TEXTS}, tolerance=1e-4
    )


def test_parameters(tiny):
    with pytest.raises(ValueError, match="stride: expected 1 to 7"):
        Perplexity(tiny, window=8, stride=8)
    with pytest.raises(ValueError, match="window: 2048 tokens, but .* takes 1024"):
        Perplexity(tiny, window=2048)({"text": TEXTS})
