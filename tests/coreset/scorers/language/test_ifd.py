"""IFD against its definitions, written here once more: one row, one forward, float64, no batches."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ifd_by_definition import ALPACA, as_released, by_definition, columns

from coreset.scorers.language import scorer as scorer_file
from coreset.scorers.language.ifd import AnswerLoss, Ifd
from coreset.scorers.language.load import load_tokenizer
from coreset.testing import check_scorer

ROWS = [
    ("Name the capital of France.", "", "The capital of France is Paris."),
    ("Add the numbers.", "1 and 2", "The sum is 3."),
    ("Say it.", "", "Yes"),
    ("List three things.", "", "- one\n- two\n- three"),
    ("Name the capital of France.", "", "Paris, on the Seine."),  # a second answer to one prompt
    ("Écrire {input}.", "{instruction}", "Über alles 1 2 3"),
    ("Smile.", "", ":) yes, smile"),  # ":" and the template's ":" are one token
    ("List three things.", "", "\n\n- one\n- two"),  # so are line ends
]
BAD = [("a", "", ""), ("a", "", "  "), ("a", "", None), (None, "", "b")]


@pytest.mark.parametrize("variant", ["cherry", "superfilter", "matched", "chat"])
@pytest.mark.parametrize("tokenizer", ["tiny", "with_bos"])
def test_each_variant_by_its_definition(request, reference_of, variant, tokenizer):
    folder = request.getfixturevalue(tokenizer)
    got = Ifd(folder, variant=variant, start_token="<|im_start|>")(columns(ROWS))
    plain = reference_of(folder)
    wanted = np.array([by_definition(plain, variant, row) for row in ROWS])
    assert got["ifd_status"].tolist() == ["ok"] * len(ROWS)
    for name, column in zip(("ifd", "ifd_loss", "ifd_loss_alone"), wanted.T, strict=True):
        assert np.allclose(got[name], column, rtol=2e-5), name
    assert np.allclose(
        AnswerLoss(folder, variant=variant, start_token="<|im_start|>")(columns(ROWS))[
            "answer_loss"
        ],
        wanted[:, 1],
        rtol=2e-5,
    )


@pytest.mark.parametrize("variant", ["cherry", "superfilter", "matched", "chat"])
def test_the_contract(tiny, variant):
    rows = columns(ROWS + BAD + [("Long.", "", "very long answer " * 40)])
    check_scorer(Ifd(tiny, variant=variant, max_length=200, batch_tokens=300), rows, tolerance=1e-4)
    check_scorer(
        AnswerLoss(tiny, variant=variant, max_length=200, over_long="truncate"),
        rows,
        tolerance=1e-4,
    )


words = st.text("abc \n:)1é", min_size=1, max_size=12).filter(str.strip)


@settings(
    deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.tuples(words, st.sampled_from(["", "x y"]), words), min_size=1, max_size=7),
    st.sampled_from(["cherry", "superfilter", "matched", "chat"]),
    st.integers(1, 200),
    st.randoms(use_true_random=False),
)
def test_batches_and_order_change_nothing(tiny, rows, variant, budget, random):
    order = list(range(len(rows)))
    random.shuffle(order)
    whole = Ifd(tiny, variant=variant, batch_tokens=budget)(columns([rows[i] for i in order]))
    for at, i in enumerate(order):
        alone = Ifd(tiny, variant=variant)(columns([rows[i]]))
        assert alone["ifd_status"][0] == whole["ifd_status"][at]
        assert alone["ifd_tokens"][0] == whole["ifd_tokens"][at]
        assert np.allclose(alone["ifd"][0], whole["ifd"][at], rtol=1e-5, equal_nan=True)


def test_undefined_rows_say_why(tiny):
    got = Ifd(tiny)(columns([*BAD, ROWS[0]]))
    assert got["ifd_status"].tolist() == [
        "empty_text",
        "empty_text",
        "missing_field",
        "missing_field",
        "ok",
    ]
    assert np.isnan(got["ifd"]).tolist() == [True] * 4 + [False]
    assert got["ifd_tokens"].tolist()[:4] == [0] * 4
    empty = Ifd(tiny)(
        columns(ROWS[:1]) | {n: [] for n in ("instruction", "input", "response", "messages")}
    )
    assert {n: len(v) for n, v in empty.items()} == dict.fromkeys(Ifd.gives, 0)


def test_an_answer_of_one_token(tiny):
    """superfilter gives its first token no loss alone, so there is nothing to compare; where a
    start token stands before it there is.
    """
    row = columns([("Say it.", "", "a")])
    got = Ifd(tiny, variant="superfilter")(row)
    assert got["ifd_status"].tolist() == ["too_short"]
    assert np.isnan(got["ifd"]).all()
    for variant, tokens in (("cherry", 1), ("matched", 1), ("chat", 2)):
        got = Ifd(tiny, variant=variant)(row)
        assert (got["ifd_status"][0], got["ifd_tokens"][0], got["ifd_tokens_alone"][0]) == (
            "ok",
            tokens,
            tokens,
        )


def test_superfilter_scores_one_token_more_after_the_prompt(tiny):
    got = Ifd(tiny, variant="superfilter")(columns(ROWS[:2]))
    assert (got["ifd_tokens"] - got["ifd_tokens_alone"]).tolist() == [1, 1]


LONG = ("Tell me.", "", "one two three four five six seven")


@pytest.mark.parametrize("variant", ["matched", "chat"])
def test_an_over_long_row_is_undefined_or_loses_the_same_tokens_on_both_sides(tiny, variant):
    whole = Ifd(tiny, variant=variant)
    [[answer]], _ = whole.answers(columns([LONG]))
    context, target = len(answer.context), len(answer.target)
    kept = target - 3
    length = context + kept
    got = Ifd(tiny, variant=variant, max_length=length)(columns([LONG]))
    assert (got["ifd_status"][0], np.isnan(got["ifd"][0])) == ("too_long", True)
    cut = Ifd(tiny, variant=variant, max_length=length, over_long="truncate")(columns([LONG]))
    assert cut["ifd_status"][0] == "truncated"
    assert cut["ifd_tokens"][0] == kept
    assert cut["ifd_tokens_alone"][0] == kept
    full, reduced = answer.cut(3).spans
    sums, counts = whole.likelihood().totals([full, reduced])
    assert cut["ifd_loss"][0] == pytest.approx(sums[0] / counts[0], rel=1e-5)
    assert cut["ifd_loss_alone"][0] == pytest.approx(sums[1] / counts[1], rel=1e-5)
    none = Ifd(tiny, variant=variant, max_length=context, over_long="truncate")(columns([LONG]))
    assert (none["ifd_status"][0], np.isnan(none["ifd"][0])) == ("no_context_left", True)
    assert (
        Ifd(tiny, variant=variant, max_length=context + target)(columns([LONG]))["ifd_status"][0]
        == "ok"
    )


@pytest.mark.parametrize("variant", ["cherry", "superfilter"])
@pytest.mark.parametrize("tokenizer", ["tiny", "with_bos"])
def test_the_released_numbers_at_every_length(request, reference_of, variant, tokenizer):
    """Rows cut at every place: the losses the programs take the mean of, and how many they are."""
    folder = request.getfixturevalue(tokenizer)
    plain = reference_of(folder)
    for row in (LONG, ROWS[1], ROWS[6], ROWS[7]):
        [[answer]], [status] = Ifd(folder, variant=variant).answers(columns([row]))
        assert status == "ok"
        prompt, whole = len(answer.context), len(answer.context) + len(answer.target)
        statuses = set()
        for length in range(prompt - 1, whole + 2):
            got = Ifd(folder, variant=variant, max_length=length)(columns([row]))
            statuses.add(got["ifd_status"][0])
            after, alone = as_released(plain, variant, row, length)
            passed_over = variant == "cherry" and prompt + len(alone) > length
            if got["ifd_status"][0] not in ("ok", "truncated"):
                assert passed_over or not min(len(after), len(alone)), (row, length)
                assert np.isnan(got["ifd"][0])
                continue
            assert not passed_over
            assert (got["ifd_tokens"][0], got["ifd_tokens_alone"][0]) == (len(after), len(alone))
            assert np.isclose(got["ifd_loss"][0], after.mean(), rtol=2e-5)
            assert np.isclose(got["ifd_loss_alone"][0], alone.mean(), rtol=2e-5)
            cut = len(after) < len(answer.target)
            assert got["ifd_status"][0] == ("truncated" if cut else "ok") or len(alone) < len(
                answer.reduced_target
            )
            refused = Ifd(folder, variant=variant, max_length=length, over_long="undefined")(
                columns([row])
            )
            assert refused["ifd_status"][0] == (
                "too_long" if got["ifd_status"][0] == "truncated" else "ok"
            )
        assert {"ok", "no_context_left"} <= statuses


def test_a_border_inside_a_token_moves_the_released_number_and_not_the_matched(tiny, reference):
    """The program's number, not that of all the answer's characters."""
    got = {v: Ifd(tiny, variant=v)(columns([ROWS[6]])) for v in ("cherry", "matched")}
    answer = len(reference.ids(ROWS[6][2]))
    assert (
        got["matched"]["ifd_tokens"].tolist()
        == got["matched"]["ifd_tokens_alone"].tolist()
        == [answer]
    )
    assert got["cherry"]["ifd_tokens"][0] < answer
    assert np.isclose(
        got["cherry"]["ifd"][0], by_definition(reference, "cherry", ROWS[6])[0], rtol=2e-5
    )


def test_what_each_variant_was_published_with(tiny):
    long = columns([("Say it.", "", "word " * 700)])
    got = {
        v: Ifd(tiny, variant=v)(long)["ifd_status"][0]
        for v in ("cherry", "superfilter", "matched", "chat")
    }
    assert got == {
        "cherry": "truncated",
        "superfilter": "truncated",
        "matched": "too_long",
        "chat": "too_long",
    }
    for variant, length, prompt in (
        ("cherry", 512, ALPACA.format("Say it.")),
        ("superfilter", 1024, "Say it.\n"),
    ):
        left = length - len(load_tokenizer(tiny)(prompt)["input_ids"])
        assert Ifd(tiny, variant=variant)(long)["ifd_tokens"].tolist() == [left]


@pytest.mark.parametrize("start", [0, 1, 300])
def test_a_start_token_by_its_number(tiny, reference, start):
    row = ROWS[0]
    got = Ifd(tiny, start_token=start)(columns([row]))
    prompt, answer = reference.ids(f"{row[0]}\n"), reference.ids(row[2])
    want = np.exp(reference.mean([start, *prompt], answer) - reference.mean([start], answer))
    assert np.isclose(got["ifd"][0], want, rtol=2e-5)


def test_all_turns_weigh_by_tokens(tiny, reference):
    turns = [
        ("user", "One?"),
        ("assistant", "Sun"),
        ("user", "Two?"),
        ("assistant", "the moon and the sun"),
    ]
    messages = [{"role": r, "content": c} for r, c in turns]
    header, end = reference.ids("<|im_start|>assistant\n"), [reference.tokenizer.eos_token_id]
    after, alone = [], []
    for t in (1, 3):
        prompt = reference.tokenizer.apply_chat_template(
            messages[:t], tokenize=False, add_generation_prompt=True
        )
        answer = reference.ids(messages[t]["content"]) + end
        after += reference.losses(reference.ids(prompt), answer).tolist()
        alone += reference.losses(header, answer).tolist()
    got = Ifd(tiny, variant="chat", turns="all")({"messages": [messages]})
    assert got["ifd"][0] == pytest.approx(np.exp(np.mean(after) - np.mean(alone)), rel=1e-5)
    assert got["ifd_tokens"][0] == len(after)


def test_a_text_that_no_float_holds_is_undefined():
    got = scorer_file.written({"ifd": np.array([1e300, 2.0])}, ["ok", "ok"], "ifd")
    assert np.isnan(got["ifd"][0])
    assert got["ifd_status"].tolist() == ["non_finite", "ok"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"variant": "ifd"}, "variant: expected cherry, superfilter, matched, chat, got 'ifd'"),
        ({"template": "llama"}, "template: expected plain, alpaca, wizard, vicuna"),
        ({"variant": "chat", "template": "alpaca"}, "none for the variant chat"),
        ({"turns": "all"}, "turns: all needs the variant chat"),
        ({"turns": "first", "variant": "chat"}, "turns: expected last, all"),
        ({"over_long": "cut"}, "over_long: expected undefined, truncate"),
        ({"max_length": 1}, "max_length: expected at least 2 tokens, got 1"),
        ({"dtype": "int8"}, "dtype: expected float32, bfloat16"),
        ({"batch_tokens": 0}, "batch_tokens: expected at least 1"),
        ({"model": ""}, "model: expected the folder, GGUF file or name"),
        ({"model": None}, "model: expected the folder, GGUF file or name"),
    ],
)
def test_parameters_that_make_no_sense(change, message):
    with pytest.raises(ValueError, match=message):
        Ifd(**{"model": "m"} | change)


def test_parameters_the_model_does_not_take(tiny):
    with pytest.raises(ValueError, match="max_length: 1600 tokens, but .* takes 1024"):
        Ifd(tiny, max_length=1600)(columns(ROWS))
    with pytest.raises(ValueError, match="start_token: 'two words' is . tokens"):
        Ifd(tiny, start_token="two words")(columns(ROWS))
    for token in (-1, 100_000):
        with pytest.raises(
            ValueError, match=f"start_token: expected a token of .*, 0 to [0-9]+, got {token}"
        ):
            Ifd(tiny, start_token=token)(columns(ROWS))
    for token in (False, 0.0):
        with pytest.raises(
            TypeError, match="start_token: expected a token's text or number, auto or null, got"
        ):
            Ifd(tiny, start_token=token)(columns(ROWS))
