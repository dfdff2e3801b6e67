"""Environments of the real tools, each of its own, as `make tools` makes them."""

import os
import subprocess
from pathlib import Path

import pytest

TOOLS = Path(__file__).parent
PLACE = TOOLS.parents[1] / ".cache"
IN_CI = ("label-studio", "cleanlab", "datumaro")


def python_of(name: str) -> str:
    """Return the interpreter of a tool's environment; skip where `make tools` has not made it."""
    python = PLACE / name / "bin" / "python"
    if not python.exists():
        line = "make tools" if name in IN_CI else f"make tools TOOLS={name}"
        if name in IN_CI and os.environ.get("CI", "").lower() in ("1", "true"):
            pytest.fail(f"{name} is not there: {line}")
        pytest.skip(f"{name} is not there: {line}")
    return str(python)


def run_tool(python: str, *arguments: object, **environment: str) -> str:
    """Run a script in a tool's environment; return what it prints."""
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [python, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**clean, **environment},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
