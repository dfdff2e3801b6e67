"""The rating a language model would write next: the probability of each digit after a prompt."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from coreset.scorers import cache
from coreset.scorers.language.contexts import Tokens, encode
from coreset.scorers.language.load import LanguageModel
from coreset.scorers.language.nll import LOGITS, default_budget, logits_at
from coreset.scorers.language.spans import plan

Float = NDArray[np.float64]


def rating_tokens(tokenizer: Any, most: int) -> Tokens:
    """Return the token of each rating 1 .. most: the last one of the digit alone, which spells it.

    Raises ValueError when the tokenizer has no token for a digit, or the same for two.
    """
    texts = [str(rating) for rating in range(1, most + 1)]
    ids = tuple(own[-1] if own else -1 for own in encode(tokenizer, texts, False))
    for text, token in zip(texts, ids, strict=True):
        spelled = "" if token < 0 else str(tokenizer.decode([token])).strip()
        if spelled != text or ids.count(token) > 1:
            raise ValueError(
                f"model: its tokenizer has no token of its own for the rating {text} "
                f"(the last token of it spells {spelled!r})"
            )
    return ids


@torch.inference_mode()
def next_logs(
    lm: LanguageModel, contexts: Sequence[Tokens], wanted: Tokens, batch_tokens: int | None = None
) -> Float:
    """Return log p(token | context), in nats, of each of the `wanted` tokens (n, K) float64.

    contexts: at least one token each, at most as many as the model takes. batch_tokens: of a padded
    batch (`default_budget`); values do not depend on it but for rounding.
    """
    out = np.empty((len(contexts), len(wanted)))
    rows = lm.net.get_input_embeddings().weight.shape[0]
    lengths, budget = [len(c) for c in contexts], batch_tokens or default_budget(lm)
    at_once = plan(lengths, [1] * len(contexts), budget, max(1, LOGITS // rows))
    for batch in at_once:
        width = max(lengths[i] for i in batch)
        ids = np.zeros((len(batch), width), np.int64)  # no row sees what stands behind
        for row, i in zip(ids, batch, strict=True):
            row[: lengths[i]] = contexts[i]
        last = torch.tensor(
            [r * width + lengths[i] - 1 for r, i in enumerate(batch)], device=lm.device
        )
        with logits_at(lm.net, last):
            logits = lm.net(torch.from_numpy(ids).to(lm.device), use_cache=False).logits
        logs = torch.log_softmax(logits.reshape(len(batch), -1).double(), dim=1)
        out[batch] = logs[:, list(wanted)].cpu().numpy()
    return out


def kept_logs(
    lm: LanguageModel,
    contexts: Sequence[Tokens],
    wanted: Tokens,
    batch_tokens: int | None = None,
    store: str | None = None,
) -> Float:
    """Return `next_logs`, each different context asked once; store: an SQLite file, or None."""
    about = f"ratings {lm.hash} {lm.dtype} {wanted} ".encode()
    keys = [hashlib.sha256(about + np.array(c, np.int64).tobytes()).hexdigest() for c in contexts]
    known = cache.read(store, list(dict.fromkeys(keys))) if store else {}
    asked = {k: c for k, c in zip(keys, contexts, strict=True) if k not in known}
    logs = next_logs(lm, list(asked.values()), wanted, batch_tokens)
    new = {k: json.dumps(row.tolist()) for k, row in zip(asked, logs, strict=True)}
    if store:
        cache.write(store, new)
    answers = [json.loads(known[k] if k in known else new[k]) for k in keys]
    return np.array(answers, np.float64).reshape(len(keys), len(wanted))
