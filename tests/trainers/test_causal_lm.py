"""Fine-tuning on packed rows: the loss is that of every row alone, on its answer."""

import json

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import nn

import coreset.trainers
from coreset.trainers.text.causal_lm import LitCausalLM
from coreset.trainers.text.data import InstructionData, Rows, pack_rows

CPU = {"accelerator": "cpu", "max_epochs": 1}


@pytest.fixture
def rows(tmp_path):
    words = ["red", "green", "blue", "one", "two", "three"]
    text = [
        {"instruction": f"Say {w} {n}.", "input": "", "output": " ".join([w] * (n % 5 + 1))}
        for n in range(5)
        for w in words
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, text)))
    return str(path)


def test_packed_losses_are_those_of_every_row_alone(tiny):
    lit = LitCausalLM(tiny, lora_rank=0).eval()
    rng = np.random.default_rng(0)
    tokens = [(rng.integers(5, 900, n).tolist(), p) for n, p in ((9, 4), (14, 1), (5, 2), (11, 10))]
    batch = [Rows(tokens)[i] for i in range(4)]
    packed = pack_rows(batch, 24, 0)
    assert packed["input_ids"].shape[0] == 2  # 14 + 9, 11 + 5
    with torch.no_grad():
        got = lit.answer_loss(packed).numpy()
        vectors = lit.embedding(packed).numpy()
        for i, (ids, prompt) in enumerate(tokens):
            out = lit.net(torch.tensor([ids]), output_hidden_states=True)
            logp = out.logits[0].double().log_softmax(-1)
            wanted = [-float(logp[t - 1, ids[t]]) for t in range(max(1, prompt), len(ids))]
            assert got[i] == pytest.approx(np.mean(wanted), rel=1e-4)
            np.testing.assert_allclose(vectors[i], out.hidden_states[-1][0].mean(0), atol=1e-4)


def test_rows_that_are_too_long_or_broken_are_named(tiny, rows, tmp_path):
    with pytest.raises(ValueError, match="row 1: .* tokens are more than length=8; raise it"):
        InstructionData(rows, model=tiny, length=8).setup("fit")
    (tmp_path / "bad.jsonl").write_text('{"instruction": "a"}\n')
    with pytest.raises(ValueError, match="row 1: expected a text in the column 'output'"):
        InstructionData(str(tmp_path / "bad.jsonl"), model=tiny).setup("fit")


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 4])
def test_a_text_selection_gets_its_curve(tiny, rows, tmp_path, rank):
    pl.seed_everything(0, verbose=False)
    module = LitCausalLM(tiny, lora_rank=rank, lr=0.01)
    trained = [p for p in module.parameters() if p.requires_grad]
    assert (len(trained) < len(list(module.parameters()))) == bool(rank)
    run = coreset.trainers.prune(
        module, InstructionData(rows, model=tiny, length=64, batch_size=4),
        strategy={"top_k": {"signal": "answer_loss"}}, budget=[8, 16], trainer=CPU,
        metric="test_likelihood", signals={"answer_loss": "answer_loss", "features": "embedding"},
        folder=tmp_path / "run", baseline=("random", "full"),
    )  # fmt: skip
    entries = [json.loads(x) for x in (run.folder / "ledger.jsonl").read_text().splitlines()]
    for e in entries:
        assert e["metrics"]["test_likelihood"] == pytest.approx(np.exp(-e["metrics"]["test_loss"]))
    assert run.curve.metric == "test_likelihood"
    assert (run.folder / "baseline" / "full" / "curve.jsonl").exists()


def test_loss_on_answers_only(tiny):
    lit = LitCausalLM(tiny, lora_rank=0)
    lit.log = lambda *a, **k: None
    batch = pack_rows([Rows([([5, 6, 7, 8], 3)])[0]], 8, 0)
    logits = lit.net(batch["input_ids"]).logits
    wanted = nn.functional.cross_entropy(logits[:, 2], torch.tensor([8]))
    torch.testing.assert_close(lit.training_step(batch, 0), wanted, rtol=1e-4, atol=1e-4)
