"""A small language model for the tests of text."""

import pytest
import torch

from coreset.core.cache import asset_dir


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A random Llama with the tokenizer of SmolLM2."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from coreset.scorers.language.load import locate

    try:
        asset_dir("smollm2")
    except FileNotFoundError as error:
        pytest.skip(str(error))
    folder, gguf = locate("smollm2")
    path = tmp_path_factory.mktemp("tiny")
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=gguf)
    tokenizer.save_pretrained(path)
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2, bos_token_id=0, eos_token_id=2)  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(path)
    return str(path)
