"""A causal language model that learns answers, whole or by LoRA."""

from __future__ import annotations

import math
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from coreset.scorers.language.load import locate
from coreset.trainers.text.data import IGNORED


class LitCausalLM(pl.LightningModule):
    """Fine-tune a model of transformers on packed batches of `coreset.trainers.text.data`.

    model: a folder, a name, or the short name of an asset. lora_rank: of the adapters that `peft`
    puts beside the linear layers, whose own weights stay; 0 = all weights are trained. Hu et al.,
    ICLR 2022 (arXiv:2106.09685). lora_alpha: scale of the adapters. last_layers: adapters stand in
    the last so many layers only, 0 = in all. Logs the mean cross-entropy per
    answer token of the held-out rows, `test_loss`, and its likelihood exp(-loss) in (0, 1],
    `test_likelihood`, where more is better.
    """

    def __init__(
        self,
        model: str = "smollm2",
        lora_rank: int = 8,
        lora_alpha: float = 16.0,
        lr: float = 2e-4,
        weight_decay: float = 0.0,
        last_layers: int = 0,
    ) -> None:
        super().__init__()
        if lora_rank < 0 or lr <= 0:
            raise ValueError(f"expected lora_rank >= 0 and lr > 0, got {lora_rank} and {lr}")
        if last_layers < 0 or (last_layers and not lora_rank):
            raise ValueError(
                f"last_layers: expected at least 0, and 0 without LoRA, got {last_layers}"
            )
        from transformers import AutoModelForCausalLM

        folder, gguf = locate(model)
        net: nn.Module = AutoModelForCausalLM.from_pretrained(
            folder, gguf_file=gguf, dtype=torch.float32
        )
        if lora_rank:
            try:
                import peft
            except ImportError as error:
                raise ImportError(
                    "LoRA needs peft: pip install 'coreset-lightning[llm]', or set lora_rank=0"
                ) from error
            layers = int(net.config.num_hidden_layers)  # type: ignore[union-attr, arg-type]
            if last_layers > layers:
                raise ValueError(f"last_layers: the model has {layers}, got {last_layers}")
            config = peft.LoraConfig(
                r=lora_rank,
                lora_alpha=lora_alpha,
                target_modules=_linear_names(net) if last_layers else "all-linear",
                layers_to_transform=[*range(layers - last_layers, layers)] if last_layers else None,
                task_type="CAUSAL_LM",
            )
            net = peft.get_peft_model(net, config)
        # transformers hands models over in evaluation mode, which Lightning would keep
        self.net, self.lr, self.weight_decay = net.train(), lr, weight_decay
        self.total, self.tokens = 0.0, 0

    def losses(self, batch: dict[str, Tensor]) -> Tensor:
        """Return the cross-entropy (S, L - 1) of every next token, 0 where it is no answer."""
        logits = self.net(
            input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False
        ).logits
        return nn.functional.cross_entropy(
            logits[:, :-1].float().transpose(1, 2),
            batch["labels"][:, 1:],
            ignore_index=IGNORED,
            reduction="none",
        )

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Return the mean cross-entropy per answer token."""
        answers = (batch["labels"][:, 1:] != IGNORED).sum().clamp_min(1)
        loss = self.losses(batch).sum() / answers
        self.log("train/loss", loss, batch_size=len(batch["input_ids"]))
        return loss

    def on_test_start(self) -> None:
        """Begin to count."""
        self.total, self.tokens = 0.0, 0

    def test_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Sum up the loss of answer tokens."""
        self.total += float(self.losses(batch).sum())
        self.tokens += int((batch["labels"][:, 1:] != IGNORED).sum())

    def on_test_epoch_end(self) -> None:
        """Log the mean, and its likelihood."""
        loss = self.total / max(1, self.tokens)
        self.log("test_loss", torch.tensor(loss, dtype=torch.float64))
        self.log("test_likelihood", torch.tensor(math.exp(-loss), dtype=torch.float64))

    def answer_loss(self, batch: dict[str, Tensor]) -> Tensor:
        """Return the mean loss per answer token of every example, (B,)."""
        losses = self.losses(batch)
        answers = (batch["labels"][:, 1:] != IGNORED).float()
        of = batch["example"][:, 1:]
        return _sums(losses, of) / _sums(answers, of).clamp_min(1)

    def embedding(self, batch: dict[str, Tensor]) -> Tensor:
        """Return the mean last hidden state of every example, (B, D)."""
        hidden = self.net(
            input_ids=batch["input_ids"],
            position_ids=batch["position_ids"],
            use_cache=False,
            output_hidden_states=True,
        ).hidden_states[-1]
        of = batch["example"]
        count = _sums(torch.ones_like(of, dtype=torch.float32), of)
        sums = torch.stack([_sums(hidden[..., d], of) for d in range(hidden.shape[-1])], dim=1)
        return sums / count[:, None]

    def configure_optimizers(self) -> Any:
        """Return AdamW over what is trained."""
        trained = [p for p in self.parameters() if p.requires_grad]
        return torch.optim.AdamW(trained, lr=self.lr, weight_decay=self.weight_decay)


def _linear_names(net: Any) -> list[str]:
    """Return the last names of a model's linear layers without the output layer, sorted."""
    last = net.get_output_embeddings()
    linear = (n for n, m in net.named_modules() if isinstance(m, nn.Linear) and m is not last)
    return sorted({name.rsplit(".", 1)[-1] for name in linear})


def _sums(values: Tensor, example: Tensor) -> Tensor:
    """Return the sum over the tokens of every example, (B,)."""
    known = example >= 0
    out = values.new_zeros(int(example.max()) + 1)
    return out.index_add_(0, example[known], values[known].to(out.dtype))
