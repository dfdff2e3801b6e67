import json

import numpy as np
import pytest

from coreset.core.batch import as_batch, objects
from coreset.curation import curate
from coreset.curation.operators.contract import run_in_memory
from coreset.curation.operators.dedup import (
    Decontaminate,
    DecontaminateEmbeddings,
    ExactDuplicates,
    NearDuplicates,
    SemanticDuplicates,
)
from coreset.curation.run import Settings
from coreset.numerics.neighbors.semantic import unit_rows
from coreset.testing import check_operator

BASE = (
    "the quick brown fox jumps over the lazy dog while the slow red hen looks at it from the garden"
    " wall"
)
TEXTS = objects(
    [BASE, "short", BASE, BASE.upper() + "!", None, "short", "", "something else entirely that has nothing to do with the fox", BASE + " today", "1 2 3"]
)  # fmt: skip


def answers(operator, **columns):
    n = len(next(iter(columns.values())))
    table = run_in_memory(
        operator, as_batch({"id": objects([f"{i:03d}" for i in range(n)]), **columns})
    )
    return {r["id"]: r for r in table.to_pylist()}


def duplicates(operator, **columns):
    return {
        int(i): int(r["duplicate_of"])
        for i, r in answers(operator, **columns).items()
        if not r["keep"]
    }


def test_exact():
    assert duplicates(ExactDuplicates(), text=TEXTS) == {2: 0, 5: 1}
    assert duplicates(ExactDuplicates(folded=True), text=TEXTS) == {2: 0, 3: 0, 5: 1}
    assert duplicates(ExactDuplicates("q"), q=objects(["a", "a", "", ""])) == {1: 0, 3: 2}


def test_exact_compares_in_full_when_hashes_meet(monkeypatch):
    monkeypatch.setattr(ExactDuplicates, "key", lambda self, batch: np.ones(batch.rows, np.uint64))
    assert duplicates(ExactDuplicates(), text=objects(["a", "b", "a"])) == {2: 0}


def test_near():
    assert duplicates(NearDuplicates(), text=TEXTS) == {2: 0, 3: 0, 8: 0}
    assert duplicates(NearDuplicates(threshold=1.0), text=TEXTS) == {2: 0, 3: 0}


def test_near_keeps_the_lowest_id_of_a_chain():
    """Each is near the next, the ends are not: one component."""
    w = [f"w{chr(97 + i)}{chr(97 + j)}" for i in range(8) for j in range(10)]
    chain = objects([" ".join(w[5 * i : 5 * i + 40]) for i in range(8)])
    assert duplicates(NearDuplicates(threshold=0.6, bands=40, rows=4), text=chain) == dict.fromkeys(
        range(1, 8), 0
    )


@pytest.mark.parametrize(
    "operator",
    [
        ExactDuplicates(),
        ExactDuplicates(folded=True),
        NearDuplicates(),
        NearDuplicates(n=2, bands=8, rows=2, threshold=0.3),
    ],
    ids=repr,
)
def test_contract(operator):
    check_operator(operator, {"text": TEXTS})


def embeddings(n=90, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(10, 6))[rng.integers(0, 10, n)] + 0.1 * rng.normal(size=(n, 6))
    return x.astype(np.float32)


@pytest.mark.parametrize("keep", ["hard", "easy", "random"])
@pytest.mark.parametrize("mode", ["released", "components"])
def test_contract_of_semantic(keep, mode):
    check_operator(
        SemanticDuplicates(clusters=4, keep=keep, mode=mode, iterations=10),
        {"embedding": embeddings()},
    )


