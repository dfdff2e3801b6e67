"""States of fits on disk: the same values back, and no file that runs anything."""

import json
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from toys import Common, write_jsonl

import coreset
from coreset.core.batch import as_batch, objects
from coreset.curation.operators.base import Estimator
from coreset.curation.operators.embedding_sample import SampledVectors
from coreset.curation.operators.estimator_state import dump_state, has_state, load_state, read_state
from coreset.curation.operators.mixing import BalanceEntries, DoReMi
from coreset.curation.operators.quality import Dsir, PairwiseRatings, QualityClassifier
from coreset.curation.run import Settings, curate
from coreset.registry import load, names
from coreset.scorers.judge.scorer import Judge

STATES = [
    None, True, 3, -(2**70), 2.5, float("inf"), "text \ud800 \u0000", b"\x00\xff", [], (), {}, (1, [2, ("a", None)]),
    {"a": {1: 2, None: [3]}, (1, 2): "b"}, np.arange(6, dtype=np.int32).reshape(2, 3), np.float32(0.1), np.zeros((0, 4)),
    objects(["a", None, "ü"]), np.array(["x", "yy"]), [np.array([1, 2], np.uint64), {"k": np.array([np.nan])}],
]  # fmt: skip


def same(a, b):
    assert type(a) is type(b)
    if isinstance(a, np.ndarray | np.generic):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        np.testing.assert_array_equal(a, b)
    elif isinstance(a, dict):
        assert list(a) == list(b)
        for k in a:
            same(a[k], b[k])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            same(x, y)
    else:
        assert a == b


@pytest.mark.parametrize("state", STATES, ids=lambda s: type(s).__name__)
def test_the_same_values_come_back(state):
    data = dump_state(state)
    same(load_state(data), state)
    assert dump_state(load_state(data)) == data


class Strange:
    pass


@pytest.mark.parametrize("state", [Strange(), {1, 2}, objects([1, "a"]), {"a": [Strange()]}, len])
def test_what_is_no_tree_is_refused_with_its_place(state):
    with pytest.raises(TypeError, match=r"state.*to_state and from_state"):
        dump_state(state)


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.write_text, (self.path, "ran")


def test_no_file_runs_anything(tmp_path):
    canary, path = tmp_path / "canary", tmp_path / "s.state.npz"
    bomb = pickle.dumps(Bomb(canary))
    held = np.empty(1, object)
    held[0] = Bomb(canary)
    np.savez(tmp_path / "objects.npz", tree=held)
    good = dump_state({"a": np.arange(50)})
    files = [
        bomb,
        b"",
        b"PK\x03\x04",
        (tmp_path / "objects.npz").read_bytes(),
        b'{"a": 1}',
        good[:-30],
        good[:40],
    ]
    tree = {"x": [["eval", "1"]], "y": [["array", 5]], "z": ["array"]}
    for value in (*tree.values(), {"a": 1}, ["dict", [[["list", []], 1]]]):
        np.savez(tmp_path / "t.npz", tree=np.frombuffer(json.dumps(value).encode(), np.uint8))
        files.append((tmp_path / "t.npz").read_bytes())
    for data in files:
        path.write_bytes(data)
        with pytest.raises(ValueError, match="no state of a fit"):
            read_state(path)
        assert not canary.exists()
    assert not has_state(tmp_path / "gone")
    path.write_bytes(bytes(good[:300]) + b"?" + bytes(good[301:]))
    assert not has_state(path)


ROWS = as_batch(
    {
        "id": objects([f"r{i:02d}" for i in range(9)]),
        "text": objects([f"word{i % 3} and more of it" for i in range(8)] + [""]),
        "entries": objects([[1, 2], [], [0], [3, 3], None, [1], [2], [7], [1]]),
        "domain": objects(["a", "b", None] * 3),
        "proxy_loss": objects([[2.0 + 0.1 * i, 1.5] for i in range(9)]),
        "reference_loss": np.linspace(1.0, 2.0, 9),
        "embedding": np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32),
    }
)
FITS = {
    "balance_entries": BalanceEntries(target=4),
    "doremi": DoReMi(by="domain"),
    "dsir": Dsir("x"),
    "pairwise_ratings": PairwiseRatings(Judge("m")),
    "quality_classifier": QualityClassifier("x", sample=5),
    "reference_clusters": load("reference_clusters", "coreset.operators")("x", column="embedding"),
    "semantic_duplicates": load("semantic_duplicates", "coreset.operators")(),
}


def test_every_registered_fit_is_looked_at():
    registered = {
        n for n in names("coreset.operators") if issubclass(load(n, "coreset.operators"), Estimator)
    }
    assert registered == set(FITS)


@pytest.mark.parametrize("name", FITS)
def test_the_states_of_our_fits_come_back_and_merge_to_the_same(name):
    fit = FITS[name]
    parts = [fit.fit(type(ROWS)(ROWS.table.slice(i, 3))) for i in (0, 3, 6)]
    again = [fit.from_state(load_state(dump_state(fit.to_state(p)))) for p in parts]
    for a, b in zip(parts, again, strict=True):
        assert type(a) is type(b)
        same(fit.to_state(a), fit.to_state(b))
    whole = fit.merge(fit.merge(*parts[:2]), parts[2])
    same(fit.to_state(whole), fit.to_state(fit.merge(again[0], fit.merge(*again[1:]))))
    assert isinstance(fit, SampledVectors) == (
        name in ("reference_clusters", "semantic_duplicates")
    )


def test_a_run_leaves_no_pickle_and_makes_a_damaged_state_again(tmp_path):
    write_jsonl(
        tmp_path / "a.jsonl", [{"text": f"{w} text {i}"} for i, w in enumerate("abcab" * 4)]
    )
    settings = Settings(batch=4, partition_rows=7)
    first = curate([Common()], tmp_path / "a.jsonl", tmp_path / "out", settings=settings)
    states = sorted((tmp_path / "out" / "state").rglob("*.state.npz"))
    assert len(states) == 3
    for path in (tmp_path / "out" / "state").rglob("*"):
        assert not path.is_file() or path.read_bytes()[:2] not in (b"\x80\x05", b"\x80\x04"), path
    for path in (tmp_path / "out" / "state").rglob("*common*/*.parquet"):
        path.unlink()
    states[0].write_bytes(pickle.dumps(Bomb(tmp_path / "canary")))
    states[1].write_bytes(states[1].read_bytes()[:50])
    again = curate([Common()], tmp_path / "a.jsonl", tmp_path / "out", settings=settings)
    assert again.manifest == first.manifest
    assert not (tmp_path / "canary").exists()


def test_no_code_of_the_library_unpickles():
    """Only the contract of operators does, of what it pickled itself a line before, and the engine
    of Ray, of what one of its processes sent to another.
    """
    root = Path(coreset.__file__).parent
    wrong = re.compile(
        r"pickle\.loads?\(|joblib|allow_pickle=True|weights_only=False|marshal\.|trust_remote_code=True"
    )
    hits = [p.name for p in root.rglob("*.py") if wrong.search(p.read_text())]
    assert sorted(hits) == ["contract.py", "ray.py", "ray_tasks.py"]
