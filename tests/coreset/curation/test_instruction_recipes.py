"""The recipes for instruction rows on 999 real ones, against keep sets worked out plainly from the
rows; small real models embed them.
"""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from coreset.cli.curate import make_operators
from coreset.curation import curate

pytestmark = pytest.mark.slow
CONF = Path(__file__).parents[3] / "conf"


@pytest.fixture(scope="module")
def rows(asset):
    """Real rows with fields made up from their words, in a stable order of ids."""
    demo = json.loads((asset("llamafactory") / "data" / "alpaca_en_demo.json").read_text())
    rng = np.random.default_rng(0)
    return [
        {
            **row, "id": f"{i:04d}", "source": row["instruction"].split()[0],
            "tags": sorted({w for w in row["instruction"].lower().split() if len(w) > 6}),
            "reward": rng.normal(), "response_reward": rng.normal(), "complexity": rng.uniform(1, 6), "quality": rng.uniform(1, 6),
            "losses": [float(len(row["output"]) > 600), float(len(row["input"]) > 0), float(len(row["instruction"]) > 60)],
        }
        for i, row in enumerate(demo)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def short(rows):
    return [row for row in rows if len(row["output"]) < 60 and not row["input"]][:20]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def ran(rows, folder, *overrides, **more):
    """Return the decisions about rows, by id, after a recipe."""
    source = write(folder / "rows.jsonl", rows)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = OmegaConf.to_container(
            compose("curate", ["input=x", "out=x", *overrides]), resolve=True
        )
    done = curate(make_operators(cfg), source, folder / "out", **more)
    counts = done.manifest["counts"]
    assert counts["rows"] == len(rows) == counts["kept"] + counts["dropped"]
    decisions = {
        d["id"]: d for d in pq.read_table(folder / "out" / "decisions.parquet").to_pylist()
    }
    assert [
        r["id"] for r in map(json.loads, (folder / "out" / "data" / "rows.jsonl").open())
    ] == kept(decisions)
    return decisions


def kept(decisions):
    return sorted(i for i, d in decisions.items() if d["state"] == "kept")


def highest(rows, value, k):
    return sorted(row["id"] for row in sorted(rows, key=lambda r: (-value(r), r["id"]))[:k])


def test_longest_k(rows, tmp_path):
    rows = rows[:200]
    decisions = ran(rows, tmp_path, "recipe=sft", "budget=20")
    left = [row for row in rows if decisions[row["id"]]["operator"] in (None, "select")]
    assert kept(decisions) == highest(left, lambda r: len(r["output"].split()), 20)


def test_lima_quotas(rows, tmp_path):
    decisions = ran(rows, tmp_path, "recipe=sft_lima", "budget=60")
    fit = [row for row in rows if 1200 <= len(row["output"]) <= 4096]
    pool = Counter(row["source"] for row in fit)
    got = Counter(row["source"] for row in rows if decisions[row["id"]]["state"] == "kept")
    assert sum(got.values()) == 60
    weight = {s: n ** (1 / 3) for s, n in pool.items()}
    exact = {s: 60 * w / sum(weight.values()) for s, w in weight.items()}
    assert all(abs(got[s] - exact[s]) < 1 for s in pool)
    assert all(
        d["state"] == "dropped" for i, d in decisions.items() if not any(r["id"] == i for r in fit)
    )


def test_instag(rows, tmp_path):
    decisions = ran(rows, tmp_path, "recipe=sft_instag", "budget=300")
    walk = sorted((r for r in rows if r["tags"]), key=lambda r: (-len(r["tags"]), r["id"]))
    taken = []
    while len(taken) < 300:
        covered = set()
        for row in [r for r in walk if r["id"] not in taken]:
            if not set(row["tags"]) <= covered:
                covered |= set(row["tags"])
                taken.append(row["id"])
    assert kept(decisions) == sorted(taken[:300])
    assert kept(ran(rows, tmp_path, "recipe=sft_instag")) == sorted(r["id"] for r in walk)


def test_s2l(rows, tmp_path):
    decisions = ran(
        rows,
        tmp_path,
        "recipe=sft_s2l",
        "budget=120",
        "recipe.operators.0.select.strategy.s2l.clusters=8",
    )
    sizes = Counter(tuple(row["losses"]) for row in rows)
    got = Counter(tuple(row["losses"]) for row in rows if decisions[row["id"]]["state"] == "kept")
    want, left = [], 120
    for done, size in enumerate(sorted(sizes.values())):
        want.append((size, min(size, left // (len(sizes) - done))))
        left -= want[-1][1]
    assert left == 0
    assert sorted((size, got[cluster]) for cluster, size in sizes.items()) == want


def test_mods_in_two_runs(rows, tmp_path, asset):
    asset("minilm")
    from coreset.scorers.text.embedding import encode_texts

    rows = rows[:120]
    good = [row for row in rows if row["reward"] > 0]
    x = encode_texts([row["instruction"] for row in good], "minilm", longest=96).astype(np.float64)
    picks = [int(((x - x.mean(axis=0)) ** 2).sum(axis=1).argmin())]
    while len(picks) < 9:
        picks.append(int(np.min([((x - x[p]) ** 2).sum(axis=1) for p in picks], axis=0).argmax()))
    seeds = {good[p]["id"] for p in picks}
    state = tmp_path / "state"
    first = ran(
        rows, tmp_path, "recipe=sft_mods_seeds", "model.name=minilm", "budget=9", state=state
    )
    assert set(kept(first)) == seeds
    both = [
        "recipe=sft_mods",
        "model.name=minilm",
        "recipe.operators.2.select.strategy.mods.seeds=9",
    ]
    bad = sorted(
        (r for r in good if r["response_reward"] < 0 and r["id"] not in seeds),
        key=lambda r: r["response_reward"],
    )
    assert kept(ran(rows, tmp_path, *both, state=state)) == sorted(seeds | {r["id"] for r in bad})
    assert kept(ran(rows, tmp_path, *both, "budget=20", state=state)) == sorted(
        seeds | {r["id"] for r in bad[:11]}
    )


@pytest.fixture(scope="module")
def states(asset):
    """A function: the last hidden states (L, D) of a text under the real model, one text at a time."""
    asset("smollm2")
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    from coreset.scorers.language.load import locate

    where = locate("smollm2")[0]
    net = transformers.AutoModelForCausalLM.from_pretrained(where, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(where)

    def of(text):
        with torch.no_grad():
            hidden = net(
                **tokenizer(text, return_tensors="pt"), output_hidden_states=True
            ).hidden_states[-1]
        return hidden[0].double().numpy()

    return of


def unit(x):
    return x / np.sqrt((x**2).sum())


def text(row):
    return f"{row['instruction']}\n{row['output']}"


def test_deita(short, tmp_path, states):
    embedding = {row["id"]: unit(states(text(row))[-1]) for row in short}
    order = sorted(short, key=lambda r: -r["complexity"] * r["quality"])
    cosines = [
        a @ b for i, a in enumerate(embedding.values()) for b in list(embedding.values())[:i]
    ]
    cut = float(np.quantile(cosines, 0.9))
    assert np.abs(np.array(cosines) - cut).min() > 1e-6 or cut in cosines
    keep = []
    for row in order:
        if all(embedding[row["id"]] @ embedding[other] <= cut + 1e-9 for other in keep):
            keep.append(row["id"])
    settings = [
        "recipe=sft_deita",
        "model.name=smollm2",
        f"recipe.operators.1.select.strategy.deita.threshold={cut + 1e-5}",
    ]
    state = tmp_path / "state"
    assert kept(ran(short, tmp_path, *settings, "budget=5", state=state)) == sorted(keep[:5])
    assert 5 < len(keep) < 20
    assert kept(ran(short, tmp_path, *settings, "budget=20", state=state)) == sorted(keep)


def test_rds(short, tmp_path, states):
    queries, pool = short[:3], short[3:]
    vectors = {}
    for row in short:
        tokens = states(text(row))
        vectors[row["id"]] = unit((np.arange(1, len(tokens) + 1)[:, None] * tokens).sum(axis=0))
    lists = [sorted(pool, key=lambda r: -(vectors[r["id"]] @ vectors[q["id"]])) for q in queries]
    taken = []
    for turn in range(len(pool)):
        for own in lists:
            if len(taken) < 7 and own[turn]["id"] not in taken:
                taken.append(own[turn]["id"])
    file = write(tmp_path / "queries.jsonl", queries)
    (tmp_path / "pool").mkdir()
    decisions = ran(
        pool,
        tmp_path / "pool",
        "recipe=sft_rds",
        "model.name=smollm2",
        f"recipe.operators.0.query_similarity.queries={file}",
        "budget=7",
    )
    assert kept(decisions) == sorted(taken)
    assert [
        i for i, d in sorted(decisions.items(), key=lambda d: d[1]["rank"]) if d["rank"] >= 0
    ] == taken


def test_the_top_share_of_ifd_below_a_bound(short, tmp_path, asset):
    """The bound of the recipe is 1, which no row of these few reaches."""
    asset("smollm2")
    decisions = ran(
        short,
        tmp_path,
        "recipe=sft_ifd",
        "model.name=smollm2",
        "budget=0.25",
        "recipe.operators.5.threshold.high=0.1",
    )
    ifd = {i: d["ifd"] for i, d in decisions.items()}
    above = [i for i, value in ifd.items() if value >= 0.1]
    assert 0 < len(above) < 15
    assert {decisions[i]["reason"] for i in above} == {"ifd at or above 0.1"}
    assert kept(decisions) == highest(
        [r for r in short if ifd[r["id"]] < 0.1], lambda r: ifd[r["id"]], 5
    )
