"""A turn killed before or after any write goes on and ends with the same bytes."""

import pytest

import coreset.core.store
import coreset.flywheel.flywheel
import coreset.flywheel.versions
from coreset.core.locks import locked
from coreset.flywheel import Freeze
from coreset.flywheel.stage import STAGES
from tests.coreset.flywheel.worlds import NOW, flywheel, world

MODULES = (coreset.core.store, coreset.flywheel.flywheel, coreset.flywheel.versions)


class Killed(BaseException):
    pass


def files(folder):
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name != ".lock"
    }


def test_killed_around_every_write_it_resumes_to_the_same_bytes(tmp_path, monkeypatch):
    data, truth, _ = world(pool=500, train=300)
    whole = flywheel(tmp_path / "whole", data, truth)
    whole.init(Freeze(clusters=4))
    whole.turn(100, now=NOW)

    killed = flywheel(tmp_path / "killed", data, truth)
    killed.init(Freeze(clusters=4))
    real = coreset.core.store.write_atomic
    attempts: dict[str, int] = {}

    def dying(path, content):
        name = str(path)
        attempts[name] = attempts.get(name, 0) + 1
        if attempts[name] == 1:
            raise Killed(f"before {name}")
        out = real(path, content)
        if attempts[name] == 2:
            raise Killed(f"after {name}")
        return out

    for module in MODULES:
        monkeypatch.setattr(module, "write_atomic", dying)
    deaths = 0
    while True:
        again = flywheel(tmp_path / "killed", data, truth)
        if again.state["turns"] == 1:
            break
        try:
            again.turn(100, now=NOW)
        except Killed:
            deaths += 1
    assert {f"{name}.json" for name in STAGES} <= {n.rpartition("/")[2] for n in attempts}
    assert deaths >= 2 * len(STAGES)
    monkeypatch.undo()
    assert files(tmp_path / "killed") == files(tmp_path / "whole")


def test_two_turns_at_once_are_refused(tmp_path):
    wheel = flywheel(tmp_path)
    wheel.init(Freeze(clusters=0))
    with locked(tmp_path), pytest.raises(ValueError, match="another process works"):
        wheel.turn(100, now=NOW)
    assert wheel.state["turns"] == 0


def test_a_turn_goes_on_only_with_what_it_was_begun_with(tmp_path, monkeypatch):
    from coreset.flywheel.diagnose import Diagnose
    from coreset.flywheel.mine import Mine

    class Dies:
        def run(self, turn):
            raise Killed

    data, truth, _ = world(pool=500, train=300)
    flywheel(tmp_path, data, truth).init(Freeze(clusters=0))
    with pytest.raises(Killed):
        flywheel(tmp_path, data, truth, stages={"mine": Dies()}).turn(100, now=NOW)
    with pytest.raises(ValueError, match="begun with another budget: 100.0"):
        flywheel(tmp_path, data, truth).turn(200)
    other = {"diagnose": Diagnose(alpha=0.2)}
    with pytest.raises(ValueError, match="stage diagnose was done with"):
        flywheel(tmp_path, data, truth, stages=other).turn(100)
    assert flywheel(tmp_path, data, truth, stages={"mine": Mine(neighbors=5)}).turn(100)
