"""CLIP, SigLIP and open_clip of tiny random weights: cosines against the model's own logits,
whatever its scale.
"""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from PIL import Image  # noqa: E402

from coreset.core.batch import objects  # noqa: E402
from coreset.scorers.image.images import Images  # noqa: E402
from coreset.scorers.image_text.clip import ClipScore, load_towers  # noqa: E402
from coreset.testing import check_scorer  # noqa: E402

WORDS = [
    "[PAD]",
    "[UNK]",
    "[BOS]",
    "[EOS]",
    *["a", "red", "blue", "square", "circle", "dog", "cat", "of", "on", "the"],
]


def tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single="[BOS] $A [EOS]", special_tokens=[("[BOS]", 2), ("[EOS]", 3)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="[PAD]",
        eos_token="[EOS]",
        bos_token="[BOS]",
        unk_token="[UNK]",
    )


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    text = {"vocab_size": len(WORDS), "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 12,
            "eos_token_id": 3, "bos_token_id": 2, "pad_token_id": 0}  # fmt: skip
    vision = {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 8,
    }
    torch.manual_seed(0)
    net = transformers.CLIPModel(
        transformers.CLIPConfig(
            text_config=text,
            vision_config=vision,
            projection_dim=8,
            logit_scale_init_value=float(np.log(14.28)),
        )
    )
    net.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    transformers.CLIPImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    ).save_pretrained(folder)
    return str(folder), net.eval()


def pictures(n=6, seed=0):
    rng = np.random.default_rng(seed)
    return objects(
        [
            rng.integers(0, 256, (rng.integers(20, 60), rng.integers(20, 60), 3)).astype(np.uint8)
            for _ in range(n)
        ]
    )


TEXTS = [
    "a red square",
    "blue circle",
    "dog",
    "the cat on the dog of the cat on the dog of the cat on a square",
    "a",
    "red",
]


def test_the_cosine_is_the_logit_over_the_models_own_scale(clip):
    folder, net = clip
    images, texts = pictures(), objects(TEXTS)
    columns = ClipScore(folder, embeddings=True, flipped=True)({"pixels": images, "text": texts})
    see = transformers.CLIPImageProcessor.from_pretrained(folder)
    for i in range(6):
        words = tokenizer()([TEXTS[i]], truncation=True, max_length=12, return_tensors="pt")
        for name, picture in (
            ("clip_cosine", images[i]),
            ("clip_cosine_flipped", np.ascontiguousarray(images[i][:, ::-1])),
        ):
            with torch.no_grad():
                out = net(
                    input_ids=words["input_ids"],
                    attention_mask=words["attention_mask"],
                    pixel_values=see(Image.fromarray(picture), return_tensors="pt")["pixel_values"],
                )
            logit = out.logits_per_image.item()
            assert columns[name][i] == pytest.approx(logit / 14.28, abs=2e-5)
            assert columns[name][i] != pytest.approx(
                logit / 100, abs=1e-3
            )  # the trap of a scorer that takes every scale for 100
    dot = (columns["image_embedding"] * columns["text_embedding"]).sum(axis=1)
    assert np.allclose(dot, columns["clip_cosine"], atol=1e-6)
    assert np.allclose(np.linalg.norm(columns["image_embedding"], axis=1), 1, atol=1e-6)
    assert np.allclose(columns["clipscore"], 2.5 * np.maximum(columns["clip_cosine"], 0), atol=1e-7)
    assert (columns["clipscore"] >= 0).all()
    assert (columns["clip_cosine"] < 0).any()
    assert np.abs(columns["clip_cosine"] - columns["clip_cosine_flipped"]).max() > 1e-3


