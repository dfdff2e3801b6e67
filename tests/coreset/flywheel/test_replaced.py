"""A stage from outside: what it must leave is checked, and the page does without the rest."""

import numpy as np
import pytest

from coreset.flywheel import Artifact, Freeze
from coreset.flywheel.diagnose import Diagnose
from tests.coreset.flywheel.worlds import NOW, flywheel, world


class WorstClass:
    def run(self, turn):
        at = turn.trainings.of_role("dev")
        labels = turn.data.labels[turn.trainings.rows[at]]
        errors = turn.trainings.errors(turn.version, turn.seeds)[:, at].mean(axis=0)
        means = [errors[labels == c].mean() for c in range(len(turn.data.classes))]
        c = int(np.argmax(means))
        name = f"class={turn.data.classes[c]}"
        weak = {"name": name, "excess": float(means[c]), "rows": int((labels == c).sum())}
        return Artifact({"weak": [weak]})


class WholePool:
    def run(self, turn):
        ids = turn.data.ids[turn.data.at("pool")][:80]
        ids = ids[~np.isin(ids, turn.version.ids)]
        name = turn.facts("diagnose")["weak"][0]["name"]
        table = {"id": ids, "slice": [name] * len(ids), "score": np.ones(len(ids))}
        table["why"] = ["anything"] * len(ids)
        return Artifact(
            {"candidates": {name: len(ids)}}, {"candidates": table, "clean": {"id": ids}}
        )


def test_diagnose_and_mine_of_ones_own_turn_and_are_shown(tmp_path):
    data, truth, _ = world(pool=300, train=200)
    wheel = flywheel(tmp_path, data, truth, stages={"diagnose": WorstClass(), "mine": WholePool()})
    wheel.init(Freeze(clusters=0))
    facts = wheel.turn(40, now=NOW)
    assert facts["label"]["labeled"] > 0
    page = wheel.show().read_text()
    assert facts["diagnose"]["weak"][0]["name"] in page
    assert "near the weak slices" in page


class Leaves:
    def __init__(self, facts, tables=None):
        self.artifact = Artifact(facts, tables or {})

    def run(self, turn):
        return self.artifact


LACKS = [
    ("diagnose", Leaves({}), "expected the fact 'weak', it left none"),
    ("diagnose", Leaves({"weak": [{"name": "class=d"}]}), "expected 'excess' of every weak slice"),
    (
        "diagnose",
        Leaves({"weak": [{"name": "moon", "excess": 1, "rows": 9}]}),
        "'moon' is no slice",
    ),
    ("mine", Leaves({"candidates": {}}), "expected the table 'candidates', it left none"),
    (
        "mine",
        Leaves({"candidates": {}}, {"candidates": {"id": []}, "clean": {"id": []}}),
        "expected a column 'slice' in the table 'candidates', it has id",
    ),
    (
        "choose",
        Leaves(
            {"reserve": 0.0},
            {"batch": {"id": ["a"], "slice": [], "reason": [], "score": []}, "control": {"id": []}},
        ),
        "columns of the table 'batch' differ in length",
    ),
]


@pytest.mark.parametrize(("name", "stage", "words"), LACKS)
def test_a_stage_that_leaves_less_is_refused_in_words(tmp_path, name, stage, words):
    data, truth, _ = world(pool=200, train=150)
    stages = {"diagnose": Diagnose(), name: stage}
    wheel = flywheel(tmp_path, data, truth, stages=stages)
    wheel.init(Freeze(clusters=0))
    with pytest.raises(ValueError, match=rf"stage {name} \(.*Leaves\): .*{words}"):
        wheel.turn(40, now=NOW)
    assert not (tmp_path / f"turns/001/{name}.json").exists()


def test_what_is_no_artifact_is_refused(tmp_path):
    data, truth, _ = world(pool=200, train=150)
    wheel = flywheel(tmp_path, data, truth, stages={"observe": Leaves({})})
    wheel.stages["observe"].artifact = {"kept": 0}
    wheel.init(Freeze(clusters=0))
    with pytest.raises(TypeError, match="expected an Artifact, got dict"):
        wheel.turn(40, now=NOW)
