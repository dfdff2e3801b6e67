"""Ten decisions of people over a turn, found in its version; and every example explained."""

from pathlib import Path

import numpy as np
import pytest

from coreset.cli.explore import make_table
from coreset.core.overrules import Overrule, add_overrule, now
from coreset.flywheel import Freeze
from coreset.flywheel.tables import read_table
from tests.coreset.flywheel.worlds import CLASSES, NOW, flywheel, world

SETTINGS = {
    "features": None, "ids": None, "images": None, "state": None, "columns": None, "projection": "pca", "neighbors": 3,
}  # fmt: skip


def write(path: Path, *rows: tuple[str, ...]) -> Path:
    for row in rows:
        add_overrule(path, Overrule(row[0], row[1], "ana", now(), "seen", *row[2:]))
    return path


@pytest.fixture(scope="module")
def turned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    data, truth, _ = world(flips=0.02, leaks=0)
    plain = flywheel(folder / "plain", data, truth)
    plain.init(Freeze(clusters=8))
    before = plain.turn(200, now=NOW)
    bought = read_table(folder / "plain/turns/001/choose-batch.parquet")["id"].tolist()
    pool = data.ids[data.at("pool")]
    clean = read_table(folder / "plain/turns/001/mine-clean.parquet")["id"]
    rest = [k for k in clean.tolist() if k not in bought]
    start = data.ids[data.at("train")].tolist()
    asked = {
        rest[0]: ("pin",), rest[1]: ("pin",), rest[2]: ("keep",), rest[3]: ("keep",),
        bought[0]: ("drop",), bought[1]: ("drop",), start[0]: ("drop",), start[1]: ("drop",),
        start[2]: ("relabel", CLASSES[(int(data.labels[data.where([start[2]])[0]]) + 1) % 4]),
    }  # fmt: skip
    rows = [(k, *v) for k, v in asked.items()] + [(rest[1], "relabel", "2")]
    file = write(folder / "overrules.jsonl", *rows)
    wheel = flywheel(folder / "wheel", data, truth)
    wheel.init(Freeze(clusters=8))
    facts = wheel.turn(200, now=NOW, overrules=file)
    assert set(pool) >= set(rest)
    return wheel, data, truth, asked, (rest, bought, start), facts, before


def test_ten_decisions_are_in_the_candidate(turned) -> None:
    wheel, data, truth, _, (rest, bought, start), facts, before = turned
    candidate = read_table(wheel.folder / "turns/001/version-candidate.parquet")
    label = dict(zip(candidate["id"], candidate["label"].tolist(), strict=True))
    why = dict(zip(candidate["id"], candidate["reason"], strict=True))
    assert {rest[1], rest[2], rest[3]} <= set(label)
    assert not {bought[0], bought[1], start[0], start[1]} & set(label)
    assert label[rest[1]] == 2
    assert label[rest[2]] == truth[data.where([rest[2]])[0]]
    assert label[start[2]] == (data.labels[data.where([start[2]])[0]] + 1) % 4
    assert why[rest[3]] == "keep by ana: seen"
    assert why[start[2]] == f"relabel to {CLASSES[label[start[2]]]}"
    batch = read_table(wheel.folder / "turns/001/choose-batch.parquet")
    assert batch["id"].tolist()[:4] == [rest[0], rest[1], rest[2], rest[3]]
    # pins are within the budget, keeps on top of it; less than one row is lost in rounding
    assert before["choose"]["cost"] == 0.75 * 200
    assert 0.75 * 200 + 1 <= facts["choose"]["cost"] <= 0.75 * 200 + 2
    assert facts["mine"]["overruled"] == 2
    assert facts["version"]["removed"] == 2


def test_a_label_given_by_a_person_is_not_bought(turned) -> None:
    wheel, _, _, _, (rest, _, _), facts, _ = turned
    second = read_table(wheel.folder / "turns/001/label-second.parquet")
    assert rest[1] not in second["id"]
    batch = read_table(wheel.folder / "turns/001/label-batch.parquet")
    assert batch["status"][batch["id"] == rest[1]] == [""]
    assert facts["label"]["labeled"] == len(batch["id"])


