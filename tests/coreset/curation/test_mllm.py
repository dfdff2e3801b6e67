"""The recipe for conversations about images: decisions worked out plainly, repeat factors,
influences that come with the rows.
"""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from coreset.cli.curate import make_operators
from coreset.core.batch import objects
from coreset.curation import curate
from coreset.curation.operators.select import Select
from coreset.registry import strategy
from coreset.scorers.text.abnormal import Abnormal
from coreset.testing import check_scorer

CONF = Path(__file__).parents[3] / "conf"
WORDS = [
    "the",
    "cat",
    "sits",
    "on",
    "a",
    "red",
    "mat",
    "while",
    "two",
    "dogs",
    "look",
    "at",
    "it",
    "from",
    "far",
    "away",
    "and",
    "nobody",
    "says",
    "anything",
    "at",
    "all",
]
ANSWERS = {
    "good": "The cat sits on a mat. Two dogs look at it.", "lines": "A cat.\nA cat.\nA cat.\nA dog.", "few lines": "A cat.\nA cat.\nA dog.\nA cow.",
    "zeros": "It weighs 0.000000000000000000001 kg.", "few zeros": "It weighs 0.0001 kg, 1000 g.", "spread zeros": "0, " * 20 + "0 pixels are black",
    "endless": " ".join(np.random.default_rng(0).choice(WORDS, 600)), "long": ". ".join(" ".join(np.random.default_rng(i).permutation(WORDS)) for i in range(40)),
    "loop": "The sign says " + "stop it now " * 12,
}  # fmt: skip
BAD = {"lines", "zeros", "spread zeros", "endless", "loop"}


def rows():
    samples = []
    for source in ("web", "vqa", "ocr"):
        for name, answer in ANSWERS.items():
            turns = [
                {"from": "human", "value": f"<image>\nWhat is it, {name}?"},
                {"from": "gpt", "value": answer},
            ]
            samples.append(
                {
                    "id": f"{source}-{name}",
                    "image": "a.png",
                    "source": source,
                    "conversations": turns,
                }
            )
    return samples


def test_the_recipe(tmp_path):
    (tmp_path / "rows.json").write_text(json.dumps(rows()))
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose(
            "curate",
            [
                "input=x",
                "out=x",
                "recipe=mllm",
                "recipe.academic=[vqa]",
                "+recipe.factors.ocr=2",
                "+recipe.factors.vqa=3",
            ],
        )
    done = curate(
        make_operators(OmegaConf.to_container(cfg, resolve=True)),
        tmp_path / "rows.json",
        tmp_path / "out",
    )
    decisions = {r["id"]: r for r in pq.read_table(tmp_path / "out/decisions.parquet").to_pylist()}
    want = {
        f"{s}-{n}" for s in ("web", "vqa", "ocr") for n in ANSWERS if s == "vqa" or n not in BAD
    }
    assert {i for i, r in decisions.items() if r["state"] == "kept"} == want
    reasons = {n: decisions[f"web-{n}"]["reason"] for n in BAD}
    assert reasons["lines"] == "gopher_duplicate_lines above 0.3"
    assert (
        reasons["zeros"] == reasons["spread zeros"] == "longest_zeros above 20"
        or "repeat" in reasons["spread zeros"]
        or "loop" in reasons["spread zeros"]
    )
    assert reasons["endless"] == "longest_sentence above 2000"
    assert "loop" in reasons["loop"]
    written = Counter(
        r["id"] for r in json.loads(next((tmp_path / "out/data").glob("*.json")).read_text())
    )
    assert written == {i: {"web": 1, "vqa": 3, "ocr": 2}[i.split("-")[0]] for i in want}
    assert done.manifest["counts"]["rows"] == len(decisions)


def test_abnormal():
    texts = [
        "",
        None,
        "One two. Three",
        "no end at all",
        "a\nbb\nccc",
        "我来了。你好！",
        "10 000 000",
        "1.0e5 0",
        "x" * 50 + "! y",
        "0,0;0",
    ]
    columns = Abnormal()({"text": objects(texts)})
    np.testing.assert_array_equal(
        columns["longest_sentence"], [np.nan, np.nan, 7, 13, 3, 3, 10, 5, 50, 5]
    )
    np.testing.assert_array_equal(
        columns["longest_zeros"], [np.nan, np.nan, 0, 0, 0, 0, 7, 1, 0, 3]
    )
    check_scorer(Abnormal(), {"text": objects(texts)})


def test_votes_on_influences_that_come_with_the_rows(tmp_path):
    x = np.random.default_rng(0).normal(size=(27, 3))
    given = [{**r, "influence": v} for r, v in zip(rows(), x.tolist(), strict=True)]
    (tmp_path / "rows.json").write_text(json.dumps(given))
    curate([Select(strategy("votes"), 6)], tmp_path / "rows.json", tmp_path / "out")
    votes = (x >= np.quantile(x, 0.8, axis=0)).sum(axis=1)
    best = sorted(range(27), key=lambda i: (-votes[i], given[i]["id"]))[:6]
    decisions = pq.read_table(tmp_path / "out/decisions.parquet").to_pylist()
    assert {r["id"] for r in decisions if r["state"] == "kept"} == {given[i]["id"] for i in best}
    assert {r["id"]: r["gain"] for r in decisions if r["state"] == "kept"} == {
        given[i]["id"]: votes[i] for i in best
    }
