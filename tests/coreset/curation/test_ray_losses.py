"""What Ray loses without an error, planted: rows on their way to a part, whole parts, answers; and
workers that are killed in the middle of a stage of operators that look at rows one by one.
"""

import os
import pickle
import signal
import socket
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from test_ray_data import left_by, sentences
from toys import write_jsonl

from coreset.core.compute import Compute
from coreset.curation import curate
from coreset.curation.engines.local import Local
from coreset.curation.engines.ray import RayData
from coreset.curation.engines.ray_tasks import RowsLost, Task, call_bucket, call_items, read_items
from coreset.curation.run import Settings

pytest.importorskip("ray", reason="the extra `ray` is not installed")
pytestmark = pytest.mark.slow
SMALL = Settings(batch=8, partition_rows=20)


@dataclass(frozen=True)
class Numbers:
    """Nine numbers of an item, three in each part but the last, which is empty."""

    def __call__(self, item):
        return pa.table({"_part": np.arange(9) % 3, "value": np.arange(9) + 9 * item})


@dataclass(frozen=True)
class Sums:
    """The sum of a part, written down as finished work is."""

    folder: Path

    def __call__(self, item):
        part, rows = item
        total = int(rows["value"].to_numpy().sum())
        (self.folder / str(part)).write_text(str(total))
        return total


@dataclass(frozen=True)
class LosingRay(RayData):
    """Ray Data that loses something on its way, without an error: what sender `place` sends to
    `bucket`, or the `answer` about an item. of: how the classes of the steps begin whose rows are.
    """

    place: int | None = None
    bucket: int | None = None
    answer: int | None = None
    of: str = ""

    def _sent(self, ray, items, read, parts, buckets):
        sent = super()._sent(ray, items, read, parts, buckets)
        if self.bucket is None or not type(read).__name__.startswith(self.of):
            return sent
        place, bucket = self.place, self.bucket

        def without(batch):
            lost = pc.equal(batch["_bucket"], bucket)
            if place is not None:
                lost = pc.and_(lost, pc.equal(batch["place"], place))
            return batch.filter(pc.invert(lost))

        return sent.map_batches(without, batch_format="pyarrow")

    def _called(self, ray, rows, task, step, count):
        done = super()._called(ray, rows, task, step, count)
        lost = self.answer
        if lost is None:
            return done
        return done.map_batches(
            lambda batch: batch.filter(pc.not_equal(batch["place"], lost)), batch_format="pyarrow"
        )


def test_rows_that_are_lost_between_tasks(tmp_path, engine):
    """Nothing is done about the part that lacks them; the others are finished."""
    words = (
        r"Sums: bucket 1 expected the rows of 3 senders, got those of 2; nothing has come from"
        r" sender 2\. Start the run again"
    )
    with pytest.raises(RowsLost, match=words):
        list(LosingRay(place=2, bucket=1).exchange(Numbers(), [0, 1, 2], Sums(tmp_path), 4))
    assert not (tmp_path / "1").exists()
    assert {p.name for p in tmp_path.iterdir()} <= {"0", "2"}
    answers = list(RayData().exchange(Numbers(), [0, 1, 2], Sums(tmp_path), 4))
    values = np.arange(27)
    assert answers == [int(values[values % 3 == part].sum()) for part in range(3)]


def test_an_answer_that_is_lost(engine):
    words = r"abs: expected the answers about 3 items, got 2; nothing has come about item 1\."
    with pytest.raises(RowsLost, match="builtin_function_or_method" + words[3:]):
        list(LosingRay(answer=1).map(abs, [3, -4, 5]))


def test_a_bucket_that_is_lost(tmp_path, engine):
    words = r"Sums: expected 3 buckets, got 2; nothing has come of bucket 1\."
    with pytest.raises(RowsLost, match=words):
        list(LosingRay(bucket=1).exchange(Numbers(), [0, 1], Sums(tmp_path), 3))


@dataclass(frozen=True)
class Misses:
    """Needs what is not there."""

    def __call__(self, item):
        raise ImportError("needs the extra `x`: pip install 'coreset-lightning[x]'")


