"""The negative log-likelihood of every token of a target, exact under padding: batches of similar
length, shared beginnings computed once.

Rows are padded on the right, where a causal model never looks from a real token, so that no mask is
needed. Only the positions that predict a target token go through the vocabulary, and log-softmax is
always taken in float32 or better. Beginnings that many rows share (a template, one prompt with
several answers) are run once, and their keys and values are given to the rest of each row: the same
arithmetic in another order.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coreset.scorers.language.load import LanguageModel
from coreset.scorers.language.spans import Span, plan

Tokens = tuple[int, ...]
WORTH = 8  # a shared beginning of fewer tokens costs more to hand over than to compute again
LOGITS = 2**28  # of one batch at most: 1 GiB in float32


def default_budget(lm: LanguageModel) -> int:
    """Return how many tokens a batch has when nobody says: 1,024 on a CPU, 16,384 on a GPU."""
    return 1024 if lm.device.type == "cpu" else 16384


@torch.inference_mode()
def token_nll(
    lm: LanguageModel, spans: Sequence[Span], batch_tokens: int | None = None
) -> list[NDArray[np.float64]]:
    """Return one array per span: the negative log-likelihood, in nats, of every scored token of its
    target, in order.

    batch_tokens: tokens of a padded batch (see `default_budget`); a longer row is a batch of its
    own. Values do not depend on it, to rounding (about 1e-6). Raises ValueError for a span that is
    longer than the model takes.
    """
    out: list[NDArray[np.float64]] = [np.empty(0)] * len(spans)
    budget, vocabulary = (
        batch_tokens or default_budget(lm),
        lm.net.get_input_embeddings().weight.shape[0],
    )
    for beginning, members in groups(spans, lm.longest).items():
        past = _past(lm, beginning) if beginning else None
        skip = 0 if past is None else len(beginning)
        run = [(spans[i].context + spans[i].target)[skip:-1] for i in members]
        wanted = [(spans[i].context + spans[i].target)[-spans[i].scored :] for i in members]
        for batch in plan(
            [len(r) for r in run], [len(w) for w in wanted], budget, max(1, LOGITS // vocabulary)
        ):
            losses = _forward(lm, [run[j] for j in batch], [wanted[j] for j in batch], past)
            for j, values in zip(batch, losses, strict=True):
                out[members[j]] = values
    return out


def groups(spans: Sequence[Span], longest: int) -> dict[Tokens, list[int]]:
    """Return the spans that have something to score by the beginning that is computed once for all
    of them, () for those that share none worth it.

    Raises ValueError for a span of more than `longest` tokens.

    >>> shared = tuple(range(9))
    >>> list(
    ...     groups(
    ...         [Span((*shared, 1), (2,), 9), Span((*shared, 3), (4,), 9), Span((5,), (6,))], 100
    ...     ).values()
    ... )
    [[2], [0, 1]]
    """
    by_beginning: dict[Tokens, list[int]] = {(): []}
    for i, span in enumerate(spans):
        if len(span.context) + len(span.target) > longest:
            raise ValueError(
                f"a row has {len(span.context) + len(span.target)} tokens, but the model takes"
                f" {longest}"
            )
        # at least one token of the context is left to each row: it predicts the target's first
        if span.scored:
            beginning = span.context[: max(0, min(span.shared, len(span.context) - 1))]
            by_beginning.setdefault(beginning if len(beginning) >= WORTH else (), []).append(i)
    for beginning in [b for b, members in by_beginning.items() if b and len(members) == 1]:
        by_beginning[()] += by_beginning.pop(beginning)
    return {b: sorted(members) for b, members in by_beginning.items() if members}


def _cache_name(net: Any) -> str:
    """Return what the model calls its keys and values; transformers has renamed them."""
    return "cache" if "cache" in inspect.signature(net.forward).parameters else "past_key_values"


def _past(lm: LanguageModel, beginning: Tokens) -> Any:
    """Return the keys and values of a beginning, or None where the model does not keep all of them
    (recurrent layers, short windows).
    """
    ids = torch.tensor([beginning], device=lm.device)
    with logits_at(lm.net, torch.tensor([0], device=lm.device)):
        past = getattr(lm.net(ids, use_cache=True), _cache_name(lm.net), None)
    layers = getattr(past, "layers", None) or [None]
    whole = all(
        isinstance(k := getattr(layer, "keys", None), Tensor) and k.shape[-2] == len(beginning)
        for layer in layers
    )
    return past if whole and hasattr(past, "batch_repeat_interleave") else None


def _forward(
    lm: LanguageModel, run: Sequence[Tokens], wanted: Sequence[Tokens], past: Any
) -> list[NDArray[np.float64]]:
    """Return the losses of one batch: `wanted[i]` are the tokens that the last positions of
    `run[i]` predict.
    """
    width = max(map(len, run))
    ids = np.zeros((len(run), width), np.int64)  # whatever stands behind a row is never seen by it
    at = []
    for i, (tokens, target) in enumerate(zip(run, wanted, strict=True)):
        ids[i, : len(tokens)] = tokens
        at.append(i * width + np.arange(len(tokens) - len(target), len(tokens)))
    more: dict[str, Any] = {"use_cache": False}
    if past is not None:
        own = copy.deepcopy(past)
        own.batch_repeat_interleave(len(run))
        more = {_cache_name(lm.net): own, "use_cache": True}
    with logits_at(lm.net, torch.from_numpy(np.concatenate(at)).to(lm.device)):
        logits = lm.net(torch.from_numpy(ids).to(lm.device), **more).logits
    answers = torch.tensor([t for tokens in wanted for t in tokens], device=lm.device)
    losses = cross_entropy(logits.reshape(len(answers), -1), answers)
    return np.split(losses.double().cpu().numpy(), np.cumsum([len(w) for w in wanted])[:-1])


@contextmanager
def logits_at(net: Any, positions: Tensor) -> Iterator[None]:
    """Let the network compute logits at these positions of the flattened batch only: what comes
    before its last layer is the same for any architecture.
    """
    hook = net.get_output_embeddings().register_forward_pre_hook(
        lambda _, inputs: (inputs[0].reshape(1, -1, inputs[0].shape[-1])[:, positions],)
    )
    try:
        yield
    finally:
        hook.remove()


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Return -log softmax(logits)[target] per row, (n,), in float32 or float64; on a CPU in pieces
    that stay in the processor's cache.

    >>> round(float(cross_entropy(torch.zeros(1, 4), torch.tensor([2])).exp()), 4)
    4.0
    """
    step = (
        max(1, 2**19 // logits.shape[1])
        if logits.device.type == "cpu"
        else max(1, LOGITS // 4 // logits.shape[1])
    )
    kind = torch.float64 if logits.dtype == torch.float64 else torch.float32
    parts = [
        torch.nn.functional.cross_entropy(piece.to(kind), wanted, reduction="none")
        for piece, wanted in zip(torch.split(logits, step), torch.split(target, step), strict=True)
    ]
    return torch.cat(parts)
