"""Instruction rows as a LightningDataModule: packed batches, loss on answers only."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from coreset.numerics.random import keyed_uniform
from coreset.scorers.language.load import locate
from coreset.scorers.language.templates import TEMPLATES

Row = dict[str, Any]
IGNORED = -100  # in labels: tokens without loss


class Rows(Dataset[dict[str, Tensor]]):
    """Tokenized rows: input_ids (T,) and labels (T,), IGNORED on the prompt."""

    def __init__(self, tokens: Sequence[tuple[list[int], int]]) -> None:
        self.tokens = list(tokens)

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        ids, prompt = self.tokens[i]
        input_ids = torch.tensor(ids)
        labels = input_ids.clone()
        labels[:prompt] = IGNORED
        return {"input_ids": input_ids, "answer": labels}


def pack_rows(rows: Sequence[dict[str, Tensor]], length: int, pad: int) -> dict[str, Tensor]:
    """Return examples packed one after another into sequences of at most `length` tokens:
    input_ids, labels, position_ids and example (S, L), the last two counted from 0 in every
    example.

    Positions that begin again keep examples apart: a model of transformers attends within them
    only. example: position in the batch, -1 = padding. The first token of an example is never a
    label: nothing before it predicts it.
    """
    order = sorted(range(len(rows)), key=lambda i: -len(rows[i]["input_ids"]))
    bins: list[list[int]] = []
    room: list[int] = []
    for i in order:
        size = len(rows[i]["input_ids"])
        at = next((b for b, free in enumerate(room) if free >= size), None)
        if at is None:
            bins.append([i])
            room.append(length - size)
        else:
            bins[at].append(i)
            room[at] -= size
    wide = max(sum(len(rows[i]["input_ids"]) for i in members) for members in bins)
    out = {
        "input_ids": torch.full((len(bins), wide), pad),
        "labels": torch.full((len(bins), wide), IGNORED),
        "position_ids": torch.zeros(len(bins), wide, dtype=torch.long),
        "example": torch.full((len(bins), wide), -1),
    }
    for b, members in enumerate(bins):
        start = 0
        for i in members:
            size = len(rows[i]["input_ids"])
            part = slice(start, start + size)
            out["input_ids"][b, part] = rows[i]["input_ids"]
            out["labels"][b, part] = rows[i]["answer"]
            out["labels"][b, start] = IGNORED
            out["position_ids"][b, part] = torch.arange(size)
            out["example"][b, part] = i
            start += size
        out["position_ids"][b, start:] = torch.arange(wide - start)
    return out


class Packer:
    """`pack_rows` with its settings; an object, so that worker processes can have it."""

    def __init__(self, length: int, pad: int) -> None:
        self.length, self.pad = length, pad

    def __call__(self, rows: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Return the packed batch."""
        return pack_rows(rows, self.length, self.pad)


class InstructionData(pl.LightningDataModule):
    """Rows with an instruction and an answer, as JSON lines or a JSON list.

    path: the pool; test: the held-out rows, default about `test_share` of the pool by a hash of
    each row's text. instruction, given, answer: names of the columns; `given` may be missing or
    empty. template: how they are written, see `coreset.scorers.language.templates`. model: whose
    tokenizer. length: tokens of a packed sequence; a row that is longer is refused, or left out of
    the pool where `too_long=skip`. batch_size: examples, packed together.
    """

    def __init__(
        self,
        path: str,
        test: str | None = None,
        model: str = "smollm2",
        instruction: str = "instruction",
        given: str = "input",
        answer: str = "output",
        template: str = "alpaca",
        length: int = 512,
        too_long: str = "error",
        batch_size: int = 8,
        test_share: float = 0.1,
    ) -> None:
        super().__init__()
        if too_long not in ("error", "skip"):
            raise ValueError(f"too_long: expected error or skip, got {too_long!r}")
        if template not in TEMPLATES:
            raise ValueError(f"template: expected {', '.join(TEMPLATES)}, got {template!r}")
        if length < 2 or batch_size < 1 or not 0 < test_share < 1:
            raise ValueError("expected length >= 2, batch_size >= 1, test_share between 0 and 1")
        self.path, self.test_path, self.model = path, test, model
        self.columns = (instruction, given, answer)
        self.template = template
        self.length, self.too_long, self.batch_size = length, too_long, batch_size
        self.test_share = test_share
        self.packer = Packer(length, 0)

    def setup(self, stage: str) -> None:
        """Read and tokenize, once."""
        if hasattr(self, "pool"):
            return
        from transformers import AutoTokenizer

        folder, gguf = locate(self.model)
        tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=gguf)
        rows = self.read(self.path)
        rows, held = self.split(rows)
        if not held or len(rows) < 2:
            raise ValueError(
                f"{self.path}: expected at least 2 rows and 1 to test, got {len(rows)} and"
                f" {len(held)}"
            )
        self.pool = Rows(self._tokenize(tokenizer, rows, self.path))
        self.held = Rows(self._tokenize(tokenizer, held, self.test_path or self.path))
        self.packer = Packer(
            self.length, int(tokenizer.pad_token_id or tokenizer.eos_token_id or 0)
        )

    def split(self, rows: list[Row]) -> tuple[list[Row], list[Row]]:
        """Return the pool and the held-out rows."""
        if self.test_path is not None:
            return rows, self.read(self.test_path)
        key = keyed_uniform(0, np.array([json.dumps(r, sort_keys=True) for r in rows]))
        held = [r for r, k in zip(rows, key, strict=True) if k < self.test_share]
        return [r for r, k in zip(rows, key, strict=True) if k >= self.test_share], held

    def read(self, path: str) -> list[Row]:
        """Return the rows of a file. Raises ValueError for one without instruction or answer."""
        text = Path(path).read_text()
        lines = text.splitlines()
        try:
            whole = text.lstrip().startswith("[")
            rows = json.loads(text) if whole else [json.loads(x) for x in lines if x.strip()]
        except ValueError as error:
            raise ValueError(f"{path}: expected JSON lines or a list ({error})") from error
        instruction, _, answer = self.columns
        for number, row in enumerate(rows, 1):
            for name in (instruction, answer):
                if not isinstance(row, dict) or not isinstance(row.get(name), str):
                    raise ValueError(
                        f"{path}, row {number}: expected a text in the column {name!r}"
                    )
        return list(rows)

    def _tokenize(
        self, tokenizer: Any, rows: Sequence[dict[str, Any]], path: str
    ) -> list[tuple[list[int], int]]:
        """Return (tokens, how many of them are the prompt) of every row that fits."""
        instruction, given, answer = self.columns
        out = []
        for number, row in enumerate(rows, 1):
            asked = TEMPLATES[self.template].prompt(row[instruction], row.get(given) or "")
            prompt = tokenizer(asked)["input_ids"]
            answered = tokenizer(row[answer], add_special_tokens=False)["input_ids"]
            ids = [*prompt, *answered, tokenizer.eos_token_id]
            if len(ids) > self.length:
                if self.too_long == "error":
                    raise ValueError(
                        f"{path}, row {number}: {len(ids)} tokens are more than"
                        f" length={self.length}; raise it, or set too_long=skip"
                    )
                continue
            out.append((ids, len(prompt)))
        return out

    def train_dataloader(self) -> DataLoader[Any]:
        """Return packed batches of the pool."""
        return DataLoader(self.pool, self.batch_size, shuffle=True, collate_fn=self.packer)

    def test_dataloader(self) -> DataLoader[Any]:
        """Return packed batches of the held-out rows."""
        return DataLoader(self.held, self.batch_size, collate_fn=self.packer)
