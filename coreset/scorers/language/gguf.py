"""A GGUF file as a folder of safetensors: the same values, read in a twentieth of the time."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from coreset.scorers.language.load import INSTALL

NAMES = {
    "token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head",
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}  # fmt: skip


def convert(source: Path, into: Path) -> None:
    """Write a Llama model in GGUF as a folder that transformers reads: float32 safetensors,
    configuration, tokenizer.

    A model that was read from GGUF cannot be saved (it counts as quantized), so its network is
    built again from the configuration. Every tensor is then compared with the file's own values,
    unpacked by the gguf package: ValueError when one differs.
    """
    try:
        import transformers
    except ImportError as error:
        raise ImportError(INSTALL) from error
    before = os.environ.get("HF_HUB_OFFLINE")
    os.environ["HF_HUB_OFFLINE"] = "1"  # everything is in the file
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
        read = transformers.AutoModelForCausalLM.from_pretrained(
            source.parent, gguf_file=source.name, dtype=torch.float32
        )
    finally:
        (
            os.environ.pop("HF_HUB_OFFLINE")
            if before is None
            else os.environ.update(HF_HUB_OFFLINE=before)
        )
    settings = {
        k: v
        for k, v in read.config.to_dict().items()
        if k not in ("quantization_config", "_name_or_path")
    }
    net = type(read)(type(read.config)(**settings))
    net.load_state_dict(read.state_dict())
    compare(source, net)
    net.save_pretrained(into)
    tokenizer.save_pretrained(into)


def compare(source: Path, net: Any) -> None:
    """Raise ValueError unless every tensor of a GGUF file of a Llama model has exactly the values
    it has in `net`, and `net` has no other.
    """
    from gguf import GGUFReader
    from gguf.quants import dequantize

    config, state = net.config, net.state_dict()
    left = {n for n in state if not (n == "lm_head.weight" and config.tie_word_embeddings)}
    for tensor in GGUFReader(source).tensors:
        name = hugging_face_name(tensor.name)
        values = dequantize(tensor.data, tensor.tensor_type)
        if ".attn_q." in tensor.name or ".attn_k." in tensor.name:
            heads = (
                config.num_attention_heads
                if ".attn_q." in tensor.name
                else config.num_key_value_heads
            )
            values = halves(values, heads)
        if name not in state or not np.array_equal(values, state[name].numpy()):
            raise ValueError(
                f"{source.name}: the tensor {tensor.name} was not read with the file's values"
            )
        left.discard(name)
    if left:
        raise ValueError(
            f"{source.name}: {len(left)} tensors of the model are not in the file, first"
            f" {sorted(left)[0]}"
        )


def hugging_face_name(name: str) -> str:
    """Return what transformers calls a tensor of a GGUF Llama model.

    >>> hugging_face_name("blk.3.attn_q.weight")
    'model.layers.3.self_attn.q_proj.weight'
    """
    parts = name.split(".")
    if parts[0] == "blk":
        return f"model.layers.{parts[1]}.{NAMES[parts[2]]}.{parts[3]}"
    return f"{NAMES[parts[0]]}.{parts[1]}"


def halves(weight: NDArray[Any], heads: int) -> NDArray[Any]:
    """Return query or key weights with each head's rows as transformers has them: GGUF keeps the
    two numbers of a rotation side by side, transformers in two halves.

    >>> halves(np.arange(4)[:, None], 1)[:, 0]
    array([0, 2, 1, 3])
    """
    rows = weight.reshape(heads, weight.shape[0] // heads // 2, 2, *weight.shape[1:])
    return rows.swapaxes(1, 2).reshape(weight.shape)
