import pytest

from coreset.scorers.language.chat import chat, chat_form
from coreset.scorers.language.contexts import Row, common, separate
from coreset.scorers.language.load import load_tokenizer
from coreset.scorers.language.released import released
from coreset.scorers.language.templates import TEMPLATES


@pytest.fixture
def tokenizer(tiny):
    return load_tokenizer(tiny)


def text(tokenizer, ids):
    return tokenizer.decode(list(ids))


def test_templates_as_published():
    alpaca = TEMPLATES["alpaca"]
    head = "Below is an instruction that describes a task"
    assert (
        alpaca.prompt("Do.", "")
        == f"{head}. Write a response that appropriately completes the request.\n\n###"
        " Instruction:\nDo.\n\n### Response:"
    )
    assert (
        alpaca.prompt("Do.", "It.")
        == f"{head}, paired with an input that provides further context. Write a response that"
        " appropriately completes the request.\n\n### Instruction:\nDo.\n\n###"
        " Input:\nIt.\n\n### Response:"
    )
    assert TEMPLATES["wizard"].prompt("Do.", "It.") == "Do.\nInput:It.\n\n### Response:"
    assert TEMPLATES["vicuna"].prompt("Do.", "").endswith("questions. USER: Do. ASSISTANT:")
    assert [t.header for t in TEMPLATES.values()] == [
        "",
        "### Response:",
        "### Response:",
        "ASSISTANT:",
    ]


def test_braces_in_a_row_are_text():
    assert (
        TEMPLATES["plain"].prompt("{input} {instruction} {0}", "{instruction}")
        == "{input} {instruction} {0}\n{instruction}\n"
    )


def joined(tokenizer, template, rows):
    return [
        answers or status
        for answers, status in released(tokenizer, template, rows, 1024, "undefined", False)
    ]


def test_one_text_for_the_tokenizer(tokenizer):
    [[a]] = joined(tokenizer, TEMPLATES["alpaca"], [Row("Name it.", "", "The sun")])
    assert text(tokenizer, a.context) == TEMPLATES["alpaca"].prompt("Name it.", "")
    assert text(tokenizer, a.target) == text(tokenizer, a.reduced_target) == "The sun"
    assert text(tokenizer, a.reduced_context) == "### Response:"
    assert text(tokenizer, a.context[: a.shared]).startswith("Below is an instruction")
    assert 20 < a.shared < len(a.context)


@pytest.mark.parametrize(
    ("template", "answer", "lost"), [("alpaca", ":) yes", ":)"), ("plain", "\n\n- one", "\n")]
)
def test_a_token_that_the_border_runs_through(tokenizer, template, answer, lost):
    """The released programs lose it on one side or on both; tokens apart lose none."""
    form = TEMPLATES[template]
    prompt = form.prompt("Name it.", "")
    whole = tokenizer(prompt + answer)["input_ids"]
    counted = whole[len(tokenizer(prompt)["input_ids"]) :]  # what the released programs score
    assert not text(tokenizer, counted).startswith(answer)
    assert text(tokenizer, counted) == answer[len(lost) :]
    [[a]] = joined(tokenizer, form, [Row("Name it.", "", answer)])
    assert list(a.target) == counted
    alone = tokenizer(form.header + answer)["input_ids"]
    assert list(a.reduced_target) == alone[len(tokenizer(form.header)["input_ids"]) :]
    assert a.context + a.target == tuple(whole)
    [[b]] = separate(tokenizer, form, (1,), [Row("Name it.", "", answer)])
    assert text(tokenizer, b.target) == answer
    assert b.target == b.reduced_target


def test_the_tokenizers_own_start_token_stands_on_both_sides(with_bos):
    tokenizer = load_tokenizer(with_bos)
    [[a]] = joined(tokenizer, TEMPLATES["plain"], [Row("Name it.", "", "Sun")])
    assert a.context[0] == tokenizer.bos_token_id
    assert a.reduced_context == ()  # it follows nothing and is not scored
    assert a.reduced_target == (tokenizer.bos_token_id, *a.target)


