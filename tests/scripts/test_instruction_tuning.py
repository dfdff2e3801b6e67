"""Instruction tuning on chosen rows: the last layers against the whole model, gradients against
autograd, budgets, and the table against scipy.
"""

from collections import Counter

import numpy as np
import pytest
import torch
from scipy import stats

from coreset.strategies.gradient.projection import project
from scripts import instruction_tuning as it

transformers = pytest.importorskip("transformers", reason="the extra `llm` is not installed")
pytest.importorskip("peft", reason="the extra `llm` is not installed")


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=50, hidden_size=32, intermediate_size=48, num_hidden_layers=6,
        num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=True,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config).eval()


@pytest.fixture(scope="module")
def rows(net):
    """Two hundred made-up rows of a tiny model."""
    rng, made = np.random.default_rng(0), it.Rows.__new__(it.Rows)
    sizes = rng.integers(6, 20, 200)
    made.tokens = [rng.integers(1, 50, n).tolist() for n in sizes]
    made.asked = [int(rng.integers(2, n - 2)) for n in sizes]
    made.rows = [("ask", "", str(i)) for i in range(200)]
    made.answers = np.array([len(t) - a for t, a in zip(made.tokens, made.asked, strict=True)])
    made.last, made.entering = it.last_layers(net), it.below(net, made.tokens)
    return made


def plain_loss(net, rows, i):
    """Cross-entropy of the answer's tokens by the whole model, summed, in float64."""
    with torch.no_grad():
        logits = net(torch.tensor([rows.tokens[i]])).logits[0].double().numpy()
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return -sum(logs[t - 1, rows.tokens[i][t]] for t in range(rows.asked[i], len(rows.tokens[i])))


@pytest.mark.parametrize("every", [False, True])
def test_the_last_layers_alone_lose_what_the_whole_model_does(net, rows, every):
    """Adapters begin at zero; rows of other lengths in the batch change nothing."""
    at = [0, 1, 2, 3, 4]
    with torch.no_grad():
        got = float(it.Loss(rows.last, 0)(**rows.batch(at), every=every))
    assert got == pytest.approx(sum(plain_loss(net, rows, i) for i in at), rel=1e-5)


def test_held_out_is_the_mean_per_answer_token(net, rows):
    at = np.arange(30)
    expected = sum(plain_loss(net, rows, i) for i in at) / rows.answers[at].sum()
    assert it.held_out(it.Loss(rows.last, 0), rows, at) == pytest.approx(expected, rel=1e-5)


def test_gradients_of_the_target_are_those_of_autograd(rows):
    warm, target = np.arange(8), np.arange(40, 45)
    got = it.gradients(rows, warm, np.arange(8, 12), target)
    model, _ = it.tuned(rows, warm, 0, it.LR, 4)
    trained = [p for p in model.parameters() if p.requires_grad]
    model.eval()
    for i in target:
        loss = model(**rows.batch([i])) / rows.answers[i]
        flat = torch.cat([g.flatten() for g in torch.autograd.grad(loss, trained)])
        assert torch.allclose(got[i], project(flat[None], it.PROJECTED, 0)[0], rtol=1e-3, atol=1e-5)
    assert got[8:12].norm(dim=1).min() > 0
    assert not got[:8].any()


def test_tuning_lowers_the_loss_of_its_rows(rows):
    at = np.arange(64)
    before = it.held_out(it.Loss(rows.last, 0), rows, at)
    assert it.held_out(it.tuned(rows, at, 0, 5e-3, 3)[0], rows, at) < before


def test_cells_of_a_seed(rows, monkeypatch):
    """Equal rows, at most equal tokens, nothing of the test or the target."""
    monkeypatch.setattr(it, "BUDGETS", (10, 20))
    rng = np.random.default_rng(1)
    known = {name: rng.random(200) for name in ("ifd", "complexity", "quality")}
    known |= {name: rng.normal(size=(200, 8)).astype(np.float32) for name in ("minilm", "rds")}
    made = list(it.cells(rows, known, 3))
    assert made[0]["method"] == it.UNTUNED
    drawn = it.draw(rows, 3)
    pool = set(drawn["pool"].tolist())
    assert len(pool) == 200 - it.TEST - it.TARGET
    spent = {c["budget"]: c["tokens"] for c in made[1:] if c["method"] == it.RANDOM}
    for cell in made[1:]:
        assert set(cell["ids"]) <= pool
        assert len(set(cell["ids"])) == cell["rows"]
        assert rows.answers[cell["ids"]].sum() == cell["tokens"]
        if cell["equal"] == "rows":
            assert cell["rows"] == cell["budget"]
        else:
            assert cell["tokens"] <= spent[cell["budget"]]
    count = Counter(cell["method"] for cell in made[1:])
    assert count == {m: 2 if m == it.RANDOM else 4 for m in it.METHODS}
    longest = next(c for c in made if c["method"] == "longest")
    others = sorted(rows.answers[sorted(pool)], reverse=True)
    assert sorted(rows.answers[longest["ids"]], reverse=True) == others[:10]


def test_the_table_beside_scipy():
    rng, done = np.random.default_rng(2), []
    for seed in range(5):
        done.append({"seed": seed, "method": it.UNTUNED, "loss": 3.0})
        base = rng.normal(2, 0.1)
        for method in it.METHODS:
            for budget in it.BUDGETS:
                for equal in ("rows", "tokens")[: 1 if method == it.RANDOM else 2]:
                    gain = -0.2 if method == "less" and budget == 100 else 0.0
                    loss = base + gain + (method != it.RANDOM) * rng.normal(0, 0.005)
                    done.append(
                        {"seed": seed, "method": method, "budget": budget, "equal": equal,
                         "rows": budget, "tokens": 900, "loss": loss}
                    )  # fmt: skip
    page = it.table(done)
    assert "Better than random: less at 100 (rows), less at 100 (tokens). Worse: none." in page

    def losses(method, budget):
        return [
            c["loss"] for c in done
            if c["method"] == method and c.get("budget") == budget and c["equal"] == "rows"
        ]  # fmt: skip

    low, high = stats.ttest_rel(losses("rds", 50), losses("random", 50)).confidence_interval()
    assert f"[{low:+.3f}, {high:+.3f}]" in page
    assert page.count(")*") == 2
