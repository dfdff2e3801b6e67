"""What a stranger's files and annotators do: each is said in words, nothing is promoted."""

import dataclasses
import json

import numpy as np
import pytest

from coreset.core.store import write_atomic
from coreset.flywheel import FlywheelData, Freeze
from coreset.flywheel.tables import read_table, table_bytes
from tests.coreset.flywheel.worlds import CLASSES, NOW, Truth, flywheel, world


@pytest.fixture(scope="module")
def small():
    return world(pool=400, train=300)


def begun(folder, small, **options):
    wheel = flywheel(folder, small[0], small[1], **options)
    wheel.init(Freeze(clusters=0))
    return wheel


def test_observations_are_kept_or_rejected_with_a_reason(tmp_path, small):
    wheel = begun(tmp_path, small)
    key = wheel.version.key
    ids = small[0].ids[small[0].at("pool")]
    good = {"id": ids[0], "model": key, "time": "2025-12-01T00:00:00", "output": "a"}
    rows = [
        {**good, "verdict": "wrong", "correction": "d"},
        {**good, "id": "nobody"},
        {**good, "id": ids[1], "model": "f" * 16},
        {**good, "verdict": "wrong"},
        {**good, "id": ids[2], "time": "2027-01-01T00:00:00"},
        {**good, "id": ids[3], "time": "yesterday"},
        {**good, "id": ids[4], "verdict": "awful"},
        {**good, "id": ids[5], "correction": "zebra"},
        {**good, "id": ids[6], "input": "write to jane.doe@example.org"},
        {**good, "id": ids[7], "verdict": "right", "correction": "b"},
        {**good, "id": ids[8]},
        {**good, "id": ids[9], "workload": "site of jane.doe@example.org"},
        {**good, "id": "jane.doe@example.org"},
        {**good, "id": ids[10], "time": "0001-01-01T00:00:00+23:59"},
        {**good, "id": ids[11], "correction": "a"},
        {**good, "id": ids[11], "correction": "b", "time": "2025-12-02T00:00:00"},
    ]
    names = ("id", "model", "time", "output", "input", "verdict", "correction", "workload")
    path = write_atomic(
        tmp_path / "seen.parquet", table_bytes({n: [r.get(n, "") for r in rows] for n in names})
    )
    facts = wheel.turn(60, [path], now=NOW)["observe"]
    assert facts["rejected"] == {
        "correction is no class": 1,
        "from the future": 1,
        "given twice": 1,
        "holds an e-mail address": 2,
        "of another model": 1,
        "right and corrected": 1,
        "time is not ISO 8601": 2,
        "unknown id": 2,
        "verdict is neither right nor wrong": 1,
        "verdicts or corrections of the id contradict": 2,
    }
    assert facts["kept"] == 2
    assert not any(
        "@" in i for i in read_table(tmp_path / "turns/001/observe-rejected.parquet")["id"]
    )
    assert facts["rows"] == facts["kept"] + sum(facts["rejected"].values()) == len(rows)


def test_a_file_without_the_columns_is_refused_before_the_turn(tmp_path, small):
    wheel = begun(tmp_path, small)
    path = write_atomic(tmp_path / "odd.parquet", table_bytes({"id": ["x"], "model": ["m"]}))
    with pytest.raises(ValueError, match=r"odd\.parquet: expected a column 'time'"):
        wheel.turn(60, [path], now=NOW)
    assert wheel.state["turns"] == 0


def seen(folder, name, **row):
    """A file with one observation."""
    good = {"id": "nobody", "model": "m", "time": "2025-12-01T00:00:00", "output": "a"}
    return write_atomic(folder / name, table_bytes({k: [v] for k, v in (good | row).items()}))


def test_observations_of_which_none_can_be_used_stop_the_turn_that_goes_on_without(tmp_path, small):
    truth = Truth(small[1])
    wheel = begun(tmp_path, small, oracle=truth)
    path = seen(tmp_path, "odd.parquet")
    with pytest.raises(ValueError, match="none of 1 rows can be used: 1 unknown id; .* v001-"):
        wheel.turn(60, [path], now=NOW)
    assert truth.asked == 0
    assert wheel.state["turns"] == 0
    assert wheel.turn(60, now=NOW)["observe"]["rows"] == 0  # nothing had been done


def test_files_of_one_name_are_told_apart_and_patterns_name_them(tmp_path, small):
    wheel = begun(tmp_path, small)
    first = str(small[0].ids[small[0].at("pool")[0]])
    for site in ("north", "south"):
        seen(tmp_path / site, "day.parquet", id=first, model=wheel.version.key, workload=site)
    facts = wheel.turn(60, str(tmp_path / "*/day.parquet"), now=NOW)["observe"]
    assert [f["rows"] for f in facts["files"]] == [1, 1]
    assert facts["rejected"] == {"given twice": 1}
    begun_with = json.loads((tmp_path / "turns/001/turn.json").read_text())
    assert len(begun_with["observations"]) == 2
    with pytest.raises(FileNotFoundError, match="observations: no such file"):
        wheel.turn(60, str(tmp_path / "*/night.parquet"))


