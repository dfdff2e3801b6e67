"""Which of Alpaca's rows should SmolLM2-135M be tuned on? The held-out loss after tuning on rows of
eight methods, at equal rows and at equal answer tokens, and of the model as it is.

python scripts/instruction_tuning.py            what is missing of five seeds, and the table
python scripts/instruction_tuning.py --seeds 7 --jobs 2
                                                two more, side by side
python scripts/instruction_tuning.py --tune     tune.txt, the losses that settings were chosen by

Of the asset `llamafactory`, rows of 24 to 128 tokens. A seed draws the rows held out for the test,
the rows that stand for the target (rds, less and less_round_robin see their text) and, of what is
left, the pool. LoRA in the last four layers, whose input is computed once for every row. A seed that
stands in results/instruction_tuning/cells.jsonl, made with the same settings, is not made again.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import stdtrit
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer

import coreset
from coreset.core.cache import asset_dir
from coreset.runs.run_folder import hardware, versions
from coreset.runs.statistics import holm, paired_p
from coreset.scorers.language.embedding import pool_weights
from coreset.scorers.language.load import locate
from coreset.scorers.language.templates import TEMPLATES
from coreset.scorers.text.embedding import encode_texts
from coreset.strategies.gradient.projection import projected_gradients

OUT, KEPT = Path("results/instruction_tuning"), Path("outputs/instruction_tuning")
SHORTEST, LONGEST = 24, 128  # tokens of a row
TEST, TARGET = 80, 40  # rows
BUDGETS = (50, 100)  # rows, and the tokens of as many random ones
LAYERS, RANK, BATCH = 4, 8, 8
LR, EPOCHS = 5e-3, 1
WARM = 0.05  # of the pool: what the model of LESS' gradients was tuned on
PROJECTED = 1024
SETTINGS = {
    "tokens": [SHORTEST, LONGEST], "test": TEST, "target": TARGET, "layers": LAYERS, "rank": RANK,
    "batch": BATCH, "lr": LR, "epochs": EPOCHS, "warm": WARM, "projected": PROJECTED,
}  # fmt: skip
RANDOM, UNTUNED = "random", "the model as it is"
METHODS = (RANDOM, "longest", "ifd", "deita", "kcenter", "rds", "less", "less_round_robin")


class Rows:
    """Instruction rows with their tokens, how many of them ask, and what enters the last layers."""

    def __init__(self) -> None:
        folder, gguf = locate("smollm2")
        tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=gguf)
        file = asset_dir("llamafactory") / "data" / "alpaca_en_demo.json"
        distinct = {
            (r["instruction"], r.get("input") or "", r["output"])
            for r in json.loads(file.read_text())
        }
        self.rows: list[tuple[str, str, str]] = []
        self.tokens: list[list[int]] = []
        self.asked: list[int] = []
        for row in sorted(distinct):
            prompt = tokenizer(TEMPLATES["alpaca"].prompt(*row[:2]))["input_ids"]
            answer = tokenizer(row[2], add_special_tokens=False)["input_ids"]
            ids = [*prompt, *answer, tokenizer.eos_token_id]
            if row[2] and SHORTEST <= len(ids) <= LONGEST:
                self.rows.append(row)
                self.tokens.append(ids)
                self.asked.append(len(prompt))
        self.answers = np.array(
            [len(t) - a for t, a in zip(self.tokens, self.asked, strict=True)], np.int64
        )
        net: Any = AutoModelForCausalLM.from_pretrained(folder, gguf_file=gguf, dtype=torch.float32)
        self.last = last_layers(net)
        self.entering = kept("entering.pt", lambda: below(net, self.tokens))

    def batch(self, at: Sequence[int]) -> dict[str, Tensor]:
        """Return rows padded on the right: entering (B, L, D), ids, answer (B, L)."""
        wide = max(len(self.tokens[i]) for i in at)
        out = {
            "entering": torch.zeros(len(at), wide, self.entering[0].shape[1]),
            "ids": torch.zeros(len(at), wide, dtype=torch.long),
            "answer": torch.zeros(len(at), wide, dtype=torch.bool),
        }
        for b, i in enumerate(at):
            size = len(self.tokens[i])
            out["entering"][b, :size] = self.entering[i]
            out["ids"][b, :size] = torch.tensor(self.tokens[i])
            out["answer"][b, self.asked[i] : size] = True
        return out


def kept(name: str, make: Any) -> Any:
    """Return the tensors that a call returned, from a file of the first time with these settings."""
    path = KEPT / f"{LAYERS}_{SHORTEST}_{LONGEST}" / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        begin = time.process_time()
        torch.save(make(), path)
        print(f"{name}: {time.process_time() - begin:.0f} CPU seconds", flush=True)
    return torch.load(path, weights_only=True)


def last_layers(net: Any) -> Any:
    """Return a model of the last layers alone; it takes `inputs_embeds`."""
    config = deepcopy(net.config)
    config.num_hidden_layers = LAYERS
    last: Any = type(net)(config).eval()
    last.set_attn_implementation("eager")  # the fused kernel has no rule for vmap
    for mine, theirs in zip(last.model.layers, net.model.layers[-LAYERS:], strict=True):
        mine.load_state_dict(theirs.state_dict())
    last.model.norm.load_state_dict(net.model.norm.state_dict())
    last.lm_head.load_state_dict(net.lm_head.state_dict())
    return last


@torch.inference_mode()
def below(net: Any, tokens: Sequence[list[int]]) -> list[Tensor]:
    """Return what enters the last layers, (T, D) for every row."""
    trunk = deepcopy(net.model)
    trunk.layers, trunk.norm = trunk.layers[:-LAYERS], nn.Identity()
    return [trunk(torch.tensor([t]), use_cache=False).last_hidden_state[0].clone() for t in tokens]


class Loss(nn.Module):
    """The mean loss of the answers' tokens, of the last layers with adapters."""

    def __init__(self, last: Any, seed: int) -> None:
        import peft

        super().__init__()
        torch.manual_seed(seed)
        config = peft.LoraConfig(
            r=RANK, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM"
        )
        self.net = peft.get_peft_model(deepcopy(last), config)

    def forward(self, entering: Tensor, ids: Tensor, answer: Tensor, every: bool = False) -> Tensor:
        """Return the sum over the answers' tokens. every: compute the logits of the others too,
        so that shapes do not depend on values.
        """
        whole = self.net.base_model.model
        out = whole.model(inputs_embeds=entering, use_cache=False).last_hidden_state[:, :-1]
        next_ids, counts = ids[:, 1:], answer[:, 1:]
        if every:
            each = nn.functional.cross_entropy(
                whole.lm_head(out).transpose(1, 2), next_ids, reduction="none"
            )
            return (each * counts).sum()
        logits = whole.lm_head(out[counts])
        return nn.functional.cross_entropy(logits, next_ids[counts], reduction="sum")


