"""What tests of training share: a small language model, stamps that nobody has drawn in."""

import json

import pytest
import torch

from coreset.scorers.language.templates import TEMPLATES

WORDS = "red green blue one two three Say colors numbers. 0. 1. 2. 3. 4. 5. 6. 7. 8. 9."


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A random Llama with a vocabulary of its own: logits over the 49,152 tokens of a real one are
    nearly all that training it would take.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    bytes_of = pre_tokenizers.ByteLevel
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer, bpe.decoder = bytes_of(add_prefix_space=False), decoders.ByteLevel()
    bpe.train_from_iterator(
        [*(t.with_input + t.without for t in TEMPLATES.values()), WORDS] * 3,
        trainers.BpeTrainer(
            vocab_size=1024, special_tokens=["<end>"], initial_alphabet=bytes_of.alphabet(), show_progress=False
        ),
    )  # fmt: skip
    path = tmp_path_factory.mktemp("tiny")
    PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<end>").save_pretrained(path)
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=1024, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2, bos_token_id=0, eos_token_id=0)  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(path)
    return str(path)


@pytest.fixture
def undrawn_stamps(stamps_folder, tmp_path):
    """The stamps with nothing drawn in the pool."""
    root = tmp_path / "photos"
    root.mkdir()
    (root / "images").symlink_to(stamps_folder / "images")
    pool = json.loads((stamps_folder / "train.json").read_text())
    (root / "train.json").write_text(json.dumps({**pool, "annotations": []}))
    (root / "test.json").write_text((stamps_folder / "test.json").read_text())
    return root