def test_semantic_is_the_plain_rule_inside_the_clusters():
    x, op = embeddings(), SemanticDuplicates(clusters=5, eps=0.02, iterations=20)
    ids = objects([f"{i:03d}" for i in range(len(x))])
    fitted = op.finish(op.fit(as_batch({"id": ids, "embedding": x})))
    u = unit_rows(x).astype(np.float64)
    toward = u @ fitted.centroids.astype(np.float64).T
    label = toward.argmax(axis=1)
    want = set()
    for c in range(5):
        rows = np.flatnonzero(label == c)
        rows = rows[np.argsort(toward[rows, c], kind="stable")]  # far from the centroid first
        s = np.triu(u[rows] @ u[rows].T, 1)
        want |= set(rows[s.max(axis=0, initial=-2) > 1 - 0.02].tolist()) if len(rows) else set()
    got = duplicates(op, embedding=x)
    assert set(got) == want
    assert want
    for row, duplicate_of in got.items():
        assert label[row] == label[duplicate_of]


def test_which_row_is_kept():
    """Three rows close together and one far: hard keeps the farthest from the centroid, easy the
    nearest.
    """
    a = np.radians([0, 1, 2, 100])
    x = np.stack([np.cos(a), np.sin(a)], axis=1).astype(np.float32)
    hard = duplicates(SemanticDuplicates(clusters=1, eps=0.01), embedding=x)
    easy = duplicates(SemanticDuplicates(clusters=1, eps=0.01, keep="easy"), embedding=x)
    assert set(hard) == {1, 2}  # the centroid is on their far side: 0 is farthest of the three
    assert set(easy) == {0, 1}


def test_components_keep_one_of_each_group():
    x = embeddings()
    released = duplicates(SemanticDuplicates(clusters=1, eps=0.05), embedding=x)
    components = duplicates(
        SemanticDuplicates(clusters=1, eps=0.05, mode="components"), embedding=x
    )
    assert set(released) <= set(components)


@pytest.mark.parametrize("mode", ["released", "components"])
@pytest.mark.parametrize("keep", ["hard", "easy", "random"])
def test_as_many_stay_as_the_target_says(keep, mode):
    x = embeddings()
    x[4] = np.nan
    for target in (0.6, 40):
        op = SemanticDuplicates(clusters=4, keep=keep, mode=mode, iterations=10, target=target)
        kept = sum(r["keep"] for r in answers(op, embedding=x).values())
        assert kept == (round(0.6 * (len(x) - 1)) if target == 0.6 else 40)
    check_operator(op, {"embedding": x})


def test_what_the_fit_says_of_its_clusters():
    """Pairs above 1 - eps, and those whose rows lie in different clusters, from the definition."""
    x = embeddings()
    ids = objects([f"{i:03d}" for i in range(len(x))])
    for op in (
        SemanticDuplicates(clusters=9, eps=0.2, iterations=10),
        SemanticDuplicates(clusters=9, target=0.5, iterations=10),
    ):
        fitted = op.finish(op.fit(as_batch({"id": ids, "embedding": x})))
        u = unit_rows(x).astype(np.float64)
        u /= np.linalg.norm(u, axis=1, keepdims=True)
        label = (u @ fitted.centroids.astype(np.float64).T).argmax(axis=1)
        i, j = np.nonzero(np.triu(u @ u.T, 1) > 1 - fitted.eps)
        want = {
            "eps": fitted.eps,
            "clusters": 9,
            "pairs_of": len(x),
            "close_pairs": len(i),
            "across_clusters": int((label[i] != label[j]).sum()),
        }
        assert fitted.found == want
        assert 0 < want["across_clusters"] < want["close_pairs"]
    assert fitted.eps != 0.05


