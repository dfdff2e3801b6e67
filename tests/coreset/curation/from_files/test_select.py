"""Selection from files: the answers of columns in memory, however the files are cut."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import coreset
from coreset.curation.engines.local import Local
from coreset.curation.from_files.select import select_from_files
from coreset.curation.operators.select import Select
from coreset.curation.operators.two_rounds import in_rounds
from coreset.registry import strategy

N = 900
NAMES = ("b.jsonl", "a.parquet", "sub/c.parquet")


def columns(seed=0):
    """Columns with ties in scores, ids in no order, some of them long and beside each other."""
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.ones(3), N).round(1) + 0.1
    probs /= probs.sum(1, keepdims=True)
    order = rng.permutation(N)
    ids = np.array([f"{'ä long name ' * (i % 3)}{i:04d}" for i in order], object)
    return {
        "probs": probs,
        "features": rng.normal(size=(N, 5)) + 8 * rng.normal(size=(6, 5))[rng.integers(0, 6, N)],
        "loss": rng.integers(0, 7, N).astype(float),
        "labels": rng.choice(4, N, p=[0.7, 0.2, 0.08, 0.02]),
        "tag": np.array(["x", "y", "é"], object)[rng.integers(0, 3, N)],
        "ids": ids,
    }


def write(folder, table, groups=97):
    """Write the rows as three files of both kinds; return them with the file and line of each."""
    (folder / "sub").mkdir()
    place = []
    # in the order of names: a.parquet, b.jsonl, sub/c.parquet
    for name, part in zip(sorted(NAMES), np.split(np.arange(N), [300, 640]), strict=True):
        rows = {n: v[part].tolist() for n, v in table.items()}
        if name.endswith("parquet"):
            pq.write_table(pa.table(rows), folder / name, row_group_size=groups)
            place += [(name, i + 1) for i in range(len(part))]
        else:
            lines = [json.dumps(dict(zip(rows, one, strict=True)), ensure_ascii=False)
                     for one in zip(*rows.values(), strict=True)]  # fmt: skip
            lines.insert(5, "")
            (folder / name).write_text("\r\n".join(lines), encoding="utf-8")
            place += [(name, i + 1 + (i >= 5)) for i in range(len(part))]
    return place


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    table = columns()
    return folder, table, write(folder, table)


CASES = [
    ("random", {}, ()),
    ("margin", {}, ("probs",)),
    ("top_k", {"signal": "loss", "highest": False}, ("loss",)),
    ("stratified", {"balance": "equal"}, ("labels",)),
    ("class_quota", {"base": "entropy", "cap": 150}, ("probs", "labels")),
    ("class_quota", {"base": {"top_k": {"signal": "loss"}}, "column": "tag"}, ("loss", "tag")),
]


@pytest.mark.parametrize(("name", "options", "needs"), CASES)
@pytest.mark.parametrize("cut", [(10**9, 10**6), (700, 60), (3000, 7)])
def test_the_answer_of_columns_in_memory(tmp_path, files, name, options, needs, cut):
    """Without ids ties go to the first position, as in memory: the same rows in the same order."""
    folder, table, place = files
    budget = 257
    want = coreset.select(name, budget, ids=np.arange(N), seed=3, options=options,
                          **{n: table[n] for n in needs})  # fmt: skip
    got = select_from_files(name, folder, budget, out=tmp_path / "out", columns={}, seed=3,
                            options=options, size=cut[0], chunk=cut[1])  # fmt: skip
    rows = got.table()
    assert len(got) == budget == rows.num_rows
    assert list(zip(rows["file"].to_pylist(), rows["line"].to_pylist(), strict=True)) == [
        place[i] for i in want.indices
    ]
    assert rows["rank"].to_pylist() == list(range(budget))
    if want.scores is not None:
        assert rows["score"].to_pylist() == want.scores.tolist()
    if "quota" in want.info:
        assert got.info["quota"] == want.info["quota"]
    assert not (tmp_path / "out" / "state").exists()


@pytest.mark.parametrize(("name", "options", "needs"), CASES)
def test_ties_go_to_the_lowest_id_and_order_of_files_does_not_matter(
    tmp_path, files, name, options, needs
):
    """In memory the same rows in the order of their ids."""
    folder, table, _ = files
    sort = np.array(sorted(range(N), key=lambda i: table["ids"][i].encode()))
    want = coreset.select(name, 0.2, ids=table["ids"][sort].astype(str), options=options,
                          **{n: table[n][sort] for n in needs})  # fmt: skip
    paths = [str(folder / n) for n in NAMES]
    got = coreset.select(name, paths, budget=0.2, out=tmp_path / "out", ids="ids", options=options)
    assert got.table()["id"].to_pylist() == want.ids.tolist()


@pytest.mark.parametrize("name", ["kcenter", "facility_location", "uherding"])
@pytest.mark.parametrize("size", [10**9, 900])
def test_two_rounds_are_those_of_a_recipe(tmp_path, files, name, size):
    folder, table, _ = files
    got = select_from_files(name, folder, 40, out=tmp_path / "out", columns={}, ids="ids",
                            partitions=4, size=size)  # fmt: skip
    sort = np.array(sorted(range(N), key=lambda i: table["ids"][i].encode()))
    operator = Select(strategy(name), 40, partitions=4)
    held = pa.table({"id": table["ids"][sort].tolist(), "_row": np.arange(N),
                     "_partition": np.zeros(N, int),
                     **{n: table[n][sort].tolist() for n in ("features", "probs")}})  # fmt: skip
    for n in ("features", "probs"):
        width = table[n].shape[1]
        held = held.set_column(held.schema.get_field_index(n), n,
                               held[n].cast(pa.list_(pa.float64(), width)))  # fmt: skip
    chosen, about = in_rounds(operator, held, 40)
    rows = got.table()
    assert rows["id"].to_pylist() == table["ids"][sort][chosen["_row"].to_numpy()].tolist()
    np.testing.assert_array_equal(rows["score"].to_numpy(), chosen["gain"].to_numpy())
    assert got.info["guarantee"] == about["guarantee"]
    assert got.info["certificate"] == pytest.approx(about["certificate"])


def test_one_partition_is_one_round(tmp_path, files):
    folder, table, place = files
    want = coreset.select("kcenter", 12, features=table["features"], seed=1)
    got = coreset.select("kcenter", str(folder), budget=12, out=tmp_path / "o", seed=1).table()
    assert [place[i] for i in want.indices] == list(
        zip(got["file"].to_pylist(), got["line"].to_pylist(), strict=True)
    )


def test_a_second_call_answers_from_what_lies_there_and_a_new_question_replaces_it(tmp_path, files):
    folder, out = files[0], tmp_path / "out"
    one = coreset.select("margin", folder, budget=50, out=out)
    before = (out / "part-00000.parquet").stat().st_mtime_ns
    two = coreset.select("margin", folder, budget=50, out=out)
    assert (out / "part-00000.parquet").stat().st_mtime_ns == before
    assert one.table().equals(two.table())
    three = coreset.select("margin", folder, budget=20, out=out)
    assert three.table().equals(one.table().slice(0, 20))


class Stops(Exception):
    """Ends a run."""


class Broken(Local):
    """Ends a run at its nth call."""

    left = 0

    def map(self, step, items):
        type(self).left -= 1
        if type(self).left < 0:
            raise Stops
        return super().map(step, items)


@pytest.mark.parametrize("name", ["margin", "kcenter"])
def test_stopped_anywhere_it_goes_on_to_the_same_answer(tmp_path, files, name):
    want = coreset.select(name, files[0], budget=30, out=tmp_path / "want").table()
    for nth in range(3, 9):
        out = tmp_path / f"{nth}"
        Broken.left = nth
        try:
            coreset.select(name, files[0], budget=30, out=out, engine=Broken())
        except Stops:
            assert not (out / "selection.json").exists()
        assert coreset.select(name, files[0], budget=30, out=out).table().equals(want)


def test_errors_come_in_words_before_anything_is_written(tmp_path, files):
    folder = files[0]

    def fails(error, words, name="margin", data=folder, **more):
        with pytest.raises(error, match=words):
            coreset.select(name, data, **{"budget": 5, "out": tmp_path / "out", **more})
        assert not list((tmp_path / "out").glob("part-*"))

    fails(KeyError, "column 'nothing' is missing; present: .*probs", probs="nothing")
    fails(ValueError, "budget: .*901", budget=901)
    fails(ValueError, r"BADGE|Badge.* cannot choose from files.*Strategies that can: .*kcenter.*"
          "random", name="badge")  # fmt: skip
    fails(ValueError, "base=Random is no score", name="class_quota", options={"base": "random"})
    fails(ValueError, "labels: Margin reads no such column; it reads probs", labels="tag")
    fails(TypeError, "probs: expected the name of a column", probs=[1.0])
    fails(ValueError, "certify: knows columns in memory only", certify=True)
    fails(TypeError, "out: a selection from files needs it", out=None)
    fails(FileNotFoundError, "No such file", data=str(folder / "*.none"))
    fails(ValueError, "engine: expected local or ray, got 'spark'", engine="spark")
    fails(KeyError, "unknown strategy", name="margn")
    with pytest.raises(ValueError, match="engine: belongs to columns in files"):
        coreset.select("random", 2, ids=[1, 2, 3], engine="ray")
    with pytest.raises(TypeError, match="data: expected paths"):
        coreset.select("random", np.ones(3), budget=2, ids=[1, 2, 3])


def test_strange_files_in_words(tmp_path):
    def fails(words, name="margin", error=ValueError, **more):
        with pytest.raises(error, match=words):
            coreset.select(name, tmp_path / "in", budget=2, out=tmp_path / "out", **more)

    def rows(file, values, column="probs"):
        (tmp_path / "in").mkdir(exist_ok=True)
        text = "".join(json.dumps({column: v, "i": i}) + "\n" for i, v in enumerate(values))
        (tmp_path / "in" / file).write_text(text)

    rows("a.jsonl", [[0.5, 0.5]] * 4)
    rows("b.jsonl", [[0.5, 0.25, 0.25]] * 4)
    fails(r"'probs': a.jsonl holds numbers of shape \(2,\) a row, b.jsonl numbers of shape \(3,\)")
    rows("b.jsonl", [[0.5, 0.5], [0.5, 0.25, 0.25]])
    fails("b.jsonl, lines 1 to 2: 'probs' has lists of different lengths, 2 and 3")
    rows("b.jsonl", [[0.5, 0.5], None])
    fails("b.jsonl, lines 1 to 2: 'probs' is missing in 1 rows")
    rows("b.jsonl", [[0.5, 0.5], [0.5, "x"]])
    fails("b.jsonl, lines 1 to 2: 'probs' mixes kinds")
    rows("b.jsonl", [[0.5, 0.5], [3.0, 3.0]])
    fails("b.jsonl, lines 1 to 2: probs")
    rows("b.jsonl", [[0.5, 0.5], [float("nan"), 0.5]])
    fails("b.jsonl, lines 1 to 2: probs")
    rows("b.jsonl", [[0.5, 0.5]])
    with (tmp_path / "in" / "b.jsonl").open("a") as file:
        file.write('{"probs": [0.5')
    fails("b.jsonl, line 2: the line breaks off")
    rows("b.jsonl", [[0.5, 0.5]] * 2)
    fails("ids: 0 names two of the rows chosen", ids="i")
    rows("b.jsonl", [1.5, 2.5], "other")
    fails("b.jsonl, line 1: column 'probs' is missing", error=KeyError)
    (tmp_path / "in" / "b.jsonl").unlink()
    (tmp_path / "in" / "c.tar").write_bytes(b"")
    fails("c.tar: expected Parquet or JSON lines")
    with pytest.raises(ValueError, match="out: .* holds other files"):
        coreset.select("margin", tmp_path / "in", budget=2, out=tmp_path / "in")
