"""Rows about language models: IFD against the released one-row loop and against what the model's
own forward pass costs.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from coreset.core.cache import asset_dir
from coreset.scorers.language.ifd import Ifd
from coreset.scorers.language.load import load_tokenizer
from coreset.scorers.language.templates import TEMPLATES
from scripts.benchmarks.harness import Answer, Method, Row

LONGEST = 512  # tokens, as in the released program
Columns = dict[str, list[str]]


@cache
def instructions(count: int) -> Columns:
    """Return `count` real Alpaca rows that fit into 512 tokens and whose answer begins at a border
    of tokens, where the released loop scores all of it.
    """
    rows = json.loads((asset_dir("llamafactory") / "data" / "alpaca_en_demo.json").read_text())
    random.Random(0).shuffle(rows)
    ids, good = load_tokenizer("smollm2"), []
    for row in rows:
        prompt = TEMPLATES["alpaca"].prompt(row["instruction"], row["input"])
        whole, first = ids(prompt + row["output"])["input_ids"], ids(prompt)["input_ids"]
        if row["output"] and len(whole) < LONGEST - 8 and whole[: len(first)] == first:
            good.append(row)
    names = {"instruction": "instruction", "input": "input", "response": "output"}
    return {ours: [row[theirs] for row in good[:count]] for ours, theirs in names.items()}


@cache
def plain_model(dtype: str) -> Any:
    """Return the model as transformers loads it."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(
        asset_dir("smollm2"), dtype=getattr(torch, dtype)
    ).eval()


def part_loss(net: Any, ids: Any, text: str, answer: str, longest: int) -> float:
    """Return the mean loss of the answer at the end of a text: one forward pass, then the loss of
    every token of the text taken out one by one.
    """
    tokens = torch.tensor([ids(text, truncation=True, max_length=longest)["input_ids"]])
    start = len(ids(text[: text.rfind(answer)])["input_ids"])
    labels = tokens.clone()
    labels[0, :start] = -100
    with torch.no_grad():
        out = net(tokens, labels=labels)
    losses = []
    for i in range(1, tokens.shape[1]):
        scores = torch.log_softmax(out.logits[0, i - 1], dim=-1)
        losses.append(
            torch.nn.functional.nll_loss(scores[None], tokens[0, i][None], reduction="none").item()
        )
    return float(np.mean(losses[start - 1 :]))


def released_loop(dtype: str, rows: Columns, count: int) -> NDArray[np.float64]:
    """Return the IFD of the first rows as the released program of Cherry computes it."""
    net, ids, out = plain_model(dtype), load_tokenizer("smollm2"), []
    for instruction, given, answer in zip(
        *(rows[n][:count] for n in ("instruction", "input", "response")), strict=True
    ):
        prompt = TEMPLATES["alpaca"].prompt(instruction, given)
        alone = part_loss(
            net, ids, "### Response:" + answer, answer, LONGEST - len(ids(prompt)["input_ids"]) - 2
        )
        out.append(part_loss(net, ids, prompt + answer, answer, LONGEST) / alone)
    return np.array(out)


def tokens_to_score(rows: Columns, count: int) -> int:
    """Return how many tokens both sides of the first rows have."""
    answers, _ = Ifd("smollm2", variant="cherry", max_length=LONGEST).answers(
        {n: v[:count] for n, v in rows.items()}
    )
    sides = [(s.context, s.target) for row in answers for a in row for s in a.spans]
    return sum(len(context) + len(target) for context, target in sides)


def own_forward(dtype: str, rows: Columns, count: int) -> None:
    """Run the model over as many tokens, in full batches of 8 x 128 without padding, logits and
    nothing else.
    """
    net, left = plain_model(dtype), tokens_to_score(rows, count)
    generator = torch.Generator().manual_seed(0)
    while left > 0:
        width = min(128, left)
        height = max(1, min(8, left // width))
        with torch.inference_mode():
            net(
                torch.randint(0, net.config.vocab_size, (height, width), generator=generator),
                use_cache=False,
            )
        left -= height * width


def ifd(dtype: str, peers: Callable[[Columns], list[Method]], goal: str) -> Callable[[float], Row]:
    """Return the maker of a row."""

    def make(scale: float = 1) -> Row:
        count = max(2, int(24 * scale))
        rows = instructions(count)
        scorer = Ifd("smollm2", dtype=dtype, device="cpu", variant="cherry", max_length=LONGEST)

        def agree(ours: Answer, peer: Answer, k: int) -> dict[str, Any]:
            if peer is None:
                return {}
            difference = np.abs(np.asarray(ours) - np.asarray(peer))
            if not difference.max() < 0.5:
                raise ValueError(f"the values differ by up to {difference.max():.3g}")
            return {
                "largest_difference": float(difference.max()),
                "largest_distance": float(np.max(peer)),
            }

        ours = Method(
            "coreset", lambda k: scorer({n: v[:k] for n, v in rows.items()})["ifd"], small=2
        )
        what = (
            f"IFD (cherry) of {count} Alpaca rows, {tokens_to_score(rows, count):,} tokens,"
            f" SmolLM2-135M, {dtype}"
        )
        return Row(what, count, ours, peers(rows), agree, goal, trials=3)

    return make


def loop(dtype: str) -> Callable[[Columns], Method]:
    """Return the released loop as a method."""
    return lambda rows: Method(
        f"released loop, one row at a time, {dtype}",
        lambda k: released_loop(dtype, rows, k),
        small=2,
    )


def forward(dtype: str) -> Callable[[Columns], Method]:
    """Return the model's own forward pass as a method."""
    name = f"the model's forward pass over as many tokens, {dtype}"
    return lambda rows: Method(
        name,
        lambda k: own_forward(dtype, rows, k),
        small=2,
        note="full batches, no losses: what a token costs at best",
    )


ROWS: dict[str, Callable[[float], Row]] = {
    "ifd_float32": ifd(
        "float32",
        lambda rows: [loop("float32")(rows), forward("float32")(rows)],
        "2x the released loop, 0.9 of the model's own throughput",
    ),
    "ifd_bfloat16": ifd(
        "bfloat16",
        lambda rows: [loop("float32")(rows), loop("bfloat16")(rows), forward("bfloat16")(rows)],
        "2x the released loop (float32), 0.9 of the model's own throughput",
    ),
}