def test_contract_inside_images(clip, tmp_path):
    folder, _ = clip
    names = []
    for i, picture in enumerate(pictures(4)):
        names.append(str(tmp_path / f"{i}.png"))
        Image.fromarray(picture).save(names[-1])
    (tmp_path / "3.png").write_text("broken")
    scorer = Images([ClipScore(folder, embeddings=True, batch=2)], at_once=3000)
    assert scorer.compute.gpus
    columns = {
        "image": objects([*names, names[0], names[0]]),
        "text": objects(["red", "a dog", "cat", "blue", " ", None]),
    }
    check_scorer(scorer, columns, tolerance=1e-5)
    result = scorer(columns)
    assert result["clip_status"].tolist() == [
        "ok",
        "ok",
        "ok",
        "not_an_image",
        "empty_text",
        "missing_field",
    ]
    assert np.isnan(result["clip_cosine"][3:]).all()
    assert np.isnan(result["image_embedding"][3:]).all()


def test_siglip(tmp_path):
    text = {"vocab_size": len(WORDS), "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 10, "pad_token_id": 0,
            "projection_size": 16}  # fmt: skip
    vision = {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 16,
        "patch_size": 8,
    }
    torch.manual_seed(1)
    net = transformers.SiglipModel(
        transformers.SiglipConfig(text_config=text, vision_config=vision)
    ).eval()
    net.save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    transformers.SiglipImageProcessor(size={"height": 16, "width": 16}).save_pretrained(tmp_path)
    images = pictures(2)
    columns = ClipScore(str(tmp_path))({"pixels": images, "text": objects(["a red dog", "cat"])})
    words = tokenizer()(
        ["a red dog", "cat"],
        padding="max_length",
        truncation=True,
        max_length=10,
        return_tensors="pt",
    )
    see = transformers.SiglipImageProcessor.from_pretrained(tmp_path)
    with torch.no_grad():
        out = net(
            input_ids=words["input_ids"],
            pixel_values=see([Image.fromarray(p) for p in images], return_tensors="pt")[
                "pixel_values"
            ],
        )
    logits = ((out.logits_per_image.diagonal() - net.logit_bias) / net.logit_scale.exp()).detach()
    assert np.allclose(columns["clip_cosine"], logits.numpy(), atol=2e-5)


def test_open_clip(tmp_path, monkeypatch):
    open_clip = pytest.importorskip("open_clip")
    import json

    config = {"embed_dim": 8, "vision_cfg": {"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 8},
              "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}}  # fmt: skip
    (tmp_path / "tiny-clip.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path)
    torch.manual_seed(0)
    net, _, see = open_clip.create_model_and_transforms("tiny-clip")
    torch.save(net.state_dict(), tmp_path / "weights.pt")
    load_towers.cache_clear()
    images = pictures(3)
    columns = ClipScore(f"open_clip:tiny-clip/{tmp_path / 'weights.pt'}")(
        {"pixels": images, "text": objects(["a dog", "a cat", "the sea"])}
    )
    with torch.no_grad():
        a = net.eval().encode_image(torch.stack([see(Image.fromarray(p)) for p in images]))
        b = net.encode_text(open_clip.get_tokenizer("tiny-clip")(["a dog", "a cat", "the sea"]))
    expected = torch.nn.functional.cosine_similarity(a, b)
    assert np.allclose(columns["clip_cosine"], expected.numpy(), atol=1e-5)


def test_wrong_models(tmp_path, clip, monkeypatch):
    import sys

    with pytest.raises(ValueError, match="model: expected the folder or name of a CLIP model"):
        ClipScore("")
    with pytest.raises(ValueError, match="batch"):
        ClipScore("x", batch=0)
    bert = transformers.BertModel(
        transformers.BertConfig(
            vocab_size=len(WORDS),
            hidden_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
            intermediate_size=8,
        )
    )
    bert.save_pretrained(tmp_path / "bert")
    with pytest.raises(ValueError, match="is a BertModel, which does not embed images and texts"):
        ClipScore(str(tmp_path / "bert"))({"pixels": pictures(1), "text": objects(["a"])})
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(ImportError, match="pip install open_clip_torch"):
        ClipScore("open_clip:ViT-B-32/x")({"pixels": pictures(1), "text": objects(["a"])})
