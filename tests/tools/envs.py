"""Environments of the real tools, each of its own: made once with uv where they are not there."""

import os
import subprocess
from pathlib import Path
from shutil import which

import pytest

PLACE = Path(os.environ.get("CORESET_TOOL_ENVS", "/tmp/coreset-tool-envs"))
TOOLS = Path(__file__).parent


def python_of(name: str, package: str) -> str:
    """Return the interpreter of an environment that has a package; skip where it cannot be made."""
    python = PLACE / name / "bin" / "python"
    if not python.exists():
        uv = which("uv")
        if uv is None:
            pytest.skip(f"{package}: no uv to make an environment with")
        for command in (
            [uv, "venv", "-q", str(PLACE / name)],
            [uv, "pip", "install", "-q", "--python", str(python), package],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.skip(f"{package} cannot be installed: {done.stderr[-300:]}")
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