def tuned(rows: Rows, at: NDArray[Any], seed: int, lr: float, epochs: int) -> tuple[Loss, Any]:
    """Return the model after epochs over rows in an order drawn anew for each, and its optimizer."""
    model = Loss(rows.last, seed)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=lr)
    rng = np.random.default_rng(seed)
    for _ in range(epochs):
        order = rng.permutation(at)
        for start in range(0, len(order), BATCH):
            batch = rows.batch(order[start : start + BATCH].tolist())
            loss = model(**batch) / batch["answer"].sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model, optimizer


@torch.inference_mode()
def held_out(model: Loss, rows: Rows, at: NDArray[Any]) -> float:
    """Return the mean loss per answer token, nats."""
    order = sorted(at.tolist(), key=lambda i: len(rows.tokens[i]))
    parts = [rows.batch(order[i : i + BATCH]) for i in range(0, len(order), BATCH)]
    return sum(float(model(**b)) for b in parts) / sum(int(b["answer"].sum()) for b in parts)


def gradients(rows: Rows, warm: NDArray[Any], pool: NDArray[Any], target: NDArray[Any]) -> Tensor:
    """Return LESS' projected gradients (N, P): Adam's steps for the pool, plain ones for the target."""
    model, optimizer = tuned(rows, warm, 0, LR, 4)
    out = torch.zeros(len(rows.rows), PROJECTED)

    def mean_loss(predict: Any, one: dict[str, Tensor]) -> Any:
        return predict(**one, every=True) / one["answer"].sum()

    for at, steps in ((pool, optimizer), (target, None)):
        order = sorted(at.tolist(), key=lambda i: len(rows.tokens[i]))
        batches = [order[i : i + 2 * BATCH] for i in range(0, len(order), 2 * BATCH)]
        out[order] = projected_gradients(
            model, mean_loss, map(rows.batch, batches), PROJECTED, 0, optimizer=steps
        )
    return out


