"""IFD as its variants define it, one row at a time."""

import numpy as np

ALPACA = (
    "Below is an instruction that describes a task. Write a response that appropriately completes"
    " the request.\n\n### Instruction:\n{}\n\n### Response:"
)
ALPACA_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further"
    " context. Write a response that appropriately completes the request.\n\n###"
    " Instruction:\n{}\n\n### Input:\n{}\n\n### Response:"
)


def columns(rows):
    """Return rows as the columns scorers read."""
    instruction, given_, response = (list(c) for c in zip(*rows, strict=True))
    messages = [
        [
            {"role": "user", "content": f"{i}\n{g}" if g else i or ""},
            {"role": "assistant", "content": r or ""},
        ]
        for i, g, r in rows
    ]
    return {"instruction": instruction, "input": given_, "response": response, "messages": messages}


def as_released(reference, variant, row, max_length):
    """Return the losses the released programs take the mean of: after the prompt, and of the answer
    alone.

    Cherry_LLM, data_analysis.py and data_by_IFD.py; Superfiltering, code_ifd/data_analysis.py.
    Token i has a loss from token i - 1 on; the labels before the answer are masked by their number.
    """
    instruction, given_, response = row
    tokenizer = reference.tokenizer
    if variant == "cherry":
        prompt = ALPACA_INPUT.format(instruction, given_) if given_ else ALPACA.format(instruction)
        header, room = "### Response:", 4
    else:
        prompt = f"{instruction}\n{given_}\n" if given_ else f"{instruction}\n"
        header, room = "", 1
    length = len(tokenizer.encode(prompt, truncation=True, max_length=max_length))
    out = []
    for text, most in (
        (prompt + response, max_length),
        (header + response, max_length - length + room),
    ):
        ids = tokenizer.encode(text, truncation=True, max_length=most)
        before = text[: text.rfind(response)]
        start = len(tokenizer.encode(before)) if before else 0
        every = np.concatenate([[np.nan], reference.losses((), ids)])  # the first token has no loss
        losses = every[max(1, start) :]
        out.append(losses)
    return out


def by_definition(reference, variant, row):
    """Return (ratio, loss after the prompt, loss alone)."""
    if variant in ("cherry", "superfilter"):
        after, alone = (losses.mean() for losses in as_released(reference, variant, row, 512))
        return after / alone if variant == "cherry" else np.exp(after) / np.exp(alone), after, alone
    instruction, given_, response = row
    plain = f"{instruction}\n{given_}\n" if given_ else f"{instruction}\n"
    start = reference.tokenizer.convert_tokens_to_ids("<|im_start|>")
    if variant == "matched":
        sides = [[start, *reference.ids(plain)], [start]]
        answers = [reference.ids(response)] * 2
    else:
        turns = [{"role": "user", "content": plain[:-1]}]
        prompt = reference.tokenizer.apply_chat_template(
            turns, tokenize=False, add_generation_prompt=True
        )
        sides = [reference.ids(prompt), reference.ids("<|im_start|>assistant\n")]
        answers = [[*reference.ids(response), reference.tokenizer.eos_token_id]] * 2
    after, alone = (reference.mean(s, a) for s, a in zip(sides, answers, strict=True))
    return np.exp(after - alone), after, alone
