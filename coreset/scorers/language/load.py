"""Load a causal language model: a folder of safetensors, a GGUF file, an asset of this project, or
any name that transformers knows.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from coreset.core.cache import asset_dir, sha256
from coreset.scorers.device import torch_device
from coreset.scorers.language.packed import pack

DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float64": torch.float64,
}
INSTALL = "language models need transformers: pip install 'coreset-lightning[llm]'"
PARTS = (
    ".safetensors",
    ".bin",
    ".json",
    ".model",
    ".jinja",
    ".txt",
)  # files of a model's folder that decide what it says


@dataclass(frozen=True, eq=False)
class LanguageModel:
    """A model ready to score. hash: of its files; longest: how many tokens it takes at once."""

    net: Any
    tokenizer: Any
    name: str
    hash: str
    dtype: str
    device: torch.device
    longest: int


def locate(model: str) -> tuple[str, str | None]:
    """Return (folder or name, GGUF file in it or None). Raises ValueError for a file that is no
    GGUF and FileNotFoundError for a path that is not there.

    >>> locate("HuggingFaceTB/SmolLM2-135M-Instruct")
    ('HuggingFaceTB/SmolLM2-135M-Instruct', None)
    """
    path = Path(model)
    if path.is_file():
        with path.open("rb") as f:
            if f.read(4) != b"GGUF":
                raise ValueError(
                    f"model: {model} is no GGUF file; expected one, a folder with safetensors, or a"
                    " name"
                )
        return str(path.parent), path.name
    if path.is_dir():
        return str(path), None
    if (
        path.is_absolute()
        or model.startswith((".", "~"))
        or path.suffix in (".gguf", ".safetensors")
    ):
        raise FileNotFoundError(f"model: there is no {model}")
    if "/" not in model:  # the short name of a model in the cache, such as smollm2
        with contextlib.suppress(FileNotFoundError):
            place = asset_dir(model)
            inside = sorted(place.glob("**/config.json"), key=lambda p: len(p.parts))
            return str(inside[0].parent if inside else place), None
    return model, None


@lru_cache(maxsize=8)
def load_tokenizer(model: str) -> Any:
    """Return the tokenizer of a model. Raises ImportError without transformers and ValueError when
    it cannot be read.
    """
    return read_part("tokenizer", model, "AutoTokenizer")


@lru_cache(maxsize=2)
def load(model: str, dtype: str = "float32", device: str = "auto") -> LanguageModel:
    """Return a model for scoring, the last two asked for kept. device: auto = the GPU when there is
    one.

    Raises ValueError when its files do not fit together: weights missing, of another shape or
    unreadable, a tokenizer with more tokens than the model has.
    """
    tokenizer = load_tokenizer(model)
    net = read_net(model, "AutoModelForCausalLM", dtype)
    rows = net.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise ValueError(
            f"model: the tokenizer of {model} has {len(tokenizer)} tokens but the model has {rows}:"
            " they do not belong together"
        )
    place = torch_device(device)
    net = net.eval().requires_grad_(False).to(place)
    if place.type == "cpu" and dtype in ("float32", "bfloat16"):
        pack(net)
    return LanguageModel(net, tokenizer, model, model_hash(model), dtype, place, longest(net))


def longest(net: Any) -> int:
    """Return how many tokens a network takes at once."""
    config = net.config.get_text_config()
    return int(
        getattr(config, "max_position_embeddings", None)
        or getattr(config, "n_positions", None)
        or 2**31
    )


def read_net(model: str, reader: str, dtype: str) -> Any:
    """Return a network by a class of transformers. Raises ValueError for another dtype, and for
    weights that are missing or have another shape.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype: expected {', '.join(DTYPES)}, got {dtype!r}")
    net, info = read_part("weights", model, reader, dtype=DTYPES[dtype], output_loading_info=True)
    missing = sorted(
        {*info.get("missing_keys", ()), *(str(k[0]) for k in info.get("mismatched_keys", ()))}
    )
    if missing:
        raise ValueError(
            f"model: {model} lacks {len(missing)} of the weights its config.json describes (or has"
            f" them in another shape), first {missing[0]}"
        )
    return net


def read_part(what: str, model: str, reader: str, **more: Any) -> Any:
    """Return what a class of transformers reads from a model. Raises ImportError with the install
    line, and ValueError when it cannot be read.
    """
    where, gguf = locate(model)
    try:
        import transformers
    except ImportError as error:
        raise ImportError(INSTALL) from error
    bar = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    try:
        read = getattr(transformers, reader).from_pretrained
        if gguf is None:
            return read(where, **more)
        # a tokenizer's files beside a GGUF file would be taken for half of its own
        with TemporaryDirectory() as alone:
            (Path(alone) / gguf).symlink_to(Path(where, gguf).resolve())
            return read(alone, gguf_file=gguf, **more)
    except ImportError as error:  # a package this kind of file needs
        raise ImportError(
            f"model: the {what} of {model}: {_first_line(error)}; {INSTALL}"
        ) from error
    except Exception as error:
        raise ValueError(
            f"model: the {what} of {model} cannot be read: {_first_line(error)}"
        ) from error
    finally:
        if bar:
            transformers.utils.logging.enable_progress_bar()


def _first_line(error: Exception) -> str:
    return next(
        (line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__
    )


@lru_cache(maxsize=8)
def model_hash(model: str) -> str:
    """Return 64 hex digits of the content of a model's files; of a name on a hub, of the name and
    the revision that is used.
    """
    where, gguf = locate(model)
    digest = hashlib.sha256()
    folder = Path(where)
    if folder.is_dir():
        files = (
            [folder / gguf]
            if gguf
            else sorted(
                p for p in folder.iterdir() if p.suffix in PARTS and p.name != "manifest.json"
            )
        )
        for file in files:
            digest.update(f"{'' if gguf else file.name} {sha256(file)}\n".encode())
    else:
        config = read_part("configuration", model, "AutoConfig")
        digest.update(f"{where} {getattr(config, '_commit_hash', None)}".encode())
    return digest.hexdigest()


@lru_cache(maxsize=8)
def tokenizer_hash(model: str) -> str:
    """Return 64 hex digits of what a model's tokenizer does: its tokens and rules and its chat
    template.
    """
    tokenizer = load_tokenizer(model)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules = (
        backend.to_str()
        if backend is not None
        else json.dumps(tokenizer.get_vocab(), sort_keys=True)
    )
    return hashlib.sha256(f"{rules}\n{tokenizer.chat_template}".encode()).hexdigest()