def scores(rows: Rows) -> dict[str, Tensor]:
    """Return the columns of every seed: IFD, ratings, MiniLM's vectors and RDS' embeddings."""
    table = [{"instruction": a, "input": b, "output": c, "response": c} for a, b, c in rows.rows]
    given: dict[str, Any] = {"model": "smollm2", "device": "cpu"}
    out: dict[str, Any] = {"ifd": coreset.score("ifd", table, variant="cherry", **given)["ifd"]}
    for name in ("complexity", "quality"):
        out[name] = coreset.score("evol", table, score=name, form="instruction", **given)[name]
    out["minilm"] = encode_texts([" ".join(r) for r in rows.rows], "minilm", device="cpu")
    with torch.inference_mode():
        hidden = [
            rows.last.model(inputs_embeds=h[None]).last_hidden_state[0] for h in rows.entering
        ]
    weighted = [(pool_weights([len(h)], "weighted").float() @ h)[0] for h in hidden]
    out["rds"] = nn.functional.normalize(torch.stack(weighted), dim=1)
    return {name: torch.as_tensor(column) for name, column in out.items()}


def orders(rows: Rows, known: dict[str, Any], drawn: dict[str, NDArray[Any]], seed: int) -> Any:
    """Yield a method and the rows of the pool in the order it takes them."""
    size, pool, target = len(rows.rows), drawn["pool"], drawn["target"]
    task = np.full(size, -1)
    task[target] = 0
    warm = pool[: max(BATCH, round(WARM * len(pool)))]
    moves = gradients(rows, warm, pool, target).numpy()
    ifd = np.where(known["ifd"] < 1, known["ifd"], -1.0)
    columns: dict[str, dict[str, Any]] = {
        RANDOM: {"tokens": rows.answers},
        "longest": {"tokens": rows.answers},
        "ifd": {"ifd": np.nan_to_num(ifd, nan=-1.0)},
        "deita": {**{n: known[n] for n in ("complexity", "quality")}, "features": known["minilm"]},
        "kcenter": {"features": known["minilm"]},
        "rds": {"query_similarity": known["rds"] @ known["rds"][target].T},
        "less": {"projected_gradients": moves, "validation_task": task},
        "less_round_robin": {"projected_gradients": moves, "validation_task": task},
    }
    for method in METHODS:
        by = {"longest": "tokens", "ifd": "ifd"}.get(method)
        chosen = coreset.select(
            "top_k" if by else method, len(pool) // 2, candidates=np.sort(pool), seed=seed,
            options={"signal": by} if by else None, **columns[method],
        )  # fmt: skip
        yield method, chosen.indices


def draw(rows: Rows, seed: int) -> dict[str, NDArray[Any]]:
    """Return the rows of a seed: test, target and pool."""
    order = np.random.default_rng([seed, 7]).permutation(len(rows.rows))
    parts = np.split(order, [TEST, TEST + TARGET])
    return dict(zip(("test", "target", "pool"), parts, strict=True))


