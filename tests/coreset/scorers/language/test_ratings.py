"""Evol and SelectIT against the definition: softmax over the whole vocabulary in float64, one
prompt at a time.
"""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from coreset import select
from coreset.core.batch import as_batch, objects
from coreset.curation.operators.contract import run_in_memory
from coreset.curation.operators.select import Select
from coreset.registry import scorer, strategy
from coreset.scorers.language.evol import Evol, evol_prompt
from coreset.scorers.language.ratings import rating_tokens
from coreset.scorers.language.selectit import PROMPTS, SelectIt, parameters
from coreset.scorers.language.turns import Turn, turns_of
from coreset.testing import check_scorer


def talk(*texts, system=None):
    turns = [
        {"role": "user" if i % 2 == 0 else "assistant", "content": t} for i, t in enumerate(texts)
    ]
    return ([{"role": "system", "content": system}] if system else []) + turns


CHATS = [
    talk("Add 1 and 2.", "The sum is 3.", "And 4?", "It is 7."),
    talk("Name the capital of France.", "Paris", system="Be kind."),
    talk("sun " * 30, "moon"),
    None,
    talk("Why?", " "),
    [{"role": "assistant", "content": "Hello"}],
    talk("One?", "1", "Two?"),
]
ROWS = {
    "instruction": objects(
        ["Add.", "Name the capital.", None, "Smile", "the sun and the moon " * 9]
    ),
    "input": objects(["1 and 2", "", "", None, ""]),
    "response": objects(["3", "Paris is the capital.", "x", " ", "yes"]),
}


def chances(reference, prompt, k):
    """p(digit | prompt), softmax over the whole vocabulary written out; the tokenizer's special
    tokens as it puts them.
    """
    ids = reference.ids(prompt, True)
    with torch.no_grad():
        z = reference.net(torch.tensor([ids]), use_cache=False).logits[0, -1].double().numpy()
    p = np.exp(z - z.max())
    p /= p.sum()
    return np.array([p[reference.ids(str(r))[-1]] for r in range(1, k + 1)])


def evol(reference, score, turn):
    p = chances(reference, evol_prompt(score, turn), 6)
    return float((np.arange(1, 7) * p).sum() / p.sum())


@pytest.mark.parametrize("score", ["complexity", "quality"])
@pytest.mark.parametrize("batch_tokens", [None, 1])
def test_evol_turn_by_turn(tiny, reference, score, batch_tokens):
    got = Evol(tiny, score=score, max_length=250, batch_tokens=batch_tokens)(
        {"messages": objects(CHATS)}
    )
    want = ["ok", "ok", "ok", "missing_field", "empty_text", "odd_turns", "ok"]
    assert got[f"{score}_status"].tolist() == want
    for chat, status, lists, total in zip(
        CHATS, want, got[f"{score}_turns"].tolist(), got[score].tolist(), strict=True
    ):
        if status != "ok":
            assert lists is None
            assert np.isnan(total)
            continue
        texts = [m["content"] for m in chat if m["role"] != "system"]
        turns = [Turn(*texts[i : i + 2]) for i in range(0, len(texts) - 1, 2)]
        by_hand = [evol(reference, score, t) for t in turns]
        np.testing.assert_allclose(lists, by_hand, rtol=1e-5)
        assert total == pytest.approx(sum(by_hand), rel=1e-5)
        assert all(1 <= r <= 6 for r in lists)


def test_evol_ratings_differ_from_the_mean_of_the_scale(tiny):
    """A model that says nothing would rate 3.5 throughout: the test above would be empty."""
    lists = Evol(tiny, max_length=700)({"messages": objects(CHATS[:3])})[
        "complexity_turns"
    ].tolist()
    flat = np.array([r for own in lists for r in own])
    assert np.ptp(flat) > 0.05


def test_evol_rows_are_one_turn(tiny, reference):
    got = Evol(tiny, form="instruction", score="quality", max_length=700)(ROWS)
    assert got["quality_status"].tolist() == ["ok", "ok", "missing_field", "empty_text", "ok"]
    want = evol(reference, "quality", Turn("Add.\n1 and 2", "3"))
    assert got["quality"][0] == pytest.approx(want, rel=1e-5)


def test_evol_too_long(tiny):
    got = Evol(tiny, max_length=120)({"messages": objects(CHATS[:3])})
    assert got["complexity_status"].tolist()[2] == "too_long"
    assert got["complexity_turns"].tolist()[2] is None
    with pytest.raises(ValueError, match="max_length: 2000 tokens, but .* takes 1024"):
        Evol(tiny, max_length=2000)({"messages": objects(CHATS[:1])})


