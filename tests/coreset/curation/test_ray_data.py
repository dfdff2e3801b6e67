"""One recipe, one answer: the engine on Ray Data and the local one write the same rows, decisions,
rejects and manifest, of every operator that brings rows together, and after a kill.
"""

import json
import multiprocessing
import os
import signal

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageFilter
from test_run import make_rows
from toys import Common, Fails, Near, Quota, Vectors, recipe, write_jsonl

from coreset.core.batch import to_numpy
from coreset.core.overrules import Overrule, add_overrule, now
from coreset.curation import curate
from coreset.curation.engines.local import Local
from coreset.curation.engines.ray import RayData
from coreset.curation.in_memory import curate_rows
from coreset.curation.operators.dedup import ImageDuplicates
from coreset.curation.operators.select import Select
from coreset.curation.run import Settings
from coreset.registry import strategy
from coreset.report.curation import write_curation_report
from coreset.scorers.image.hashes import ImageHashes
from coreset.scorers.image.images import Images
from coreset.scorers.length import Length

pytest.importorskip("ray", reason="the extra `ray` is not installed")
pytestmark = pytest.mark.slow
SMALL = Settings(batch=16, partition_rows=40)


def both(operators, source, folder, engine, reading=SMALL, page=False, **more):
    """Run a recipe on both engines, write the page of both; return the run on Ray after everything
    has been compared.
    """
    runs = []
    for where in (Local(), engine):
        out = folder / where.name
        done = curate(operators, source, out, engine=where, settings=reading, **more)
        if page:
            write_curation_report(out, done.manifest, done.samples, done.gallery)
        runs.append(done)
    assert (folder / "local" / "decisions.parquet").is_file()
    assert (folder / "ray" / "decisions.parquet").is_dir()
    assert left_by(folder / "local") == left_by(folder / "ray")
    assert str(runs[0].samples) == str(runs[1].samples)
    return runs[1]


def left_by(out):
    """What a run leaves: the bytes of its rows and its manifest, the decisions and the rejects
    without the cut into files.
    """
    folders = ("decisions.parquet", "rejects.jsonl")
    contents = {
        str(p.relative_to(out)): p.read_bytes()
        for p in sorted(out.rglob("*"))
        if p.is_file() and p.relative_to(out).parts[0] not in ("state", *folders)
    }
    table = pq.read_table(out / "decisions.parquet")
    contents["decisions"] = (str(table.schema), str(table.to_pylist()))  # as text NaN is itself
    path = out / "rejects.jsonl"
    parts = sorted(path.iterdir()) if path.is_dir() else [path]
    contents["rejects"] = b"".join(p.read_bytes() for p in parts)
    return contents


def sentences(count, seed=0):
    """Texts of 40 words, every third the copy of one before with a word or two changed, some the
    very same.
    """
    rng = np.random.default_rng(seed)
    texts = []
    for i in range(count):
        words = [f"w{n}" for n in rng.integers(0, 900, 40)]
        if i % 3 == 2:
            words = texts[rng.integers(len(texts))].split()
            for at in rng.integers(0, 40, rng.integers(0, 3)):
                words[at] = f"new{i}"
        texts.append(" ".join(words))
    return [
        {"id": f"t{n:05d}", "text": t} for n, t in zip(rng.permutation(count), texts, strict=True)
    ]


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """Two files of 180 rows, with a line that is no JSON, a row without text, an id that is there
    twice and a row that an operator fails on.
    """
    folder = tmp_path_factory.mktemp("texts")
    rows = sentences(180)
    rows[20]["text"] = "boom " + rows[20]["text"]
    rows[30] = {"id": "empty", "other": 1}
    rows[150]["id"] = rows[3]["id"]
    write_jsonl(folder / "a.jsonl", rows[:110])
    with (folder / "a.jsonl").open("a") as file:
        file.write('{"id": "cut o\n')
    write_jsonl(folder / "b.jsonl", rows[110:])
    return folder