def test_the_manifest_says_it_and_a_target_needs_all_rows(tmp_path):
    x = embeddings()
    rows = [{"id": f"{i:03d}", "text": "a", "embedding": v} for i, v in enumerate(x.tolist())]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    op = SemanticDuplicates(clusters=4, iterations=10, target=0.5)
    done = curate(
        [op], tmp_path / "rows.jsonl", tmp_path / "out", settings=Settings(partition_rows=20)
    )
    assert done.manifest["counts"]["kept"] == len(x) // 2
    facts = done.manifest["operators"][0]["found"]
    assert set(facts) == {"eps", "clusters", "pairs_of", "close_pairs", "across_clusters"}
    again = curate(
        [op], tmp_path / "rows.jsonl", tmp_path / "out", settings=Settings(partition_rows=20)
    )
    assert again.manifest == done.manifest
    few = SemanticDuplicates(clusters=4, iterations=10, target=0.5, sample=30)
    with pytest.raises(
        ValueError,
        match="target: 90 rows have an embedding, more than sample=30; expected sample=90 or more",
    ):
        answers(few, embedding=x)
    with pytest.raises(
        ValueError, match=r"target: expected to keep 4 \(one row a cluster\) to 90 rows, got 2"
    ):
        answers(SemanticDuplicates(clusters=4, iterations=10, target=2), embedding=x)


def test_a_row_without_embedding_is_dropped_with_its_status():
    x = embeddings(6)
    x[2] = np.nan
    x[4] = 0
    got = answers(
        SemanticDuplicates(clusters=1),
        embedding=x,
        embedding_status=objects(["ok", "ok", "empty_text", "ok", "ok", "ok"]),
    )
    assert got["002"]["reason"] == "embedding undefined (empty_text)"
    assert got["004"]["reason"] == "embedding undefined"


def test_the_fit_sample_is_bounded_and_does_not_depend_on_the_cut():
    x, op = embeddings(), SemanticDuplicates(clusters=3, sample=30, iterations=5)
    ids = objects([f"{i:03d}" for i in range(len(x))])
    parts = [
        op.fit(as_batch({"id": ids[p], "embedding": x[p]}))
        for p in (slice(0, 10), slice(10, 70), slice(70, 90))
    ]
    a = op.merge(op.merge(parts[0], parts[1]), parts[2])
    b = op.merge(parts[2], op.merge(parts[1], parts[0]))
    whole = op.fit(as_batch({"id": ids, "embedding": x}))
    assert len(whole.id) == 30
    assert a.rows == b.rows == whole.rows == 90
    for s in (a, b):
        assert (s.vector == whole.vector).all()
        assert s.id.tolist() == whole.id.tolist()


def test_wrong_parameters():
    for options, match in (
        ({"keep": "soft"}, "hard, easy, random"),
        ({"mode": "x"}, "released, components"),
        ({"eps": 3}, r"eps: expected .* in \[0, 2\], got 3"),
        ({"eps": 0.1, "target": 0.5}, "expected eps or target, one of them"),
        ({"clusters": 0}, "clusters: expected 1"),
    ):
        with pytest.raises(ValueError, match=match):
            SemanticDuplicates(**options)


@pytest.fixture
def test_set(tmp_path):
    file = tmp_path / "test.jsonl"
    rows = [
        {"id": "t0", "text": " ".join(f"alpha{c}" for c in "abcdefghijklmnop")},
        {"id": "t1", "text": "nine words that are looked for as one whole."},
        {"id": "t2", "text": "too short to tell"},
    ]
    file.write_text("\n".join(map(json.dumps, rows)))
    return str(file)


def test_decontaminate(test_set):
    letters = [f"alpha{c}" for c in "abcdefghijklmnop"]
    texts = objects(
        [
            "before " + " ".join(letters[1:14]) + " after",  # 13 in a row
            "before " + " ".join(letters[1:13]) + " after",  # only 12
            "Nine words, THAT are looked for: as one whole! And more",
            "nine words that are looked for as one",
            "it is too short to tell so it stays",
            "",
        ]
    )
    op = Decontaminate(test_set)
    got = answers(op, text=texts)
    assert [r["test_twin"] for r in got.values()] == ["t0", None, "t1", None, None, None]
    assert {r["reason"] for r in got.values()} == {"", "shares text with the test set"}
    assert op.index()[1] == 1
    check_operator(op, {"text": texts})
    assert answers(Decontaminate(test_set, shortest=4), text=texts)["004"]["test_twin"] == "t2"
    assert answers(Decontaminate(test_set, n=12), text=texts)["001"]["test_twin"] == "t0"


