"""The recipes of published methods from file to decisions, against keep sets worked out plainly
from the rows.
"""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from coreset.cli.curate import make_operators
from coreset.curation import curate

CONF = Path(__file__).parents[3] / "conf"


def ran(rows, folder, *overrides):
    """Return the decisions about rows, by id, after a recipe."""
    source = folder / "rows.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = OmegaConf.to_container(
            compose("curate", ["input=x", "out=x", *overrides]), resolve=True
        )
    curate(make_operators(cfg), str(source), folder / "out")
    return {d["id"]: d for d in pq.read_table(folder / "out" / "decisions.parquet").to_pylist()}


def kept(decisions):
    return sorted(i for i, d in decisions.items() if d["state"] == "kept")


def test_doremi(tmp_path):
    rng = np.random.default_rng(0)
    rows = []
    for i in range(300):
        source = ["web", "code", "books"][i % 3]
        reference = float(rng.uniform(2, 3))
        proxy = [reference + {"web": 0.1, "code": 1.0, "books": 0.0}[source]] * 4
        rows.append(
            {
                "id": f"{i:03d}",
                "text": f"row {i}",
                "source": source,
                "proxy_loss": proxy,
                "reference_loss": reference,
            }
        )
    decisions = ran(rows, tmp_path, "recipe=mix_doremi", "budget=60")
    alpha, seen = np.full(3, 1 / 3), []
    for _ in range(4):
        alpha = alpha * np.exp([0.1, 1.0, 0.0])
        alpha = (1 - 1e-4) * alpha / alpha.sum() + 1e-4 / 3
        seen.append(alpha)
    share = np.mean(seen, axis=0)
    taken = np.bincount([int(i) % 3 for i in kept(decisions)], minlength=3)
    assert taken.sum() == 60
    assert np.abs(taken - 60 * share).max() <= 1


def test_mig(tmp_path):
    tags = [["a"], ["a"], ["a", "b"], ["c"], []]
    rows = [
        {
            "id": str(i),
            "instruction": "Do",
            "input": "",
            "output": f"done {i}",
            "tags": t,
            "quality": q,
        }
        for i, (t, q) in enumerate(zip(tags, [5.0, 4.9, 4.0, 1.0, 9.0], strict=True))
    ]
    decisions = ran(
        rows,
        tmp_path,
        "recipe=sft_mig",
        "recipe.operators.0.select.strategy.mig.encoder=null",
        "budget=3",
    )
    assert kept(decisions) == ["0", "2", "3"]


def test_ccnet(tmp_path):
    pytest.importorskip(
        "kenlm", reason="n-gram models need kenlm: pip install 'coreset-lightning[kenlm]'"
    )
    model = tmp_path / "m.arpa"
    grams = "\\1-grams:\n-2\t<unk>\n0\t<s>\n-1\t</s>\n-0.5\tgood\n\n\\2-grams:\n-0.4\t<s> good\n"
    model.write_text(f"\\data\\\nngram 1=4\nngram 2=1\n\n{grams}\n\\end\\\n")
    rows = [
        {"id": str(i), "text": t}
        for i, t in enumerate(["Good good", "bad bad", "good bad", "Good good"])
    ]
    decisions = ran(
        rows,
        tmp_path,
        "recipe=pretrain_ccnet",
        f"model.name={model}",
        "recipe.operators.1.threshold.high=5.0",
    )
    assert kept(decisions) == ["0"]  # 10^(1.9/3) = 4.3; 10^(5/3); 10^(3.4/3); a copy of the first