def test_duplicates_of_texts_bad_rows_and_the_page(tmp_path, texts, engine):
    """Decisions and rejects in folders give the page that files give."""
    operators = [Fails(), "exact_duplicates", "near_duplicates"]
    done = both(operators, texts, tmp_path, engine, page=True)
    counts = {o["name"]: o["counts"] for o in done.manifest["operators"]}
    assert counts["exact_duplicates"]["dropped"] > 3
    assert counts["near_duplicates"]["dropped"] >= 20
    assert done.manifest["counts"]["rows"] == 181
    assert done.manifest["counts"]["rejected"] == 4
    reasons = {"duplicate_id", "operator_failed"}
    assert reasons < set(done.manifest["rejects"])


def test_one_file_in_many_ranges_and_a_selection_by_scores(tmp_path, engine):
    """A file of CRLF lines, one of them no JSON, in ranges that cut lines; the best by a score with
    many ties, exact on both engines.
    """
    rows = sentences(180)
    lines = [json.dumps(r) for r in rows]
    lines[100] = lines[100][:-9]
    source = tmp_path / "rows.jsonl"
    source.write_bytes("\r\n".join(lines).encode())
    operators = [
        Length(unit="characters"), "exact_duplicates", "near_duplicates",
        Select(strategy("top_k", {"signal": "text_characters"}), 60),
    ]  # fmt: skip
    done = both(
        operators, source, tmp_path, engine, Settings(batch=16, partition_rows=40, split=5000)
    )
    ranges = list((tmp_path / "ray" / "state").glob("rows-*/*.json"))
    assert len(ranges) == -(-source.stat().st_size // 5000) >= 5
    assert done.manifest["counts"]["rejected"] == 1
    assert done.manifest["counts"]["kept"] == 60


def test_copies_of_images(tmp_path, engine):
    rng = np.random.default_rng(0)
    rows = []
    for i in range(8):
        small = Image.fromarray(rng.integers(0, 256, (6, 6, 3)).astype(np.uint8))
        image = small.resize((96, 96), Image.Resampling.BICUBIC)
        image.save(tmp_path / f"{i}.png")
        image.filter(ImageFilter.GaussianBlur(0.6)).save(tmp_path / f"{i}.jpg", quality=80)
        image.resize((64, 64)).save(tmp_path / f"{i}-small.png")
        rows += [{"image": f"{i}{end}", "text": "x"} for end in (".png", ".jpg", "-small.png")]
    (tmp_path / "broken.png").write_bytes(b"\x89PNG broken")
    rows.append({"image": "broken.png", "text": "x"})
    order = rng.permutation(len(rows))
    rows = [{"id": f"p{n:02d}", **rows[i]} for n, i in enumerate(order)]
    source = write_jsonl(tmp_path / "rows.jsonl", rows)
    operators = [Images([ImageHashes()]), ImageDuplicates()]
    reading = Settings(batch=4, partition_rows=6)
    done = both(operators, source, tmp_path, engine, reading, page=True)
    assert done.manifest["operators"][1]["counts"]["dropped"] >= 16
    assert done.gallery["groups"][0]["size"] >= 8


@pytest.mark.parametrize("name", ["facility_location", "margin"])
def test_two_rounds_with_rows_undefined_and_parts_empty(tmp_path, engine, name):
    """More parts than candidates in some, a partition of undefined rows alone, ties."""
    rng = np.random.default_rng(1)
    column = {"facility_location": "features", "margin": "probs"}[name]
    values = rng.dirichlet(np.ones(3), 90).round(1 if name == "margin" else 9)
    values /= values.sum(1, keepdims=True)
    rows = [
        {"id": f"r{i:03d}", "text": "x", "v": None if i < 25 else v.tolist()}
        for i, v in enumerate(values)
    ]
    source = write_jsonl(tmp_path / "rows.jsonl", rows)
    operators = [Select(strategy(name), 12, {column: "v"}, partitions=30)]
    done = both(operators, source, tmp_path, engine, Settings(partition_rows=20))
    assert done.manifest["counts"]["kept"] == 12
    assert done.manifest["operators"][0]["rounds"]["pool"] == 65


def test_groups_fits_and_choices_with_people_over_them(tmp_path, engine):
    rows = make_rows(160)
    source = write_jsonl(tmp_path / "rows.jsonl", rows)
    for action, row in (("drop", rows[5]), ("keep", rows[70]), ("pin", rows[99])):
        add_overrule(tmp_path / "o.jsonl", Overrule(row["id"], action, "ana", now(), "so"))
    operators = [
        Length("text"), Common(), Near(), Quota(), Vectors(),
        Select(strategy("kcenter"), 12, {"features": "vector"}),
    ]  # fmt: skip
    done = both(operators, source, tmp_path, engine, overrules=tmp_path / "o.jsonl")
    assert done.manifest["overrules"]["drop"] == 1
    add_overrule(tmp_path / "o.jsonl", Overrule("nobody", "drop", "ana", now()))
    with pytest.raises(ValueError, match="1 ids are in no row of the input, first 'nobody'"):
        curate(operators, source, tmp_path / "x", engine=engine, overrules=tmp_path / "o.jsonl")


def test_no_row_left(tmp_path, engine):
    source = write_jsonl(tmp_path / "rows.jsonl", make_rows(50))
    operators = [
        "length", {"threshold": {"column": "text_words", "low": 99}}, "exact_duplicates", Near(),
        Common(), Vectors(), Select(strategy("kcenter"), 5, {"features": "vector"}, partitions=3),
    ]  # fmt: skip
    assert both(operators, source, tmp_path, engine).manifest["counts"]["kept"] == 0


def test_rows_of_python(engine):
    rows = [{"text": "one two"}, {"text": "three"}, {"text": "one two"}]
    steps = ["length", {"threshold": {"column": "text_words", "low": 2}}, "exact_duplicates"]
    one, two = (curate_rows(steps, rows, engine=where) for where in (Local(), engine))
    assert one.rows == two.rows == [{"text": "one two"}]
    assert str(one.decisions.to_pylist()) == str(two.decisions.to_pylist())
    assert to_numpy(two.decisions["state"]).tolist() == ["kept", "dropped", "dropped"]


class Killed(RayData):
    """Kills the process of the run at the second answer of its nth call, or the next with two."""

    nth = 0

    def _taken(self, ray, done):
        type(self).nth -= 1
        for i, one in enumerate(super()._taken(ray, done)):
            if type(self).nth <= 0 and i == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            yield one


def killed_run(address, operators, source, out, nth):
    """Curate in a process of its own on the cluster that is there, killed at the nth call."""
    Killed.nth = nth
    curate(operators, source, out, engine=Killed(2, address), settings=SMALL)


@pytest.mark.parametrize("nth", [8, 18])
def test_killed_and_resumed(tmp_path, engine, nth):
    import ray

    source = write_jsonl(tmp_path / "rows.jsonl", make_rows(230))
    operators = [
        *recipe()[:-1], "near_duplicates",
        Select(strategy("kcenter"), 0.3, {"features": "vector"}, partitions=4),
    ]  # fmt: skip
    address = ray.get_runtime_context().gcs_address
    arguments = (address, operators, source, tmp_path / "ray", nth)
    # from nothing: what Ray reads of the environment may have been set since a server began
    process = multiprocessing.get_context("spawn").Process(target=killed_run, args=arguments)
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    assert not (tmp_path / "ray" / "manifest.json").exists()
    assert list((tmp_path / "ray" / "state").rglob("*.parquet"))
    done = both(operators, source, tmp_path, engine)
    assert done.manifest["counts"]["kept"] > 0
    assert json.loads((tmp_path / "ray" / "manifest.json").read_text())["counts"]["rows"] == 230
