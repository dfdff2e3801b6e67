"""Visual dependence with a LLaVA of tiny random weights: against one row at a time, no padding, the
loss written out.
"""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from PIL import Image  # noqa: E402

from coreset.core.batch import objects  # noqa: E402
from coreset.scorers.image.images import Images  # noqa: E402
from coreset.scorers.image_text.dependence import VisualDependence  # noqa: E402
from coreset.testing import check_scorer  # noqa: E402

WORDS = ["[PAD]", "[UNK]", "<s>", "</s>", "<image>", "USER", ":", "ASSISTANT", "SYSTEM", "what", "is", "it", "?", "a", "red", "dog", "cat", "on", "the", ".", "blue", "yes"]  # fmt: skip
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'tool' %}{{ raise_exception('no"
    " tools') }}{% endif %}{{ m['role'].upper() }} : {% for p in m['content'] %}{% if p['type'] =="
    " 'image' %}<image> {% else %}{{ p['text'] }} {% endif %}{% endfor %}{% if m['role'] =="
    " 'assistant' %}</s>{% endif %}{% endfor %}{% if add_generation_prompt %}ASSISTANT :{% endif %}"
)
PATCHES = 4  # tokens of an image of 16 x 16 in patches of 8


def processor(template=TEMPLATE):
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="[PAD]", eos_token="</s>", bos_token="<s>", unk_token="[UNK]", additional_special_tokens=["<image>"]
    )  # fmt: skip
    return transformers.LlavaProcessor(
        image_processor=transformers.CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}),
        tokenizer=tokenizer, patch_size=8, vision_feature_select_strategy="default", chat_template=template, image_token="<image>", num_additional_image_tokens=1,
    )  # fmt: skip


def make(folder, seed=0, flat=False):
    small = {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(**small, image_size=16, patch_size=8),
        text_config=transformers.LlamaConfig(**small, vocab_size=len(WORDS), num_key_value_heads=2, max_position_embeddings=40),
        image_token_index=4, vision_feature_layer=-1,
    )  # fmt: skip
    torch.manual_seed(seed)
    net = transformers.LlavaForConditionalGeneration(config).eval()
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(4)  # far from uniform
        if flat:
            net.lm_head.weight.zero_()
    net.save_pretrained(folder)
    processor().save_pretrained(folder)
    return str(folder), net.double()


@pytest.fixture(scope="module")
def llava(tmp_path_factory):
    return make(tmp_path_factory.mktemp("llava"))


def pictures(n, seed=0):
    rng = np.random.default_rng(seed)
    return objects(
        [
            rng.integers(0, 256, (rng.integers(17, 40), rng.integers(17, 40), 3)).astype(np.uint8)
            for _ in range(n)
        ]
    )


def turns(*texts, system=None):
    roles = ["user", "assistant"] * len(texts)
    return [{"role": "system", "content": system}] * (system is not None) + [
        {"role": r, "content": t} for r, t in zip(roles, texts, strict=False)
    ]


ROWS = [
    (turns("<image>\nwhat is it ?", "a red dog on the cat ."), "USER : @ what is it ? ASSISTANT :", "a red dog on the cat ."),
    (turns("what is it ?", "a dog"), "USER : @ what is it ? ASSISTANT :", "a dog"),
    (turns("is it a cat ?", "yes", "is the cat red ?", "the cat is blue .", system="red or blue"),
     "SYSTEM : red or blue USER : @ is it a cat ? ASSISTANT : yes </s> USER : is the cat red ? ASSISTANT :", "the cat is blue ."),
    (turns("is the dog on the cat ?\n<image>", "yes"), "USER : @ is the dog on the cat ? ASSISTANT :", "yes"),
]  # fmt: skip


def mean_loss(net, prompt, answer, pixels=None):
    """- mean log p of the answer's tokens and the end, one forward, no padding, in float64."""
    words = [
        "<s>",
        *prompt.replace("@", " ".join(["<image>"] * PATCHES) if pixels is not None else "").split(),
    ]
    target = [WORDS.index(w) if w in WORDS else 1 for w in [*answer.split(), "</s>"]]
    ids = [WORDS.index(w) if w in WORDS else 1 for w in words] + target
    see = {}
    if pixels is not None:
        see["pixel_values"] = (
            processor()
            .image_processor(Image.fromarray(pixels), return_tensors="pt")["pixel_values"]
            .double()
        )
    with torch.no_grad():
        logits = net(input_ids=torch.tensor([ids]), **see).logits[0]
    total = 0.0
    for place, token in enumerate(target, len(words)):
        row = logits[place - 1]
        total += float(row.exp().sum().log() - row[token])
    return total / len(target)


