"""The tutorial runs as it stands, and counts its changed lines."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "tutorials" / "your-lightning-project.md"


def blocks():
    return dict(re.findall(r'```python title="([^"]+)"\n(.*?)```', PAGE.read_text(), re.S))


def changed():
    """Return the script after the changes, and how many lines were added."""
    lines = blocks()["changes"].splitlines()
    added = [line[1:] for line in lines if line.startswith("+")]
    removed = [line[1:] for line in lines if line.startswith("-")]
    script = blocks()["train.py"]
    first, *rest = added
    before, after = "\n".join(removed) + "\n", "\n".join(rest) + "\n"
    assert before in script
    return f"{first}\n{script.replace(before, after)}", len(added)


def test_at_most_ten_lines_change_and_the_page_says_how_many():
    _, count = changed()
    assert count <= 10
    assert f"This page changes {count} lines" in PAGE.read_text().replace("\n", " ")


@pytest.mark.slow
def test_the_script_and_the_command_line_run(tmp_path):
    script, _ = changed()
    (tmp_path / "train.py").write_text(script)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(
        [sys.executable, "train.py"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert list(tmp_path.glob("outputs/*/report.html"))
    shell = re.search(r"```\ncoreset-train (.*?)```", PAGE.read_text(), re.S).group(1)
    command = (
        f"{Path(sys.executable).parent}/coreset-train {shell.strip()} baseline=[] report=false"
    )
    ran = subprocess.run(
        command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
