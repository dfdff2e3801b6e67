"""What a call does not need is not imported: each call in a fresh process."""

import json
import subprocess
import sys

import pytest

HEAVY = [
    "datasets",
    "faiss",
    "hydra",
    "jinja2",
    "lightning",
    "matplotlib",
    "numba",
    "pandas",
    "pyarrow",
    "pytorch_lightning",
    "scipy",
    "sklearn",
    "timm",
    "torch",
    "torchvision",
    "transformers",
    "wandb",
]

ROWS = "import numpy as np, coreset; rng = np.random.default_rng(0); "
PROBS = ROWS + "p = rng.dirichlet(np.ones(10), 100).astype(np.float32); "
FEATURES = ROWS + "x = rng.normal(size=(100, 16)).astype(np.float32); "

CALLS = {  # code: the heavy modules that it may load
    "import coreset": "",
    "import coreset.api": "",
    "import coreset.registry; coreset.registry.strategy('margin')": "",
    PROBS + "coreset.select('margin', 10, probs=p)": "",
    PROBS + "coreset.select('ratio', 10, probs=p)": "",
    PROBS + "coreset.select('least_confidence', 10, probs=p)": "",
    PROBS + "coreset.score_candidates('margin', probs=p)": "",
    FEATURES + "coreset.select('kcenter', 10, features=x)": "numba scipy",
    FEATURES + "coreset.select('kcenter', 10, features=x, selected=[1, 2])": "numba scipy",
    "import coreset.trainers.app": "hydra",
    "import coreset.cli.select": "hydra",
    "import coreset.cli.curate": "hydra",
    "import coreset.curation.run": "pyarrow",
    "import coreset.curation.engines.local, coreset.curation.operators.dedup": "pyarrow",
}


def loaded(code, cwd=None):
    """Return which heavy modules a fresh process has loaded at the end of `code`."""
    end = f"\nimport json, sys; print(json.dumps([m for m in {HEAVY} if m in sys.modules]))"
    done = subprocess.run(
        [sys.executable, "-c", code + end], capture_output=True, text=True, check=True, cwd=cwd
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("code", CALLS, ids=lambda c: c.rpartition("; ")[2][:60])
def test_a_call_loads_only_what_it_needs(code):
    assert loaded(code) <= set(CALLS[code].split())


HELP = "\n".join(
    (
        "import json, sys",
        "from {module} import {main} as main",
        "sys.argv = ['it', '--help']",
        "try:\n    main()\nexcept SystemExit:\n    pass",
    )
)


@pytest.mark.parametrize(
    ("module", "main", "may", "groups"),
    [
        (
            "coreset.trainers.app", "main", "hydra",
            "data dynamic embedding experiment fit learner logger model oracle strategy"
            " strategy/distill task",
        ),
        ("coreset.cli.select", "select_main", "hydra", "strategy"),
        ("coreset.cli.curate", "curate_main", "hydra", "engine recipe"),
        ("coreset.cli.curate", "score_main", "hydra", "engine scorer"),
    ],
)  # fmt: skip
def test_help_loads_nothing_that_works_and_lists_its_own_groups(module, main, may, groups):
    code = HELP.format(module=module, main=main)
    end = f"\nprint(json.dumps([m for m in {HEAVY} if m in sys.modules]))"
    done = subprocess.run(
        [sys.executable, "-c", code + end], capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert set(json.loads(lines[-1])) <= set(may.split())
    start = lines.index("== Choices (group=option) ==") + 1
    listed = lines[start : lines.index("== Settings (key=value) ==")]
    assert [line.split(":")[0] for line in listed] == groups.split()
    assert all(line.split(":")[1].strip() for line in listed)


def test_curation_by_rules_loads_neither_torch_nor_a_model(tmp_path):
    texts = [f"The word {i} and a number of it are in this sentence {i}." * 20 for i in range(100)]
    rows = "".join(json.dumps({"id": str(i), "text": t}) + "\n" for i, t in enumerate(texts))
    (tmp_path / "in.jsonl").write_text(rows)
    code = (
        "import sys; from coreset.cli.curate import curate_main;"
        "sys.argv = ['it', 'recipe=pretrain', 'input=in.jsonl', 'out=out']; curate_main()"
    )
    seen = loaded(code, tmp_path)
    assert (tmp_path / "out" / "report.html").exists()
    assert not seen & {"torch", "sklearn", "transformers", "datasets", "faiss", "timm", "wandb"}