def test_deita_multiplies_turn_by_turn(tiny):
    rows = {"messages": objects(CHATS[:3] + CHATS[6:]), "id": objects(list("abcd"))}
    columns = {}
    for score in ("complexity", "quality"):
        columns |= {
            n: v
            for n, v in Evol(tiny, score=score, max_length=700)(rows).items()
            if n.endswith("turns")
        }
    c, q = columns["complexity_turns"].tolist(), columns["quality_turns"].tolist()
    want = [sum(x * y for x, y in zip(a, b, strict=True)) for a, b in zip(c, q, strict=True)]
    assert want[0] != pytest.approx(sum(c[0]) * sum(q[0]))  # not the product of the sums
    got = select("deita", 4, complexity=objects(c), quality=objects(q), features=np.eye(4))
    np.testing.assert_allclose(got.scores, sorted(want, reverse=True))
    names = {"complexity": "complexity_turns", "quality": "quality_turns"}
    table = run_in_memory(
        Select(strategy("deita"), 2, columns=names),
        as_batch({"id": rows["id"], "features": np.eye(4), **columns}),
    )
    best = sorted(range(4), key=lambda i: -want[i])[:2]
    assert table["keep"].to_pylist() == [i in best for i in range(4)]


@pytest.mark.parametrize(
    ("complexity", "match"),
    [
        (
            [[1.0, 2.0], [1.0]],
            "complexity, quality: expected one score per turn in both, got 2 and 1 at position 0",
        ),
        (
            [[np.nan], [1.0]],
            r"complexity: expected finite scores, one per turn, got \[nan\] at position 0",
        ),
        (
            [["a"], [1.0]],
            r"complexity: expected a score or a list of them, got \['a'\] at position 0",
        ),
        (
            [[-1.0], [1.0]],
            "complexity: expected scores of at least 0, which are multiplied, got -1",
        ),
        ([[], [1.0]], r"complexity: expected finite scores, one per turn, got \[\] at position 0"),
    ],
)
def test_deita_refuses_lists_that_do_not_fit(complexity, match):
    with pytest.raises(ValueError, match=match):
        select(
            "deita",
            1,
            complexity=objects(complexity),
            quality=objects([[1.0], [1.0]]),
            features=np.eye(2),
        )


def selfreflection(reference, prompts, turn, scale, alpha):
    ratings = []
    for prompt in prompts:
        text = (
            f"{prompt}\nInstruction:{turn.instruction}\nResponse:{turn.response}\nThe answer is: \n"
        )
        p = chances(reference, text, 5)
        q = p / p.sum()
        if scale == "softmax":
            q = np.exp(q) / np.exp(q).sum()
        best = int(np.argmax(q))
        ratings.append((best + 1) * sum(q[best] - q[i] for i in range(5)) / 4)
    return np.mean(ratings) / (1 + alpha * np.std(ratings))


@pytest.mark.parametrize("scale", ["softmax", "shares"])
@pytest.mark.parametrize(("level", "prompts"), [("token", PROMPTS[:1]), ("sentence", PROMPTS)])
def test_selectit(tiny, reference, scale, level, prompts):
    got = SelectIt(tiny, scale=scale, level=level, alpha=0.7, max_length=700)(ROWS)
    assert got["selectit_status"].tolist() == ["ok", "ok", "missing_field", "empty_text", "ok"]
    for i, turn in (
        (0, Turn("Add.\n1 and 2", "3")),
        (1, Turn("Name the capital.", "Paris is the capital.")),
    ):
        want = selfreflection(reference, prompts, turn, scale, 0.7)
        assert got["selectit"][i] == pytest.approx(want, rel=1e-4)
    assert np.isnan(got["selectit"][2:4]).all()


def test_selectit_of_several_models(tiny, with_bos, reference, reference_of, llama, save, tmp_path):
    other = save(tmp_path / "wide", llama(num_hidden_layers=3))
    sizes = [sum(p.numel() for p in reference_of(m).net.parameters()) for m in (tiny, other)]
    assert [parameters(tiny), parameters(other)] == sizes
    turn = Turn("Add.\n1 and 2", "3")
    own = [
        selfreflection(r, PROMPTS, turn, "softmax", 0.2) for r in (reference, reference_of(other))
    ]
    got = SelectIt(tiny, level="model", others=[other], max_length=700)(ROWS)["selectit"][0]
    assert got == pytest.approx(np.dot(own, sizes) / sum(sizes), rel=1e-4)
    given = SelectIt(
        tiny, level="model", others=[other], weights=[7 / 20, 70 / 90], max_length=700
    )(ROWS)["selectit"][0]
    assert given == pytest.approx(np.dot(own, [7 / 20, 70 / 90]), rel=1e-4)
    assert set(SelectIt(tiny, level="model", others=[other]).resources()) == {
        "model", "tokenizer", "model 2", "tokenizer 2",
    }  # fmt: skip