def cells(rows: Rows, known: dict[str, Any], seed: int) -> Iterator[dict[str, Any]]:
    """Yield what every method came to at every budget of a seed."""
    drawn = draw(rows, seed)
    yield {"method": UNTUNED, "loss": held_out(Loss(rows.last, seed), rows, drawn["test"])}
    tokens: dict[int, int] = {}
    for method, order in orders(rows, known, drawn, seed):
        spent = np.cumsum(rows.answers[order])
        for budget in BUDGETS:
            tokens.setdefault(budget, int(spent[budget - 1]))  # random comes first
            counts = {"rows": budget, "tokens": int((spent <= tokens[budget]).sum())}
            for equal, count in counts.items():
                if method == RANDOM and equal == "tokens":
                    continue
                begin = time.process_time()
                model, _ = tuned(rows, order[:count], seed, LR, EPOCHS)
                yield {
                    "method": method, "budget": budget, "equal": equal, "rows": count,
                    "tokens": int(spent[count - 1]),
                    "loss": held_out(model, rows, drawn["test"]),
                    "cpu_s": round(time.process_time() - begin, 1),
                    "ids": order[:count].tolist(),
                }  # fmt: skip


def tune(rows: Rows) -> None:
    """Write the loss on the target rows of a seed of its own after tuning on random rows."""
    drawn = draw(rows, 1000)
    lines = [f"as it is {held_out(Loss(rows.last, 0), rows, drawn['target'])}"]
    for budget in BUDGETS:
        for lr in (5e-4, 1e-3, 2e-3, 5e-3):
            for epochs in (1, 2):
                model, _ = tuned(rows, drawn["pool"][:budget], 0, lr, epochs)
                lines.append(f"{budget} {lr} {epochs} {held_out(model, rows, drawn['target'])}")
                print(lines[-1], flush=True)
    head = "random rows, learning rate, epochs, nats per answer token"
    (OUT / "tune.txt").write_text("\n".join([head, *lines, ""]))


def one_seed(seed: int) -> list[dict[str, Any]]:
    """Return the cells of a seed."""
    torch.set_num_threads(1)
    rows = Rows()
    known = {n: column.numpy() for n, column in kept("scores.pt", lambda: scores(rows)).items()}
    return [{"seed": seed, **cell} for cell in cells(rows, known, seed)]