@pytest.mark.parametrize(
    ("seeds", "words"), [((0, 1), "expected at least 3, got 2"), ((0, 1, 1), "expected different")]
)
def test_seeds_are_looked_at_before_anything_is_frozen(tmp_path, small, seeds, words):
    with pytest.raises(ValueError, match=f"seeds: {words}"):
        flywheel(tmp_path / "new", small[0], small[1], seeds=seeds)
    assert not (tmp_path / "new").exists()


def test_a_slice_of_three_examples_is_too_small_to_tell(tmp_path, small):
    data = small[0]
    site = data.metadata["site"].astype("<U8")
    site[data.at("dev")[:3]] = "rare"
    site[data.at("test")[:3]] = "rare"
    few = dataclasses.replace(data, metadata={"site": site})
    facts = begun(tmp_path, (few, small[1])).turn(60, now=NOW)["diagnose"]
    assert "site=rare" in facts["too_small"]
    assert "site=rare" not in [w["name"] for w in facts["weak"]]


def test_without_a_pool_nothing_is_bought_and_it_stops(tmp_path, small):
    data, truth, _ = small
    keep = np.flatnonzero(data.roles != "pool")
    bare = FlywheelData(
        data.ids[keep], data.labels[keep], data.roles[keep], data.features[keep], CLASSES,
        {"site": data.metadata["site"][keep]},
    )  # fmt: skip
    wheel = begun(tmp_path, (bare, truth[keep]))
    facts = wheel.turn(60, now=NOW)
    assert facts["choose"]["rows"] == 0
    assert facts["decide"]["stop"] == "the pool has no candidate for the weak slices"


class Constant(Truth):
    def label(self, indices):
        return np.zeros(len(indices), np.int64)


@pytest.mark.parametrize("budget", [12, 100])
def test_an_annotator_who_labels_everything_the_same_is_refused(tmp_path, small, budget):
    wheel = begun(tmp_path, small, oracle=Constant(small[1]))
    with pytest.raises(
        ValueError, match=r"all \d+ randomly drawn rows got the label 'a', which \d+"
    ):
        wheel.turn(budget, now=NOW)
    assert wheel.state["turns"] == 0


def test_where_all_are_of_one_class_one_label_is_no_fault(tmp_path):
    data, truth, _ = world(pool=200, train=150)
    alone = dataclasses.replace(data, labels=np.where(data.labels < 0, -1, 0))
    wheel = begun(tmp_path, (alone, np.zeros_like(truth)), oracle=Constant(truth))
    assert wheel.turn(100, now=NOW)["label"]["labeled"] > 0


class Fickle(Truth):
    def label(self, indices):
        self.asked += 1
        return (self.labels[indices] + (self.asked > 1)) % 4


def test_labels_that_contradict_are_held_back(tmp_path, small):
    wheel = begun(tmp_path, small, oracle=Fickle(small[1]))
    facts = wheel.turn(100, now=NOW)
    assert facts["label"]["agreement"] == 0
    assert facts["label"]["ambiguous"] >= facts["label"]["repeated"] > 0
    batch = read_table(tmp_path / "turns/001/label-batch.parquet")
    held = batch["id"][batch["status"] == "ambiguous"]
    candidate = read_table(tmp_path / "turns/001/version-candidate.parquet")
    assert not np.isin(held, candidate["id"]).any()


def test_a_turn_on_another_version_than_the_latest_is_refused(tmp_path, small):
    wheel = begun(tmp_path, small)
    with pytest.raises(ValueError, match="is not the latest, that is v001"):
        wheel.turn(60, version="v000-0123456789abcdef", now=NOW)


@pytest.mark.parametrize("budget", [0, -5, float("nan"), float("inf")])
def test_a_budget_must_be_a_cost(tmp_path, small, budget):
    with pytest.raises(ValueError, match="budget: expected a finite cost above 0"):
        begun(tmp_path, small).turn(budget, now=NOW)


def test_frozen_examples_and_settings_must_stay(tmp_path, small):
    data, truth, _ = small
    begun(tmp_path, small)
    labels = data.labels.copy()
    labels[data.at("test")[0]] = (labels[data.at("test")[0]] + 1) % 4
    changed = dataclasses.replace(data, labels=labels)
    with pytest.raises(ValueError, match="examples of test are not those"):
        flywheel(tmp_path, changed, truth).turn(60)
    with pytest.raises(ValueError, match="seeds: frozen as"):
        flywheel(tmp_path, data, truth, seeds=(3, 4, 5)).turn(60)


def test_what_data_must_be():
    x = np.zeros((2, 1))
    with pytest.raises(ValueError, match="'a' stands there 2 times, as train, test"):
        FlywheelData(["a", "a"], [0, 0], ["train", "test"], x, ("c",))
    with pytest.raises(ValueError, match="expected examples of dev"):
        FlywheelData(["a", "b"], [0, 0], ["train", "test"], x, ("c",))
    with pytest.raises(ValueError, match="expected train, pool"):
        FlywheelData(["a", "b"], [0, 0], ["train", "tset"], x, ("c",))


def test_a_folder_without_a_flywheel_and_one_that_has_one(tmp_path, small):
    with pytest.raises(FileNotFoundError, match="begin one with init"):
        flywheel(tmp_path, small[0], small[1]).turn(60)
    begun(tmp_path, small)
    with pytest.raises(ValueError, match="holds a flywheel already"):
        flywheel(tmp_path, small[0], small[1]).init()