def test_selectit_rows_that_fail_keep_their_place(tiny):
    """The released program leaves them out and counts on, so that every later row gets another's
    rating.
    """
    whole = SelectIt(tiny, max_length=700)(ROWS)["selectit"]
    alone = SelectIt(tiny, max_length=700)({n: v[-1:] for n, v in ROWS.items()})["selectit"]
    assert whole[-1] == pytest.approx(alone[0], rel=1e-5)


def test_answers_are_kept(tiny, tmp_path, monkeypatch):
    store = str(tmp_path / "answers.sqlite")
    one = SelectIt(tiny, cache=store, max_length=700)(ROWS)
    monkeypatch.setattr(
        "coreset.scorers.language.ratings.plan", lambda lengths, *_: [] if not lengths else 1 / 0
    )
    assert (
        SelectIt(tiny, cache=store, max_length=700)(ROWS)["selectit"].tolist()[:2]
        == one["selectit"].tolist()[:2]
    )


def test_a_tokenizer_without_digits(tiny, make_tokenizer):
    tokenizer = make_tokenizer()
    assert len(set(rating_tokens(tokenizer, 6))) == 6

    class Odd:
        def __call__(self, texts, **_):
            return {"input_ids": [[9] for _ in texts]}

        def decode(self, ids):
            return "1"

    with pytest.raises(ValueError, match="its tokenizer has no token of its own for the rating 1"):
        rating_tokens(Odd(), 6)


@dataclass(frozen=True)
class Sums:
    """A scorer without its lists, which the contract compares to the last bit."""

    inner: Evol

    @property
    def needs(self):
        return self.inner.needs

    @property
    def gives(self):
        return self.inner.gives - {"complexity_turns"}

    def __call__(self, batch):
        return {n: v for n, v in self.inner(batch).items() if n in self.gives}


def test_contracts(tiny):
    check_scorer(Sums(Evol(tiny, max_length=700)), {"messages": objects(CHATS)}, tolerance=2e-5)
    check_scorer(SelectIt(tiny, max_length=700), ROWS, tolerance=2e-5)


def test_by_name(tiny):
    assert scorer("evol", {"model": tiny}) == Evol(tiny)
    assert scorer("selectit", {"model": tiny}) == SelectIt(tiny)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"score": "length"}, "score: expected complexity or quality, got 'length'"),
        ({"form": "text"}, "form: expected messages or instruction, got 'text'"),
        ({"max_length": 0}, "max_length: expected at least 1 token, got 0"),
    ],
)
def test_bad_options_of_evol(options, match):
    with pytest.raises(ValueError, match=match):
        Evol("m", **options)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"level": "word"}, "level: expected token, sentence, model, got 'word'"),
        ({"scale": "sum"}, "scale: expected softmax, shares, got 'sum'"),
        ({"alpha": -1.0}, "alpha, max_length: expected at least 0 and at least 1"),
        ({"others": ["m"]}, "others: further models belong to the level model alone"),
        ({"level": "model"}, "others: further models belong to the level model alone"),
        ({"weights": [1.0, 2.0]}, "weights: expected 1 numbers of at least 0"),
        ({"prompts": []}, "prompts: expected a list of texts"),
        ({"others": "m", "level": "model"}, "others: expected a list of texts, got 'm'"),
    ],
)
def test_bad_options_of_selectit(options, match):
    with pytest.raises(ValueError, match=match):
        SelectIt("m", **options)


def test_turns():
    assert turns_of(talk("a", "b", "c", "d"))[0] == [("a", "b"), ("c", "d")]
    assert turns_of([{"role": "user", "content": "a"}] * 2) == ([], "odd_turns")
    assert turns_of(talk("a")) == ([], "missing_field")
    assert turns_of([{"role": "tool", "content": "a"}]) == ([], "odd_turns")


@pytest.mark.slow
def test_smollm2(asset, reference_of):
    exact = reference_of(asset("smollm2"))
    chats = [
        talk("What is 2 + 2?", "4"),
        talk("Prove Fermat's last theorem for n = 4.", "By descent.", "Shorter?", "No."),
    ]
    got = Evol("smollm2", device="cpu")({"messages": objects(chats)})["complexity_turns"].tolist()
    want = [[evol(exact, "complexity", t) for t in turns_of(c)[0]] for c in chats]
    for one, two in zip(got, want, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-3)
    rows = {"instruction": ["What is 2 + 2?"], "input": [""], "response": ["4"]}
    rated = SelectIt("smollm2", device="cpu")(rows)["selectit"][0]
    assert rated == pytest.approx(
        selfreflection(exact, PROMPTS, Turn("What is 2 + 2?", "4"), "softmax", 0.2), rel=1e-3
    )
