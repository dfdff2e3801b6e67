import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import coreset
from coreset import Strategy, registry
from coreset.registry import load, names, strategy
from coreset.strategies.coverage.kcenter import KCenterGreedy


def test_names_are_sorted_and_all_load():
    assert names() == sorted(names()) == coreset.list_strategies()
    for name in names():
        cls = load(name)
        assert issubclass(cls, Strategy), name
        assert isinstance(strategy(name), cls)


@pytest.mark.parametrize(
    ("typed", "meant"), [("kcentre", "kcenter"), ("margins", "margin"), ("strat", "stratified")]
)
def test_near_matches(typed, meant):
    with pytest.raises(
        KeyError,
        match=rf"unknown strategy '{typed}'; did you mean .*\b{meant}\b.*\? Known: .*random",
    ):
        strategy(typed)


def test_no_near_match_and_another_group():
    with pytest.raises(KeyError, match=r"unknown strategy '!!'\. Known: "):
        load("!!")
    with pytest.raises(KeyError, match=r"unknown scorer '!!'"):
        load("!!", "coreset.scorers")


def test_options():
    assert strategy("kcenter", {"normalize": True}) == KCenterGreedy(normalize=True)
    with pytest.raises(
        TypeError, match="strategy 'kcenter' has no option 'normalise'; its options: normalize"
    ):
        strategy("kcenter", {"normalise": True})
    with pytest.raises(TypeError, match="strategy 'random' has no option 'a'; its options: none"):
        strategy("random", {"a": 1})
    instance = KCenterGreedy()
    assert strategy(instance) is instance
    with pytest.raises(
        TypeError, match="go with a strategy's name; this one is already made: KCenterGreedy"
    ):
        strategy(instance, {"normalize": True})


class Entry:
    """Stands for an entry point of another package."""

    def __init__(self, value, loads):
        self.name, self.value, self.module, self._loads = (
            "theirs",
            value,
            value.split(":")[0],
            loads,
        )

    def load(self):
        return self._loads()


def test_another_packages_entry(monkeypatch):
    def register(loads, value="theirs.module:Thing"):
        monkeypatch.setattr(registry, "entries", lambda group: {"theirs": Entry(value, loads)})

    register(lambda: Entry)
    with pytest.raises(TypeError, match="'theirs' .*Entry.* is no coreset.Strategy"):
        strategy("theirs", {"value": "a:b", "loads": None})
    register(lambda: __import__("no_such_dependency"))
    # not dressed up as a hidden folder
    with pytest.raises(ModuleNotFoundError, match="no_such_dependency"):
        strategy("theirs")


def python(code: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run code with `cwd` first on sys.path, as a script or notebook of the user would."""
    return subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=False
    )


SELECT = "import coreset; print(coreset.select('random', 2, ids=range(5)).indices.tolist())"


@pytest.mark.parametrize(
    "decoy",
    [
        "strategies/__init__.py",
        "trainers/__init__.py",
        "strategies.py",
        "trainers.py",
        "scripts/__init__.py",
    ],
)
def test_packages_of_the_user_named_like_our_folders_disturb_nothing(tmp_path, decoy):
    (tmp_path / decoy).parent.mkdir(exist_ok=True)
    (tmp_path / decoy).write_text("value = 7\n")
    name = decoy.removesuffix("/__init__.py").removesuffix(".py")
    ran = python(
        f"{SELECT}; import {name}, coreset.trainers.oracles; print({name}.value)", tmp_path
    )
    assert ran.returncode == 0, ran.stderr
    picks, value = ran.stdout.splitlines()
    assert picks == str(coreset.select("random", 2, ids=np.arange(5)).indices.tolist())
    assert value == "7"