@pytest.mark.parametrize("batch", [1, 3, 8])
@pytest.mark.parametrize("without", ["image", "question"])
def test_the_ratio_is_that_of_two_plain_forwards(llava, without, batch):
    folder, net = llava
    images = pictures(len(ROWS))
    name = {"image": "visual_dependence", "question": "instruction_relevance"}[without]
    columns = VisualDependence(folder, without, batch=batch)(
        {"pixels": images, "messages": objects([r[0] for r in ROWS])}
    )
    for i, (_, prompt, answer) in enumerate(ROWS):
        full = mean_loss(net, prompt, answer, images[i])
        less = (
            mean_loss(net, prompt, answer)
            if without == "image"
            else mean_loss(net, "USER : @ ASSISTANT :", answer, images[i])
        )
        assert columns[f"{name}_loss"][i] == pytest.approx(full, rel=2e-4)
        assert columns[f"{name}_loss_without"][i] == pytest.approx(less, rel=2e-4)
        assert columns[name][i] == pytest.approx(full / less, rel=4e-4)
        assert columns[f"{name}_tokens"][i] == len(answer.split()) + 1
    assert np.abs(columns[name] - 1).max() > 0.01
    assert columns[f"{name}_status"].tolist() == ["ok"] * len(ROWS)


def test_another_image_changes_one_side_only(llava):
    folder, _ = llava
    messages = objects([r[0] for r in ROWS])
    a, b = (
        VisualDependence(folder)({"pixels": pictures(len(ROWS), seed), "messages": messages})
        for seed in (0, 1)
    )
    assert np.allclose(
        a["visual_dependence_loss_without"], b["visual_dependence_loss_without"], atol=1e-6
    )
    assert (np.abs(a["visual_dependence_loss"] - b["visual_dependence_loss"]) > 1e-4).all()


def test_a_model_that_knows_nothing_depends_on_nothing(tmp_path):
    folder, _ = make(tmp_path, flat=True)
    columns = VisualDependence(folder)(
        {"pixels": pictures(len(ROWS)), "messages": objects([r[0] for r in ROWS])}
    )
    assert np.allclose(columns["visual_dependence_loss"], np.log(len(WORDS)), atol=1e-6)
    assert columns["visual_dependence"].tolist() == [1.0] * len(ROWS)


def test_contract_inside_images(llava, tmp_path):
    folder, _ = llava
    names = []
    for i, picture in enumerate(pictures(4)):
        names.append(str(tmp_path / f"{i}.png"))
        Image.fromarray(picture).save(names[-1])
    (tmp_path / "3.png").write_text("broken")
    long = turns("what is it ?", "a red dog on the cat . " * 6)
    rows = [
        (names[0], ROWS[0][0], "ok"), (names[1], ROWS[2][0], "ok"), (names[2], ROWS[3][0], "ok"), (names[3], ROWS[0][0], "not_an_image"),
        (None, ROWS[0][0], "missing_field"), (names[0], None, "missing_field"), (names[0], turns("what ?", " "), "empty_text"), (names[0], long, "too_long"),
        (names[0], [{"role": "user", "content": "what"}], "missing_field"), (names[0], [{"role": "assistant", "content": "yes"}], "missing_field"),
        (names[0], [{"role": "user", "content": "what"}, {"role": "tool", "content": "it"}, {"role": "assistant", "content": "yes"}], "template_error"),
    ]  # fmt: skip
    columns = {"image": objects([r[0] for r in rows]), "messages": objects([r[1] for r in rows])}
    scorer = Images([VisualDependence(folder, batch=2)], at_once=3000)
    assert scorer.compute.gpus
    assert scorer.needs == {"image", "messages"}
    result = scorer(columns)
    assert result["visual_dependence_status"].tolist() == [r[2] for r in rows]
    assert np.isnan(result["visual_dependence"][3:]).all()
    check_scorer(scorer, columns, tolerance=1e-5)


def test_refusals(llava, tmp_path):
    for options, match in (
        ({"model": ""}, "model: expected the folder"), ({"without": "text"}, "without: expected image, question, got 'text'"),
        ({"dtype": "int8"}, "dtype: expected"), ({"batch": 0}, "batch: expected at least 1"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=match):
            VisualDependence(**{"model": "x", **options})
    without_template = processor()
    without_template.chat_template = None
    without_template.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="has no chat template"):
        VisualDependence(str(tmp_path))({"pixels": pictures(1), "messages": objects([ROWS[0][0]])})


def test_in_a_run_over_conversations(llava, tmp_path):
    import json

    import pyarrow.parquet as pq

    from coreset.curation import curate
    from coreset.curation.operators.threshold import Threshold

    folder, net = llava
    rows, images = [], pictures(4)
    for i, (_, prompt, answer) in enumerate(ROWS):
        Image.fromarray(images[i]).save(tmp_path / f"{i}.png")
        question = (
            prompt.split("USER : ")[-1].removesuffix(" ASSISTANT :").replace("@", "<image>\n")
        )
        turns = [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
        rows.append({"id": str(i), "image": f"{i}.png", "conversations": turns})
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    recipe = [
        Images([VisualDependence(folder)]),
        Threshold("visual_dependence", high=1.0, strict=True),
    ]
    curate(recipe, tmp_path / "rows.json", tmp_path / "out")
    for row in pq.read_table(tmp_path / "out/decisions.parquet").to_pylist():
        i = int(row["id"])
        prompt = "USER : @ " + ROWS[i][1].split("USER : ")[-1].removeprefix("@ ")
        want = mean_loss(net, prompt, ROWS[i][2], images[i]) / mean_loss(net, prompt, ROWS[i][2])
        assert row["visual_dependence"] == pytest.approx(want, rel=4e-4)
        assert (row["state"] == "kept") == (want < 1)
