"""The counting of the planted test, by hand; and the whole of it with a few plants."""

import importlib
import math
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="module")
def count():
    return importlib.import_module("scripts.benchmarks.plants.count")


@pytest.fixture
def program(imported):
    return imported("scripts.benchmarks.planted")


def wilson(hits, of, z=1.959963984540054):
    """Wilson's interval as in his paper: the roots of (p - h/n)^2 = z^2 p (1 - p) / n."""
    a, b, c = 1 + z * z / of, -(2 * hits / of + z * z / of), (hits / of) ** 2
    root = math.sqrt(max(0.0, b * b - 4 * a * c))
    return (-b - root) / (2 * a), (-b + root) / (2 * a)


def plants(count, kinds, families, copies):
    ids = [f"r{i}" for i in range(len(kinds))]
    return count.Plants({"id": ids}, kinds, np.array(families), copies, ids)


@pytest.mark.parametrize(("hits", "of"), [(0, 7), (7, 7), (3, 10), (25, 200)])
def test_intervals(count, hits, of):
    got, (low, high) = count.share(hits, of), wilson(hits, of)
    assert (got["hits"], got["of"]) == (hits, of)
    assert got["share"] == pytest.approx(hits / of, abs=1e-4)
    assert got["low"] == pytest.approx(low, abs=1e-4)
    assert got["high"] == pytest.approx(high, abs=1e-4)
    assert count.share(0, 0)["share"] is None


def by_hand(kinds, families, copies, dropped):
    """Return right drops and recalled plants by walking families."""
    right, recalled = 0, 0
    if not copies:
        right = recalled = sum(
            i in dropped and bool(k) and not k.startswith("trap: ") for i, k in enumerate(kinds)
        )
        return right, recalled
    for family in set(families):
        rows = [i for i, f in enumerate(families) if f == family]
        wanted = sum(bool(kinds[i]) and not kinds[i].startswith("trap: ") for i in rows)
        gone = sum(i in dropped and not kinds[i].startswith("trap: ") for i in rows)
        right += min(gone, wanted)
        recalled += min(gone, wanted)
    return right, recalled


@pytest.mark.parametrize("copies", [True, False])
def test_counts_of_random_drops(count, copies):
    rng = np.random.default_rng(0)
    for _ in range(60):
        n = 30
        kinds = [""] * n + ["exact", "near"] * 5 + ["trap: other"] * 3
        families = [*range(n), *rng.choice(n, 13, replace=False).tolist()]
        own = plants(count, kinds, families, copies)
        dropped = set(rng.choice(len(kinds), int(rng.integers(0, 43)), replace=False).tolist())
        got = count.judge(own, {f"r{i}": ("why", None) for i in dropped})
        right, recalled = by_hand(kinds, families, copies, dropped)
        assert got["dropped"] == len(dropped)
        assert got["precision"]["hits"] == right
        assert got["precision"]["of"] == len(dropped)
        assert got["recall"]["hits"] == recalled
        assert got["recall"]["of"] == 10
        assert sum(k["hits"] for k in got["kinds"].values()) == recalled
        hurt = {families[i] for i in dropped} if copies else set()
        lost = [
            i for i, kind in enumerate(kinds)
            if kind.startswith("trap: ") and (i in dropped or families[i] in hurt)
        ]  # fmt: skip
        assert got["traps"]["hits"] == len(lost)
        assert len(got["false_drops"]) == len(dropped) - right


def test_either_of_a_pair_may_go_and_both_may_not(count):
    own = plants(count, ["", "exact", "", ""], [0, 0, 1, 2], True)
    for dropped, right in ((["r0"], 1), (["r1"], 1), (["r0", "r1"], 1), (["r2"], 0), ([], 0)):
        got = count.judge(own, dict.fromkeys(dropped, ("why", None)))
        assert got["precision"]["hits"] == right
        assert got["recall"]["hits"] == right
    for other, right in (("r0", 1), ("r3", 0)):  # a pair, and a row of another family
        got = count.judge(own, {"r1": ("why", other)})
        assert got["precision"]["hits"] == got["recall"]["hits"] == right
    both = count.judge(own, {"r0": ("why", None), "r1": ("why", "r0")})
    assert [f["id"] for f in both["false_drops"]] == ["r0"]  # the row that was no plant
    with pytest.raises(ValueError, match="expected ids of the rows, got 'r9'"):
        count.judge(own, {"r9": ("why", None)})


def test_random_removal_against_its_law(count):
    """Of rows that are plants by a share of 10 in 40, a random row is one as often."""
    kinds = [""] * 30 + ["junk"] * 10
    own = plants(count, kinds, list(range(40)), False)
    got = count.at_random(own, 12, 0)
    assert got["precision"]["share"] == pytest.approx(0.25, abs=0.02)  # 5 standard errors
    assert got["recall"]["share"] == pytest.approx(12 / 40, abs=0.02)
    assert got["precision"]["low"] < 0.25 < got["precision"]["high"]
    assert count.at_random(own, 0, 0)["precision"]["share"] is None


def test_what_is_done_to_a_text():
    do = importlib.import_module("scripts.benchmarks.plants.changes")
    rng = np.random.default_rng(0)
    text = "One, two 3 four 5 six. Seven eight nine ten! Eleven twelve 13 fourteen."
    words = text.split()
    assert do.cased("A, b. C! 1,000", rng) == "a b c 1,000"
    changed = do.replaced(0.2, ["new"])(text, rng).split()
    assert len(changed) == len(words)
    assert sum(a != b for a, b in zip(changed, words, strict=True)) == round(0.2 * len(words))
    assert sorted(do.reordered(text, rng).split()) == sorted(words)
    assert sorted(do.shuffled(text, rng).split()) == sorted(words)
    other = do.renumbered("a 7 b 19", rng).split()
    assert other[::2] == ["a", "b"]
    assert other[1] != "7"
    assert other[3] != "19"
    assert [len(w) for w in other[1::2]] == [1, 2]
    assert do.inserted("X Y", text, rng).replace("X Y", "").split() == words


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pages", "drawings"])
def test_a_few_plants(name, asset, program):
    if name == "pages":
        asset("llamafactory")
        asset("minilm")
    elif not Path("/usr/share/openclipart/png").is_dir():
        pytest.skip("the Debian package openclipart-png is not installed")
    result = program.run(name, 2, 0, quick=True)
    assert [t["what"] for t in result["tasks"]] == ["duplicates", "junk", "contamination"]
    rows = {o["operator"]: o for t in result["tasks"] for o in t["operators"]}
    exact = rows["exact_duplicates" if name == "pages" else "exact_duplicates (pixel_hash)"]
    same = "exact" if name == "pages" else "PNG again"
    assert exact["kinds"][same]["share"] == 1
    assert exact["precision"]["share"] == 1
    for one in rows.values():
        assert one["dropped"] == one["precision"]["of"]
        assert len(one["false_drops"]) == one["dropped"] - one["precision"]["hits"]
    if name == "pages":
        assert rows["decontaminate (13-grams)"]["kinds"]["whole"]["share"] == 1
    else:
        assert rows["readable_image"]["kinds"]["cut file"]["share"] == 1
    page = program.table([result])
    assert all(f"| {name} |" in page for name in rows)
