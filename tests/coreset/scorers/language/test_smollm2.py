"""A real model on real rows: SmolLM2-135M-Instruct, Alpaca and C4, against its float64 self without
batches, and against what must be so of any language model.
"""

import json

import numpy as np
import pytest
from ifd_by_definition import ALPACA, ALPACA_INPUT, as_released, by_definition, columns

from coreset.core.cache import asset_dir
from coreset.scorers.language.ifd import Ifd
from coreset.scorers.language.load import load_tokenizer
from coreset.scorers.language.perplexity import Perplexity
from coreset.testing import check_scorer

pytestmark = pytest.mark.slow


def cached(name):
    """Return the folder of an asset, or skip with the reason."""
    try:
        return asset_dir(name)
    except FileNotFoundError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def rows():
    """Return short Alpaca rows with and without an input, no two with one answer."""
    demo = json.loads((cached("llamafactory") / "data" / "alpaca_en_demo.json").read_text())
    short = [
        (r["instruction"], r["input"], r["output"]) for r in demo if 40 < len(r["output"]) < 160
    ]
    with_input, without = ([r for r in short if bool(r[1]) is w] for w in (True, False))
    return [r for pair in zip(with_input, without, strict=False) for r in pair if len(r[1]) < 200][
        :24
    ]


@pytest.fixture(scope="module")
def pages():
    """Return the first 1,500 characters of C4 pages."""
    lines = (cached("llamafactory") / "data" / "c4_demo.jsonl").read_text().splitlines()
    return [json.loads(line)["text"][:1500] for line in lines[:3]]


@pytest.fixture(scope="module")
def exact(reference_of):
    return reference_of(cached("smollm2"))


@pytest.mark.parametrize("variant", ["cherry", "superfilter", "matched", "chat"])
def test_ifd_of_alpaca_rows(exact, rows, variant):
    got = Ifd(
        "smollm2", variant=variant, start_token="<|im_start|>", batch_tokens=400, device="cpu"
    )(columns(rows[:4]))
    wanted = np.array([by_definition(exact, variant, row) for row in rows[:4]])
    for name, column in zip(("ifd", "ifd_loss", "ifd_loss_alone"), wanted.T, strict=True):
        assert np.allclose(got[name], column, rtol=1e-4), name


def test_the_released_number_of_alpaca_rows_whose_border_lies_in_a_token(exact):
    """66 of the 999 rows under Cherry_LLM's template."""
    tokenizer = load_tokenizer("smollm2")
    every = json.loads((cached("llamafactory") / "data" / "alpaca_en_demo.json").read_text())
    every = [(r["instruction"], r["input"], r["output"]) for r in every]
    inside = []
    for row in every:
        prompt = ALPACA_INPUT.format(*row[:2]) if row[1] else ALPACA.format(row[0])
        ids = tokenizer(prompt)["input_ids"]
        if tokenizer(prompt + row[2])["input_ids"][: len(ids)] != ids:
            inside.append(row)
    assert len(inside) == 66
    some = [r for r in inside if len(r[0]) + len(r[1]) + len(r[2]) < 250][:4]
    got = Ifd("smollm2", variant="cherry", device="cpu")(columns(some))
    matched = Ifd("smollm2", variant="matched", template="alpaca", device="cpu")(columns(some))
    for i, row in enumerate(some):
        after, alone = as_released(exact, "cherry", row, 512)
        if not min(len(after), len(alone)):
            assert got["ifd_status"][i] == "too_short"
            continue
        assert (got["ifd_tokens"][i], got["ifd_tokens_alone"][i]) == (len(after), len(alone))
        assert np.isclose(got["ifd"][i], after.mean() / alone.mean(), rtol=1e-4)
        assert matched["ifd_tokens"][i] == matched["ifd_tokens_alone"][i] == len(exact.ids(row[2]))


def test_perplexity_of_pages(exact, pages):
    ids = [exact.ids(page, True) for page in pages]
    losses = [exact.losses(i[:1], i[1:]) for i in ids]
    whole = Perplexity("smollm2", start_token=None, device="cpu")({"text": pages})
    assert whole["perplexity_tokens"].tolist() == [len(x) for x in losses]
    assert np.allclose(whole["perplexity"], [np.exp(x.mean()) for x in losses], rtol=1e-4)

    first = ids[0]
    assert len(first) > 200
    slid, done = [], 1  # windows of 128, a step of 64
    for begin in range(0, len(first), 64):
        end = min(begin + 128, len(first))
        slid += exact.losses(first[begin:done], first[done:end]).tolist()
        done = end
        if end == len(first):
            break
    cut = Perplexity("smollm2", start_token=None, window=128, stride=64, device="cpu")(
        {"text": pages[:1]}
    )
    assert np.isclose(cut["perplexity"][0], np.exp(np.mean(slid)), rtol=1e-4)
    assert cut["perplexity"][0] > whole["perplexity"][0]  # less context


def test_what_must_be_so(rows, pages):
    scorer = Ifd("smollm2", device="cpu")
    own = scorer(columns(rows))["ifd"]
    strange = scorer(
        columns([(i, g, r) for (i, g, _), (_, _, r) in zip(rows, rows[5:] + rows[:5], strict=True)])
    )["ifd"]
    assert np.mean(own < strange) > 0.8  # another row's answer does not follow from the question
    assert np.median(own) < 0.8 * np.median(strange)

    perplexity = Perplexity("smollm2", device="cpu")
    page = pages[0][:600]
    mixed = " ".join(np.random.default_rng(0).permutation(page.split()))
    got = perplexity({"text": [page, mixed, "again and again, " * 40]})["perplexity"]
    assert got[2] < got[0] < got[1] / 5


def test_the_contract(rows):
    check_scorer(Ifd("smollm2", device="cpu"), columns(rows[:4]), tolerance=1e-4)


def test_the_gguf_file_is_the_same_model(rows):
    gguf = next(cached("smollm2").glob("*.gguf"))
    folder, file = (load_tokenizer(m) for m in ("smollm2", str(gguf)))
    assert folder.special_tokens_map == file.special_tokens_map
    assert folder.chat_template == file.chat_template
    folder, file = (
        Ifd(m, variant="chat", device="cpu")(columns(rows[:2])) for m in ("smollm2", str(gguf))
    )
    assert np.allclose(folder["ifd"], file["ifd"], rtol=1e-4)