def test_a_package_that_a_node_does_not_have_or_has_in_another_version(tmp_path):
    """In words that name the node and the install line, for items, senders and parts."""
    items = pa.table({"place": [0], "item": [pickle.dumps(0)]})
    sent = only(read_items(items, Task(pickle.dumps(Numbers()), ()), 3, 3), 0)
    for task, words in (
        (Task(pickle.dumps(Misses()), ()), "pip install 'coreset-lightning[x]' (on the node "),
        (Task(pickle.dumps(Misses()), (), "n", "0.0.7"), "the run began with 0.0.7: pip install"),
    ):
        answers = [
            call_items(items, task)["answer"][0].as_py(),
            call_bucket(sent, task, 1)["answer"][1].as_py(),
            call_bucket(only(read_items(items, task, 3, 3), 2), task, 1)["answer"][0].as_py(),
        ]
        for good, error in map(pickle.loads, answers):
            assert not good
            assert words in str(error)
            assert f"on the node {socket.gethostname()};" in str(error)


def only(messages, bucket):
    return messages.filter(pc.equal(messages["_bucket"], bucket))


def test_a_stream_that_has_fewer_rows_than_it_says(tmp_path):
    """The definition, without Ray: cut, twice there, and an item that cannot be read."""
    task = [Task(pickle.dumps(one), (), "sums") for one in (Numbers(), Sums(tmp_path))]
    items = pa.table({"place": [0, 1], "item": [pickle.dumps(0), pickle.dumps(1)]})
    messages = only(read_items(items, task[0], 4, 4), 0)
    assert messages["rows"].to_pylist() == [3, 3]
    whole, good = call_bucket(messages, task[1], 2).to_pylist()
    assert (whole["part"], whole["answer"], good["part"]) == (-1, b"", 0)
    assert pickle.loads(good["answer"]) == (True, 0 + 3 + 6 + 9 + 12 + 15)
    assert (whole["parts"], whole["rows"], whole["messages"]) == (1, 6, 2)
    assert whole["bytes"] == sum(len(one) for one in messages["sent"].to_pylist())
    (tmp_path / "0").unlink()
    says = messages.set_column(2, "rows", pa.array([3, 4]))
    (only_row,) = call_bucket(says, task[1], 2).to_pylist()
    answer = pickle.loads(only_row["answer"])
    assert answer[0] is False
    assert str(answer[1]).startswith("sums: bucket 0 expected 4 rows of sender 1, got 3.")
    assert not (tmp_path / "0").exists()
    (empty,) = call_bucket(only(read_items(items, task[0], 4, 4), 3), task[1], 2).to_pylist()
    assert (empty["answer"], empty["parts"], empty["rows"], empty["messages"]) == (b"", 0, 0, 2)
    bad = pa.table({"place": [0, 1], "item": [pickle.dumps(0), pickle.dumps("no number")]})
    for bucket in range(4):
        failed = call_bucket(only(read_items(bad, task[0], 4, 4), bucket), task[1], 2)
        good, error = pickle.loads(failed["answer"][0].as_py())
        assert not good
        assert not isinstance(error, RowsLost)


@dataclass(frozen=True)
class Many:
    """One number for each of 900 parts but every seventh."""

    def __call__(self, item):
        part = np.setdiff1d(np.arange(900), np.arange(0, 900, 7))
        return pa.table({"_part": part[::-1].copy(), "value": part[::-1] + 1000 * item})


@dataclass(frozen=True)
class OfPart:
    """The part and its numbers; of one part an error."""

    fails: int = -1

    def __call__(self, item):
        part, rows = item
        if part == self.fails:
            raise KeyError(f"part {part}")
        return part, sorted(rows["value"].to_pylist())


def test_messages_do_not_grow_with_parts(engine):
    """900 parts travel in 200 buckets: an item sends 200 messages, and every part with rows gets
    its own.
    """
    ray = RayData()
    answers = list(ray.exchange(Many(), [0, 1, 2], OfPart(), 900))
    assert answers == [(p, [p, p + 1000, p + 2000]) for p in range(900) if p % 7]
    assert ray.moved["messages", "OfPart"] == 3 * 200
    assert ray.moved["rows", "OfPart"] == 3 * len(answers)
    with pytest.raises(KeyError, match="part 23"):
        list(RayData().exchange(Many(), [0], OfPart(23), 900))


@dataclass(frozen=True)
class ForgetsParts(RayData):
    """Ray Data that loses the answer about one part of a bucket."""

    def _taken(self, ray, done):
        for batch in super()._taken(ray, done):
            yield (
                batch.filter(pc.not_equal(batch["part"], 8))
                if "part" in batch.schema.names
                else batch
            )


def test_an_answer_about_a_part_that_is_lost(engine):
    words = r"OfPart: expected the answers of 771 parts, got 770\."
    with pytest.raises(RowsLost, match=words):
        list(ForgetsParts().exchange(Many(), [0], OfPart(), 900))


