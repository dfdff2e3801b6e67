"""A curation killed with SIGKILL anywhere, started again, leaves the same bytes as one that was
never killed.
"""

import multiprocessing
import random

import pytest
from kill_driver import PHASES, run
from toys import write_jsonl

CONTEXT = multiprocessing.get_context("fork")
WORDS = ("the", "a", "cat", "dog", "sat", "ran", "far", "near", "blue", "red", "one", "two")


def child(*arguments):
    process = CONTEXT.Process(target=run, args=arguments)
    process.start()
    process.join(120)
    assert process.exitcode is not None, "the run hangs"
    return process.exitcode


def files(out):
    return {
        str(p.relative_to(out)): p.read_bytes()
        for p in sorted(out.rglob("*"))
        if p.is_file() and "state" not in p.relative_to(out).parts
    }


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source")
    rng = random.Random(0)
    rows = [{"text": " ".join(rng.choices(WORDS, k=rng.randrange(1, 7)))} for _ in range(110)]
    rows[7], rows[60] = {"text": ""}, {"body": 1}
    write_jsonl(folder / "a.jsonl", rows[:70])
    (folder / "b.jsonl").write_text((folder / "a.jsonl").read_text()[:2000] + '{"text": "cut o')
    write_jsonl(folder / "c.jsonl", rows[70:])
    return folder


@pytest.fixture(scope="module")
def whole(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "out"
    run(source, out, "", 0)  # in this process: what is imported now is there in every child
    return files(out)


def test_it_is_the_same_twice(source, whole, tmp_path):
    assert child(source, tmp_path / "out", "", 0) == 0
    assert files(tmp_path / "out") == whole
    assert child(source, tmp_path / "out", "", 0) == 0
    assert files(tmp_path / "out") == whole


CASES = [
    *[("ingest", n) for n in (1, 100)],
    *[("table", n) for n in (1, 8, 20, 33, 47)],
    *[("atomic", n) for n in (1, 4, 9, 12)],
    *[("rename", n) for n in (2, 11, 24, 41, 58, 70)],
    ("score", 3), ("score", 9), ("fit", 2), ("fit", 7), ("group", 1), ("group", 4), ("select", 1),
    ("decisions", 1), ("decisions", 4), ("data", 40), ("out", 1), ("manifest", 1),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("phase", "nth"), CASES)
def test_killed_and_started_again(source, whole, tmp_path, phase, nth):
    out = tmp_path / "out"
    assert child(source, out, phase, nth) == -9, "the run ended before it was killed"
    assert not (out / "manifest.json").exists() or phase in ("rename", "atomic")
    assert child(source, out, "", 0) == 0
    assert files(out) == whole
    assert not list(out.glob("*.part"))


@pytest.mark.slow
def test_killed_again_and_again(source, whole, tmp_path):
    """Every start gets a little further."""
    out, starts = tmp_path / "out", 0
    while child(source, out, "rename", 20) == -9:
        starts += 1
        assert starts < 60, "no progress"
    assert starts > 3
    assert files(out) == whole


def test_the_page_is_the_same_after_a_kill(source, tmp_path):
    for phase, nth, out in (("", 0, "whole"), ("rename", 45, "killed"), ("", 0, "killed")):
        assert child(source, tmp_path / out, phase, nth, True) == (-9 if phase else 0)
    assert files(tmp_path / "whole") == files(tmp_path / "killed")
    assert (tmp_path / "killed" / "report.html").exists()


def test_every_phase_is_killed_somewhere():
    assert {phase for phase, _ in CASES} == set(PHASES)


def test_damaged_state_is_made_again(source, whole, tmp_path):
    out = tmp_path / "out"
    assert child(source, out, "", 0) == 0
    tables = sorted((out / "state").rglob("*.parquet"))
    assert len(tables) > 20
    for i, path in enumerate(tables):
        if (
            "input" not in path.parent.name
            and i % 3 == 0
            and not path.parent.name.startswith("rows")
        ):
            path.write_bytes(path.read_bytes()[: 100 if i % 2 else 0])
    assert child(source, out, "", 0) == 0
    assert files(out) == whole