def test_control_and_version_in_force_stay_as_they_were(turned) -> None:
    wheel, _, _, _, (_, _, start), _, _ = turned
    control = read_table(wheel.folder / "turns/001/version-control.parquet")
    assert {start[0], start[1]} <= set(control["id"])


def test_a_turn_goes_on_with_the_same_decisions_only(turned, tmp_path: Path) -> None:
    _, data, truth, *_ = turned
    wheel = flywheel(tmp_path, data, truth)
    wheel.init(Freeze(clusters=4))
    file = write(tmp_path / "o.jsonl", (str(data.ids[data.at("pool")[0]]), "drop"))

    class Stop(BaseException):
        pass

    def dies(indices):
        raise Stop

    wheel.oracle.label, real = dies, wheel.oracle.label
    with pytest.raises(Stop):
        wheel.turn(100, now=NOW, overrules=file)
    wheel.oracle.label = real
    with pytest.raises(ValueError, match="begun with another overrules"):
        wheel.turn(100, now=NOW)
    assert wheel.turn(100, now=NOW, overrules=file)["mine"]["overruled"] == 1


@pytest.mark.parametrize(
    ("role", "action", "why"),
    [("test", ("drop",), "versions are judged on it"), ("pool", ("relabel", "zebra"), "no class")],
)
def test_what_no_person_may_change_is_refused_before_anything(turned, tmp_path, role, action, why):
    _, data, truth, *_ = turned
    wheel = flywheel(tmp_path, data, truth)
    wheel.init(Freeze(clusters=0))
    file = write(tmp_path / "o.jsonl", (str(data.ids[data.at(role)[0]]), *action))
    with pytest.raises(ValueError, match=why):
        wheel.turn(100, overrules=file)
    with pytest.raises(ValueError, match="nobody"):
        wheel.turn(100, overrules=write(tmp_path / "p.jsonl", ("nobody", "keep")))
    assert not (tmp_path / "turns").exists()


def test_a_leak_cannot_be_pinned_and_pins_must_fit_the_budget(tmp_path: Path) -> None:
    data, truth, _ = world()
    pool, test = data.at("pool"), data.at("test")
    data.features[pool[0]] = data.features[test[0]]
    wheel = flywheel(tmp_path, data, truth)
    wheel.init(Freeze(clusters=0))
    leak = str(data.ids[pool[0]])
    with pytest.raises(ValueError, match="allowed=FILE"):
        wheel.turn(100, now=NOW, overrules=write(tmp_path / "o.jsonl", (leak, "pin")))
    other = flywheel(tmp_path / "b", data, truth)
    other.init(Freeze(clusters=0))
    many = [(str(k), "pin") for k in data.ids[pool[100:180]]]
    with pytest.raises(ValueError, match="pinned rows cost"):
        other.turn(100, now=NOW, overrules=write(tmp_path / "p.jsonl", *many))


def test_every_example_says_what_became_of_it(turned) -> None:
    wheel, data, _, asked, _, facts, _ = turned
    wheel.show()
    table, how = make_table({**SETTINGS, "run": str(wheel.folder)})
    assert how == "pca of vectors"
    rows = {r["id"]: r for r in table.to_pylist()}
    assert len(rows) == len(data.ids)
    version, batch = wheel.version, read_table(wheel.folder / "turns/001/label-batch.parquet")
    order = batch["id"].tolist()
    promoted = facts["gate"]["promoted"]
    for i, name in enumerate(data.ids.tolist()):
        row, inside = rows[name], name in set(version.ids)
        if data.roles[i] in ("dev", "test", "canary"):
            assert row["decision"] == "frozen"
        elif inside:
            assert row["decision"] == ("chosen" if data.roles[i] == "pool" else "selected before")
            at = np.flatnonzero(version.ids == name)[0]
            assert row["label"] == CLASSES[version.labels[at]]
            assert row["reason"] == version.reasons[at]
        elif name in order:
            assert row["decision"] == "dropped"
            assert row["operator"] == ("label" if promoted else "gate")
        elif asked.get(name) == ("drop",):
            assert (row["decision"], row["operator"]) == ("dropped", "overruled")
        assert row["rank"] == (order.index(name) if name in order else None)
        assert row.get("site") == data.metadata["site"][i]
        if name in asked:
            assert row["overruled"].startswith(asked[name][0])