def main() -> None:
    """Read the arguments, make the seeds that are missing, write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=1, help="seeds at a time, a processor each")
    parser.add_argument("--tune", action="store_true", help="the losses by settings instead")
    args = parser.parse_args()
    if args.seeds < 2 or args.jobs < 1:
        parser.error(
            "expected --seeds of at least 2, which an interval needs, and --jobs of at least 1"
        )
    torch.set_num_threads(1)
    OUT.mkdir(parents=True, exist_ok=True)
    if args.tune:
        tune(Rows())
        return
    file, settings = OUT / "cells.jsonl", OUT / "settings.json"
    if file.exists() and json.loads(settings.read_text()) != SETTINGS:
        parser.error(f"{file} was made with other settings ({settings}): move it away first")
    settings.write_text(json.dumps(SETTINGS) + "\n")
    done = [json.loads(x) for x in file.read_text().splitlines()] if file.exists() else []
    missing = sorted({*range(args.seeds)} - {cell["seed"] for cell in done})
    if missing:
        rows = Rows()
        kept("scores.pt", lambda: scores(rows))
        with ProcessPoolExecutor(args.jobs, multiprocessing.get_context("spawn")) as pool:
            for made in as_completed([pool.submit(one_seed, seed) for seed in missing]):
                done = sorted([*done, *made.result()], key=lambda cell: int(cell["seed"]))
                file.write_text("".join(json.dumps(cell) + "\n" for cell in done))
                print(len(done), "cells", flush=True)
    (OUT / "table.md").write_text(table(done))


def table(done: Sequence[dict[str, Any]]) -> str:
    """Return the means and the paired differences from random as a page."""
    seeds = sorted({cell["seed"] for cell in done})
    loss = {
        (c["method"], c.get("budget"), c.get("equal"), c["seed"]): float(c["loss"]) for c in done
    }
    columns = [(budget, equal) for budget in BUDGETS for equal in ("rows", "tokens")]

    def minus_random(method: str, budget: int, equal: str) -> NDArray[np.float64]:
        mine = [loss[method, budget, equal, s] for s in seeds]
        return np.subtract(mine, [loss[RANDOM, budget, "rows", s] for s in seeds])

    others = METHODS[1:]
    p = holm([paired_p(minus_random(m, *c).tolist()) for m in others for c in columns])
    shown = dict(zip(((m, c) for m in others for c in columns), p, strict=True))
    apart: dict[bool, list[str]] = {True: [], False: []}  # by whether the loss is lower
    for (method, column), chance in shown.items():
        if chance is not None and chance < 0.05:
            lower = bool(minus_random(method, *column).mean() < 0)
            apart[lower].append(f"{method} at {column[0]} ({column[1]})")
    as_it_is = np.mean([loss[UNTUNED, None, None, s] for s in seeds])
    names = [
        f"{budget} rows" if equal == "rows" else f"tokens of {budget}" for budget, equal in columns
    ]
    lines = [
        "# Rows to tune a language model on: held-out loss by method",
        "",
        f"Nats per answer token, {len(seeds)} seeds; every seed draws test rows, target rows and pool"
        " anew. The model as it is:"
        f" {as_it_is:.3f}. In brackets: minus random of the same seed, mean and 95 % interval of the"
        " paired t; *: p < 0.05 after Holm over all"
        f" {len(shown)} comparisons. Better than random: {', '.join(apart[True]) or 'none'}. Worse:"
        f" {', '.join(apart[False]) or 'none'}.",
        "",
        f"| rows chosen by | {' | '.join(names)} |",
        "|---" * (1 + len(columns)) + "|",
        "| random | " + " | ".join(
            f"{np.mean([loss[RANDOM, b, 'rows', s] for s in seeds]):.3f}" for b, _ in columns
        ) + " |",
    ]  # fmt: skip
    for method in others:
        texts = []
        for column in columns:
            d = minus_random(method, *column)
            half = stdtrit(len(d) - 1, 0.975) * d.std(ddof=1) / len(d) ** 0.5
            value = np.mean([loss[(method, *column, s)] for s in seeds])
            star = "*" if (shown[method, column] or 1) < 0.05 else ""
            texts.append(
                f"{value:.3f} ({d.mean():+.3f} [{d.mean() - half:+.3f}, {d.mean() + half:+.3f}]){star}"
            )
        lines.append(f"| {method} | {' | '.join(texts)} |")
    count = np.mean(
        [c["tokens"] for c in done if c["method"] == RANDOM and c["budget"] == BUDGETS[0]]
    )
    used = ", ".join(
        f"{k} {v}"
        for k, v in versions("coreset-lightning", "torch", "transformers", "peft", "numpy").items()
    )
    return "\n".join([
        *lines,
        "",
        f"SmolLM2-135M-Instruct, LoRA of rank {RANK} in the last {LAYERS} layers, AdamW at {LR},"
        f" epochs: {EPOCHS}, batches of {BATCH}; Alpaca's rows of {SHORTEST} to {LONGEST} tokens,"
        f" {TEST} for the test, {TARGET} as the target of rds, less and less_round_robin, the others"
        f" the pool. {BUDGETS[0]} random rows have {count:.0f} answer tokens. deita: ratings by SmolLM2"
        " itself, since the raters it was published with are not at hand; kcenter and deita's filter:"
        " MiniLM. Learning rate and epochs are those of the lowest loss on target rows of a seed of"
        " its own after 50 random rows (tune.txt), the same for every method and budget. Test and pool"
        " are of one source: nothing here is to be found that random does not find too.",
        "",
        f"Made by `python scripts/instruction_tuning.py --seeds {len(seeds)}` on {hardware()}, one"
        f" thread; {used}. Rows of every cell: cells.jsonl.",
        "",
    ])  # fmt: skip


if __name__ == "__main__":
    main()
