"""Synthesis within a turn: which children come in, and what they bring beside real rows."""

import dataclasses

import numpy as np
import pytest

from coreset.flywheel import FlywheelData, Freeze
from coreset.flywheel.synthesize import AddChildren
from coreset.flywheel.tables import read_table
from tests.coreset.flywheel.worlds import CLASSES, NOW, TinyLearner, flywheel, world

D = CLASSES.index("d")


def with_children(many=40, seed=0, strange=True):
    """The planted world with children: class d's training rows shaken, half way between two; one
    child of a row that is not bought, one that copies a test row.
    """
    data, truth, _ = world(seed=seed)
    rng = np.random.default_rng(7)
    start = np.flatnonzero((data.roles == "train") & (truth == D))
    pairs = rng.choice(start, (many, 2))
    x = data.features[pairs].mean(axis=1) + 0.2 * rng.normal(size=(many, 6))
    parents = [f"{data.ids[a]} {data.ids[b]}" for a, b in pairs]
    labels = np.full(many, D)
    if strange:
        outside = data.ids[(data.roles == "pool") & (truth != D)][0]
        test = np.flatnonzero((data.roles == "test") & (truth == D))[0]
        x = np.vstack([x, x[0] + 0.1, data.features[test]])
        parents += [str(outside), str(data.ids[start[0]])]
        labels = np.append(labels, [D, D])
    n, k = len(data.ids), len(labels)
    whole = FlywheelData(
        [*data.ids, *(f"child{i:02d}" for i in range(k))],
        np.append(data.labels, labels), [*data.roles, *["child"] * k],
        np.vstack([data.features, x]), CLASSES,
        {"site": [*data.metadata["site"], *[""] * k]}, parents=[""] * n + parents,
    )  # fmt: skip
    return whole, np.append(truth, labels)


@pytest.fixture(scope="module")
def turned(tmp_path_factory):
    data, truth = with_children()
    wheel = flywheel(
        tmp_path_factory.mktemp("children"), data, truth, stages={"synthesize": AddChildren(30)}
    )
    wheel.init(Freeze(clusters=8))
    return wheel, wheel.turn(200, now=NOW)


def table(wheel, name):
    return read_table(wheel.folder / f"turns/001/{name}.parquet")


def test_every_child_is_taken_or_refused_in_words(turned):
    wheel, facts = turned
    children = table(wheel, "synthesize-children")
    why = dict(zip(children["id"], children["reason"], strict=True))
    assert why["child40"] == "a parent is not in the training set"
    assert why["child41"] == "leaks from a frozen example"
    assert facts["synthesize"]["children"] == 30 == list(why.values()).count("")
    assert facts["synthesize"]["refused"]["more than the cap"] == 10


def test_the_arms_differ_by_the_children_alone_and_have_as_many_real_rows(turned):
    wheel, facts = turned
    ids = {n: set(table(wheel, f"version-{n}")["id"]) for n in ("candidate", "without", "real")}
    added = ids["candidate"] - ids["without"]
    assert len(added) == 30
    assert all(name.startswith("child") for name in added)
    assert not any(name.startswith("child") for name in ids["real"])
    assert ids["without"] < ids["real"]
    assert len(ids["real"]) == len(ids["candidate"])
    assert ids["real"] - ids["without"] <= set(table(wheel, "label-control")["id"])
    arms = facts["retrain"]["arms"]
    assert arms["real"]["rows"] == arms["candidate"]["rows"] == arms["without"]["rows"] + 30


def test_what_they_brought_is_on_file_and_on_the_page(turned):
    wheel, facts = turned
    told = facts["gate"]["synthesis"]
    # independent of the gate: errors of fresh trainings of the arms on the test set
    test, errors = wheel.data.at("test"), {}
    for name in ("without", "real", "candidate"):
        rows = table(wheel, f"version-{name}")
        at = wheel.data.where(rows["id"])
        labels = np.full(len(wheel.data.ids), -1)
        labels[at] = rows["label"]
        wrong = []
        for seed in wheel.seeds:
            learner = TinyLearner(wheel.data)
            learner.fit(np.sort(at), labels, seed=(seed,))
            probs = learner.signals(test, ["probs"])["probs"]
            wrong.append((probs.argmax(axis=1) != wheel.data.labels[test]).mean())
        errors[name] = np.mean(wrong)
    assert told["all"]["error"] == pytest.approx(errors)
    assert told["all"]["gain"]["real"]["gain"] == pytest.approx(
        errors["real"] - errors["candidate"]
    )
    page = wheel.show().read_text()
    assert "What synthesis added" in page
    assert "same number of real rows" in page


def test_a_child_says_of_whom_it_is_and_is_never_mined(turned):
    wheel, facts = turned
    if facts["gate"]["promoted"]:
        name = next(i for i in wheel.version.ids if i.startswith("child"))
        assert wheel.history(name)[0]["reason"].startswith("child of id")
    for part in ("mine-clean", "mine-candidates", "choose-control"):
        assert not any(i.startswith("child") for i in table(wheel, part)["id"])


def test_without_a_weak_class_no_child_comes_in(tmp_path):
    data, truth, _ = world(weak=False)
    wheel = flywheel(tmp_path, data, truth, stages={"synthesize": AddChildren()})
    wheel.init(Freeze(clusters=8))
    facts = wheel.turn(100, now=NOW)
    assert facts["synthesize"]["children"] == 0
    assert "synthesis" not in facts["gate"]
    assert "What synthesis added" not in wheel.show().read_text()


@pytest.mark.parametrize(
    ("parents", "roles", "why"),
    [
        (["", "", ""], ["train", "dev", "child"], "parents: expected ids for the examples of role"),
        (["", "", "b"], ["train", "dev", "child"], "'c' is made of 'b', expected an example of"),
        (["", "", "z"], ["train", "dev", "child"], "'c' is made of 'z'.*got an unknown id"),
        (["", "a", ""], ["train", "dev", "child"], "parents: expected ids for the examples of"),
    ],
)
def test_parents_must_be_examples_that_may_be_trained_on(parents, roles, why):
    with pytest.raises(ValueError, match=why):
        FlywheelData(
            ["a", "b", "c", "t"], [0, 0, 0, 0], [*roles, "test"], np.zeros((4, 1)), ("x", "y"),
            parents=[*parents, ""],
        )  # fmt: skip


def test_a_generator_that_repeats_itself_or_a_row_brings_one_child(tmp_path):
    data, truth = with_children(6, strange=False)
    x, child = data.features.copy(), data.at("child")
    x[child[1:4]] = x[child[0]] + 1e-4 * np.arange(3)[:, None]  # the same one again
    x[child[4]] = x[data.where(str(data.parents[child[4]]).split()[:1])[0]]  # its own parent
    whole = dataclasses.replace(data, features=x)
    wheel = flywheel(tmp_path, whole, truth, stages={"synthesize": AddChildren()})
    wheel.init(Freeze(clusters=0))
    facts = wheel.turn(100, now=NOW)["synthesize"]
    why = read_table(tmp_path / "turns/001/synthesize-children.parquet")
    said = dict(zip(why["id"], why["reason"], strict=True))
    assert [said[f"child{i:02d}"] for i in range(4)].count("") == 1
    assert said["child04"].startswith("repeats id")
    assert said["child05"] == ""
    assert facts["children"] == 2
    assert facts["refused"] == {"repeats another": 4}
