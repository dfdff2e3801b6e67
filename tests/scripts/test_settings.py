"""Settings that an application does not have, and recipes given as files, as processes and calls."""

from pathlib import Path
from subprocess import CompletedProcess

import pytest

from coreset.cli.common import check_settings
from coreset.targets import conf_dir
from tests import processes

SCRIPTS = Path(__file__).parent.parent.parent / "scripts"
APPS = {"select": "select.yaml", "curate": "curate.yaml", "score": "score.yaml"}


@pytest.mark.parametrize("name", APPS)
def test_unknown_settings_are_refused_with_the_nearest_names(name):
    file = conf_dir() / APPS[name]
    check_settings({"seed": 0}, file)
    with pytest.raises(ValueError, match=r"unknown setting 'sed'; did you mean seed"):
        check_settings({"sed": 0}, file)
    with pytest.raises(ValueError, match=r"unknown setting 'lr'"):
        check_settings({"seed": 0, "lr": 3}, file)


def test_an_unknown_budget_of_a_detection_project_is_refused():
    file = conf_dir() / "coco" / "select_coco.yaml"
    with pytest.raises(ValueError, match=r"unknown setting 'budget.image'"):
        check_settings({"budget": {"image": 3}}, file)


def run(folder: Path, name: str, *arguments: str) -> CompletedProcess[str]:
    return processes.script(SCRIPTS / f"{name}.py", *arguments, cwd=folder)


def test_an_added_setting_ends_curation_before_it_starts(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "one two"}\n')
    ran = run(tmp_path, "curate", "input=a.jsonl", "out=o", "+lr=3")
    assert ran.returncode == 1
    assert ran.stderr.startswith("error: unknown setting 'lr'")
    assert not (tmp_path / "o").exists()


def test_a_recipe_given_as_a_file_is_read_as_data(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "one two"}\n{"text": "three"}\n')
    bad = "operators: [{_target_: pathlib.Path.write_text, self: canary, data: x}]\n"
    (tmp_path / "bad.yaml").write_text("# @package _global_\n" + bad)
    ran = run(tmp_path, "curate", "recipe=bad.yaml", "input=a.jsonl", "out=o")
    assert ran.returncode == 1
    assert "'pathlib.Path.write_text' is refused" in ran.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.jsonl", "bad.yaml"]
    (tmp_path / "good.yaml").write_text(
        "operators: [{_target_: coreset.scorers.length.Length}, "
        "{_target_: coreset.curation.operators.threshold.Threshold, column: text_words, low: 2}]\n"
    )
    ran = run(tmp_path, "curate", "recipe=good.yaml", "input=a.jsonl", "out=o")
    assert ran.returncode == 0, ran.stderr
    assert "1 of 2 rows kept" in ran.stderr
