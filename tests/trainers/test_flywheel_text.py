"""A flywheel over instruction rows with a tiny random model: the domain that lacks is bought."""

import json

import numpy as np
import pytest

from coreset.flywheel import Freeze
from coreset.flywheel.decide import Decide
from coreset.flywheel.diagnose import Diagnose
from coreset.flywheel.gate import Gate
from coreset.flywheel.tables import read_table
from coreset.trainers.text.causal_lm import LitCausalLM
from coreset.trainers.text.flywheel import instruction_flywheel

WORDS = {"colors": ("red", "green", "blue"), "numbers": ("one", "two", "three")}
SIZES = {
    "train": {"colors": 20, "numbers": 2},
    "dev": {"colors": 20, "numbers": 20},
    "test": {"colors": 20, "numbers": 20},
    "pool": {"colors": 50, "numbers": 20},
}


def write_rows(path, change=None):
    rng = np.random.default_rng(0)
    rows, vectors = [], []
    for role, sizes in SIZES.items():
        for domain, many in sizes.items():
            for i in range(many):
                words = rng.choice(WORDS[domain], 4)
                row = {"id": f"{role}-{domain}-{i}", "role": role, "domain": domain}
                rows.append({**row, "instruction": f"Say {domain} {i}.", "output": " ".join(words)})
                vectors.append(
                    np.eye(2)[int(domain == "numbers")].repeat(3) + 0.2 * rng.normal(size=6)
                )
    if change is not None:
        change(rows)
    path.write_text("\n".join(map(json.dumps, rows)))
    return np.array(vectors, np.float32)


def make(tiny, folder, rows, features, **options):
    return instruction_flywheel(
        folder,
        rows,
        module={"model": tiny, "lora_rank": 0, "lr": 0.02},
        rows={"length": 256, "batch_size": 8},
        trainer={"max_epochs": 3},
        features=features,
        stages={
            "diagnose": Diagnose(smallest=20),
            "gate": Gate(smallest=20, delta=0.5),
            "decide": Decide(shares=(0.4, 0.7), draws=20),
        },
        **options,
    )


@pytest.mark.slow
def test_the_lacking_domain_is_named_bought_and_its_loss_falls_against_the_control(tiny, tmp_path):
    rows = tmp_path / "rows.jsonl"
    features = write_rows(rows)
    wheel = make(tiny, tmp_path / "wheel", rows, features)
    wheel.init(Freeze(clusters=0))
    facts = wheel.turn(14, now="2026-01-01T00:00:00")
    assert [w["name"] for w in facts["diagnose"]["weak"]] == ["class=numbers"]
    batch = read_table(wheel.folder / "turns/001/label-batch.parquet")
    mined = batch["slice"] == "class=numbers"
    assert (batch["label"][mined] == wheel.data.classes.index("numbers")).all()
    assert facts["gate"]["versus_control"]["target"]["low"] > 0
    page = wheel.show().read_text()
    assert "Say numbers" in page
    assert "test loss" in page
    assert "%" not in page.split("<h2>")[0].split("<header>")[1]  # a loss is no share


def test_the_domain_of_the_pool_is_hidden_until_it_is_asked_for(tiny, tmp_path):
    rows = tmp_path / "rows.jsonl"
    features = write_rows(rows)
    wheel = make(tiny, tmp_path / "wheel", rows, features)
    pool = wheel.data.at("pool")
    assert (wheel.data.labels[pool] == -1).all()
    assert wheel.data.classes[wheel.oracle.label(pool[:1])[0]] == "colors"


def test_a_row_without_a_role_or_an_unknown_domain_is_named(tiny, tmp_path):
    rows = tmp_path / "rows.jsonl"
    features = write_rows(rows, lambda r: r[4].pop("role"))
    with pytest.raises(ValueError, match="row 5: expected a text in the column 'role', got None"):
        make(tiny, tmp_path / "wheel", rows, features)
    features = write_rows(rows, lambda r: r[-1].update(domain=""))
    with pytest.raises(ValueError, match="row 'pool-numbers-19' has no domain; give an oracle"):
        make(tiny, tmp_path / "wheel", rows, features)


def test_adapters_stand_in_the_last_layers_only(tiny):
    trained = [n for n, p in LitCausalLM(tiny, last_layers=1).named_parameters() if p.requires_grad]
    assert trained
    assert all(".layers.1." in name for name in trained)
    with pytest.raises(ValueError, match="last_layers: the model has 2, got 3"):
        LitCausalLM(tiny, last_layers=3)
    with pytest.raises(ValueError, match="0 without LoRA"):
        LitCausalLM(tiny, lora_rank=0, last_layers=1)
