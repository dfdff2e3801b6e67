"""The recipe D4: three quarters stay after SemDeDup, then the farthest from their prototypes."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from coreset.cli.curate import make_operators
from coreset.curation import curate
from coreset.scorers.text import embedding

CONF = Path(__file__).parents[3] / "conf"


def vectors(texts, *_):
    """An angle each: what the text says, in degrees."""
    a = np.radians([float(t) for t in texts])
    return np.stack([np.cos(a), np.sin(a)], axis=1).astype(np.float32).reshape(-1, 2)


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setattr(embedding, "encode_texts", vectors)
    (tmp_path / "model").mkdir()
    rng = np.random.default_rng(0)
    angles = np.concatenate([rng.normal(0, 8, 60), [0.0, 0.0, 0.001, 0.001]]).round(3)
    (tmp_path / "rows.jsonl").write_text(
        "".join(
            json.dumps({"id": f"{i:02d}", "text": str(a)}) + "\n"
            for i, a in enumerate(angles.tolist())
        )
    )
    return tmp_path / "rows.jsonl", angles


def test_d4(source, tmp_path):
    path, angles = source
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose(
            "curate",
            [
                "input=x",
                "out=x",
                "recipe=d4",
                "budget=20",
                f"recipe.operators.0.sentence_embedding.model={tmp_path / 'model'}",
                "recipe.operators.2.select.strategy.prototypes.clusters=1",
            ],
        )
    done = curate(make_operators(OmegaConf.to_container(cfg, resolve=True)), path, tmp_path / "out")
    rows = pq.read_table(tmp_path / "out/decisions.parquet").to_pylist()
    left = [i for i, r in enumerate(rows) if r["reason"] != "semantic duplicate"]
    assert len(left) == 48
    eps = next(o["found"]["eps"] for o in done.manifest["operators"] if "found" in o)
    x = vectors(angles).astype(np.float64)
    center = x.mean(axis=0)
    order = np.argsort(x @ center, kind="stable")  # one cluster: far from its center first
    gone = {
        int(order[k]) for k in range(len(x)) if k and (x[order[:k]] @ x[order[k]]).max() > 1 - eps
    }
    assert set(range(len(x))) - gone == set(left)
    middle = x[left].mean(axis=0)
    far = sorted(left, key=lambda i: x[i] @ middle)[:20]
    assert {i for i, r in enumerate(rows) if r["state"] == "kept"} == set(far)