SUMS = objects(
    [
        f"Please tell me what is {i * 7} plus {i * 3 + 1} and what is {i} times {i + 12}?"
        for i in range(100)
    ]
)


def test_texts_that_differ_in_their_numbers():
    """100 sums are 100 texts; read as FineWeb reads them they are one."""
    assert duplicates(NearDuplicates(), text=SUMS) == {}
    assert duplicates(NearDuplicates(numbers="fold"), text=SUMS) == dict.fromkeys(range(1, 100), 0)
    assert duplicates(ExactDuplicates(folded=True), text=SUMS) == {}
    assert duplicates(ExactDuplicates(folded=True, numbers="fold"), text=SUMS) == dict.fromkeys(
        range(1, 100), 0
    )
    for operator in (NearDuplicates(numbers="fold"), ExactDuplicates(folded=True, numbers="fold")):
        check_operator(operator, {"text": SUMS[:20]})


def test_another_sum_is_no_contamination(tmp_path):
    file = tmp_path / "t.jsonl"
    file.write_text(json.dumps({"id": "t", "text": SUMS[0]}) + "\n")
    got = answers(Decontaminate(str(file)), text=objects([SUMS[0].upper(), SUMS[1]]))
    assert [r["test_twin"] for r in got.values()] == ["t", None]
    got = answers(Decontaminate(str(file), numbers="fold"), text=objects([SUMS[0], SUMS[1]]))
    assert [r["test_twin"] for r in got.values()] == ["t", "t"]


@pytest.mark.parametrize(
    "kind", [NearDuplicates, ExactDuplicates, lambda numbers: Decontaminate("t", numbers=numbers)]
)
def test_another_word_for_numbers_is_refused(kind):
    with pytest.raises(ValueError, match="numbers: expected keep or fold, got 'zero'"):
        kind(numbers="zero")


def test_decontaminate_names_the_bad_row(tmp_path):
    file = tmp_path / "t.jsonl"
    file.write_text('{"text": "a"}\n{"text": 3}\n')
    with pytest.raises(ValueError, match=r"t\.jsonl, row 2"):
        Decontaminate(str(file)).index()
    with pytest.raises(ValueError, match="shortest: expected 1 to n = 5"):
        Decontaminate(str(file), n=5)


def test_decontaminate_embeddings(tmp_path):
    x = embeddings(20)
    np.save(tmp_path / "test.npy", x[3:5])
    x[7] = np.nan
    op = DecontaminateEmbeddings(str(tmp_path / "test.npy"), threshold=0.999)
    got = answers(op, embedding=x)
    u = unit_rows(x).astype(np.float64)
    best = (u @ u[3:5].T).max(axis=1)
    assert [r["keep"] for r in got.values()] == [bool(b <= 0.999) for b in best]
    np.testing.assert_allclose(
        [r["test_cosine"] for r in got.values()], best, atol=1e-6, equal_nan=True
    )
    assert got["007"]["reason"] == "embedding undefined"
    check_operator(op, {"embedding": x})
    with pytest.raises(ValueError, match="expected embeddings of 4 numbers"):
        answers(op, embedding=x[:, :4])


def test_real_pages_with_planted_copies(asset):
    pages = [
        json.loads(line)["text"]
        for line in (asset("llamafactory") / "data/c4_demo.jsonl").read_text().splitlines()
    ]
    rng = np.random.default_rng(0)
    changed = []
    for page in pages[:40]:
        w = page.split()
        for i in rng.choice(len(w), max(1, len(w) // 100), replace=False):
            w[i] = "changed"
        changed.append(" ".join(w))
    got = duplicates(NearDuplicates(), text=objects(pages + changed))
    planted = {300 + i: i for i in range(40)}
    hits = sum(got.get(k) == v for k, v in planted.items())
    assert hits >= 38
    assert len([k for k in got if k < 300]) <= 3  # few real pages are copies of each other