def test_a_run_that_loses_rows_goes_on_to_the_same_bytes(tmp_path, engine):
    """Keys of one partition lost on the way of a deduplication: an error that names the stage, no
    result; started again without the loss, the bytes of a run that nothing happened to.
    """
    source = write_jsonl(tmp_path / "rows.jsonl", sentences(60))
    operators, out = ["exact_duplicates"], tmp_path / "ray"
    curate(operators, source, tmp_path / "local", engine=Local(), settings=SMALL)
    lossy = LosingRay(place=1, bucket=0, of="ReadKeys")
    with pytest.raises(
        RowsLost, match=r"^exact_duplicates, FindEdges: bucket 0 expected the rows of 3"
    ):
        curate(operators, source, out, engine=lossy, settings=SMALL)
    assert not list(out.glob("manifest.json")) + list(out.glob("decisions*"))
    curate(operators, source, out, engine=engine, settings=SMALL)
    assert left_by(tmp_path / "local") == left_by(out)


def test_a_table_of_the_state_about_other_rows(tmp_path):
    """A side table that is whole but shorter is said, not taken for rows that were dropped."""
    source = write_jsonl(tmp_path / "rows.jsonl", sentences(60))
    curate(["length"], source, tmp_path / "out", settings=SMALL)
    side = sorted((tmp_path / "out" / "state").glob("01-*/*.parquet"))[1]
    pq.write_table(pq.read_table(side).slice(0, 17), side)
    words = r"stage 01-\S+, partition 00000-00001: expected answers about 20 rows, got 17;"
    with pytest.raises(RuntimeError, match=words):
        curate(["length"], source, tmp_path / "out", settings=SMALL)


@dataclass(frozen=True)
class KillsItsWorker:
    """Counts words; the first worker that gets to some row is killed in the middle of its
    partition. A line is written for every row that is looked at.
    """

    folder: Path
    cpus: float = 1.0
    needs = frozenset({"id", "text"})
    gives = frozenset({"words"})

    @property
    def compute(self):
        return Compute(cpus=self.cpus)

    def __call__(self, batch):
        with (self.folder / f"{os.getpid()}.log").open("a") as file:
            file.writelines(f"{one}\n" for one in batch["id"])
        if "t00007" in batch["id"].tolist() and (self.folder / "kill").exists():
            (self.folder / "kill").unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return {"words": np.array([len(t.split()) for t in batch["text"]], float)}


@pytest.mark.parametrize("cpus", [1.0, 0.5])
def test_a_worker_that_is_killed_while_rows_are_scored(tmp_path, engine, cpus):
    """A task, and an actor of a pool: the same bytes, no row twice or missing."""
    source = write_jsonl(tmp_path / "rows.jsonl", sentences(60))
    operators = [KillsItsWorker(tmp_path, cpus), {"threshold": {"column": "words", "low": 10}}]
    curate(operators, source, tmp_path / "local", engine=Local(), settings=SMALL)
    for path in tmp_path.glob("*.log"):
        path.unlink()
    (tmp_path / "kill").touch()
    curate(operators, source, tmp_path / "ray", engine=engine, settings=SMALL)
    assert not (tmp_path / "kill").exists()
    seen = Counter(line for p in tmp_path.glob("*.log") for line in p.read_text().splitlines())
    assert seen["t00007"] == 2  # by the worker that was killed and the one in its place
    assert len(seen) == 60
    assert left_by(tmp_path / "local") == left_by(tmp_path / "ray")
    ids = pq.read_table(tmp_path / "ray" / "decisions.parquet")["id"].to_pylist()
    assert sorted(ids) == [f"t{i:05d}" for i in range(60)]


class Crashes(RayData):
    """Ray Data whose workers crash beyond what Ray makes good, some times, after two answers."""

    times = 1
    asked = ()

    def _called(self, ray, rows, task, step, count):
        type(self).asked = (*self.asked, count)
        return super()._called(ray, rows, task, step, count)

    def _taken(self, ray, done):
        for i, one in enumerate(super()._taken(ray, done)):
            if i == 2 and type(self).times:
                type(self).times -= 1
                raise ray.exceptions.WorkerCrashedError
            yield one


def test_a_stage_done_again_asks_for_what_is_left(engine):
    Crashes.times, Crashes.asked = 1, ()
    assert list(Crashes(retries=1).map(abs, list(range(-6, 0)))) == [6, 5, 4, 3, 2, 1]
    assert Crashes.asked == (6, 4)
    Crashes.times, Crashes.asked = 2, ()
    with pytest.raises(RuntimeError, match=r"a stage lost workers or objects 2 times \(Worker"):
        list(Crashes(retries=1).map(abs, list(range(-6, 0))))
