"""IFD as its variants define it, one row at a time."""

import numpy as np

ALPACA = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{}\n\n### Response:"
)
ALPACA_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request.\n\n### Instruction:\n{}\n\n### Input:\n{}\n\n### Response:"
)


def columns(rows):
    """Return rows as the columns scorers read."""
    instruction, given_, response = (list(c) for c in zip(*rows, strict=True))
    messages = [
        [{"role": "user", "content": f"{i}\n{g}" if g else i or ""}, {"role": "assistant", "content": r or ""}]
        for i, g, r in rows
    ]
    return {"instruction": instruction, "input": given_, "response": response, "messages": messages}


def by_definition(reference, variant, row):
    """Return (ratio, loss after the prompt, loss alone)."""
    instruction, given_, response = row
    plain = f"{instruction}\n{given_}\n" if given_ else f"{instruction}\n"
    start = reference.tokenizer.convert_tokens_to_ids("<|im_start|>")
    if variant in ("cherry", "superfilter"):  # one text; a token that the border runs through belongs to the answer
        cherry = (ALPACA_INPUT.format(instruction, given_) if given_ else ALPACA.format(instruction), "### Response:")
        starts = cherry if variant == "cherry" else (plain, "")
        texts = [(reference.ids(s, True), reference.ids(s + response, True)) for s in starts]
        borders = [next((i for i, t in enumerate(s) if t != whole[i]), len(s)) for s, whole in texts]
        sides = [whole[:at] for (_, whole), at in zip(texts, borders, strict=True)]
        answers = [whole[at:] for (_, whole), at in zip(texts, borders, strict=True)]
    elif variant == "matched":
        sides = [[start, *reference.ids(plain)], [start]]
        answers = [reference.ids(response)] * 2
    else:
        turns = [{"role": "user", "content": plain[:-1]}]
        prompt = reference.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        sides = [reference.ids(prompt), reference.ids("<|im_start|>assistant\n")]
        answers = [[*reference.ids(response), reference.tokenizer.eos_token_id]] * 2
    after, alone = (reference.mean(s, a) for s, a in zip(sides, answers, strict=True))
    return after / alone if variant == "cherry" else np.exp(after - alone), after, alone