def test_separate_has_the_start_token_once(with_bos):
    tokenizer = load_tokenizer(with_bos)
    [[a]] = separate(tokenizer, TEMPLATES["plain"], (7,), [Row("Name it.", "in one word", "Sun")])
    assert a.reduced_context == (7,)
    assert a.context == (
        7,
        *tokenizer("Name it.\nin one word\n", add_special_tokens=False)["input_ids"],
    )
    assert tokenizer.bos_token_id not in a.context + a.target


@pytest.mark.parametrize("how", ["joined", "separate"])
def test_rows_without_an_answer(tokenizer, how):
    rows = [
        Row("a", "", ""),
        Row("a", "", " \n"),
        Row("a", None, None),
        Row(None, "", "b"),
        Row("a", None, "b c"),
    ]
    answers = (
        joined(tokenizer, TEMPLATES["plain"], rows)
        if how == "joined"
        else separate(tokenizer, TEMPLATES["plain"], (1,), rows)
    )
    assert answers[:4] == ["empty_text", "empty_text", "missing_field", "missing_field"]
    assert len(answers[4]) == 1
    assert joined(tokenizer, TEMPLATES["plain"], []) == []


def turns(*contents):
    return [
        {"role": "assistant" if i % 2 else "user", "content": c} for i, c in enumerate(contents)
    ]


def test_chat_template_and_the_token_that_ends_a_turn(tokenizer):
    [[a]] = chat(tokenizer, "last", [Row(messages=turns("Name it.", "Sun"))])
    head = "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\n"
    assert text(tokenizer, a.context) == f"{head}Name it.<|im_end|>\n<|im_start|>assistant\n"
    assert text(tokenizer, a.reduced_context) == "<|im_start|>assistant\n"
    assert text(tokenizer, a.target) == text(tokenizer, a.reduced_target) == "Sun<|im_end|>"
    assert text(tokenizer, a.context[: a.shared]) == head[:-1]


def test_several_turns(tokenizer):
    rows = [Row(messages=turns("One?", "Sun", "Two?", "Moon"))]
    [[last]] = chat(tokenizer, "last", rows)
    [every] = chat(tokenizer, "all", rows)
    assert [text(tokenizer, a.target) for a in every] == ["Sun<|im_end|>", "Moon<|im_end|>"]
    assert every[1] == last
    assert text(tokenizer, last.context).endswith(
        "One?<|im_end|>\n<|im_start|>assistant\nSun<|im_end|>\n<|im_start|>user\nTwo?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_conversations_that_cannot_be_scored(tokenizer):
    tool = [
        {"role": "user", "content": "a"},
        {"role": "tool", "content": "b"},
        {"role": "assistant", "content": "c"},
    ]
    rows = [
        Row(),
        Row(messages=turns("a")),
        Row(messages=turns("a", "")),
        Row(messages=tool),
        Row(messages=turns("a", "b")),
    ]
    answers = chat(tokenizer, "last", rows)
    assert answers[:4] == ["missing_field", "missing_field", "empty_text", "template_error"]
    assert text(tokenizer, answers[4][0].target) == "b<|im_end|>"


def test_other_chat_templates(make_tokenizer):
    llama3 = make_tokenizer(bos="<|endoftext|>")
    llama3.chat_template = (
        "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{% if m['role']"
        " == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}{% if add_generation_prompt"
        " %}[assistant]{% endif %}"
    )
    form = chat_form(llama3)
    assert (
        text(llama3, form.header) == "<|endoftext|>[assistant]"
    )  # a conversation begins with the start token, whatever is asked
    assert form.end == (llama3.eos_token_id,)
    llama3.chat_template = (
        "{% for m in messages %}{{ m['content'] }}\n{% endfor %}{% if add_generation_prompt %}A:{%"
        " endif %}"
    )
    # the template closes with no token of its own
    assert chat_form(llama3).end == (llama3.eos_token_id,)
    llama3.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    with pytest.raises(ValueError, match="opens no answer"):
        chat_form(llama3)
    llama3.chat_template = None
    with pytest.raises(ValueError, match="no chat template; choose another variant"):
        chat_form(llama3)


def test_common():
    assert [common((), (1,)), common((1, 2), (1, 2)), common((1, 2), (1, 3), (1, 2, 4))] == [
        0,
        2,
        1,
    ]
