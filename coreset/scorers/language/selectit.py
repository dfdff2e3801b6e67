"""SelectIT: a language model rates rows; what counts is how sure it is and agrees with itself.

Liu et al., "SelectIT: Selective Instruction Tuning for LLMs via Uncertainty-Aware
Self-Reflection", NeurIPS 2024 (arXiv:2402.16705). Token level: of the next-token probabilities of
the ratings 1 .. 5, the best rating times its mean lead over the others. Sentence level: the mean
of that over several rating prompts, smaller where they disagree. Model level: the mean over
several models, by their numbers of parameters. The authors' code scales the five probabilities to
sum to one and takes the softmax of that, which draws them together (`softmax`); `shares` leaves
the softmax out. The rating prompts here are this project's own. The authors' program drops rows
that fail and counts the others on; here they stay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from coreset.core.pool import Array
from coreset.scorers.language.contexts import encode
from coreset.scorers.language.load import model_hash, read_part, tokenizer_hash
from coreset.scorers.language.ratings import kept_logs, rating_tokens
from coreset.scorers.language.scorer import LanguageScorer, texts, written
from coreset.scorers.language.turns import Turn, one_turn

Float = NDArray[np.float64]
MOST = 5
SCALES = ("softmax", "shares")
LEVELS = ("token", "sentence", "model")
PROMPTS = (
    "Rate from 1 to 5 how accurately the response follows the instruction; write the rating alone.",
    (
        "How well does the response do what is asked? Answer with one number, 1 (not at all) to 5"
        " (fully)."
    ),
    "Give the response a score between 1 and 5 for its correctness, on a line of its own.",
    (
        "On a scale of 1 to 5, 5 the most precise, grade how exactly the response meets the"
        " instruction."
    ),
    (
        "Judge the response as an answer to the instruction and assign it a clearly visible score"
        " of 1 to 5."
    ),
)


def token_rating(logs: Float, scale: str = "softmax") -> Float:
    """Return the token-level rating (n,) for log-probabilities (n, K) of the ratings 1 .. K.

    With p the probabilities over their sum, q = softmax(p) (scale `softmax`) or p (`shares`): the
    best rating, argmax q, times the mean of q_best - q_i over the other ratings.

    >>> token_rating(np.log([[0.25, 0.75]]), "shares").round(9).tolist()
    [1.0]
    """
    q = np.exp(logs - logs.max(axis=1, keepdims=True))
    q /= q.sum(axis=1, keepdims=True)
    if scale == "softmax":
        q = np.exp(q)
        q /= q.sum(axis=1, keepdims=True)
    lead = (q.max(axis=1, keepdims=True) - q).sum(axis=1) / (q.shape[1] - 1)
    rating: Float = (q.argmax(axis=1) + 1) * lead
    return rating


def sentence_rating(ratings: Float, alpha: float = 0.2) -> Float:
    """Return mean / (1 + alpha x standard deviation) of ratings (n, prompts), (n,).

    >>> sentence_rating(np.array([[1.0, 3.0]]), 1.0).tolist()
    [1.0]
    """
    rating: Float = ratings.mean(axis=1) / (1 + alpha * ratings.std(axis=1))
    return rating


def rating_prompt(prompt: str, turn: Turn) -> str:
    r"""Return what the model reads before it rates a row.

    >>> rating_prompt("Rate.", Turn("Add 1 and 2.", "3"))
    'Rate.\nInstruction:Add 1 and 2.\nResponse:3\nThe answer is: \n'
    """
    return f"{prompt}\nInstruction:{turn.instruction}\nResponse:{turn.response}\nThe answer is: \n"


def parameters(model: str) -> int:
    """Return the number of parameters of a model, from its configuration: no weight is read."""
    config = read_part("configuration", model, "AutoConfig")
    import transformers

    with torch.device("meta"):
        net = transformers.AutoModelForCausalLM.from_config(config)
    return sum(p.numel() for p in net.parameters())


@dataclass(frozen=True)
class SelectIt(LanguageScorer):
    """Self-reflection rating of every instruction row. Gives `selectit` and `selectit_status`.

    level: `token` (the first prompt alone), `sentence` (all prompts) or `model` (all models,
    `others` too). weights: one per model, `model` first, used as they are; None = shares of the
    numbers of parameters. alpha: what disagreement of the prompts costs. scale: see above.
    prompts: yours instead of this module's five. max_length: tokens of a prompt. Undefined:
    missing_field, empty_text, too_long, non_finite.
    """

    level: str = "sentence"
    alpha: float = 0.2
    scale: str = "softmax"
    others: Sequence[str] = ()
    weights: Sequence[float] | None = None
    prompts: Sequence[str] | None = None
    max_length: int = 2048

    needs = frozenset({"instruction", "input", "response"})
    gives = frozenset({"selectit", "selectit_status"})

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, known in (("level", LEVELS), ("scale", SCALES)):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name}: expected {', '.join(known)}, got {getattr(self, name)!r}"
                )
        if not 0 <= self.alpha < np.inf or self.max_length < 1:
            what = f"got {self.alpha} and {self.max_length}"
            raise ValueError(f"alpha, max_length: expected at least 0 and at least 1, {what}")
        for name, value in (("others", self.others), ("prompts", self.prompts)):
            if isinstance(value, str) or (name == "prompts" and value is not None and not value):
                raise ValueError(f"{name}: expected a list of texts, got {value!r}")
        if (self.level == "model") != bool(self.others):
            what = f"got level {self.level} with {list(self.others)}"
            raise ValueError(f"others: further models belong to the level model alone, {what}")
        given, n = self.weights, 1 + len(self.others)
        if given is not None and (len(given) != n or not all(0 <= w < np.inf for w in given)):
            raise ValueError(
                f"weights: expected {n} numbers of at least 0, one per model, got {given}"
            )

    def resources(self) -> dict[str, str]:
        """Return the hashes of all models."""
        hashes = super().resources()
        for i, model in enumerate(self.others, 2):
            hashes |= {f"model {i}": model_hash(model), f"tokenizer {i}": tokenizer_hash(model)}
        return hashes

    def __call__(self, batch: Mapping[str, Array]) -> dict[str, Array]:
        """Return the rating of every row."""
        columns = (texts(batch, name) for name in ("instruction", "input", "response"))
        rows = [one_turn(*values) for values in zip(*columns, strict=True)]
        status = [word for _, word in rows]
        total = np.zeros(len(rows))
        for model, weight in zip((self.model, *self.others), self.model_weights(), strict=True):
            own = replace(self, model=model, others=(), weights=None, level=self._own_level())
            total += weight * own.ratings([turns for turns, _ in rows], status)
        total[np.array(status, object) != "ok"] = np.nan
        return written({"selectit": total}, status, "selectit")

    def _own_level(self) -> str:
        return "sentence" if self.level == "model" else self.level

    def model_weights(self) -> list[float]:
        """Return the weight of each model: those given, else its share of all parameters."""
        if self.weights is not None:
            return [float(w) for w in self.weights]
        if not self.others:
            return [1.0]
        sizes = [parameters(model) for model in (self.model, *self.others)]
        return [size / sum(sizes) for size in sizes]

    def ratings(self, rows: Sequence[Sequence[Turn]], status: list[str]) -> Float:
        """Return this model's ratings (n,), NaN where not ok; a status may become too_long."""
        lm = self.fitting(self.max_length, "max_length")
        asked = PROMPTS if self.prompts is None else self.prompts
        asked = asked[:1] if self.level == "token" else asked
        good = [i for i, word in enumerate(status) if word == "ok"]
        prompts = encode(
            lm.tokenizer, [rating_prompt(p, rows[i][0]) for i in good for p in asked], True
        )
        for at, tokens in enumerate(prompts):
            if len(tokens) > self.max_length:
                status[good[at // len(asked)]] = "too_long"
        fit = [
            tokens for at, tokens in enumerate(prompts) if status[good[at // len(asked)]] == "ok"
        ]
        logs = kept_logs(lm, fit, rating_tokens(lm.tokenizer, MOST), self.batch_tokens, self.cache)
        out = np.full(len(rows), np.nan)
        own = token_rating(logs, self.scale).reshape(-1, len(asked))
        out[[i for i in good if status[i] == "ok"]] = sentence_rating(own, self.alpha)
        return out
